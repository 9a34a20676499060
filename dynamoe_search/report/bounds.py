"""The bounds of a budget of experts: in sentences and as a table.

All take tables of `dynamoe_search.bounds.budget`: ``scores`` as `compare_schedules` gives them, and
``extremes`` as `budget_extremes` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import comb, log2
from typing import TYPE_CHECKING, Any

import pandas as pd

from dynamoe_search.bounds.budget import ExpertBudget, budget_extremes, compare_schedules
from dynamoe_search.bounds.scaling_laws import LAWS, Extrapolation, Quantity
from dynamoe_search.report.schedules import sparkline
from dynamoe_search.report.table import Column, Table, numbers, texts
from dynamoe_search.report.wording import engineering
from dynamoe_search.schedules import Schedule, count_schedules
from dynamoe_search.specification import FixedRouter, Percentile, Router, TopK, TopP, VariableRouter

if TYPE_CHECKING:
    from dynamoe_search.bounds.machine import Machine
    from dynamoe_search.bounds.pairs import Pair
    from dynamoe_search.plan.candidate import Candidate

_UNITS: dict[Quantity, str] = {
    "loss": " nats per token",
    "bits per byte": "",
    "efficiency leverage": " times the compute of a dense model",
}
_MOST_SPELLED_OUT = 10**9
_ALIKE = 1e-9  # bits, or a share, that sums in another order can differ by


def router_title(router: Router) -> str:
    """A router with the constant that makes it up.

    Examples
    --------
    >>> router_title(TopK(k=2)), router_title(Percentile())
    ('top_k (k = 2)', 'percentile (tau = 0.5)')
    """
    held = getattr(router, "target", None)
    if held is not None:
        return f"{router.name} (mean K held at {held:g})"
    name = next(name for name in ("k", "p", "tau") if hasattr(router, name))
    return f"{router.name} ({name} = {getattr(router, name):g})"


def bounds_sentences(
    budget: ExpertBudget, scores: pd.DataFrame, extremes: pd.DataFrame
) -> list[str]:
    """What the budget can buy at most, and how far the compared schedules are from it."""
    return [
        _size(budget, extremes),
        *_configurations(budget, scores, extremes),
        _source(budget),
        *_flops(budget, scores, extremes),
        _entropy(scores, extremes),
        _distinct(budget, scores, extremes),
        "None of this depends on the order of the layers: a schedule and its mirror image, such as"
        " descending and ascending, have the same bounds.",
    ]


def pair_sentence(pair: Pair, uniform: Candidate) -> str:
    """The most ways in which schedules with active schedules of a study can route a token.

    Parameters
    ----------
    pair : Pair
        As `dynamoe_search.plan.expert_budget.most_configurations` gives it.
    uniform : Candidate
        With its active schedule.
    """
    assert uniform.active is not None
    even = sum(log2(comb(n, k)) for n, k in zip(uniform.schedule, uniform.active, strict=True))
    equal = "Every candidate costs the same FLOPs."
    if pair.value < even + _ALIKE:
        return f"{equal} None can route a token in more ways than uniform, 2^{even:.1f}."
    return (
        f"{equal} Of all schedules with active schedules, {pair.schedule} active={pair.active} can"
        f" route a token in the most ways, 2^{pair.value:.1f}; uniform in 2^{even:.1f}."
    )


def _size(budget: ExpertBudget, extremes: pd.DataFrame) -> str:
    count = count_schedules(budget.experts, budget.layers, *budget.limits)
    number = f"{count:,}" if count < _MOST_SPELLED_OUT else f"{count:.1e}"
    number += " schedules, all" if count > 1 else " schedule,"
    most = "" if budget.maximum is None else f" and at most {budget.maximum}"
    most += "" if budget.step == 1 else f", in steps of {budget.step},"
    return (
        f"{budget.layers} layers of width {budget.width} share {budget.experts} experts of hidden"
        f" width {budget.hidden}, at least {budget.minimum}{most} per layer: {number}"
        f" with {extremes.loc['parameters', 'most']:,.0f} parameters in experts and routers."
    )


def _configurations(
    budget: ExpertBudget, scores: pd.DataFrame, extremes: pd.DataFrame
) -> list[str]:
    row = extremes.loc["log2_configurations"]
    most, least = row["most"], row["least"]
    sentence = (
        f"With {router_title(budget.router)} a token can be routed in at most 2^{most:.1f} ways, by"
        f" {_named(row['most_schedule'], scores)}; in the fewest, 2^{least:.1f}, by"
        f" {_named(row['least_schedule'], scores)}."
    )
    short = [_short(score, most) for score in scores.itertuples()]
    sentences = [sentence, f"Short of the most: {'; '.join(short)}."]
    if most - scores["log2_configurations"].min() < 1:
        sentences.append("By this count all compared schedules are equal, within a factor of two.")
    if row["most_schedule"] == budget.named("uniform"):
        return [*sentences, f"No schedule has more than uniform: {_why_even(budget.router)}."]
    return [*sentences, f"Uniform does not have the most here: {_why_uneven(budget.router)}."]


def _why_even(router: Router) -> str:
    match router:
        case TopK(k=k):
            return (
                f"C(N, {k}) is log-concave in N from {k} on, so at the same k in every layer any"
                " gain of another schedule must come from other things than this count"
            )
        case Percentile():
            return "at this tau and total, few large layers gain nothing over many equal ones"
        case TopP(target=None):
            return "the number of sets of up to ceil(p N) experts is nearly log-concave in N"
        case _:
            return "the number of sets, 2^N - 1, is log-concave in N"


def _why_uneven(router: Router) -> str:
    match router:
        case Percentile():
            return (
                "the percentile's K grows with N, in steps, and where K is a share of N, log2"
                " C(N, K) is convex, so few large layers can have more than many equal ones"
            )
        case TopK(k=k):
            return f"layers of {k} experts or fewer have no choice, so it pays to give some up"
        case _:
            return "the most K is rounded up in every layer, which favors some N over others"


def _short(score: Any, most: float) -> str:
    bits = most - score.log2_configurations
    if bits <= _ALIKE:
        return f"{score.name} by nothing"
    fewer = f"{2**bits:.3g}" if bits < 20 else f"2^{bits:.0f}"
    return f"{score.name} by {bits:.2f} bits ({fewer} times fewer)"


def _source(budget: ExpertBudget) -> str:
    """What the source's router reaches, against the count of all subsets."""
    router = budget.router if isinstance(budget.router, Percentile) else Percentile()
    theirs = replace(budget, router=router)
    row = budget_extremes(theirs, ["log2_configurations"]).iloc[0]
    even = compare_schedules(theirs, {"uniform": theirs.named("uniform")}).iloc[0]
    return (
        f"The source's router, {router_title(router)}, gives every token of a layer the same K,"
        f" so it reaches C(N, K) sets per layer: 2^{even['log2_configurations']:.1f} in all with"
        f" uniform, 2^{row['most']:.1f} at most, and never the 2^{budget.experts} that a sum of"
        " C(N, k) over all k counts."
    )


