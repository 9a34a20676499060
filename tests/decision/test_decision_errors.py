"""What studies decide is right as often as they say, in whole simulated studies.

`benchmarks/decision_errors.py` counts the same in more studies; docs/deciding.md has its table.
"""

import pytest

from benchmarks.decision_errors import WORLDS, Study, study_of, table

_STUDIES = 4


def made_up(repetition: int, regret: float, decided: bool = True) -> Study:
    return Study("smooth", repetition, 20, decided, regret, 0.009, regret < 0.01, 3, 1, 1.0)


def test_errors_are_counted() -> None:
    studies = [made_up(0, 0.001), made_up(1, 0.002), made_up(2, 0.03), made_up(3, 0.03, False)]
    lines = table(studies).splitlines()
    assert len(lines) == 3
    cells = lines[2].strip("| ").split(" | ")
    assert cells[:4] == ["smooth", "4", "75", "20"]
    assert cells[5].startswith("50.0")  # two regrets are above the bound
    assert cells[6].startswith("25.0")  # one of them was decided
    assert cells[7].startswith("50.0")
    assert cells[8] == "33.3"


@pytest.mark.slow
def test_a_study_is_the_same_each_time() -> None:
    one, again = (study_of("smooth", 3, runs=10) for _ in range(2))
    assert (one.regret, one.bound, one.runs) == (again.regret, again.bound, again.runs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "world", ["no differences", pytest.param("smooth", marks=pytest.mark.long)]
)
def test_few_decisions_are_wrong(world: str) -> None:
    assert world in WORLDS
    studies = [study_of(world, repetition, runs=16) for repetition in range(_STUDIES)]
    # Expected are 0.2 of each at most.
    assert sum(study.regret > study.bound for study in studies) <= 2
    assert sum(study.decided and study.regret > 0.01 for study in studies) <= 1
    assert sum(not study.interval_holds for study in studies) <= 2
