"""Claims of the source (DynaMoE, arXiv 2603.01697) and of others, as questions to paired runs.

Each claim names a baseline, the rivals it is said to beat, and an outcome. All of this was fixed
before any training run. A claim is tested in every unit (one study under one condition) that it is
about.

The source does not say how it measures convergence. Here it is the mean of the learning curve: the
validation loss, averaged over the points at which it was measured. The time to reach a given loss
would depend on the choice of that loss, be undefined for runs that never reach it, and be known
only to the distance of two points. The mean has none of these faults, and is in nats, so the margin
of the loss holds for it, too. It is also lower where the final loss is lower, so read it beside the
claim about the test loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dynamoe_search.plan.confirmation import DENSE
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM

DENSE_ACTIVE, DENSE_TOTAL = DENSE["active"], DENSE["total"]
DYNAMIC, FIXED = "dynamic routing", "fixed routing"
FIRST_DENSE = "first layer dense"
About = Literal["images", "tiny", "small", "medium", "routing", "placement"]
Family = Literal["primary", "others", "secondary"]


@dataclass(frozen=True)
class Outcome:
    """A measured quantity that a claim is about.

    Parameters
    ----------
    title : str
    unit : str
        The unit in which it is shown.
    sign : {1, -1}
        -1 where less is better.
    margin : float
        The largest difference that does not matter.
    scale : float
        The factor that converts it to `unit`.
    """

    title: str
    unit: str
    sign: int
    margin: float
    scale: float = 1.0


OUTCOMES: dict[str, Outcome] = {
    # 0.01 nats are 1 % of the probability of the right answer; confirmations use the same margin.
    "test_loss": Outcome("test loss", "nats", -1, 0.01),
    "curve_loss": Outcome("mean of the learning curve", "nats", -1, 0.01),
    "test_accuracy": Outcome("test accuracy", "percentage points", 1, 0.005, 100),
    "log_trace": Outcome("gradient variance (trace)", "ln of the ratio", -1, math.log(1.1)),
    "log_noise_scale": Outcome("gradient noise scale", "ln of the ratio", -1, math.log(1.1)),
}


@dataclass(frozen=True)
class Claim:
    """A claim: a baseline is better than all its rivals.

    Parameters
    ----------
    sentence : str
    about : {"images", "tiny", "small", "medium", "routing", "placement"}
        Classifiers, language models of a scale, routings of one network, or networks with dense
        layers.
    better : str
        The baseline that is said to be better.
    rivals : tuple of str
        The baselines that it is said to beat.
    outcome : str
        One of `OUTCOMES`.
    family : {"primary", "others", "secondary"}
        The family of tests that Holm's correction is made over. Secondary claims test a primary
        one with another outcome; nothing is trained for them.
    allows_margin : bool
        Whether the claim is only that it is not worse by more than the margin.
    """

    sentence: str
    about: About
    better: str
    rivals: tuple[str, ...]
    outcome: str
    family: Family = "primary"
    allows_margin: bool = False

    @property
    def threshold(self) -> float:
        """The least advantage above which it is true, and below which it is not."""
        return -OUTCOMES[self.outcome].margin if self.allows_margin else 0.0


def _best_of_schedules(scale: About, best: str) -> Claim:
    rivals = tuple(name for name in PATTERNS_AND_UNIFORM if name != best)
    sentence = f"{best} is the best of all schedules at scale {scale}"
    return Claim(sentence, scale, best, rivals, "test_loss")


_BETTER = "descending is better than uniform"
_VARIANCE = "dynamic routing lowers gradient variance"

CLAIMS: tuple[Claim, ...] = (
    Claim(_BETTER, "images", "descending", ("uniform",), "test_loss"),
    Claim(_BETTER, "images", "descending", ("uniform",), "test_accuracy", "secondary"),
    Claim(
        "descending learns faster than uniform", "images", "descending", ("uniform",), "curve_loss"
    ),
    _best_of_schedules("tiny", "descending"),
    _best_of_schedules("small", "ascending"),
    # The source does not say which parameters its dense network has as many of, so both are tested.
    *(
        Claim(
            f"ascending is better than the dense network with as many {kind} parameters at scale"
            " small",
            "small",
            "ascending",
            (dense,),
            "test_loss",
        )
        for kind, dense in (("active", DENSE_ACTIVE), ("total", DENSE_TOTAL))
    ),
    _best_of_schedules("medium", "uniform"),
    Claim(_VARIANCE, "routing", DYNAMIC, (FIXED,), "log_trace"),
    Claim(_VARIANCE, "routing", DYNAMIC, (FIXED,), "log_noise_scale", "secondary"),
    # Of Stratiformer and of Marin; see docs/sources.md.
    Claim(
        "experts in later layers are better than in earlier ones",
        "placement",
        "late",
        ("early",),
        "test_loss",
        "others",
    ),
    Claim(
        "a dense first layer costs no more than the margin",
        "placement",
        FIRST_DENSE,
        ("uniform",),
        "test_loss",
        "others",
        allows_margin=True,
    ),
)


@dataclass(frozen=True)
class Unit:
    """A test of claims: training runs of several baselines from the same seeds.

    Parameters
    ----------
    about : str
        As in `Claim`.
    data : str
        The data set.
    condition : str
        The regime, or for routings the schedule.
    """

    about: About
    data: str
    condition: str