def _flops(budget: ExpertBudget, scores: pd.DataFrame, extremes: pd.DataFrame) -> list[str]:
    low, high = extremes.loc["flops_minimum"], extremes.loc["flops_maximum"]
    router = budget.router
    if not isinstance(router, FixedRouter):
        return _varying_flops(budget, scores, extremes)
    cost = f"A token costs {engineering(high['most'])}FLOPs in"
    if nearly_equal(low["least"], high["most"]):
        return [f"{cost} every schedule of the budget."]
    cheapest = f"{engineering(low['least'])}FLOPs, in {_named(low['least_schedule'], scores)}"
    if isinstance(router, TopK):
        return [
            f"{cost} {_equal_cost(budget, router.k)}; least, {cheapest}, as layers of fewer experts"
            " use no more than they have."
        ]
    return [
        f"{cost} {_named(high['most_schedule'], scores)}, and least, {cheapest}: K grows with N, in"
        " steps. At equal K in every layer all schedules would cost the same."
    ]


def _varying_flops(budget: ExpertBudget, scores: pd.DataFrame, extremes: pd.DataFrame) -> list[str]:
    low, high = extremes.loc["flops_minimum"], extremes.loc["flops_maximum"]
    sentence = (
        f"A token costs from {engineering(low['least'])}FLOPs, with the fewest experts, to"
        f" at most {engineering(high['most'])}FLOPs, with"
        f" {extremes.loc['active_maximum', 'most']:.3g} per layer in"
        f" {_named(high['most_schedule'], scores)}."
    )
    row, held = extremes.loc["flops_expected"], getattr(budget.router, "target", None)
    if held is None:
        equal = "At an equal mean K in every layer all schedules cost the same"
        return [sentence, f"{equal}; layers of fewer experts than that use no more than they have."]
    which = "every schedule"
    if not nearly_equal(row["least"], row["most"]):
        which = _equal_cost(budget, held) or (
            f"{_named(row['most_schedule'], scores)}, and less where layers have fewer experts"
        )
    return [
        sentence,
        f"Held at a mean K of {held:g} it costs {engineering(row['most'])}FLOPs in {which}.",
    ]


