"""What simulated searches have shown: tables in Markdown, and the plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.landscapes import Floats

OURS = "posterior"
MARGIN = 0.01
"""A study stops where its bound is below it, in nats."""

_AT = (11, 22, 33)
_BASELINES = 7  # uniform and the named patterns: a search does not stop before
_BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Curves:
    """The simulated searches of one landscape.

    Parameters
    ----------
    landscape : str
    regrets : dict of str to ndarray, shape (repetitions, runs)
        By method, in nats, after each run.
    bounds : ndarray, shape (repetitions, runs)
        Of our method.
    """

    landscape: str
    regrets: dict[str, Floats]
    bounds: Floats

    @property
    def peers(self) -> list[str]:
        """The other methods."""
        return [method for method in self.regrets if method != OURS]

    def best_peer(self, runs: int) -> str:
        """The peer of the least mean regret after these runs."""
        return min(self.peers, key=lambda method: self.regrets[method][:, runs - 1].mean())


def pooled(curves: Sequence[Curves], gaps: Sequence[float]) -> Curves:
    """The mean over landscapes of regrets, each over its gap, times the margin.

    Repetitions are those that a method has of all landscapes.
    """
    scales = [MARGIN / gap for gap in gaps]

    def mean(tables: Sequence[Floats]) -> Floats:
        rows, columns = np.min([one.shape for one in tables], axis=0)
        scaled = [scale * one[:rows, :columns] for scale, one in zip(scales, tables, strict=True)]
        return np.asarray(np.mean(scaled, axis=0))

    methods = [name for name in curves[0].regrets if all(name in one.regrets for one in curves)]
    regrets = {name: mean([one.regrets[name] for one in curves]) for name in methods}
    return Curves(
        f"all, gaps scaled to {MARGIN:.3f}", regrets, mean([one.bounds for one in curves])
    )


def _at(regrets: Floats | None, run: int) -> str:
    if regrets is None or regrets.shape[1] < run or len(regrets) < 2:
        return ""
    return _with_interval(regrets[:, run - 1])


def _with_interval(values: Floats) -> str:
    """A mean of regrets in millinats, with its 95 % interval."""
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    return f"{1000 * values.mean():.2f} ± {1000 * half:.2f}"


def regret_table(curves: Sequence[Curves], runs: Sequence[int]) -> str:
    """The mean regret of every method after some numbers of runs."""
    methods = list(dict.fromkeys(method for found in curves for method in found.regrets))
    rows = [
        [found.landscape, str(run)] + [_at(found.regrets.get(method), run) for method in methods]
        for found in curves
        for run in runs
    ]
    return markdown(["landscape", "runs", *methods], rows)


def peers_table(curves: Sequence[Curves]) -> str:
    """Ours after n runs beside the best peer after as many, and after three times as many.

    There is a row for each n for which all peers have three times as many runs.
    """
    header = [
        *("landscape", "n", "ours at n", "best peer at n", "best peer at 3n"),
        *("ours at n less it", "runs that a peer needs / n"),
    ]
    rows = []
    for found in curves:
        most = min((found.regrets[peer].shape[1] for peer in found.peers), default=0)
        for n in [n for n in _AT if 3 * n <= most]:
            ours = found.regrets[OURS][:, n - 1]
            same, later = found.best_peer(n), found.best_peer(3 * n)
            theirs = found.regrets[later][:, 3 * n - 1]
            both = min(len(ours), len(theirs))
            rows.append(
                [
                    *(found.landscape, str(n), _with_interval(ours)),
                    f"{_with_interval(found.regrets[same][:, n - 1])} ({same})",
                    f"{_with_interval(theirs)} ({later})",
                    _with_interval(ours[:both] - theirs[:both]),
                    _ratio_with_interval(found, n),
                ]
            )
    return markdown(header, rows)


def runs_needed(regret: float, peers: Iterable[Floats]) -> float:
    """The runs after which the first peer's mean regret stays at most this; infinite if none does.

    Parameters
    ----------
    regret : float
    peers : iterable of ndarray, shape (runs,)
        Their mean regrets.
    """
    needed = math.inf
    for curve in peers:
        above = np.flatnonzero(curve > regret)
        first = above[-1] + 2 if len(above) else 1
        if first <= len(curve):
            needed = min(needed, float(first))
    return needed


def _ratio_with_interval(found: Curves, n: int) -> str:
    """The ratio of runs at equal regret, and its bootstrapped 95 % interval over repetitions."""
    generator = np.random.default_rng(0)

    def ratio(resample: Callable[[Floats], Floats]) -> float:
        regret = float(resample(found.regrets[OURS])[n - 1])
        return runs_needed(regret, [resample(found.regrets[name]) for name in found.peers]) / n

    def drawn(values: Floats) -> Floats:
        return np.asarray(values[generator.integers(len(values), size=len(values))].mean(axis=0))

    ratios = np.sort([ratio(drawn) for _ in range(_BOOTSTRAPS)])
    low, high = ratios[int(0.025 * _BOOTSTRAPS)], ratios[int(0.975 * _BOOTSTRAPS) - 1]
    most = max(values.shape[1] for values in found.regrets.values()) / n
    center, low, high = (
        f"over {most:.1f}" if math.isinf(one) else f"{one:.1f}"
        for one in (ratio(lambda values: np.asarray(values.mean(axis=0))), low, high)
    )
    return f"{center} ({low} to {high})"


def bounds_table(curves: Sequence[Curves], runs: Sequence[int]) -> str:
    """How often the bound holds, how large it is, and where a study stops by it."""
    runs = [run for run in runs if all(run <= found.bounds.shape[1] for found in curves)]
    header = ["landscape", *(f"holds at {run}, %" for run in runs)]
    header += [f"median at {run}" for run in runs]
    header += ["stopped, %", "median runs then", "regret then", "holds then, %"]
    rows = []
    for found in curves:
        regrets, bounds = found.regrets[OURS], found.bounds
        holds = bounds >= regrets - 1e-6
        row = [found.landscape, *(share(holds[:, run - 1]) for run in runs)]
        row += [f"{1000 * np.median(bounds[:, run - 1]):.1f}" for run in runs]
        is_below = (bounds <= MARGIN) & (np.arange(bounds.shape[1]) >= _BASELINES - 1)
        stopped = is_below.any(axis=1)
        at = is_below.argmax(axis=1)[stopped]
        row.append(f"{100 * stopped.mean():.0f}")
        if stopped.sum() > 1:
            row.append(f"{np.median(at) + 1:.0f}")
            row.append(_with_interval(regrets[stopped, at]))
            row.append(share(holds[stopped, at]))
        else:
            row += ["", "", ""]
        rows.append(row)
    return markdown(header, rows)


def share(values: NDArray[np.bool_]) -> str:
    """A share in %, with its 95 % interval."""
    return percent(float(values.mean()), len(values))


def percent(part: float, repetitions: int) -> str:
    """A share of repetitions in %, with its 95 % interval."""
    error = math.sqrt(max(part * (1 - part), 1 / repetitions) / repetitions)
    return f"{100 * part:.1f} ± {196 * error:.1f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(curves: Sequence[Curves], path: Path) -> None:
    """Mean regret over training runs, one panel per landscape, with 95 % intervals."""
    columns = 4
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, found in zip(panels, curves, strict=False):
        for number, (method, regrets) in enumerate(found.regrets.items()):
            run = np.arange(1, regrets.shape[1] + 1)
            mean = 1000 * regrets.mean(axis=0)
            half = 1960 * regrets.std(axis=0, ddof=1) / math.sqrt(len(regrets))
            color = "black" if method == OURS else f"C{number}"
            width = 2.2 if method == OURS else 1.2
            panel.plot(run, mean, color=color, linewidth=width, label=method)
            panel.fill_between(run, mean - half, mean + half, color=color, alpha=0.12, linewidth=0)
        if found.bounds.size:
            bound = 1000 * np.median(found.bounds, axis=0)
            run = np.arange(1, len(bound) + 1)
            panel.plot(run, bound, color="black", linestyle=":", label="its 95 % bound, median")
        top = max(float(values[:, 4].mean()) for values in found.regrets.values())
        panel.set(title=found.landscape, xlim=(1, None), ylim=(0, 1800 * top))
        panel.set_xlabel("training runs (blocks of 4 seeds)")
        panel.set_ylabel("regret, millinats")
    for panel in panels[len(curves) :]:
        panel.set_axis_off()
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(names))
    figure.savefig(path, dpi=80)
