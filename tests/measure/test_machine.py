import math

import pytest

from dynamoe_search.measure import machine as module
from dynamoe_search.measure.machine import measure_machine


def test_a_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MATRIX_SIZES", (64, 128))
    monkeypatch.setattr(module, "_ROWS_READ", 512)
    machine = measure_machine()
    assert 1e6 < machine.peak_flops < math.inf
    assert 1e6 < machine.bandwidth < math.inf
