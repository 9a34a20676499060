import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.bounds.budget import (
    ExpertBudget,
    budget_extremes,
    compare_schedules,
    family_bounds,
)
from dynamoe_search.bounds.machine import Machine, roofline
from dynamoe_search.bounds.scaling_laws import clark, ling, marin
from dynamoe_search.report.bounds import (
    bounds_sentences,
    bounds_table,
    extrapolation_lines,
    family_sentence,
    machine_sentences,
    router_title,
)
from dynamoe_search.report.bounds_plot import plot_bounds
from dynamoe_search.report.figure import save_figure
from dynamoe_search.report.wording import engineering
from dynamoe_search.specification import (
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
)
from tests.report.shown import shown

NAMES = ("descending", "pyramid", "uniform")


def budget_of(router: Router, **changes: object) -> ExpertBudget:
    budget = ExpertBudget(12, 96, width=512, hidden=2048, router=router, tokens=8)
    return replace(budget, **changes)


def scored(budget: ExpertBudget) -> pd.DataFrame:
    return compare_schedules(budget, {name: budget.named(name) for name in NAMES})


def sentences(router: Router, **changes: object) -> str:
    budget = budget_of(router, **changes)
    return "\n".join(bounds_sentences(budget, scored(budget), budget_extremes(budget)))


def test_top_k_uniform_has_the_most_and_the_others_fall_short() -> None:
    text = sentences(TopK(k=2))
    bits = 12 * math.log2(28)
    assert f"at most 2^{bits:.1f} ways, by uniform;" in text
    descending = bits - sum(
        math.log2(math.comb(n, 2)) for n in (13, 12, 11, 10, 9, 8, 8, 7, 6, 5, 4, 3)
    )
    assert f"descending by {descending:.2f} bits ({2**descending:.3g} times fewer)" in text
    assert "uniform by nothing" in text
    assert "C(N, 2) is log-concave in N from 2 on" in text
    assert "201,375,744 parameters" in text  # 96 (512 + 2 * 512 * 2048)
    assert "7.8e+13 schedules" in text


def test_at_equal_k_all_cost_the_same_but_for_layers_of_fewer_experts() -> None:
    cost = engineering(2 * (512 * 96 + 2 * 512 * 2048 * 24))
    text = sentences(TopK(k=2))
    assert f"costs {cost}FLOPs in every schedule whose layers all have at least 2 experts" in text
    assert "least, 54.6 MFLOPs, in 1-1-1-1-1-1-1-1-1-1-1-85" in text
    assert f"costs {cost}FLOPs in every schedule of the budget." in sentences(TopK(), minimum=2)
    assert "whose layers all have at most 16 experts" in sentences(TopK(k=16))


@pytest.mark.slow
def test_the_sources_router_is_distinguished_from_a_count_of_all_subsets() -> None:
    even, uneven = 12 * math.log2(math.comb(8, 4)), 11 + math.log2(math.comb(74, 37))
    for router in (TopP(p=0.7), Percentile()):
        text = sentences(router)
        assert "percentile (tau = 0.5), gives every token of a layer the same K" in text
        assert (
            f"2^{even:.1f} in all with uniform, 2^{uneven:.1f} at most, and never the 2^96" in text
        )
    assert "percentile (tau = 0.2), gives" in sentences(Percentile(tau=0.2))
    text = sentences(Percentile())
    assert "Uniform does not have the most here: the percentile's K grows with N" in text
    assert "At equal K in every layer all schedules would cost the same" in text


@pytest.mark.slow
def test_routers_of_variable_k_cost_between_one_and_the_most() -> None:
    text = sentences(TopP(p=0.7))
    assert "Uniform does not have the most here: the most K is rounded up" in text
    assert "By this count all compared schedules are equal" in text
    fewest = engineering(2 * (512 * 96 + 2 * 512 * 2048 * 12))
    assert f"from {fewest}FLOPs, with the fewest experts" in text
    assert "the K of an untrained router, the most" in text
    held = sentences(Threshold(target=2))
    assert "No schedule has more than uniform: the number of sets, 2^N - 1, is log-concave" in held
    assert "Held at a mean K of 2 it costs 101 MFLOPs in every schedule whose layers" in held
    assert "if it uses all equally at the K held: descending 82.3, pyramid 81.2" in held
    assert "Held at a mean K of 1 it costs 50.4 MFLOPs in every schedule." in sentences(
        Threshold(target=1)
    )


def test_entropy_ceilings_are_compared_by_name() -> None:
    assert f"uniform {math.log(8):.3f}" in sentences(Relative())


def test_a_batch_that_touches_everything_is_said_once() -> None:
    text = sentences(Percentile(), tokens=500)
    assert "A batch of 500 tokens touches 96.0 of the 96 experts whatever the schedule" in text


