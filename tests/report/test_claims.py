import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.claims.source import (
    DENSE_ACTIVE,
    DENSE_TOTAL,
    DYNAMIC,
    FIRST_DENSE,
    FIXED,
    Unit,
)
from dynamoe_search.claims.verdicts import judge
from dynamoe_search.report.claims import claims_page, name_of, plot_claims, take_home
from dynamoe_search.report.figure import save_figure
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM

COMMAND = "dynamoe-search claims studies/claims"
REGIMES = ("paper", "parameters", "compute")
UNITS = [
    *(Unit("images", data, regime) for data in ("mnist", "cifar10") for regime in REGIMES),
    *(Unit("routing", "mnist", schedule) for schedule in ("uniform", "descending")),
    *(Unit(scale, "w.tokens", "paper") for scale in ("tiny", "small", "medium")),
    Unit("placement", "topics", "compute"),
]


def made_up(unit: Unit, seeds: int = 8) -> pd.DataFrame:
    """Runs in which what is claimed to be better is so by a little, but for one regime."""
    generator = np.random.default_rng(len(name_of(unit)))
    baselines = (*PATTERNS_AND_UNIFORM, DENSE_ACTIVE, DENSE_TOTAL)
    if unit.about == "routing":
        baselines = (DYNAMIC, FIXED)
    if unit.about == "placement":
        baselines = ("late", "early", FIRST_DENSE, "uniform")
    gains = {
        "descending": {"paper": 0.03, "parameters": -0.03, "compute": 0.0}.get(unit.condition, 0),
        DYNAMIC: 0.5,
        "ascending": 0.002 * (unit.about == "small"),
        "late": 0.03,
    }
    rows = []
    for baseline in baselines:
        for seed in range(seeds):
            value = 1 + 0.1 * seed - gains.get(baseline, 0.0) + 0.003 * generator.standard_normal()
            rows.append(
                {
                    "data": unit.data,
                    "baseline": baseline,
                    "candidate": f"network {baseline}",
                    "place": seed,
                    "seconds": 2.5,
                    **dict.fromkeys(("test_loss", "curve_loss"), value),
                    "test_accuracy": 1.5 - value / 2,
                    **dict.fromkeys(("log_trace", "log_noise_scale"), value),
                    "samples": 40_000,
                    **dict.fromkeys(("parameters", "total_parameters"), 4000 + len(baseline)),
                    **dict.fromkeys(("mean_active", "active_experts"), 2.0),
                    "flops_per_token": 4000.0,
                    "data_fingerprint": f"digest of {unit.data}",
                    "commit": "0123abc",
                    "made_with": "torch 2.13",
                }
            )
    return pd.DataFrame(rows)


def page_of(runs: dict[Unit, pd.DataFrame], plot: str | None = "effects.png") -> str:
    return claims_page(judge(UNITS, runs), UNITS, runs, COMMAND, plot)


@pytest.fixture(scope="module")
def runs() -> dict[Unit, pd.DataFrame]:
    return {unit: made_up(unit) for unit in UNITS if unit not in (UNITS[4], UNITS[10])}


@pytest.mark.slow
def test_each_question_has_a_row_with_its_verdict(runs: dict[Unit, pd.DataFrame]) -> None:
    verdicts, page = judge(UNITS, runs), page_of(runs)
    rows = [line for line in page.split("## What was held")[0].splitlines() if "| " in line]
    rows = [line for line in rows if not line.startswith(("| where", "| ---"))]
    assert len(rows) == len(verdicts)
    for row, line in zip(_in_order_of_the_page(verdicts), rows, strict=True):
        assert line.startswith(f"| {name_of(Unit(row.about, row.data, row.condition))} | ")
        assert row.verdict in line
        if row.outcome == "test_loss" and row.seeds:
            assert f"| {row.effect:+.4f} | {row.low:+.4f} to {row.high:+.4f} |" in line
            assert f"| {row.seeds} | {row.rival} |" in line
    assert {"supported", "not supported", "equivalent", "not run yet"} <= set(verdicts["verdict"])
    counts = verdicts[verdicts["family"] == "primary"]["verdict"].value_counts()
    text = " ".join(page.split())
    assert f"Of {counts.sum()} questions" in text
    for verdict, count in counts.items():
        assert f"{count} {verdict}" in text


def _in_order_of_the_page(verdicts: pd.DataFrame) -> list:
    groups = verdicts.groupby(["claim", "outcome"], sort=False)
    return [row for _, rows in groups for row in rows.itertuples()]


def test_units_of_effects_are_said(runs: dict[Unit, pd.DataFrame]) -> None:
    page = page_of(runs)
    assert "Effect in percentage points; margin ±0.5." in page
    assert page.count("The claim is right above the lower end of the margin.") == 1
    ratio = re.search(r"\| MNIST, uniform schedule \| \*\*supported\*\* \| ([\d.]+) \|", page)
    assert ratio is not None
    assert float(ratio[1]) == pytest.approx(np.exp(0.5), rel=0.01)
    accuracy = re.search(r"test accuracy.*?\| MNIST, paper \| \S+ \| (\S+) \|", page, re.DOTALL)
    assert accuracy is not None
    assert float(accuracy[1]) == pytest.approx(1.5, abs=0.2)


