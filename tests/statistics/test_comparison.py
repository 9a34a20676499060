"""Formulas against oracles, then error rates and power on results whose truth is known."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from dynamoe_search.errors import InvalidInput
from dynamoe_search.statistics.comparison import (
    MOST_SEEDS,
    compare_with_reference,
    difference_p_value,
    equivalence_p_value,
    holm,
    seeds_to_decide,
    studentized_interval,
)

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def rate_and_error(events: NDArray[np.bool_]) -> tuple[float, float]:
    """The share of events, and three standard errors of a share of 5 %."""
    return float(events.mean()), 3 * (0.05 * 0.95 / events.size) ** 0.5


@given(p_values)
def test_holm_is_the_closed_test_with_bonferroni(raw: list[float]) -> None:
    """A hypothesis falls where every intersection that holds it does: the largest of their p's."""
    places = range(len(raw))
    subsets = [s for size in range(1, len(raw) + 1) for s in combinations(places, size)]
    expected = [
        max(min(1.0, len(s) * min(raw[j] for j in s)) for s in subsets if i in s) for i in places
    ]
    assert holm(raw) == pytest.approx(expected)
    assert (holm(raw) >= raw).all()


@given(p_values)
def test_holm_keeps_the_order_and_counts_what_could_not_be_tested(raw: list[float]) -> None:
    adjusted = holm([*raw, np.nan])
    assert np.isnan(adjusted[-1])
    assert adjusted[:-1] == pytest.approx(holm([*raw, 1.0])[:-1])
    order = np.argsort(raw)
    assert (np.diff(adjusted[:-1][order]) >= 0).all()
    assert (holm([raw, raw[::-1]]) == [holm(raw), holm(raw[::-1])]).all()


def test_p_values_against_scipy() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, size=(20, 8))
    test = stats.ttest_1samp
    assert difference_p_value(differences) == pytest.approx(test(differences, 0, axis=1).pvalue)
    above = test(differences, -0.5, axis=1, alternative="greater").pvalue
    below = test(differences, 0.5, axis=1, alternative="less").pvalue
    expected = np.maximum(above, below)
    assert equivalence_p_value(differences, margin=0.5) == pytest.approx(expected)


def test_p_values_at_the_edges() -> None:
    for count in (0, 1):
        assert np.isnan(difference_p_value(np.ones(count)))
        assert np.isnan(equivalence_p_value(np.ones(count), margin=2.0))
    same = np.full(3, 0.1)  # whose standard deviation is not 0 in floating point
    assert difference_p_value(same) == 0
    assert difference_p_value(0 * same) == 1
    assert equivalence_p_value(same, margin=0.2) == 0
    assert equivalence_p_value(same, margin=0.05) == 1


def test_the_interval_against_all_resamples() -> None:
    values = np.array([0.1, 0.4, -0.2, 0.9, 0.35, 0.6])
    drawn = values[np.array(list(product(range(6), repeat=6)))]
    with np.errstate(divide="ignore"):
        statistics = (drawn.mean(axis=1) - values.mean()) / stats.sem(drawn, axis=1)
    low, high = studentized_interval(values)
    above = statistics > (values.mean() - low) / stats.sem(values)
    below = statistics < (values.mean() - high) / stats.sem(values)
    assert above.mean() == pytest.approx(0.025, abs=0.005)
    assert below.mean() == pytest.approx(0.025, abs=0.005)


@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=9, unique=True),
    st.sampled_from([0.5, 2.0, 8.0]),
    st.integers(-100, 100),
)
def test_the_interval_moves_with_the_values(values: list[int], scale: float, shift: int) -> None:
    low, high = studentized_interval(values)
    assert low < np.mean(values) < high
    moved = studentized_interval(scale * np.array(values) + shift)
    assert moved == pytest.approx((scale * low + shift, scale * high + shift), abs=1e-6)
    assert studentized_interval(-np.array(values)) == pytest.approx((-high, -low), abs=1e-6)


def test_the_interval_of_few_or_equal_values() -> None:
    assert np.isnan(studentized_interval([1.0])).all()
    assert studentized_interval([0.1] * 8) == pytest.approx((0.1, 0.1), abs=1e-12)
    for values in ([1.0, 2.0], [1.0, 3.0, 2.5, 2.0]):
        student = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert studentized_interval(values) == pytest.approx(student)
    # A third of the resamples are all zeros, and further below the mean than any number tells.
    low, high = studentized_interval([0.0] * 7 + [1.0])
    student = stats.t.interval(0.95, 7, 1 / 8, stats.sem([0.0] * 7 + [1.0]))
    assert high == pytest.approx(student[1])
    assert student[0] < low < 1 / 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "at_least"),
    [
        (lambda generator: generator.normal(size=8), 0.93),
        # Skewed: Student's interval covers 88 % here.
        (lambda generator: generator.exponential(size=8) - 1, 0.91),
        (lambda generator: (generator.gamma(4, size=8) - 4) / 2, 0.93),
    ],
    ids=["normal", "exponential", "gamma"],
)
def test_the_interval_covers_the_truth(draw, at_least: float) -> None:
    generator = np.random.default_rng(5)
    intervals = [studentized_interval(draw(generator), seed=seed) for seed in range(800)]
    covered = [low <= 0 <= high for low, high in intervals]
    assert at_least <= np.mean(covered) <= 0.975