def _equal_cost(budget: ExpertBudget, active: float) -> str:
    """Which schedules all cost the same, and the most, at equal K; empty where there are none."""
    every = "every schedule whose layers all have"
    if budget.experts >= math.ceil(active) * budget.layers:
        return f"{every} at least {active:g} experts"
    if budget.experts <= math.floor(active) * budget.layers:
        return f"{every} at most {active:g} experts"
    return ""


def nearly_equal(low: float, high: float) -> bool:
    """Whether two sums of the same parts, in another order, are one number."""
    return high - low <= _ALIKE * abs(high)


def _entropy(scores: pd.DataFrame, extremes: pd.DataFrame) -> str:
    row = extremes.loc["entropy_ceiling"]
    parts = [f"{score.name} {score.entropy_ceiling:.3f}" for score in scores.itertuples()]
    return (
        f"Load entropy can reach {row['most']:.3f} nats per layer on average, in"
        f" {_named(row['most_schedule'], scores)}, as ln N is concave: {', '.join(parts)}. So"
        " compare the entropies of schedules only as parts of their ceilings."
    )


def _distinct(budget: ExpertBudget, scores: pd.DataFrame, extremes: pd.DataFrame) -> str:
    row = extremes.loc["distinct_experts"]
    who = "A token" if budget.tokens == 1 else f"A batch of {budget.tokens:,} tokens"
    router = budget.router
    expected = "the K of the router"
    if isinstance(router, VariableRouter):
        held = router.target is not None
        expected = "the K held" if held else "the K of an untrained router, the most"
    where = f"if it uses all equally at {expected}"
    if row["most"] - row["least"] < 0.05:
        return (
            f"{who} touches {row['most']:.1f} of the {budget.experts} experts whatever the"
            f" schedule, {where}."
        )
    parts = [f"{score.name} {score.distinct_experts:.1f}" for score in scores.itertuples()]
    return (
        f"{who} touches {row['least']:.1f} ({_named(row['least_schedule'], scores)}) to"
        f" {row['most']:.1f} ({_named(row['most_schedule'], scores)}) of the {budget.experts}"
        f" experts, {where}: {', '.join(parts)}."
    )


def machine_sentences(
    machine: Machine, times: pd.DataFrame, names: Sequence[str], tokens: int
) -> list[str]:
    """The least times by `roofline`, of the fastest and the slowest of the named schedules."""
    kinds = {
        "training_seconds": f"a training step of {tokens:,} tokens",
        "decoding_seconds": "decoding one token",
        "batch_seconds": f"a forward pass of {tokens:,} tokens that use all experts equally",
    }
    labeled = times.set_axis(list(names))
    least = [f"{what} {_seconds(labeled[column])}" for column, what in kinds.items()]
    return [
        f"With {engineering(machine.peak_flops)}FLOP/s and {engineering(machine.bandwidth)}byte/s,"
        f" and the expected K (the most, where no K is fixed or held), the layers of experts take"
        f" at least: {'; '.join(least)}."
    ]


