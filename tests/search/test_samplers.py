"""Samplers by name, whatever the study's seed."""

from pathlib import Path

import pytest

from dynamoe_search.plan.search_section import SAMPLERS
from tests.search.driver import MemoryLog, Process, names, plan_of, run_alone

RUNS = 14


@pytest.mark.parametrize("seed", [20251125214900, 2**63 - 1])
@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("gp", "posterior") else ())
        for name in SAMPLERS
    ],
)
def test_every_sampler_takes_any_seed_that_a_study_file_may_have(
    small_study: Path, sampler: str, seed: int
) -> None:
    changes = (
        ("seed = 3", f"seed = {seed}"),
        ("experts = 12", "experts = 9"),
        ("runs = 14", f"runs = {RUNS}"),
        ('"random"', f'"{sampler}"\nmargin = 1e-9'),  # which never decides
    )
    plan = plan_of(small_study, *changes)
    assert plan.study.seed == seed
    process, other = (Process(MemoryLog(), plan) for _ in range(2))
    first, again = (names(run_alone(one)) for one in (process, other))
    assert first == again
    assert len(first) == RUNS or process.policy.is_decided(process.progress)
