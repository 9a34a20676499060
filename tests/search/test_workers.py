"""Workers that are really killed or frozen, wherever the records are."""

import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.search import load_trials
from tests.conftest import edit
from tests.search import processes
from tests.search.processes import (
    assert_accounted_for,
    begin,
    carry_out,
    command,
    die,
    die_before_write,
    dies,
    kill,
    live_elsewhere,
    output_of,
    processes_training,
    replace,
    wait_for,
    wait_for_trials,
    worker,
)

SLOWER = ("epochs = 2", "epochs = 40")
FEWER = ("trials = 14", "trials = 9")
RECORDS = "dynamoe_search.search.records"
WORKER = "dynamoe_search.search.worker"


def test_a_worker_may_die_before_any_write(small_study: Path, url: str) -> None:
    edit(small_study, FEWER)
    begin(small_study, url)
    deaths = 0
    # Each comes one write further than the one before it, until one comes to the end.
    while dies(small_study, url, f"run {deaths}", partial(die_before_write, deaths + 1)):
        deaths += 1
    assert deaths > 10
    trials = assert_accounted_for(small_study, 9, url)
    assert set(trials["state"]) <= {"complete", "died", "repeat"}
    assert trials["pattern"].value_counts()["descending"] >= 1