def _seconds(times: pd.Series) -> str:
    low, high = times.min(), times.max()
    if nearly_equal(low, high):
        return f"{engineering(high)}s, with every compared schedule"
    return f"{engineering(low)}s ({times.idxmin()}) to {engineering(high)}s ({times.idxmax()})"


def family_sentence(family: str, met: pd.DataFrame, extremes: pd.DataFrame) -> str:
    """How near a family's schedules, by `family_bounds`, come to the most configurations."""
    bits = met["log2_configurations"]
    short = extremes.loc["log2_configurations", "most"] - bits.max()
    gap = "all there can be" if short <= _ALIKE else f"{short:.2f} bits short of the most"
    return (
        f"{len(met):,} schedules found in the {family} family have 2^{bits.min():.1f} to"
        f" 2^{bits.max():.1f} configurations, half of them at least 2^{bits.median():.1f}; the most"
        f" are those of {met.loc[bits.idxmax(), 'schedule']}, {gap}."
    )


def extrapolation_lines(extrapolations: Sequence[Extrapolation]) -> list[str]:
    """What scaling laws predict, a line each, with what lies outside their range."""
    if not extrapolations:
        return []
    lines = [
        "Published scaling laws, extrapolated; they are not bounds. They know only the mean number"
        " of experts per layer, so they predict the same for every schedule:"
    ]
    for found in extrapolations:
        unit = _UNITS[found.quantity]
        law = LAWS[found.law]
        outside = f" Outside: {'; '.join(found.warnings)}." if found.warnings else ""
        lines.append(
            f"- {found.label}: {found.quantity} {found.value:.3f}{unit} ({law.source}; fitted with"
            f" {law.setting}).{outside}"
        )
    return lines


def _named(schedule: Schedule, scores: pd.DataFrame) -> str:
    """A schedule, by the name that it is compared under."""
    names = scores.loc[[other == schedule for other in scores["schedule"]], "name"]
    return str(schedule) if names.empty else str(names.iloc[0])


def bounds_table(
    scores: pd.DataFrame, extremes: pd.DataFrame, times: pd.DataFrame | None = None
) -> Table:
    """The compared schedules, a row each.

    Parameters
    ----------
    scores, extremes
        See the module; `scores` may have the two extreme schedules as its last rows.
    times : DataFrame, optional
        As `dynamoe_search.bounds.machine.roofline` gives it, a row for each of `scores`.
    """
    most = extremes.loc["log2_configurations", "most"]
    headers = ["K", "FLOPs", "ways", "short", "entropy", "touched"]
    headers += [] if times is None else ["step", "decode", "batch"]
    rows = []
    for place, score in enumerate(scores.itertuples()):
        cost = [_spread(score, "active", "{:.3g}".format), _spread(score, "flops", engineering)]
        short = max(0.0, most - score.log2_configurations)
        ways = [f"2^{score.log2_configurations:.1f}", f"{short:.2f}"]
        use = [f"{score.entropy_ceiling:.3f}", f"{score.distinct_experts:.1f}"]
        least = [] if times is None else [f"{engineering(x)}s" for x in times.iloc[place]]
        names = [score.name, str(score.schedule), sparkline(score.schedule)]
        rows.append([*names, *cost, *ways, *use, *least])
    schedule = [*texts("name"), Column("schedule", is_name=True), *texts("shape")]
    caption = (
        "K: active experts per layer, and FLOPs of a token, forward: fewest to most (expected);"
        " ways: routing configurations, and how many bits short of the most; entropy: its ceiling,"
        " nats per layer; touched: experts that a batch uses, if it uses all equally"
    )
    return Table([*schedule, *numbers(*headers)], rows, "", caption)


def _spread(score: Any, name: str, form: Callable[[float], str]) -> str:
    """From the fewest to the most, with what is expected where it is neither."""
    low, expected, high = (
        getattr(score, f"{name}_{end}") for end in ("minimum", "expected", "maximum")
    )
    if nearly_equal(low, high):
        return form(high).strip()
    span = f"{form(low).strip()}..{form(high).strip()}"
    return span if nearly_equal(expected, high) else f"{span} ({form(expected).strip()})"