@pytest.mark.parametrize("shared", [0.0, 0.9], ids=["independent", "seeds matter much"])
def test_differences_of_equals_are_rarely_reported(shared: float) -> None:
    """Nine candidates against one reference, whose noise is in all nine differences."""
    generator = np.random.default_rng(6)
    studies, candidates, seeds = 6000, 9, 8
    noise = generator.normal(size=(studies, candidates + 1, seeds))
    losses = shared * generator.normal(size=(studies, 1, seeds)) + (1 - shared) * noise
    differences = losses[:, 1:] - losses[:, :1]
    significant = holm(difference_p_value(differences)) <= 0.05
    rate, error = rate_and_error(significant.any(axis=1))
    assert 0.01 < rate <= 0.05 + error
    # Without the correction the test would not be worth its name.
    assert (difference_p_value(differences) <= 0.05).any(axis=1).mean() > 0.15


def test_skewed_losses_of_like_noise_do_no_harm() -> None:
    losses = np.random.default_rng(12).exponential(size=(6000, 10, 8))
    differences = losses[:, 1:] - losses[:, :1]
    for p in (difference_p_value(differences), equivalence_p_value(differences + 5, margin=5.0)):
        rate, error = rate_and_error((holm(p) <= 0.05).any(axis=1))
        assert 0.005 < rate <= 0.05 + error


def test_some_true_differences_do_not_cost_the_equals_their_protection() -> None:
    generator = np.random.default_rng(7)
    losses = generator.normal(size=(6000, 10, 8))
    losses[:, 5:] += 5
    significant = holm(difference_p_value(losses[:, 1:] - losses[:, :1])) <= 0.05
    rate, error = rate_and_error(significant[:, :4].any(axis=1))
    assert rate <= 0.05 + error
    assert significant[:, 4:].mean() > 0.95


@pytest.mark.parametrize("candidates", [1, 9])
def test_equivalence_is_rarely_reported_of_what_is_a_margin_apart(candidates: int) -> None:
    generator = np.random.default_rng(8)
    losses = 0.2 * generator.normal(size=(6000, candidates + 1, 8))
    losses[:, 1:] += 1
    significant = holm(equivalence_p_value(losses[:, 1:] - losses[:, :1], margin=1.0)) <= 0.05
    rate, error = rate_and_error(significant.any(axis=1))
    assert rate <= 0.05 + error
    assert rate > 0.01


def test_large_differences_and_clear_equivalences_are_found() -> None:
    generator = np.random.default_rng(9)
    noise = generator.normal(size=(2000, 9, 8))  # of the differences
    assert (holm(difference_p_value(noise + 3)) <= 0.05).mean() > 0.98
    assert (holm(equivalence_p_value(noise, margin=3)) <= 0.05).mean() > 0.98


@pytest.mark.parametrize(
    ("mean", "margin"), [(0.9, 0.1), (-0.4, 0.1), (0.0, 0.5), (0.2, 0.8), (-0.3, 0.6)]
)
def test_seeds_to_decide_are_the_fewest_that_do(mean: float, margin: float) -> None:
    generator = np.random.default_rng(10)
    seeds = seeds_to_decide(mean, 1.0, margin)
    assert seeds is not None

    def decided(count: int) -> float:
        differences = mean + generator.normal(size=(4000, count))
        different = (difference_p_value(differences) <= 0.05) & (
            differences.mean(axis=1) * mean > 0
        )
        equivalent = equivalence_p_value(differences, margin) <= 0.05
        return max(float(different.mean()), float(equivalent.mean()))

    assert decided(seeds) >= 0.78
    assert decided(round(0.9 * seeds) - 1) < 0.8


def test_seeds_to_decide_at_the_edges() -> None:
    assert seeds_to_decide(0.0, 0.0, 0.1) == 2
    assert seeds_to_decide(0.5, 1e-12, 0.1) == 2
    assert seeds_to_decide(0.001, 1.0, 0.001) is None
    assert seeds_to_decide(0.5, float("nan"), 0.1) is None
    # The closed form for many seeds, (z_0.975 + z_0.8)^2 / effect^2, at the cap and just above.
    effect = (stats.norm.isf(0.025) + stats.norm.isf(0.2)) / MOST_SEEDS**0.5
    assert seeds_to_decide(1.01 * effect, 1.0, 1e-6) == pytest.approx(
        MOST_SEEDS / 1.01**2, rel=0.01
    )
    assert seeds_to_decide(0.99 * effect, 1.0, 1e-6) is None


@given(st.floats(-1, 1), st.floats(0.05, 2), st.floats(0.05, 1))
def test_more_is_needed_for_a_stricter_answer(mean: float, deviation: float, margin: float) -> None:
    seeds = [
        seeds_to_decide(mean, deviation, margin, error_rate=rate) or MOST_SEEDS + 1
        for rate in (0.05, 0.05 / 9)
    ]
    assert 2 <= seeds[0] <= seeds[1]


