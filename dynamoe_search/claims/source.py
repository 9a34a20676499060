"""The source's claims (DynaMoE, arXiv 2603.01697) as questions to paired trainings.

Each names an arm, its rivals and an outcome; all was fixed before any training. A claim is put to
every unit, one study under one condition, that it is about.

The source does not say how it measures convergence. Here it is the mean of the learning curve: the
validation loss, averaged over the points of the training at which it was measured. The part of the
training after which a loss is reached would depend on the level that is chosen, have no value for
trainings that never reach it, and be known only to the distance between two points; the mean has
none of these faults, and is in nats, so that the margin of the loss holds for it, too. It is lower
for whoever ends lower, as well: the claim about the test loss stands beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dynamoe_search.schedules import PATTERNS_AND_UNIFORM

DENSE_ACTIVE, DENSE_TOTAL = "dense, active parameters", "dense, total parameters"
DYNAMIC, FIXED = "dynamic routing", "fixed routing"
About = Literal["images", "tiny", "small", "medium", "routing"]


@dataclass(frozen=True)
class Outcome:
    """What is compared.

    Parameters
    ----------
    title : str
    unit : str
        In which it is shown.
    sign : {1, -1}
        -1 where less is better.
    margin : float
        The difference that does not matter.
    scale : float
        What makes the unit of it.
    """

    title: str
    unit: str
    sign: int
    margin: float
    scale: float = 1.0


OUTCOMES: dict[str, Outcome] = {
    # One percent in the probability that is given to the right answer, as in a confirmation.
    "test_loss": Outcome("test loss", "nats", -1, 0.01),
    "curve_loss": Outcome("mean of the learning curve", "nats", -1, 0.01),
    "test_accuracy": Outcome("test accuracy", "percentage points", 1, 0.005, 100),
    "log_trace": Outcome("gradient variance (trace)", "ln of the ratio", -1, math.log(1.1)),
    "log_noise_scale": Outcome("gradient noise scale", "ln of the ratio", -1, math.log(1.1)),
}


@dataclass(frozen=True)
class SourceClaim:
    """A claim of the source.

    Parameters
    ----------
    sentence : str
    about : {"images", "tiny", "small", "medium", "routing"}
        Classifiers, language models of a scale, or routings of one network.
    arm : str
        What the source says is better.
    rivals : tuple of str
        Than all of which.
    outcome : str
        Of `OUTCOMES`.
    family : {"primary", "secondary"}
        Within which Holm's correction is made. Secondary outcomes are a second look at a claim.
    """

    sentence: str
    about: About
    arm: str
    rivals: tuple[str, ...]
    outcome: str
    family: Literal["primary", "secondary"] = "primary"


def _best_of_schedules(scale: About, arm: str) -> SourceClaim:
    rivals = tuple(name for name in PATTERNS_AND_UNIFORM if name != arm)
    sentence = f"{arm} is the best of all schedules at scale {scale}"
    return SourceClaim(sentence, scale, arm, rivals, "test_loss")


_BETTER = "descending is better than uniform"
_VARIANCE = "dynamic routing lowers gradient variance"

CLAIMS: tuple[SourceClaim, ...] = (
    SourceClaim(_BETTER, "images", "descending", ("uniform",), "test_loss"),
    SourceClaim(_BETTER, "images", "descending", ("uniform",), "test_accuracy", "secondary"),
    SourceClaim(
        "descending learns faster than uniform", "images", "descending", ("uniform",), "curve_loss"
    ),
    _best_of_schedules("tiny", "descending"),
    _best_of_schedules("small", "ascending"),
    # The source does not say what its dense network has as many of; so either is asked.
    *(
        SourceClaim(
            f"ascending is better than the dense network of as many {kind} parameters at scale"
            " small",
            "small",
            "ascending",
            (dense,),
            "test_loss",
        )
        for kind, dense in (("active", DENSE_ACTIVE), ("total", DENSE_TOTAL))
    ),
    _best_of_schedules("medium", "uniform"),
    SourceClaim(_VARIANCE, "routing", DYNAMIC, (FIXED,), "log_trace"),
    SourceClaim(_VARIANCE, "routing", DYNAMIC, (FIXED,), "log_noise_scale", "secondary"),
)


@dataclass(frozen=True)
class Unit:
    """What a claim is put to: trainings of several arms from the same seeds.

    Parameters
    ----------
    about : str
        As in `SourceClaim`.
    data : str
        The data set.
    condition : str
        The regime; of routings the schedule.
    """

    about: About
    data: str
    condition: str
