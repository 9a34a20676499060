"""The noise of the gradients over the training: in sentences, and as plots.

All take ``gradients``, the `dynamoe_search.measurement_table` of that name; ``names`` are the
candidates to show, at most six in a plot, and what each is called; ``candidate`` is one of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.quantities import NETWORK
from dynamoe_search.report.figure import LOOKS, in_own_style, one_panel
from dynamoe_search.report.wording import counted


def noise_course(gradients: pd.DataFrame, by: str) -> pd.DataFrame:
    """The noise scale over the training, from means over seeds: a ratio of means.

    Parameters
    ----------
    gradients : DataFrame
    by : {"candidate", "group"}
        What gets a line of its own.

    Returns
    -------
    DataFrame
        ``by``, ``fraction`` and ``noise_scale`` (in samples): the trace of the gradients'
        covariance over the squared norm of their mean (arXiv 1812.06162, equation 2.9). Left out
        where noise hides the mean, so that its squared norm is estimated as 0 or less.

    Examples
    --------
    >>> gradients = pd.DataFrame({
    ...     "candidate": "3-1", "fraction": 0.5, "trace": [2.0, 4.0], "squared_norm": [0.1, 0.2],
    ... })
    >>> float(noise_course(gradients, "candidate")["noise_scale"].iloc[0].round(9))
    20.0
    """
    means = gradients.groupby([by, "fraction"], sort=False)[["trace", "squared_norm"]].mean()
    known = means[means["squared_norm"] > 0]
    course = (known["trace"] / known["squared_norm"]).rename("noise_scale").reset_index()
    return course[np.isfinite(course["noise_scale"])].sort_values("fraction", kind="stable")


@in_own_style
def plot_gradient_noise(
    gradients: pd.DataFrame, names: Mapping[str, str], axes: Axes | None = None
) -> Figure:
    """The noise scale of the whole network over the training, a line for each candidate.

    Raises
    ------
    InvalidInput
        Where none of them was measured.
    """
    whole = gradients[gradients["group"] == NETWORK]
    return _plot(noise_course(whole, "candidate").set_index("candidate"), names, "", axes)


@in_own_style
def plot_gradient_groups(
    gradients: pd.DataFrame, candidate: str, axes: Axes | None = None
) -> Figure:
    """The noise scale of each group of parameters over the training of a candidate.

    Raises
    ------
    InvalidInput
        Where it was not measured.
    """
    own = gradients[gradients["candidate"] == candidate]
    names = {group: group for group in own["group"].unique()}
    return _plot(noise_course(own, "group").set_index("group"), names, f"{candidate}: ", axes)


def _plot(
    course: pd.DataFrame, names: Mapping[str, str], subject: str, axes: Axes | None
) -> Figure:
    """A line for each of the names that the course has in its index."""
    known = {name: course.loc[[line]] for line, name in names.items() if line in course.index}
    if not known:
        raise InvalidInput("the gradient noise of none of them was measured, or all is noise")
    figure, axes = one_panel(axes, 5.4, 4.0)
    for (name, points), (color, dash, marker) in zip(known.items(), LOOKS, strict=False):
        look = {"marker": marker, "ls": dash, "ms": 4, "color": color, "label": name}
        axes.plot(100 * points["fraction"], points["noise_scale"], **look)
    axes.set_yscale("log")
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.set_xlim(0, 102)
    axes.set_xlabel("part of the training (%)")
    axes.set_ylabel("gradient noise scale (samples)")
    last = {name: float(points["noise_scale"].iloc[-1]) for name, points in known.items()}
    axes.set_title(subject + _finding(last), fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _finding(last: Mapping[str, float]) -> str:
    most, least = max(last, key=last.__getitem__), min(last, key=last.__getitem__)
    if most == least:
        return f"{most}: at the end a noise scale of {_samples(last[most])} samples"
    return (
        f"at the end the noise is largest for {most} ({_samples(last[most])} samples),\n"
        f"least for {least} ({_samples(last[least])})"
    )


def _samples(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def gradient_sentences(gradients: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """How the noise of each candidate's gradients changes over its training."""
    whole = gradients[gradients["group"] == NETWORK]
    sentences = []
    for candidate, name in names.items():
        own = whole[whole["candidate"] == candidate]
        points = noise_course(own, "candidate")
        if points.empty:
            continue
        first, last = (
            f"{_samples(point['noise_scale'])} samples at {100 * point['fraction']:.0f} %"
            for _, point in points.iloc[[0, -1]].iterrows()
        )
        seeds = counted(own["seed"].nunique(), "seed")
        sentences.append(
            f"{name}: a noise scale of {first} of the training and of {last} ({seeds})."
        )
    return [
        *sentences,
        "The noise scale is the batch at which noise and signal of a gradient are equal; it is"
        " estimated from few micro-batches, so that single points scatter.",
    ]
