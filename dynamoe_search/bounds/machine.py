"""The least time that a machine's arithmetic and its memory allow: the roofline.

Time >= max(FLOPs / peak, bytes / bandwidth) (Williams, Waterman and Patterson 2009,
doi 10.1145/1498765.1498785), where arithmetic and memory overlap perfectly. Only traffic that
cannot be avoided is counted: weights, not activations. Weights that stay in a cache between steps
are not read from memory; for a network smaller than the cache, only the FLOPs are a bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from dynamoe_search.budgets import BACKWARD_AND_FORWARD
from dynamoe_search.errors import InvalidInput

FLOAT32_BYTES = 4
# AdamW reads and writes each weight and its two moments in every step, whether it was used or not.
_ADAMW_WORDS = 6
_MATRIX_SIZES = (256, 512, 1024, 2048, 4096)
_LONG_ENOUGH = 0.1  # seconds for a product, after which larger ones are not tried
_ROWS_READ = 8192  # a matrix of 256 MiB, beyond any cache
_REPEATS = 5


@dataclass(frozen=True)
class Machine:
    """What a machine can do at best.

    Parameters
    ----------
    peak_flops : float
        FLOP/s of matrix products.
    bandwidth : float
        Bytes/s from and to its memory.
    """

    peak_flops: float
    bandwidth: float

    def __post_init__(self) -> None:
        for name in ("peak_flops", "bandwidth"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidInput(f"{name} is {getattr(self, name)}; it must be above 0")

    def least_seconds(self, flops: float, traffic: float) -> float:
        """The least time for so many FLOPs and bytes of memory traffic.

        Examples
        --------
        >>> Machine(peak_flops=1e11, bandwidth=1e10).least_seconds(flops=2e11, traffic=1e9)
        2.0
        """
        return max(flops / self.peak_flops, traffic / self.bandwidth)


def training_seconds(parameters: float, flops: float, tokens: int, machine: Machine) -> float:
    """The least time of a training step in float32 with AdamW.

    3 FLOPs T of arithmetic (forward and backward), and 6 words a parameter of traffic: the weight
    and two moments, read and written. So all schedules of a budget have the same traffic.

    Parameters
    ----------
    parameters : float
        All that are trained.
    flops : float
        Of one token's forward pass.
    tokens : int
        T, of a step.
    machine : Machine

    Examples
    --------
    >>> machine = Machine(peak_flops=1e11, bandwidth=1e10)
    >>> training_seconds(parameters=1e6, flops=2e5, tokens=1000, machine=machine)
    0.006
    """
    return machine.least_seconds(
        BACKWARD_AND_FORWARD * tokens * flops, _ADAMW_WORDS * FLOAT32_BYTES * parameters
    )


def decoding_seconds(weights: float, flops: float, tokens: int, machine: Machine) -> float:
    """The least time of a forward pass of T tokens in float32, such as decoding T sequences a step.

    FLOPs T of arithmetic; each weight that any of the tokens uses is read once. For one token that
    is its active parameters; for more, those of the distinct experts that they touch.

    Parameters
    ----------
    weights : float
        The parameters that are read.
    flops : float
        Of one token's forward pass.
    tokens : int
        T.
    machine : Machine

    Examples
    --------
    >>> machine = Machine(peak_flops=1e11, bandwidth=1e10)
    >>> decoding_seconds(weights=1e5, flops=2e5, tokens=1, machine=machine)
    4e-05
    """
    return machine.least_seconds(tokens * flops, FLOAT32_BYTES * weights)


def roofline(scores: pd.DataFrame, tokens: int, machine: Machine) -> pd.DataFrame:
    """The least times of schedules, from their bounds, for tokens that use the expected K.

    Parameters
    ----------
    scores : DataFrame
        A row a schedule, with the columns of `dynamoe_search.bounds.layers.QUANTITIES`.
    tokens : int
        The batch T that they are for.
    machine : Machine

    Returns
    -------
    DataFrame
        With the index of `scores`, in seconds: ``training_seconds`` of a step of T tokens,
        ``decoding_seconds`` of one token, and ``batch_seconds`` of a forward pass of T tokens that
        use all experts alike.
    """
    rows = [
        {
            "training_seconds": training_seconds(s.parameters, s.flops_expected, tokens, machine),
            "decoding_seconds": decoding_seconds(s.active_parameters, s.flops_expected, 1, machine),
            "batch_seconds": decoding_seconds(
                s.touched_parameters, s.flops_expected, tokens, machine
            ),
        }
        for s in scores.itertuples()
    ]
    return pd.DataFrame(rows, index=scores.index)


def measure_machine(device: str = "cpu") -> Machine:
    """Measure a machine, in about two seconds, with the threads that torch has been given.

    Peak: the fastest of float32 matrix products of growing size. Bandwidth: the fastest of reading
    a matrix of 256 MiB, multiplied by a vector. A measured peak is what was reached, not what
    cannot be passed: a bound from it holds for code no better than these products.

    Parameters
    ----------
    device : str
        A torch device.
    """
    import torch

    def seconds(act: Callable[[], object]) -> float:
        times = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            act()
            if torch.device(device).type != "cpu":
                torch.accelerator.synchronize()
            times.append(time.perf_counter() - start)
        return min(times)

    peak = 0.0
    for size in _MATRIX_SIZES:
        a, b = torch.rand(2, size, size, device=device)
        elapsed = seconds(lambda a=a, b=b: a @ b)  # type: ignore[misc]
        peak = max(peak, 2 * size**3 / elapsed)
        if elapsed > _LONG_ENOUGH:
            break
    matrix = torch.rand(_ROWS_READ, _ROWS_READ, device=device)
    vector = torch.rand(_ROWS_READ, device=device)
    traffic = FLOAT32_BYTES * matrix.numel()
    return Machine(peak, traffic / seconds(lambda: matrix @ vector))
