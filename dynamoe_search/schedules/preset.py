"""Presets: per-layer allocation rules from the literature and from shipped models, as profiles.

A weight is the share of the network's expert (or feed-forward) parameters that the rule gives to a
layer. Only these ratios come from the papers: here all rules have the same total, so savings in
size are not part of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules.allocation import allocate
from dynamoe_search.schedules.pattern import depth_coordinates
from dynamoe_search.schedules.schedule import Schedule

# Our choice: the paper's own value rests on data that were misread.
_CROWN_GAIN = 0.5

# Variable width: layers shrink geometrically to 0.3 of the width of an equally large plain network
# and widen again; parameters grow with the square of the width. The mean square stays 1 over many
# layers if r, the largest square over the smallest, solves (r - 1) / ln r = 1 / 0.3^2.
_VARIABLE_WIDTH_RATIO = 42.718

# The vision tower of dots3-note: 42 layers, of which 25 are dense.
_DOTS3 = (*[0] * 25, *range(4, 65, 4), 64)

NEXT_TO_NOTHING = 1e-9
"""The weight of a layer without experts: weights are above 0."""

_Profile = NDArray[np.float64]


@dataclass(frozen=True)
class _Preset:
    """A rule in words, its paper, and its profile at given depth coordinates."""

    rule: str
    source: str
    profile: Callable[[_Profile], _Profile]


def _pr_moe(u: _Profile) -> _Profile:
    weights = np.ones_like(u)
    weights[-2:] = 2
    return weights


def _mola(u: _Profile) -> _Profile:
    # Each layer takes the mean of the four steps over its own slice of the depth.
    steps = np.repeat([2.0, 4.0, 6.0, 8.0], len(u)).reshape(len(u), 4)
    weights: _Profile = steps.mean(axis=1)
    return weights


def _dots3(u: _Profile) -> _Profile:
    counts = np.interp(u, np.linspace(0, 1, len(_DOTS3)), _DOTS3)
    return np.asarray(np.maximum(counts, NEXT_TO_NOTHING))


_PRESETS: dict[str, _Preset] = {
    "pr_moe": _Preset(
        "twice the experts in the last two layers", "PR-MoE, arXiv 2201.05596", _pr_moe
    ),
    "mola": _Preset("four equal groups of layers, 2 : 4 : 6 : 8", "MoLA, arXiv 2402.08562", _mola),
    "openelm": _Preset(
        "linear from 0.5 to 4.0", "OpenELM, arXiv 2404.14619", lambda u: 0.5 + 3.5 * u
    ),
    "crown": _Preset(
        f"linear in between, the ends {1 - _CROWN_GAIN} times the middle",
        "Crown, arXiv 2509.06518 (shape only)",
        lambda u: 1 - _CROWN_GAIN * np.abs(2 * u - 1),
    ),
    "inverted_crown": _Preset(
        f"linear in between, the ends {1 + _CROWN_GAIN} times the middle",
        "Crown, arXiv 2509.06518 (its opposite)",
        lambda u: 1 + _CROWN_GAIN * np.abs(2 * u - 1),
    ),
    "variable_width": _Preset(
        "geometric, narrowest at 3/4 of the depth",
        "Variable-Width Transformers, arXiv 2606.18246",
        lambda u: _VARIABLE_WIDTH_RATIO ** np.interp(u, [0, 0.75, 1], [1, 0, 1]),
    ),
    "dots3": _Preset(
        "25 of 42 layers dense, then 4, 8, ..., 64, 64",
        "the vision tower of vLLM's model dots3_note",
        _dots3,
    ),
    "stratiformer": _Preset(
        "even in the later half but the last layer",
        "Stratiformer, notion.so, 2026 (placement only)",
        lambda u: np.where((u >= 0.5) & (u < 1), 1.0, NEXT_TO_NOTHING),
    ),
}

_ACTIVE_PRESETS: dict[str, _Preset] = {
    "sigma": _Preset(
        "linear from 4 to 1 in the first quarter, then 1",
        "Sigma-MoE-Tiny, arXiv 2512.16248 (shape only, of early in its training)",
        lambda u: np.interp(u, [0, 0.25], [4, 1]),
    ),
}

PRESETS: tuple[str, ...] = tuple(_PRESETS)
"""The rules that need only the depth; AlphaLoRA also needs a score per layer."""

ACTIVE_PRESETS: tuple[str, ...] = tuple(_ACTIVE_PRESETS)
"""The rules for the active experts per layer."""


def describe_preset(preset: str) -> str:
    """The rule of a preset in a few words, and its paper with the arXiv number.

    Raises
    ------
    InvalidInput
        For an unknown preset.

    Examples
    --------
    >>> describe_preset("openelm")
    'linear from 0.5 to 4.0; OpenELM, arXiv 2404.14619'
    """
    found = _find(preset, _PRESETS | _ACTIVE_PRESETS)
    return f"{found.rule}; {found.source}"


def preset_profile(preset: str, depth: int) -> NDArray[np.float64]:
    """The profile of a preset; u is the depth coordinate of `depth_coordinates`.

    - pr_moe: 1, and 2 in the last two layers (arXiv 2201.05596, section 4.1.2; its PR-MoE-32/64 has
      10 layers of 32 experts and 2 of 64). At depths 1 and 2 it is uniform.
    - mola: 2, 4, 6, 8 in four equal groups of layers (arXiv 2402.08562). A layer where two groups
      meet takes the mean over its slice of the depth; this is our choice.
    - openelm: 0.5 + 3.5 u, the feed-forward multipliers of arXiv 2404.14619.
    - crown: 1 - 0.5 |2u - 1|, most in the middle; inverted_crown: 1 + 0.5 |2u - 1|. The shape is
      that of arXiv 2509.06518 without its two wide end layers; the 0.5 is our choice. They are the
      pyramid of contrast 1/3 and the inverted pyramid of contrast 1/5.
    - variable_width: 42.7^t, where t is linear from 1 at the first layer to 0 at u = 0.75 and back
      to 1 at the last (arXiv 2606.18246: narrowest at 0.75 of the depth, 0.3 as wide as the plain
      network, equal parameters). We turn widths into expert counts of equal parameters.
    - dots3: at 42 layers the counts of the vision tower of dots3-note, 25 layers without experts,
      then 4, 8, ..., 64, 64; at other depths linear between them.
    - stratiformer: 1 from the middle to the last layer but one. Its authors find that experts gain
      most in later, not in the last layers; half of the layers is our choice. At depths 1 and 2 it
      is uniform.

    The last two are for budgets in which a layer can be dense. Otherwise their layers without
    experts get the fewest that the budget allows.

    Parameters
    ----------
    preset : str
        One of `PRESETS`.
    depth : int
        The number of layers, at least 1.

    Returns
    -------
    ndarray of float64, shape (depth,)
        Positive weights; only their ratios matter.

    Raises
    ------
    InvalidInput
        For an unknown preset or a depth below 1.

    Examples
    --------
    >>> preset_profile("mola", 4).tolist()
    [2.0, 4.0, 6.0, 8.0]
    """
    return _find(preset, _PRESETS).profile(depth_coordinates(depth))


def active_preset_profile(preset: str, depth: int) -> NDArray[np.float64]:
    """The profile of active experts of a preset.

    - sigma: 4 at the first layer, linear to 1 at a quarter of the depth, then 1. Early in its
      training, Sigma-MoE-Tiny (arXiv 2512.16248) uses more experts in its lower layers; the numbers
      are ours.

    Parameters
    ----------
    preset : str
        One of `ACTIVE_PRESETS`.
    depth : int
        The number of layers, at least 1.

    Returns
    -------
    ndarray of float64, shape (depth,)
        Positive weights; only their ratios matter.

    Raises
    ------
    InvalidInput
        For an unknown preset or a depth below 1.

    Examples
    --------
    >>> active_preset_profile("sigma", 5).tolist()
    [4.0, 1.0, 1.0, 1.0, 1.0]
    """
    return _find(preset, _ACTIVE_PRESETS).profile(depth_coordinates(depth))


def preset_schedule(
    preset: str,
    depth: int,
    total: int,
    minimum: int = 1,
    maximum: int | None = None,
    step: int = 1,
) -> Schedule:
    """The integer schedule of a preset: its profile, allocated.

    Parameters
    ----------
    preset, depth
        As in `preset_profile`.
    total, minimum, maximum, step
        As in `dynamoe_search.schedules.allocate`.

    Examples
    --------
    >>> str(preset_schedule("pr_moe", depth=4, total=12))
    '2-2-4-4'
    """
    return allocate(preset_profile(preset, depth), total, minimum, maximum, step)


def alpha_lora_profile(scores: ArrayLike, exponent: float = 2.5) -> NDArray[np.float64]:
    """AlphaLoRA's profile: s_l proportional to alpha_l^exponent (arXiv 2410.10054).

    Parameters
    ----------
    scores : array_like of float, shape (depth,)
        The score alpha of each layer, positive and finite; only ratios matter. In the paper it is
        the tail exponent of the spectrum of the layer's weights, the mean over its matrices: the
        larger it is, the less the layer has learned, and the more experts it gets.
    exponent : float
        At least 0; 0 gives uniform, and the paper uses 2.5.

    Returns
    -------
    ndarray of float64, shape (depth,)
        Weights in (0, 1], the largest 1.

    Raises
    ------
    InvalidInput
        For a score that is not positive and finite, or a negative exponent.

    Examples
    --------
    >>> alpha_lora_profile([2.0, 4.0], exponent=2).tolist()
    [0.25, 1.0]
    """
    alpha = np.asarray(scores, dtype=np.float64)
    if alpha.ndim != 1 or alpha.size == 0:
        raise InvalidInput(f"AlphaLoRA takes one score per layer, got shape {alpha.shape}")
    valid = np.isfinite(alpha) & (alpha > 0)
    if not valid.all():
        layer = int(np.argmin(valid))
        raise InvalidInput(
            f"layer {layer} has the score {alpha[layer]}; scores must be positive and finite"
        )
    if not 0 <= exponent < np.inf:
        raise InvalidInput(f"exponent is {exponent}; it must be a finite number of at least 0")
    # A weight that underflows must stay positive; its layer gets the minimum in any case.
    weights: _Profile = np.maximum((alpha / alpha.max()) ** exponent, np.finfo(np.float64).tiny)
    return weights


def _find(preset: str, presets: Mapping[str, _Preset]) -> _Preset:
    if preset not in presets:
        raise InvalidInput(f"unknown preset {preset!r}; choose from {', '.join(presets)}")
    return presets[preset]
