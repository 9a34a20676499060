"""Confirmations until all is decided: what is trained on, what stops, and what is expected."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.log.runs import Start
from dynamoe_search.log.table import decided_table
from dynamoe_search.plan.confirmation import Confirmation, Contender
from dynamoe_search.plan.plan import Plan
from dynamoe_search.search.policy import ConfirmationPolicy
from dynamoe_search.search.undecided import blocks_to_train
from tests.search.driver import MemoryLog, Process, names, plan_of

REFERENCE, FAR, CLOSE, DENSE = "3-3", "2-4", "4-2", "dense 9x2"
MEANS = {REFERENCE: 0.5, FAR: 0.9, CLOSE: 0.506, DENSE: 0.5}
DEVIATION = 0.01


def confirmation_of(most: int = 24, seeds_per_block: int = 1) -> Confirmation:
    contenders = tuple(Contender(candidate) for candidate in MEANS)
    return Confirmation(
        REFERENCE, contenders, 0.01, (most,), {}, "decided", seeds_per_block=seeds_per_block
    )


def loss_of(start: Start) -> float:
    generator = np.random.default_rng([start.block, *start.candidate.encode()])
    return MEANS[start.candidate] + DEVIATION * float(generator.standard_normal())


@pytest.fixture
def plan(small_study: Path) -> Plan:
    return plan_of(small_study, ("depth = 4", "depth = 2"), ("experts = 12", "experts = 6"))


def process_of(
    plan: Plan,
    log: MemoryLog | None = None,
    confirmation: Confirmation | None = None,
    worker: str = "1",
) -> Process:
    policy = ConfirmationPolicy(plan, confirmation or confirmation_of())
    log = MemoryLog() if log is None else log
    return Process(log, plan, worker, make_policy=lambda plan: policy)


def carry_out(process: Process, most: int = 1000) -> list[Start]:
    done: list[Start] = []
    while len(done) < most and (start := process.start()) is not None:
        process.finish(start, test_loss=loss_of(start))
        done.append(start)
    return done


def table_of(process: Process, confirmation: Confirmation | None = None) -> pd.DataFrame:
    return decided_table(process.progress, confirmation or confirmation_of()).set_index("candidate")


@pytest.mark.slow
def test_what_is_decided_stops_and_the_reference_goes_on(plan: Plan) -> None:
    process = process_of(plan)
    done = carry_out(process)
    table = table_of(process)
    trained = Counter(start.candidate for start in done)
    assert table.loc[FAR, ["verdict", "seeds"]].tolist() == ["worse", 4]
    assert {name: trained[name] for name in table.index} == table["looked_at"].to_dict()
    assert trained[FAR] < trained[CLOSE]
    assert trained[REFERENCE] == table["looked_at"].max()
    assert process.policy.fraction(process.progress) == 1
    # Whole blocks come first, of those that are still open.
    assert [start.block for start in done] == sorted(start.block for start in done)
    assert names(done)[:4] == [(name, 0) for name in MEANS]


@pytest.mark.slow
def test_it_ends_at_the_most_seeds_and_goes_on_with_more(plan: Plan) -> None:
    few = confirmation_of(most=8)
    process = process_of(plan, confirmation=few)
    first = carry_out(process)
    assert table_of(process, few).loc[CLOSE, "is_open"]
    assert process.policy.fraction(process.progress) == 1
    more = replace(few, seeds=(8, 24))
    again = process_of(plan, process.log, more)
    assert again.policy.fraction(again.progress) < 1
    second = carry_out(again)
    assert {start.candidate for start in second} <= {REFERENCE, CLOSE, DENSE}
    assert not {start.key for start in first} & {start.key for start in second}
    assert table_of(again, more).loc[CLOSE, "looked_at"] > 8


@pytest.mark.slow
def test_any_number_of_workers_comes_to_the_same(plan: Plan) -> None:
    """Runs that end in another order, and those begun before a decision, change nothing."""
    alone = process_of(plan)
    carry_out(alone)
    log, generator = MemoryLog(), np.random.default_rng(0)
    workers = [process_of(plan, log, worker=str(number)) for number in range(3)]
    running: dict[str, Start] = {}
    while True:
        for worker in workers:
            if worker.worker not in running and (start := worker.start()) is not None:
                running[worker.worker] = start
        if not running:
            break
        chosen = str(generator.choice(sorted(running)))
        start = running.pop(chosen)
        workers[int(chosen)].finish(start, test_loss=loss_of(start))
    together = process_of(plan, log)
    pd.testing.assert_frame_equal(table_of(together), table_of(alone))
    assert not Counter(start.key for start in log.starts()).most_common(1)[0][1] > 1
    # No more is trained in vain than there are workers.
    assert len(log.starts()) <= len(alone.log.starts()) + 2 * len(workers)


@pytest.mark.slow
def test_a_decision_follows_from_the_log_alone(plan: Plan) -> None:
    process = process_of(plan)
    carry_out(process)
    log = process.log
    for position in range(0, len(log.events), 14):  # after every seventh run
        again = process_of(plan, log.until(position)).ask()
        following = log.events[position].content
        assert again is not None
        assert again.key == (following["candidate"], following["block"])
    assert process_of(plan, log).ask() is None


def test_what_was_lost_is_trained_again_before_the_next_look(plan: Plan) -> None:
    process = process_of(plan)
    carry_out(process, 14)
    lost = process.start()
    assert lost is not None
    process.lose(lost, "interrupted")
    assert table_of(process)["looked_at"].max() == 0
    again = process.start()
    assert again is not None
    assert (again.key, again.attempt) == (lost.key, 1)
    process.finish(again, test_loss=loss_of(again))
    carry_out(process, 1)
    assert table_of(process)["looked_at"].tolist() == [4, 4, 4]


@pytest.mark.slow
def test_runs_without_a_result_do_not_hold_up_the_others(plan: Plan) -> None:
    process = process_of(plan, confirmation=confirmation_of(8))
    while (start := process.start()) is not None:
        if start.candidate == DENSE:
            process.finish(start, "diverged")
        elif start.key == (CLOSE, 1) and start.attempt < 2:
            process.lose(start, "died")  # twice in one session: it is given up
        else:
            process.finish(start, test_loss=loss_of(start))
    table = table_of(process, confirmation_of(8))
    assert table.loc[DENSE, ["seeds", "missing", "verdict"]].tolist() == [0, 8, "undecided"]
    assert table.loc[CLOSE, "missing"] == 1
    assert table.loc[FAR, "verdict"] == "worse"
    assert process.policy.fraction(process.progress) == 1


def test_progress_is_of_what_is_expected(plan: Plan) -> None:
    process, confirmation = process_of(plan), confirmation_of()
    assert process.policy.fraction(process.progress) == 0
    assert process.policy.fraction_of_one_run() == 1 / (4 * 24)
    carry_out(process, 16)
    wanted = blocks_to_train(process.progress, confirmation)
    assert (wanted.most[FAR], wanted.expected[FAR]) == (0, 0)
    assert wanted.most[CLOSE] == wanted.most[REFERENCE] == 24
    assert 8 <= wanted.expected[CLOSE] <= 24
    assert wanted.expected[REFERENCE] == max(wanted.expected.values())
    to_come = wanted.runs_to_come(process.progress)
    assert process.policy.fraction(process.progress) == 16 / (16 + to_come)
    assert process.policy.fraction_of_one_run() == 1 / (16 + to_come)


@pytest.mark.parametrize("seeds_per_block", [2, 3, 4, 8])
def test_looks_are_after_whole_blocks(seeds_per_block: int) -> None:
    looks = confirmation_of(48, seeds_per_block).looks
    assert looks is not None
    assert looks.every % seeds_per_block == 0
    assert looks.every >= 4
    assert confirmation_of(48, seeds_per_block).blocks == 48 // seeds_per_block