def test_what_a_designer_can_take_home(runs: dict[Unit, pd.DataFrame]) -> None:
    verdicts = judge(UNITS, runs)
    said = take_home(verdicts)
    schedules = verdicts[(verdicts["outcome"] == "test_loss") & (verdicts["family"] == "primary")]
    schedules = schedules[~schedules["claim"].str.contains("dense")]
    counts = schedules["verdict"].value_counts()
    assert f"supported in {counts['supported']}, not supported in {counts['not supported']}" in said
    assert f"not run yet in {counts['not run yet']} of 9 conditions" in said
    assert "than in earlier ones: supported in 1 of 1 conditions" in said
    assert "A dense first layer costs no more than the margin: supported in 1 of 1" in said
    assert "try the schedule that won" in said
    nowhere = verdicts[verdicts["verdict"] != "supported"]
    assert "leave the experts uniform" in take_home(nowhere)
    best = {"verdict": "supported", "within_margin": False, "effect": 0.02}
    uniform_won = schedules.iloc[[0]].assign(**best, contenders=[("uniform", "wave")])
    said = take_home(pd.concat([nowhere, uniform_won]))
    assert "+0.0200 of uniform. So at these sizes leave the experts uniform" in said
    assert take_home(judge(UNITS, {})) == "Nothing was trained yet."
    assert " ".join(page_of(runs).split()).count(take_home(verdicts)) == 1


def test_what_is_open_is_said(runs: dict[Unit, pd.DataFrame]) -> None:
    verdicts, page = judge(UNITS, runs), " ".join(page_of(runs).split())
    is_open = verdicts["verdict"].isin(["undecided", "not run yet"])
    count = (is_open & (verdicts["family"] != "secondary")).sum()
    assert f"{count} questions are open. `{COMMAND} --run` trains what they need" in page
    noisy = made_up(UNITS[0])
    noise = np.random.default_rng(0).standard_normal(len(noisy))
    page = page_of(runs | {UNITS[0]: noisy.assign(test_loss=1 + 0.05 * noise)})
    assert re.search(r"\| MNIST, paper \| \*\*undecided\*\*, [\d,]+ seeds \|", page)


def test_failures_and_costs_are_said(runs: dict[Unit, pd.DataFrame]) -> None:
    unit = UNITS[0]
    failed = runs[unit].copy()
    outcomes = ["test_loss", "curve_loss", "test_accuracy"]
    failed.loc[(failed["baseline"] == "uniform") & (failed["place"] == 2), outcomes] = np.nan
    page = page_of(runs | {unit: failed})
    assert "| MNIST, paper | 8 | 72 | 1 | 2.5 | 40,000 | 4,004 to 4,024 | 2.00 | 4,000 |" in page
    assert re.search(r"\| MNIST, paper \| .* \| 7, 1 failed \| uniform \|", page)


def test_a_page_before_any_training_and_after_all(runs: dict[Unit, pd.DataFrame]) -> None:
    before = page_of({}, None)
    assert "effects.png" not in before
    assert "## Made with" not in before
    assert plot_claims(judge(UNITS, {})) is None
    after = page_of({unit: made_up(unit) for unit in UNITS})
    assert "not run yet" not in after.split("## How it was judged")[0]
    assert "Commit 0123abc (a plus: with changes not committed); torch 2.13." in after
    assert "- Data cifar10: SHA-256 digest of cifar10." in after


@pytest.mark.slow
def test_every_effect_is_in_the_plot(runs: dict[Unit, pd.DataFrame], tmp_path: Path) -> None:
    verdicts = judge(UNITS, runs)
    figure = plot_claims(verdicts)
    assert figure is not None
    shown = verdicts[verdicts["verdict"] != "not run yet"]
    drawn = [point for axes in figure.axes for dots in axes.collections for point in _points(dots)]
    scale = np.where(shown["outcome"] == "test_accuracy", 100, 1)
    assert sorted(drawn) == pytest.approx(sorted(shown["effect"] * scale))
    panels = shown.groupby(["claim", "outcome"]).ngroups
    assert len(figure.axes) == panels
    titles = [axes.get_title(loc="right") for axes in figure.axes]
    assert sum(int(n) for title in titles for n in re.findall(r"(\d+) \w+", title.split("\n")[1]))
    save_figure(figure, tmp_path / "effects.png")
    assert (tmp_path / "effects.png").stat().st_size > 10_000


def _points(dots) -> list[float]:
    from matplotlib.collections import PathCollection

    return dots.get_offsets()[:, 0].tolist() if isinstance(dots, PathCollection) else []
