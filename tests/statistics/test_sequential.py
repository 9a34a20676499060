"""Comparisons that stop when they are decided: what they say, and how often they err."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.confirmation_errors import AT_MARGIN, LOOKS, World, score
from dynamoe_search.statistics.comparison import compare_with_reference, holm
from dynamoe_search.statistics.sequential import (
    COLUMNS,
    Looks,
    compare_until_decided,
    find,
    stop_when_decided,
)

MARGIN = 0.01
MEANS = {"equal": 0.0, "close": 0.006, "worse": 0.02, "far": 0.2, "better": -0.03}
NAMES = list(MEANS)


def results(seeds: int = 64, seed: int = 0, deviation: float = 0.01) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    effects = 0.02 * generator.standard_normal(seeds)
    means = {"reference": 0.0} | MEANS
    return pd.DataFrame(
        [
            (name, place, 1 + mean + effects[place] + 0.7 * deviation * noise)
            for name, mean in means.items()
            for place, noise in enumerate(generator.standard_normal(seeds))
        ],
        columns=["candidate", "place", "loss"],
    )


def compared(some: pd.DataFrame, planned: int = 64, most: int = 64) -> pd.DataFrame:
    looks = Looks(4, planned, most)
    table = compare_until_decided(some, "reference", NAMES, MARGIN, looks)
    return table.set_index("candidate")


def differences_of(some: pd.DataFrame) -> NDArray[np.float64]:
    losses = some.pivot(index="candidate", columns="place", values="loss")
    return (losses.loc[NAMES] - losses.loc["reference"]).to_numpy()


def test_clear_differences_stop_early_and_all_stop_for_good() -> None:
    table = compared(results())
    assert table["verdict"].to_dict() == {
        "better": "better",
        "equal": "equivalent",
        "close": "worse",
        "worse": "worse",
        "far": "worse",
    }
    assert (table.loc["far", "seeds"], table.loc["far", "looked_at"]) == (4, 4)
    assert table["seeds"].between(4, 60).all()
    assert (table["seeds"] % 4 == 0).all()
    assert not table["is_open"].any()
    for name, row in table.iterrows():
        values = differences_of(results())[NAMES.index(name), : row["seeds"]]
        assert row["difference"] == pytest.approx(values.mean())
        assert row["deviation"] == pytest.approx(values.std(ddof=1))
        assert row["low"] < MEANS[name] < row["high"]


def test_it_is_one_and_the_same_procedure_for_many_studies_at_once() -> None:
    studies = [results(16, seed, 0.02) for seed in range(10)]
    differences = np.array([differences_of(some) for some in studies])

    def look_at(look: int, is_open: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
        return find(differences[..., :look], MARGIN, tuple(range(4, look + 1, 4)), 16)

    found, seeds = stop_when_decided(look_at, range(4, 17, 4), differences.shape[:2])
    assert len(np.unique(seeds)) > 2
    for study, some in enumerate(studies):
        table = compared(some, 16, 16).loc[NAMES]
        assert table["looked_at"].tolist() == seeds[study].tolist()
        for name in COLUMNS:
            assert table[name].to_numpy() == pytest.approx(found[name][study])
        assert table["p_difference_holm"].to_numpy() == pytest.approx(holm(table["p_difference"]))


def test_only_the_order_of_the_seeds_counts() -> None:
    some = results()
    expected = compared(some)
    pd.testing.assert_frame_equal(compared(some.sample(frac=1, random_state=1)), expected)
    # What a candidate was trained on after its decision, or is not trained on, changes nothing.
    places = some["candidate"].map(expected["seeds"]).fillna(64)
    pd.testing.assert_frame_equal(compared(some[some["place"] < places]), expected)


def test_a_result_before_its_turn_waits() -> None:
    some = results()
    late = some[~((some["candidate"] == "close") & (some["place"] == 5))]
    table = compared(late)
    # Holm's correction is over all that is known at one look, so all wait for the fourth look.
    assert table["looked_at"].max() == 4
    assert table.loc["close", "is_open"]
    assert table.loc["far", "verdict"] == "worse"


@pytest.mark.slow
def test_what_is_decided_stays_decided() -> None:
    some = results(deviation=0.02)
    verdicts = pd.Series("undecided", index=NAMES)
    for places in range(4, 65, 4):
        table = compared(some[some["place"] < places]).loc[NAMES]
        before = verdicts != "undecided"
        assert (table.loc[before, "verdict"] != "undecided").all()
        verdicts = table["verdict"]
    assert (verdicts != "undecided").sum() >= 3


@pytest.mark.slow
def test_the_most_can_be_raised_later() -> None:
    some = results(128, deviation=0.03)
    first, raised = (compared(some, 32, most) for most in (32, 128))
    is_open = first["is_open"]
    assert is_open.any()
    decided = first.index[~is_open]
    columns = ["seeds", "low", "high", "p_difference", "p_equivalence"]
    pd.testing.assert_frame_equal(raised.loc[decided, columns], first.loc[decided, columns])
    assert (raised.loc[first.index[is_open], "seeds"] > 32).all()


def test_an_open_comparison_says_how_many_seeds_it_would_take() -> None:
    table = compared(results(8, deviation=0.02), 8, 8)
    is_open = table["is_open"]
    assert is_open.any()
    assert (table.loc[is_open, "seeds_to_decide"] >= 12).all()
    assert table.loc[~is_open, "seeds_to_decide"].isna().all()


def test_diverged_runs_are_missing_pairs() -> None:
    some = results()
    some.loc[(some["candidate"] == "far") & (some["place"] == 1), "loss"] = np.nan
    some.loc[(some["candidate"] == "worse"), "loss"] = np.inf
    table = compared(some)
    assert table.loc["far", ["seeds", "missing", "looked_at"]].tolist() in ([3, 1, 4], [7, 1, 8])
    assert table.loc["worse", ["seeds", "missing", "looked_at"]].tolist() == [0, 64, 64]
    assert table.loc["worse", "verdict"] == "undecided"
    assert table.loc["worse", ["low", "p_difference"]].isna().all()
    assert pd.isna(table.loc["worse", "seeds_to_decide"])
    # A test that cannot be made counts in the correction all the same.
    known = table.drop(index="worse")
    assert known["p_difference_holm"].min() >= 5 * known["p_difference"].min() - 1e-12


def test_before_the_first_look_nothing_is_said() -> None:
    for some in (results().iloc[:0], results(3)):
        table = compared(some)
        assert table["looked_at"].tolist() == [0] * 5
        assert set(table["verdict"]) == {"undecided"}
        assert table[["difference", "low", "seeds_to_decide"]].isna().all(axis=None)


def test_it_has_the_columns_of_a_fixed_number() -> None:
    some = results(8)
    fixed = compare_with_reference(
        some.rename(columns={"place": "seed"}), reference="reference", margin=MARGIN
    )
    assert set(compared(some).reset_index()) == set(fixed) | {"looked_at", "is_open"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [
        World(deviation=0.03),
        World(deviation=0.03, unequal=0.7),
        World(deviation=0.03, reference=0.9),
        World(deviation=0.03, kind="t3"),
        World(AT_MARGIN),
        World(AT_MARGIN, unequal=0.7),
        World(AT_MARGIN, kind="t3"),
    ],
    ids=str,
)
def test_error_rates_hold_over_all_looks(world: World) -> None:
    repetitions = 2000
    found = score(world, repetitions, seed=7)
    error = 3 * (0.05 * 0.95 / repetitions) ** 0.5
    assert found.false_difference <= 0.05 + error
    assert found.false_equivalence <= 0.05 + error
    # It is not kept by deciding nothing.
    assert max(found.false_difference, found.false_equivalence) > 0.002
    assert found.coverage >= 0.95
    assert found.seeds <= LOOKS.most


@pytest.mark.slow
def test_it_takes_fewer_seeds_than_a_fixed_number_that_decides_as_much() -> None:
    found = score(World((0.0, 0.0, 0.003, 0.005, 0.012, 0.016, 0.02, 0.15)), 500)
    assert found.decided > 0.99
    assert found.fixed_seeds is not None
    assert found.seeds < 0.6 * found.fixed_seeds
