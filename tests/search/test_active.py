"""Searches in which the active experts of each layer move, in memory."""

from pathlib import Path

import pytest

from dynamoe_search.plan.baselines import PAIRS
from dynamoe_search.plan.candidate import Candidate, parse_candidate
from dynamoe_search.search.optuna_study import optuna_study
from tests.search.driver import MemoryLog, Process, plan_of

COMPUTE = ("experts = 12", 'experts = 12\nregime = "compute"\nactive = 1.5')
BOTH = ('family = "blend"', 'family = "blend"\nactive_family = "mixture"')
ALONE = ('family = "blend"', 'family = "none"\nactive_family = "blend"')


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "cmaes"])
@pytest.mark.parametrize("moves", [BOTH, ALONE], ids=["both", "alone"])
def test_samplers_of_optuna_propose_active_schedules(
    small_study: Path, sampler: str, moves: tuple[str, str]
) -> None:
    changes = (COMPUTE, moves, ('"random"', f'"{sampler}"'), ("runs = 14", "runs = 26"))
    plan = plan_of(small_study, *changes)
    log = MemoryLog()
    process = Process(log, plan)
    while (start := process.start()) is not None:
        process.train(start)
    starts = log.starts()
    candidates = [parse_candidate(start.candidate) for start in starts]
    assert all(isinstance(one, Candidate) and one.active.total == 6 for one in candidates)
    proposed = [start.parameters for start in starts if start.seen is not None]
    assert len(proposed) > 3
    own = "tilt" in proposed[0]
    assert own == (moves is BOTH)
    assert ("active_descending" if own else "active_tilt") in proposed[0]
    # Whoever reads the log decides the same.
    late = Process(log.until(len(log.events) - 4), plan)
    assert late.ask() in starts
    # Optuna's own view has the active experts as parameters.
    trials = optuna_study(process.progress, plan.study, "x").trials
    assert {"experts_1", "experts_4", "active_1", "active_4"} <= set(trials[0].params)


def test_baselines_come_first_with_their_place_in_the_space(small_study: Path) -> None:
    plan = plan_of(small_study, COMPUTE, BOTH, ("runs = 14", "runs = 40"))
    process = Process(MemoryLog(), plan)
    distinct = {str(plan.baselines[name]) for name in PAIRS}
    for _ in distinct:
        start = process.start()
        assert start is not None
        assert start.candidate in distinct
        assert start.parameters is not None
        process.train(start)
    start = process.start()
    assert start is not None
    assert start.seen is not None


def test_the_posterior_chooses_among_active_schedules(small_study: Path) -> None:
    plan = plan_of(small_study, COMPUTE, ALONE, ('"random"', '"posterior"'))
    process = Process(MemoryLog(), plan)
    while (start := process.start()) is not None:
        process.train(start)
    posterior = process.policy.chooser.posterior(process.progress)
    assert posterior.best.startswith("3-3-3-3 active=")
    assert len(posterior.candidates) == 10  # every active schedule of 4 layers and a sum of 6
    assert set(posterior.costs) == {1.0}