@pytest.mark.parametrize(
    ("router", "title"),
    [
        (TopK(k=3), "top_k (k = 3)"),
        (Percentile(tau=0.25), "percentile (tau = 0.25)"),
        (TopP(p=0.6), "top_p (p = 0.6)"),
        (TopP(target=1.5), "top_p (mean K held at 1.5)"),
        (Relative(tau=0.1), "relative (tau = 0.1)"),
        (Threshold(target=3), "threshold (mean K held at 3)"),
    ],
)
def test_routers_have_titles(router: Router, title: str) -> None:
    assert router_title(router) == title


def test_times_name_the_fastest_and_the_slowest() -> None:
    budget = budget_of(TopK(k=2))
    times = roofline(scored(budget), 8, Machine(1e15, 1e10))
    (text,) = machine_sentences(Machine(1e15, 1e10), times, NAMES, 8)
    assert "With 1 PFLOP/s and 10 Gbyte/s" in text
    assert "a training step of 8 tokens 483 ms, with every compared schedule" in text
    low, high = times["batch_seconds"].min(), times["batch_seconds"].max()
    assert f"{engineering(low)}s (pyramid) to {engineering(high)}s (uniform)" in text


def test_a_family_is_set_beside_the_budget() -> None:
    budget = budget_of(TopK(k=2))
    met = family_bounds(budget, "blend", points=300)
    text = family_sentence("blend", met, budget_extremes(budget))
    assert text.startswith(f"{len(met):,} schedules found in the blend family")
    assert f"2^{met['log2_configurations'].max():.1f} configurations" in text


def test_extrapolations_are_called_so_and_never_bounds() -> None:
    lines = extrapolation_lines([clark(1e6, 64), ling(0.05, 8, 1e20)])
    assert "extrapolated; they are not bounds" in lines[0]
    assert lines[1].startswith("- extrapolated: loss")
    assert "Outside: parameters 1e+06, fitted from 1.5e+07 to 1.3e+09." in lines[1]
    assert "Outside" not in lines[2]
    assert extrapolation_lines([]) == []
    bits = extrapolation_lines([marin(1e20, measure="c4_en")])[1]
    assert bits.startswith("- extrapolated: bits per byte 0.866 (Marin 2026")
    assert "fitted with the best size for the FLOPs" in bits


def rendered(router: Router, with_times: bool) -> str:
    budget = budget_of(router)
    scores = scored(budget)
    times = roofline(scores, 8, Machine(1e12, 1e10)) if with_times else None
    return shown(bounds_table(scores, budget_extremes(budget), times))


def test_the_table_has_a_row_a_schedule() -> None:
    text = rendered(TopK(k=2), with_times=True)
    uniform = next(line for line in text.splitlines() if "uniform" in line).split()
    assert uniform[1:3] == ["8-8-8-8-8-8-8-8-8-8-8-8", "████████████"]
    assert uniform[3:7] == ["2", "101", "M", "2^57.7"]
    assert "batch" in text
    assert "batch" not in rendered(TopK(k=2), with_times=False).split("K: active")[0]
    assert "1..8 (2)" in rendered(Threshold(target=2), with_times=False)


@pytest.mark.slow
@pytest.mark.parametrize("router", [TopP(p=0.7), TopK(k=2)], ids=str)
def test_the_plot_shows_schedules_within_the_ends_of_the_budget(router: Router, tmp_path) -> None:
    budget = budget_of(router, layers=4, experts=20)
    scores, extremes = scored(budget), budget_extremes(budget)
    figure = plot_bounds(budget, scores, extremes, family_bounds(budget, "blend", points=50))
    ways, flops, entropy, touched = figure.axes
    assert [label.get_text() for label in ways.get_yticklabels()] == [*NAMES, "the family"]
    for axes, column in ((ways, "log2_configurations"), (entropy, "entropy_ceiling")):
        dots = axes.collections[0].get_offsets()
        np.testing.assert_allclose(dots[:, 0], scores[column])
        low, high = axes.get_xlim()
        assert low < extremes.loc[column, "least"] < extremes.loc[column, "most"] < high
    np.testing.assert_allclose(
        [segment[:, 0] for segment in flops.collections[0].get_segments()],
        scores[["flops_minimum", "flops_maximum"]],
    )
    for line, name in zip(touched.get_lines(), NAMES, strict=False):
        assert line.get_label() == name
        assert (np.diff(line.get_ydata()) >= -1e-9).all()
        assert line.get_ydata()[-1] == pytest.approx(20, abs=0.01)
    save_figure(figure, tmp_path / "bounds.png")
    assert (tmp_path / "bounds.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 "), (999.99, "1 k"), (1e-9, "1 n"), (2.5e16, "25 P"), (1.5, "1.5 ")]
)
def test_numbers_have_prefixes(value: float, text: str) -> None:
    assert engineering(value) == text
