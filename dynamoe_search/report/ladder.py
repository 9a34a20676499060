"""A ladder: what happens to a difference as networks grow, in sentences, a table and a plot.

All take the results that `Study.ladder` gives, and the label of the reference.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynamoe_search.report.figure import LOOKS, in_own_style, legend_below, one_panel
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.wording import counted, enumerated, number, p_value
from dynamoe_search.statistics.ladder import DifferenceFit, Estimate
from dynamoe_search.statistics.scales import compare_scales, fit_ladder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNLIKELY = 0.05


def ladder_table(results: pd.DataFrame, reference: str = "uniform") -> Table:
    """Each candidate at each scale, beside the reference."""
    rows, emphasized = [], []
    compared = compare_scales(results, reference).sort_values("scale", kind="stable")
    for place, row in enumerate(compared.itertuples()):
        is_reference = row.label == reference
        if is_reference:
            emphasized.append(place)
        ends = f"{number(row.low, '+.4f')} {number(row.high, '+.4f')}"
        factor = Estimate(row.multiplier, row.multiplier_low, row.multiplier_high)
        rows.append(
            (
                *(str(row.scale), row.label),
                *(number(row.loss, ".4f"), "" if is_reference else number(row.difference, "+.4f")),
                *("reference" if is_reference else ends, "" if is_reference else _ends(factor)),
                *(f"{row.total_parameters:,.0f}", f"{row.training_flops:.3g}"),
                *(str(row.seeds), row.candidate),
            )
        )
    caption = (
        "loss on the test split, and its difference to the reference at the same scale with the"
        " 95 % interval, in nats; compute: how many times its training FLOPs the reference needs"
        " for the candidate's loss, 95 %; FLOPs: training FLOPs of a seed; pairs: seeds that both"
        " have"
    )
    columns = [Column("scale", is_number=True), Column("candidate", is_name=True)]
    columns += numbers("loss", "difference", "95 %", "compute", "parameters", "FLOPs", "pairs")
    return Table([*columns, Column("schedule")], rows, "", caption, emphasized)


def ladder_sentences(
    results: pd.DataFrame, reference: str = "uniform", at: float | None = None
) -> list[str]:
    """Whether differences keep their sign, how they change, and what they are worth.

    Parameters
    ----------
    results : DataFrame
    reference : str
    at : float, optional
        The training FLOPs of a real model, for which the differences are extrapolated.
    """
    compared, fits = compare_scales(results, reference), fit_ladder(results, reference)
    others = [label for label in compared["label"].unique() if label != reference]
    scales = compared["scale"].nunique()
    flops = compared.loc[compared["label"] == reference, "training_flops"]
    sentences = [
        f"Reference: {reference}, at {counted(scales, 'scale')} from {flops.min():.3g} to"
        f" {flops.max():.3g} training FLOPs."
    ]
    for label in others:
        rows = compared[compared["label"] == label]
        if (rows["difference"] == 0).all():
            sentences.append(f"{label} is the same candidate as {reference} at every scale.")
        elif label not in fits:
            sentences.append(f"{label}: too little is trained for a fit; the same command goes on.")
        else:
            sentences.append(
                " ".join(
                    [
                        _sign(label, rows, reference),
                        _trend(fits[label]),
                        _compute(label, rows.iloc[-1], reference),
                        *([] if at is None else [_extrapolated(fits[label], at)]),
                    ]
                )
            )
    if at is not None and fits:
        sentences.append(
            f"What is said of {at:.3g} training FLOPs is an extrapolation, to"
            f" {at / flops.max():.3g} times those of the largest scale: its interval holds only if"
            " the law does, so far from what was trained."
        )
    return [
        *sentences,
        "Each interval is of one number alone (95 %, Student's t over seeds); those of several"
        " candidates are not corrected for their number.",
    ]


def _sign(label: str, rows: pd.DataFrame, reference: str) -> str:
    shown = int(((rows["low"] > 0) | (rows["high"] < 0)).sum())
    signs = np.sign(rows["difference"])
    last = rows.iloc[-1]
    values = enumerated([f"{value:+.4f}" for value in rows["difference"]])
    scales = enumerated([str(scale) for scale in rows["scale"]])
    change = (
        f"{values} nats at scales {scales} (95 % at the last {last['low']:+.4f} to"
        f" {last['high']:+.4f}); it is shown at {shown} of {counted(len(rows), 'scale')}."
    )
    same = rows.loc[(rows["low"] == 0) & (rows["high"] == 0), "scale"]
    if len(same):
        where = enumerated([str(scale) for scale in same])
        change += f" Both are the same candidate at scale {where}, which is no evidence."
    if (signs == signs.iloc[0]).all():
        better = "better" if signs.iloc[0] < 0 else "worse"
        return f"In the mean, {label} is {better} than {reference} at every scale: {change}"
    return f"In the mean, the difference of {label} to {reference} changes its sign: {change}"


def _trend(fit: DifferenceFit) -> str:
    """How the difference changes: as a power law where its sign stays, else as a line."""
    if fit.keeps_sign:
        found, form, unit = fit.exponent, "+.3f", ""
        what, rises, falls = "It goes as training FLOPs to the power", "grows", "shrinks"
        law, p = "a power law", fit.p_power
    else:
        found, form, unit = fit.slope, "+.4f", " nats"
        what = "Per factor of 10 of training FLOPs it changes by"
        rises, falls = "rises", "falls"
        law, p = "such a line", fit.p_line
    if found.low > 0:
        said = f"so it {rises}"
    elif found.high < 0:
        said = f"so it {falls}"
    else:
        said = f"which shows neither that it {rises} nor that it {falls}"
    bent = f"; but the means do not lie on {law} (p {p_value(p)})" if p < _UNLIKELY else ""
    return f"{what} {_interval(found, form)}{unit}, {said}{bent}."


def _compute(label: str, row: pd.Series, reference: str) -> str:
    """The effective speed-up at the largest scale."""
    found = Estimate(row["multiplier"], row["multiplier_low"], row["multiplier_high"])
    worse, better = reference, label
    if found.value < 1:
        worse, better = label, reference
        found = Estimate(1 / found.value, _inverse(found.high), _inverse(found.low))
    return (
        f"At scale {row['scale']}, {worse} needs {_interval(found, '.3g')} times its compute for"
        f" the loss of {better}."
    )


def _extrapolated(fit: DifferenceFit, at: float) -> str:
    found = f"{_interval(fit.line_at(at), '+.4f')} nats by the line"
    if fit.keeps_sign:
        found = f"{_interval(fit.power_at(at), '+.4f')} nats by the power law, {found}"
    return f"Extrapolated to {at:.3g} training FLOPs: {found}."


def _interval(found: Estimate, form: str) -> str:
    if math.isinf(found.low) and math.isinf(found.high):
        return f"{_plain(found.value, form)} (95 %: no bound)"
    return f"{_plain(found.value, form)} (95 % {_ends(found, form)})"


def _ends(found: Estimate, form: str = ".3g") -> str:
    return f"{_plain(found.low, form)} to {_plain(found.high, form)}"


def _plain(value: float, form: str) -> str:
    if math.isinf(value):
        return "no bound"
    return number(value, form)


def _inverse(value: float) -> float:
    return math.inf if value == 0 else 1 / value


@in_own_style
def plot_ladder(
    results: pd.DataFrame, reference: str = "uniform", axes: Axes | None = None
) -> Figure:
    """The differences to the reference over training FLOPs, with their power laws or lines.

    A difference that keeps its sign has a power law, another one a line over log FLOPs.

    Parameters
    ----------
    results : DataFrame
        As `Study.ladder` gives it.
    reference : str
    axes : Axes, optional
    """
    compared, fits = compare_scales(results, reference), fit_ladder(results, reference)
    labels = [label for label in compared["label"].unique() if label != reference]
    figure, axes = one_panel(axes, 7.2, 4.8)
    axes.axhline(0, color="black", lw=0.8)
    for place, label in enumerate(labels):
        rows = compared[compared["label"] == label]
        color, dash, marker = LOOKS[place % len(LOOKS)]
        aside = 1.07 ** (place - (len(labels) - 1) / 2)  # so that intervals do not hide each other
        where = rows["training_flops"] * aside
        axes.vlines(where, rows["low"], rows["high"], colors=color, lw=1.5)
        axes.scatter(where, rows["difference"], c=color, marker=marker, s=34, zorder=3)
        name = label
        if label in fits:
            name += _draw_fit(axes, fits[label], color, dash)
        axes.plot([], [], color=color, linestyle=dash, marker=marker, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("training FLOPs of a seed")
    axes.set_ylabel(f"test loss less that of {reference} (nats)")
    axes.set_title(
        "Mean difference with its 95 % interval, and its fit over training FLOPs\n"
        f"below 0: better than {reference}",
        fontsize=10,
    )
    legend_below(axes)
    return figure


def _draw_fit(axes: Axes, fit: DifferenceFit, color: str, dash: Any) -> str:
    """Draw the law, and give its words."""
    law = fit.power_at if fit.keeps_sign else fit.line_at
    places = np.geomspace(fit.flops[0], fit.flops[-1], 50)
    axes.plot(places, [law(x).value for x in places], color=color, linestyle=dash, lw=1)
    if fit.keeps_sign:
        return f": to the power {fit.exponent.value:.2f}"
    return f": {fit.slope.value:+.4f} per factor of 10"
