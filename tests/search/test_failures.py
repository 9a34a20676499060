"""What goes wrong in a study is recorded, said in a line, and mended by the same command."""

import os
import resource
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.search import load_trials
from tests.conftest import edit
from tests.search.processes import (
    Command,
    assert_accounted_for,
    begin,
    carry_out,
    output_of,
    processes_training,
    wait_for_trials,
)

WORKER = "dynamoe_search.search.worker"
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    MemoryError("no room for 2 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


def fail_first(count: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many trainings end in an error."""
    from dynamoe_search.search import worker

    train, left = worker.train, [error] * count

    def fail(*arguments: object, **options: object) -> object:
        if left:
            raise left.pop()
        return train(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "train", fail)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["device", "python", "torch"])
def test_out_of_memory_is_recorded_and_the_search_goes_on(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    edit(small_study, ("trials = 14", "trials = 3"))
    begin(small_study, url)
    fail_first(1, error, monkeypatch)
    carry_out(small_study, url)
    trials = assert_accounted_for(small_study, 2, url)
    assert trials["state"].tolist() == ["out of memory", "complete", "complete"]
    assert trials["message"][0] == str(error)


def test_an_error_is_recorded_with_its_message(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(small_study, ("trials = 14", "trials = 3"))
    begin(small_study, url)
    fail_first(1, ZeroDivisionError("no experts"), monkeypatch)
    carry_out(small_study, url)
    trials = assert_accounted_for(small_study, 2, url)
    assert trials["state"].tolist() == ["error", "complete", "complete"]
    assert trials["message"][0] == "ZeroDivisionError: no experts"


def test_five_errors_in_a_row_end_the_run_and_the_next_tries_anew(
    small_study: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(small_study, ("trials = 14", "trials = 8"))
    begin(small_study, url)
    fail_first(6, ZeroDivisionError("no experts"), monkeypatch)
    with pytest.raises(RunFailed, match="the last 5 trials .* ZeroDivisionError: no experts"):
        carry_out(small_study, url, "one run")
    assert load_trials(small_study, url)["state"].tolist() == ["error"] * 5
    carry_out(small_study, url, "another")
    states = load_trials(small_study, url)["state"].tolist()
    assert states == ["error"] * 6 + ["complete"] * 2