def results_of(losses: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"candidate": candidate, "seed": block, "loss": loss}
        for candidate, values in losses.items()
        for block, loss in enumerate(values)
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def known_results() -> pd.DataFrame:
    generator = np.random.default_rng(11)
    seed_effect = generator.normal(1.0, 0.1, size=8)
    offsets = {"best": 0.0, "same": 0.0, "slightly": 0.05, "worse": 0.3, "better": -0.3}
    losses = {
        name: list(seed_effect + offset + generator.normal(0, 0.01, size=8))
        for name, offset in offsets.items()
    }
    losses["noisy"] = list(seed_effect + 0.05 + generator.normal(0, 0.3, size=8))
    return results_of(losses)


def test_the_table_says_what_is_true() -> None:
    table = compare_with_reference(known_results(), "best", margin=0.1).set_index("candidate")
    assert table["verdict"].to_dict() == {
        "better": "better",
        "same": "equivalent",
        "slightly": "worse",
        "noisy": "undecided",
        "worse": "worse",
    }
    assert table["difference"].is_monotonic_increasing
    assert table["within_margin"].to_dict() == {
        "better": False,
        "same": True,
        "slightly": True,  # a difference, and one too small to matter
        "noisy": False,
        "worse": False,
    }
    assert table["seeds_to_decide"].notna().to_dict() == {
        name: name == "noisy" for name in table.index
    }
    assert table.loc["noisy", "seeds_to_decide"] > 8


def test_the_columns_are_the_parts() -> None:
    results = known_results()
    table = compare_with_reference(results, "best", margin=0.1).set_index("candidate")
    by_name = results.set_index("candidate")["loss"]
    for name, row in table.iterrows():
        differences = by_name[name].to_numpy() - by_name["best"].to_numpy()
        assert row["difference"] == pytest.approx(differences.mean())
        assert row["mean"] - row["reference_mean"] == pytest.approx(row["difference"])
        assert row["deviation"] == pytest.approx(differences.std(ddof=1))
        assert (row["low"], row["high"]) == pytest.approx(studentized_interval(differences))
        assert row["p_difference"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
        assert row["p_equivalence"] == pytest.approx(float(equivalence_p_value(differences, 0.1)))
    for question in ("difference", "equivalence"):
        adjusted = holm(table[f"p_{question}"])
        assert table[f"p_{question}_holm"].to_numpy() == pytest.approx(adjusted)
    noisy = table.loc["noisy"]
    strict = seeds_to_decide(noisy["difference"], noisy["deviation"], 0.1, error_rate=0.05 / 5)
    assert noisy["seeds_to_decide"] == strict
    # Neither the order of the rows nor a second call changes anything.
    shuffled = results.sample(frac=1, random_state=0)
    again = compare_with_reference(shuffled, "best", margin=0.1).set_index("candidate")
    pd.testing.assert_frame_equal(again, table)


def test_diverged_runs_cost_their_pair() -> None:
    losses = {
        "best": [1.0, 1.1, 1.2, None, 1.05],
        "some": [1.5, np.nan, np.inf, 1.6, 1.55],
        "once": [1.5, np.nan],  # no rows at all for the others
        "never": [np.inf],
    }
    table = compare_with_reference(results_of(losses), "best", margin=0.1).set_index("candidate")
    assert table["seeds"].to_dict() == {"some": 2, "once": 1, "never": 0}
    assert table["missing"].to_dict() == {"some": 3, "once": 4, "never": 5}
    assert table.loc["some", "reference_mean"] == pytest.approx((1.0 + 1.05) / 2)
    assert table.loc["some", "verdict"] == "worse"
    for name in ("once", "never"):
        row = table.loc[name]
        assert row["verdict"] == "undecided"
        assert pd.isna(row["seeds_to_decide"])
        assert row[["low", "high", "p_difference", "p_difference_holm"]].isna().all()
    # They had been planned, and so count for Holm's correction.
    some = table.loc["some"]
    assert some["p_difference_holm"] == pytest.approx(3 * some["p_difference"])


@pytest.mark.parametrize(
    ("change", "reference", "margin", "message"),
    [
        (lambda r: r, "best", 0.0, "margin is 0.0; give"),
        (lambda r: r, "best", float("nan"), "margin is nan; give"),
        (lambda r: r, "unheard", 0.1, "reference 'unheard' has no results; choose one of best"),
        (lambda r: r.drop(columns="loss"), "best", 0.1, "no column 'loss'"),
        (lambda r: pd.concat([r, r[:1]]), "best", 0.1, "best has two losses of seed 0"),
        (lambda r: r[r["candidate"] == "best"], "best", 0.1, "only best has results; train"),
    ],
)
def test_mistakes_are_named(change, reference: str, margin: float, message: str) -> None:
    results = results_of({"best": [1.0, 2.0], "other": [1.0, 2.0]})
    with pytest.raises(InvalidInput, match=message):
        compare_with_reference(change(results), reference, margin)
