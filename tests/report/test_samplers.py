import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dynamoe_search.report.figure import save_figure
from dynamoe_search.report.samplers import (
    compare_with_random,
    plot_samplers,
    sampler_sentences,
    samplers_table,
    summarize_regret,
)
from dynamoe_search.statistics.comparison import holm
from dynamoe_search.statistics.shrinkage import paired_means
from tests.report.shown import shown

RUNS, REPETITIONS = 20, 12


def recorded(losses: list[list[float]]) -> SimpleNamespace:
    """As much of `KnownLosses` as a report looks at."""
    return SimpleNamespace(
        means=paired_means(losses),
        seeds=len(losses[0]),
        losses=range(165),
        baselines=4,
        family="free",
    )


THRICE = recorded([[0.1, 0.2, 0.4], [0.3, 0.5, 0.6]])
ONCE = recorded([[0.1], [0.3]])


def searches(sampler: str, shift: float, unknown: int = 0) -> pd.DataFrame:
    """Regret falls from run to run; repetitions differ, about the same for all samplers."""
    own = np.random.default_rng(sum(map(ord, sampler)))
    shared = np.random.default_rng(0).exponential(0.05, REPETITIONS)
    return pd.concat(
        pd.DataFrame(
            {
                "sampler": sampler,
                "repetition": repetition,
                "run": np.arange(1, RUNS + 1),
                "recommended": "5-1-2",
                "regret": np.maximum(0, level) + 1 / np.arange(1, RUNS + 1),
                "unknown": unknown,
            }
        )
        for repetition, level in enumerate(1 + shared + shift + own.normal(0, 0.01, REPETITIONS))
    )


RANDOM = searches("random", 0.0)
TABLE = pd.concat(
    [RANDOM, searches("tpe", -0.1), searches("gp", 0.0), searches("nsga2", 0.1)],
    ignore_index=True,
)


def final(sampler: str) -> np.ndarray:
    rows = TABLE[(TABLE["sampler"] == sampler) & (TABLE["run"] == RUNS)]
    return rows["regret"].to_numpy()


def rendered(table: pd.DataFrame) -> str:
    return shown(samplers_table(table))


def test_intervals_are_students() -> None:
    summary = summarize_regret(TABLE)
    row = summary[(summary["sampler"] == "tpe") & (summary["run"] == RUNS)].iloc[0]
    values = final("tpe")
    interval = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert (row["regret"] - row["margin"], row["regret"] + row["margin"]) == pytest.approx(interval)
    assert len(summary) == 4 * RUNS


def test_samplers_are_compared_pair_by_pair_and_corrected() -> None:
    comparison = compare_with_random(TABLE)
    at_end = comparison[comparison["span"] == "end"].set_index("sampler")
    assert at_end.index.tolist() == ["tpe", "gp", "nsga2"]
    for sampler, row in at_end.iterrows():
        test = stats.ttest_rel(final(str(sampler)), final("random"))
        assert row["p"] == pytest.approx(test.pvalue)
        interval = test.confidence_interval(0.95)
        assert row["difference"] - row["margin"] == pytest.approx(interval.low)
        assert row["difference"] + row["margin"] == pytest.approx(interval.high)
    assert at_end["p_holm"].tolist() == holm(at_end["p"]).tolist()
    assert at_end["verdict"].tolist() == ["better", "undecided", "worse"]


def test_the_whole_search_is_the_test_the_whole_search_is_the_mean_over_its_runs() -> None:
    comparison = compare_with_random(TABLE)
    whole = comparison[comparison["span"] == "whole"].set_index("sampler")
    regrets = TABLE[TABLE["sampler"] == "tpe"]["regret"]
    assert whole.loc["tpe", "regret"] == pytest.approx(regrets.mean())
    assert whole.loc["tpe", "random"] == pytest.approx(RANDOM["regret"].mean())
    assert whole.loc["tpe", "difference"] == pytest.approx(regrets.mean() - RANDOM["regret"].mean())


