"""Published scaling laws of Mixture-of-Experts language models: extrapolations, not bounds.

All were fitted to networks with the same number of experts in every layer, so they depend only on
the mean E of a schedule: two schedules of a budget have the same value. They were also fitted to
language models far larger than this toolkit's proxies. Each result lists the arguments that lie
outside the fitted range.

The docstring of each law says what was checked against the paper, and how well its rounded
constants reproduce the paper's statements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from dynamoe_search.errors import InvalidInput


@dataclass(frozen=True)
class ScalingLaw:
    """The source of a law, and the experiments it was fitted to.

    Parameters
    ----------
    source : str
        The paper, and the table of its constants.
    fitted : mapping of str to (float, float)
        The range of each argument in the experiments.
    setting : str
        What all experiments had in common.
    """

    source: str
    fitted: Mapping[str, tuple[float, float]]
    setting: str


LAWS: Mapping[str, ScalingLaw] = MappingProxyType(
    {
        "clark": ScalingLaw(
            "Clark et al. 2022, arXiv 2202.01169, table 3",
            {"parameters": (15e6, 1.3e9), "experts": (1, 512)},
            "one expert per token, 130 billion training tokens",
        ),
        "krajewski": ScalingLaw(
            "Krajewski et al. 2024, arXiv 2402.07871, table 1",
            {
                "parameters": (129e6, 3.7e9),
                "tokens": (16e9, 130e9),
                "granularity": (1, 16),
                "expansion": (64, 64),
            },
            "experts 64 times the parameters that a token uses of them, expert-choice routing",
        ),
        "ludziejewski": ScalingLaw(
            "Ludziejewski et al. 2025, arXiv 2502.05172, table 3",
            {"active_parameters": (79e6, 2.7e9), "tokens": (0.5e9, 80e9), "experts": (1, 32)},
            "one expert per token, experts as wide as the dense block",
        ),
        "abnar": ScalingLaw(
            "Abnar et al. 2025, arXiv 2501.12370, table 3",
            {"flops": (3e19, 1e21), "sparsity": (0, 0.95)},
            "experts in every layer, the same number of them active in each",
        ),
        "ling": ScalingLaw(
            "Tian et al. (Ling) 2025, arXiv 2507.17702, table 2",
            {"activation": (0.008, 1), "granularity": (2, 16), "flops": (1e18, 3e20)},
            "one shared expert, at three times the best number of tokens",
        ),
        "marin": ScalingLaw(
            "Marin 2026, github.com/marin-community/marin, experiments/grug/moe and issue 4447",
            {"flops": (1e18, 3e20), "experts": (64, 64), "active_experts": (4, 4)},
            "the best size for the FLOPs, sigmoid gates, one shared expert, experts in every layer",
        ),
        "sldbench": ScalingLaw(
            "a fit to the MoE runs of SLDBench, Lin et al. 2025, arXiv 2507.21184",
            {"dense_parameters": (100e6, 800e6), "experts": (1, 64)},
            "runs of several sizes and numbers of experts; it has no term for tokens",
        ),
    }
)
"""The laws, by the names of the functions that compute them."""

Quantity = Literal["loss", "bits per byte", "efficiency leverage"]


@dataclass(frozen=True)
class Extrapolation:
    """What a law predicts. It is not a bound: a network can do better or worse.

    Parameters
    ----------
    law : str
        One of `LAWS`.
    quantity : {"loss", "bits per byte", "efficiency leverage"}
        The loss in nats per token of the paper's own data and tokenizer, or in bits per byte of the
        text; or the compute of a dense network of equal loss over that of this one.
    value : float
    warnings : tuple of str
        The arguments that lie outside the fitted range.
    """

    law: str
    quantity: Quantity
    value: float
    warnings: tuple[str, ...] = ()
    label: str = field(default="extrapolated", init=False)


@dataclass(frozen=True)
class _Clark:
    a: float
    b: float
    c: float
    d: float
    start: float
    most: float


_CLARK = {
    "s_base": _Clark(-0.082, -0.108, 0.009, 1.104, 1.847, 314.478),
    "rl_r": _Clark(-0.083, -0.126, 0.012, 1.111, 1.880, 469.982),
    "hash": _Clark(-0.087, -0.136, 0.012, 1.157, 4.175, 477.741),
}
# What is predicted, what remains at any size, the scale and the exponent.
_MARIN: dict[str, tuple[Quantity, float, float, float]] = {
    "macro": ("loss", 1.6, 95.18, 0.0941),
    "c4_en": ("bits per byte", 0.4814, 25.97, 0.0915),
}


def clark(
    parameters: float, experts: float, routing: Literal["s_base", "rl_r", "hash"] = "s_base"
) -> Extrapolation:
    """The loss of a routed language model by its base size and its experts.

    log L = a log N + b log E^ + c log N log E^ + d, to base 10, with 1/E^ = 1/(E - 1 + (1/Es -
    1/Em)^-1) + 1/Em.

    The paper's example, 5 million parameters with 128 experts being as good as 55 million dense
    ones, comes out as 52 million. The sizes above which routing does not help, stated as 10^(-b/c)
    = 937, 85 and 83 thousand million, agree within the rounding of b and c. The fitted range of
    sizes was not checked against the paper.

    Parameters
    ----------
    parameters : float
        N, the parameters of the dense network whose blocks are replaced.
    experts : float
        E, the experts per layer.
    routing : {"s_base", "rl_r", "hash"}
        Optimal assignment, reinforcement learning, or a hash of the token.

    Examples
    --------
    >>> round(clark(parameters=1.3e9, experts=64).value, 2)
    2.05
    """
    if routing not in _CLARK:
        raise InvalidInput(f"routing is {routing!r}; choose from {', '.join(_CLARK)}")
    law = _CLARK[routing]
    given = {"parameters": parameters, "experts": experts}
    warnings = _warnings("clark", given)
    n = math.log10(parameters)
    e = math.log10(_saturating(experts - 1, law.start, law.most))
    value = 10 ** (law.a * n + law.b * e + law.c * n * e + law.d)
    return Extrapolation("clark", "loss", value, warnings)


def krajewski(
    parameters: float, tokens: float, granularity: float, expansion: float = 64
) -> Extrapolation:
    """The loss of a fine-grained MoE: c + (g / G^gamma + a) / N^alpha + b / D^beta.

    It agrees with all seven losses of the paper's table 2 within 1 %, which the rounding of the
    constants explains. (N is 43 times the active parameters there: 8 E + 4 of 12 at E = 64.)

    Parameters
    ----------
    parameters : float
        N, without embeddings.
    tokens : float
        D, the training tokens.
    granularity : float
        G, the hidden width of the dense block, 4 d, over that of an expert.
    expansion : float
        E, the parameters of the experts over those of the dense block. It is not in the formula,
        which was fitted only at 64.

    Examples
    --------
    >>> round(krajewski(parameters=43 * 1e9, tokens=28.94e9, granularity=16).value, 2)
    2.47
    """
    given = {
        "parameters": parameters,
        "tokens": tokens,
        "granularity": granularity,
        "expansion": expansion,
    }
    warnings = _warnings("krajewski", given)
    value = 0.47 + (2.1 / granularity**0.58 + 18.1) / parameters**0.115 + 30.8 / tokens**0.147
    return Extrapolation("krajewski", "loss", value, warnings)


def ludziejewski(active_parameters: float, tokens: float, experts: float) -> Extrapolation:
    """The loss of an MoE by active parameters, tokens and experts.

    L = a E^^delta N^(alpha + gamma ln E^) + b E^^omega D^(beta + zeta ln E^) + c, with E^ as in
    `clark`. With the signs used here it agrees with the paper's table 4 (the law at each E) within
    0.3 %, and with the best sizes of its table 1 within 3 %.

    Parameters
    ----------
    active_parameters : float
        N, the parameters that a token uses, with embeddings.
    tokens : float
        D, the training tokens.
    experts : float
        E, the experts per layer.

    Examples
    --------
    >>> round(ludziejewski(active_parameters=1.1e9, tokens=16e9, experts=4).value, 2)
    2.55
    """
    given = {"active_parameters": active_parameters, "tokens": tokens, "experts": experts}
    warnings = _warnings("ludziejewski", given)
    e = _saturating(experts - 1, start=2.0732, most=290.4521)
    value = (
        35.91 * e**-0.2285 * active_parameters ** (-0.1889 + 0.0098 * math.log(e))
        + 35.98 * e**0.5529 * tokens ** (-0.1775 - 0.0259 * math.log(e))
        + 1.3637
    )
    return Extrapolation("ludziejewski", "loss", value, warnings)


def abnar(parameters: float, tokens: float, sparsity: float) -> Extrapolation:
    """The loss of an MoE by total parameters, tokens and sparsity.

    L = a / N^alpha + b / D^beta + c / (1 - S)^lambda + d / ((1 - S)^delta N^gamma) + e.

    The constants agree with two independent copies of the table. The paper states no losses to
    check them with, but they reproduce its findings: at equal compute, the best N grows with S, and
    its active part falls. The law explains 68 % of the variance of held-out networks at S = 0.98.

    Parameters
    ----------
    parameters : float
        N, of the whole network.
    tokens : float
        D, the training tokens.
    sparsity : float
        S, the share of its experts that a token does not use, from 0 to below 1.

    Examples
    --------
    >>> round(abnar(parameters=3e9, tokens=56e9, sparsity=0.9).value, 2)
    2.37
    """
    if not 0 <= sparsity < 1:
        raise InvalidInput(f"sparsity is {sparsity}; it must be from 0 to below 1")
    active = 1 - sparsity
    given = {
        "parameters": parameters,
        "tokens": tokens,
        "flops": 6 * parameters * active * tokens,
        "sparsity": sparsity,
    }
    warnings = _warnings("abnar", given)
    value = (
        16612.50 / parameters**0.5962
        + 5455.67 / tokens**0.3954
        + 0.4598 / active**-0.1666
        + 17.26 / (active**0.1603 * parameters**0.1595)
        + 0.94
    )
    return Extrapolation("abnar", "loss", value, warnings)


def ling(activation: float, granularity: float, flops: float) -> Extrapolation:
    """The efficiency leverage: the compute of a dense network of equal loss, over the MoE's own.

    EL = A^^(a + d log10 C + gamma (log2 G)^2 + beta log2 G), with A^ as E^ in `clark`.

    The paper does not state the bases of its logarithms. They are inferred from its statements: at
    1e22 FLOPs, G = 12 and A = 3.1 % a leverage above 7 (here 7.2; with a natural log G 6.9, with a
    natural log C thousands), and a best G of about 12 (here 11.3; with a natural log G 33).

    Parameters
    ----------
    activation : float
        A, the share of its experts that a token uses, above 0 and at most 1.
    granularity : float
        G, here 2 d over the hidden width of an expert.
    flops : float
        C, the training FLOPs.

    Examples
    --------
    >>> round(ling(activation=0.031, granularity=12, flops=1e22).value, 1)
    7.2
    """
    if not 0 < activation <= 1:
        raise InvalidInput(f"activation is {activation}; it must be above 0 and at most 1")
    warnings = _warnings(
        "ling", {"activation": activation, "granularity": granularity, "flops": flops}
    )
    g = math.log2(granularity)
    exponent = 1.23 - 0.0761 * math.log10(flops) + 0.0167 * g**2 - 0.117 * g
    value = _saturating(activation, start=0.0163, most=5.28e16) ** exponent
    return Extrapolation("ling", "efficiency leverage", value, warnings)


def marin(
    flops: float,
    experts: float = 64,
    active_experts: float = 4,
    measure: Literal["macro", "c4_en"] = "macro",
) -> Extrapolation:
    """The loss of an MoE of the best size for its training FLOPs, by these alone.

    Macro loss = 1.6 + 95.18 C^-0.0941, in which 1.6 was set, not fitted; bits per byte = 0.4814 +
    25.97 C^-0.0915. The constants give the projections that are stated beside them (2.606 and
    0.7923 at 1e21, 2.252 and 0.6854 at 1e23) to the last digit but one, and the measured losses of
    the best runs within 0.008. A run of 1e21, outside of the fit, was measured at 2.599 and 0.7923.

    Parameters
    ----------
    flops : float
        C, the training FLOPs, without those of the output layer.
    experts, active_experts : float
        Per layer. They are not in the formula, which was fitted only at 64 and 4.
    measure : {"macro", "c4_en"}
        The loss in nats per token, a mean over the sources of Paloma; or the bits per byte of its
        part c4_en.

    Examples
    --------
    >>> round(marin(flops=1e21).value, 3), round(marin(flops=1e21, measure="c4_en").value, 3)
    (2.606, 0.793)
    """
    if measure not in _MARIN:
        raise InvalidInput(f"measure is {measure!r}; choose from {', '.join(_MARIN)}")
    warnings = _warnings(
        "marin", {"flops": flops, "experts": experts, "active_experts": active_experts}
    )
    quantity, least, scale, exponent = _MARIN[measure]
    return Extrapolation("marin", quantity, least + scale * flops**-exponent, warnings)


def marin_best_size(flops: float) -> tuple[float, float]:
    """The active parameters N* and the training tokens T* of the networks of `marin`.

    N* = 1.09e-2 C^0.535 and T* = 16.0 C^0.464. The losses of other sizes are close: near the
    optimum the curves are flat.

    Examples
    --------
    >>> active_parameters, tokens = marin_best_size(1e21)
    >>> f"{active_parameters:.2g} {tokens:.2g}"
    '1.9e+09 8.9e+10'
    """
    _warnings("marin", {"flops": flops, "experts": 64, "active_experts": 4})
    return 1.09e-2 * flops**0.535, 16.0 * flops**0.464


def sldbench(dense_parameters: float, experts: float) -> Extrapolation:
    """The loss of an MoE by its dense parameters and its experts.

    L = 1.617 + 43.476 D^-0.19899 E^-0.07398, a fit to 193 runs of the benchmark. No losses are
    stated beside the constants to check them with, and no number of training tokens.

    Parameters
    ----------
    dense_parameters : float
        D, as the benchmark counts them; here those of the network with one expert per layer.
    experts : float
        E, the experts per layer.

    Examples
    --------
    >>> round(sldbench(dense_parameters=368e6, experts=16).value, 2)
    2.32
    """
    warnings = _warnings("sldbench", {"dense_parameters": dense_parameters, "experts": experts})
    value = 1.617 + 43.476 * dense_parameters**-0.19899 * experts**-0.07398
    return Extrapolation("sldbench", "loss", value, warnings)


def _saturating(amount: float, start: float, most: float) -> float:
    """x^ of 1/x^ = 1/(x + (1/start - 1/most)^-1) + 1/most: `start` at 0, never above `most`."""
    return 1 / (1 / (amount + 1 / (1 / start - 1 / most)) + 1 / most)


def _warnings(law: str, given: Mapping[str, float]) -> tuple[str, ...]:
    """The arguments outside the fitted range; raises `InvalidInput` if one is not a size."""
    for name, value in given.items():
        if name != "sparsity" and not 0 < value < math.inf:
            raise InvalidInput(f"{name} is {value}; it must be above 0")
    return tuple(
        f"{name.replace('_', ' ')} {given[name]:.3g}, fitted from {low:.3g} to {high:.3g}"
        for name, (low, high) in LAWS[law].fitted.items()
        if not low <= given[name] <= high
    )
