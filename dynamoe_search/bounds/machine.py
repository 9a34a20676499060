"""The roofline: the least time that a machine's arithmetic and memory allow.

Time >= max(FLOPs / peak, bytes / bandwidth) (Williams, Waterman and Patterson 2009,
doi 10.1145/1498765.1498785), where arithmetic and memory traffic overlap perfectly. Only
unavoidable traffic is counted: weights, not activations. Weights that stay in a cache between steps
are not read from memory, so for a network smaller than the cache only the FLOPs are a bound.

`dynamoe_search.measure.machine` measures a machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from dynamoe_search.budgets import BACKWARD_AND_FORWARD
from dynamoe_search.errors import InvalidInput

FLOAT32_BYTES = 4
# In every step AdamW reads and writes each weight and its two moments, used or not.
_ADAMW_WORDS = 6


@dataclass(frozen=True)
class Machine:
    """What a machine can do at best.

    Parameters
    ----------
    peak_flops : float
        The FLOP/s of its matrix products.
    bandwidth : float
        The bytes/s from and to its memory.
    """

    peak_flops: float
    bandwidth: float

    def __post_init__(self) -> None:
        for name in ("peak_flops", "bandwidth"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidInput(f"{name} is {getattr(self, name)}; it must be above 0")

    def least_seconds(self, flops: float, traffic: float) -> float:
        """The least time in seconds for these FLOPs and these bytes of memory traffic.

        Examples
        --------
        >>> Machine(peak_flops=1e11, bandwidth=1e10).least_seconds(flops=2e11, traffic=1e9)
        2.0
        """
        return max(flops / self.peak_flops, traffic / self.bandwidth)


def training_seconds(parameters: float, flops: float, tokens: int, machine: Machine) -> float:
    """The least time in seconds of a training step in float32 with AdamW.

    3 FLOPs T of arithmetic (forward and backward), and traffic of 6 words per parameter: the weight
    and two moments, read and written. So all schedules of a budget have the same traffic.

    Parameters
    ----------
    parameters : float
        All trained parameters.
    flops : float
        The FLOPs of one token's forward pass.
    tokens : int
        T, the tokens per step.
    machine : Machine

    Examples
    --------
    >>> machine = Machine(peak_flops=1e11, bandwidth=1e10)
    >>> training_seconds(parameters=1e6, flops=2e5, tokens=1000, machine=machine)
    0.006
    """
    return machine.least_seconds(
        BACKWARD_AND_FORWARD * tokens * flops, _ADAMW_WORDS * FLOAT32_BYTES * parameters
    )


def decoding_seconds(weights: float, flops: float, tokens: int, machine: Machine) -> float:
    """The least time in seconds of a forward pass of T tokens in float32.

    An example is one decoding step of T sequences. It takes FLOPs T of arithmetic, and reads each
    weight once that any of the tokens uses: for one token its active parameters, for more tokens
    those of the distinct experts that they touch.

    Parameters
    ----------
    weights : float
        The number of weights that are read.
    flops : float
        The FLOPs of one token's forward pass.
    tokens : int
        T.
    machine : Machine

    Examples
    --------
    >>> machine = Machine(peak_flops=1e11, bandwidth=1e10)
    >>> decoding_seconds(weights=1e5, flops=2e5, tokens=1, machine=machine)
    4e-05
    """
    return machine.least_seconds(tokens * flops, FLOAT32_BYTES * weights)


def roofline(scores: pd.DataFrame, tokens: int, machine: Machine) -> pd.DataFrame:
    """The least times of schedules, from their bounds at the expected K.

    Parameters
    ----------
    scores : DataFrame
        One row per schedule, with the columns of `dynamoe_search.bounds.layers.QUANTITIES`.
    tokens : int
        The batch size T of the scores.
    machine : Machine

    Returns
    -------
    DataFrame
        With the index of `scores`, in seconds: ``training_seconds`` of a step of T tokens,
        ``decoding_seconds`` of one token, and ``batch_seconds`` of a forward pass of T tokens with
        an even load.
    """
    rows = [
        {
            "training_seconds": training_seconds(s.parameters, s.flops_expected, tokens, machine),
            "decoding_seconds": decoding_seconds(s.active_parameters, s.flops_expected, 1, machine),
            "batch_seconds": decoding_seconds(
                s.touched_parameters, s.flops_expected, tokens, machine
            ),
        }
        for s in scores.itertuples()
    ]
    return pd.DataFrame(rows, index=scores.index)