@pytest.mark.slow
def test_a_difference_is_seldom_claimed_where_there_is_none() -> None:
    """Five samplers that are random search in all but name, in 150 comparisons."""
    generator = np.random.default_rng(7)
    names = ["random", "tpe", "qmc", "cmaes", "gp", "nsga2"]
    claimed = 0
    for _ in range(150):
        table = pd.DataFrame(
            {
                "sampler": np.repeat(names, 10),
                "repetition": list(range(10)) * len(names),
                "run": 1,
                "regret": generator.exponential(size=10 * len(names)),
            }
        )
        at_end = compare_with_random(table).query("span == 'end'")
        claimed += (at_end["verdict"] != "undecided").any()
    assert claimed <= stats.binom.ppf(0.999, 150, 0.05)


def test_sentences_claim_what_the_tests_allow() -> None:
    sentences = sampler_sentences(TABLE, THRICE)
    text = "\n".join(sentences)
    assert sentences[0] == (
        "Replayed on 165 schedules of known loss, in the free family: 12 searches of 20 training"
        " runs by each of 4 samplers."
    )
    assert "noise alone would scatter them by" in sentences[1]
    row = compare_with_random(TABLE).query("span == 'end' and sampler == 'tpe'").iloc[0]
    assert (
        f"tpe has less regret than random search at the end: {row['difference']:+.4f} ±"
        f" {row['margin']:.4f} nats (p < 0.001 after Holm)."
    ) in sentences
    assert "nsga2 has more regret than random search at the end: +" in text
    assert "Statistically indistinguishable from random search at the end: gp (" in text
    assert "tpe has less regret than random search over the whole search: -" in text
    assert "passed over" not in text
    assert sentences[-1].startswith("This holds for the schedules of this study")


def test_what_should_be_known_is_said() -> None:
    asked = pd.concat([TABLE, searches("qmc", 0.0, unknown=3)])
    text = "\n".join(sampler_sentences(asked, ONCE))
    assert "luck counts as merit" in text
    assert "as the loss of their schedule is not known: qmc 36." in text


def test_random_search_alone_is_shown_alone() -> None:
    text = "\n".join(sampler_sentences(RANDOM, THRICE))
    assert "Random search ends with a regret of" in text
    assert "than random search" not in text
    assert "istinguishable" not in text
    assert len(samplers_table(RANDOM).rows) == 1
    assert "At the end no" not in plot_samplers(RANDOM, THRICE).axes[0].get_title()


def test_before_any_result_there_is_no_regret() -> None:
    table = TABLE.copy()
    table.loc[table["run"] == 1, "regret"] = np.nan
    comparison = compare_with_random(table)
    assert comparison["verdict"].tolist() == compare_with_random(TABLE)["verdict"].tolist()
    assert np.isnan(summarize_regret(table)["regret"][0])


def test_the_table_goes_by_the_regret_at_the_end() -> None:
    lines = rendered(TABLE).splitlines()
    places = [
        next(n for n, line in enumerate(lines) if line.strip().startswith(f"{sampler} "))
        for sampler in ("tpe", "random", "nsga2")
    ]
    assert places == sorted(places)
    assert f"{final('tpe').mean():.4f} ± " in lines[places[0]]
    assert "nan" not in rendered(TABLE)


def test_the_plot_has_a_line_and_a_band_a_sampler_and_says_what_was_found(tmp_path) -> None:
    figure = plot_samplers(TABLE, THRICE)
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["random", "tpe", "gp", "nsga2"]
    assert len(axes.collections) == 4
    summary = summarize_regret(TABLE)
    drawn = summary[summary["sampler"] == "tpe"]["regret"].tolist()
    assert lines["tpe"].get_ydata().tolist() == drawn
    assert len({line.get_color() for line in axes.lines}) == 4
    assert axes.get_title().startswith(
        "tpe: less regret than random search at the end; nsga2: more regret than random search"
    )
    save_figure(figure, tmp_path / "samplers.png")
    assert (tmp_path / "samplers.png").stat().st_size > 10_000
    save_figure(figure, tmp_path / "samplers.svg")
    dashes = re.findall(r"stroke-dasharray: [\d., ]+", (tmp_path / "samplers.svg").read_text())
    assert len(set(dashes)) == 3  # and random search's line is whole


def test_the_plot_says_where_nothing_was_found() -> None:
    table = TABLE[TABLE["sampler"].isin(["random", "gp"])]
    title = plot_samplers(table, THRICE).axes[0].get_title()
    assert title.startswith(
        "At the end no sampler is shown to differ from random search\n12 searches each"
    )
