"""Measure what a machine's arithmetic and memory can do, for rooflines."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from dynamoe_search.bounds.machine import FLOAT32_BYTES, Machine

_MATRIX_SIZES = (256, 512, 1024, 2048, 4096)
_LONG_ENOUGH = 0.1  # seconds; after a product that takes this long, larger ones are not tried
_ROWS_READ = 8192  # of a square matrix of 256 MiB, larger than a processor's cache
_REPEATS = 5


def measure_machine(device: str = "cpu") -> Machine:
    """Measure a machine, in about two seconds, with the number of threads that torch has.

    Peak: the fastest of float32 matrix products of growing size. Bandwidth: the fastest of products
    of a 256 MiB matrix and a vector. The measured peak is what these products reached: a bound that
    is computed from it holds for code that is no faster than they are.

    Parameters
    ----------
    device : str
        A torch device.
    """
    peak = 0.0
    for size in _MATRIX_SIZES:
        a, b = torch.rand(2, size, size, device=device)
        elapsed = _fastest(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
        peak = max(peak, 2 * size**3 / elapsed)
        if elapsed > _LONG_ENOUGH:
            break
    matrix = torch.rand(_ROWS_READ, _ROWS_READ, device=device)
    vector = torch.rand(_ROWS_READ, device=device)
    elapsed = _fastest(lambda: matrix @ vector, device)
    return Machine(peak, FLOAT32_BYTES * matrix.numel() / elapsed)


def _fastest(act: Callable[[], object], device: str) -> float:
    """The least time of a few calls, in seconds."""
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        act()
        if torch.device(device).type != "cpu":
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
