"""What a study has found so far."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from html import escape

from dynamoe_search.decision.posterior import Posterior
from dynamoe_search.statistics.intervals import CONFIDENCE


@dataclass(frozen=True)
class Decision:
    """What a study has found so far.

    Parameters
    ----------
    candidate : str
        The candidate to take.
    indistinguishable : tuple of str
        The others that are statistically indistinguishable from it.
    sentences : tuple of str
        The same in words, with how sure it is.
    headline : str
        The one sentence that must be said.
    margin : float
        The regret that does not matter, in nats.
    expected_regret : float
        By how much the candidate is expected to be worse than the best of all, tried or not.
    bound : float
        What its regret does not exceed with a probability of 95 %.
    within : tuple of str
        The baselines whose regret is at most the margin with a probability of 95 %; best first.
    cheapest : str or None
        Of all trained candidates of which that is so, the cheapest.
    further_runs : int or None
        How many training runs would bring the bound below the margin, as predicted; 0 where it is,
        None where that is unknown.

    Examples
    --------
    >>> print(Decision("2-2", ("3-1",), ("Best schedule: 2-2.",)))
    Best schedule: 2-2.
    """

    candidate: str
    indistinguishable: tuple[str, ...]
    sentences: tuple[str, ...]
    headline: str = ""
    margin: float = math.nan
    expected_regret: float = math.nan
    bound: float = math.nan
    within: tuple[str, ...] = ()
    cheapest: str | None = None
    further_runs: int | None = None

    @property
    def has_bound(self) -> bool:
        """Whether the regret is known: a search for the loss alone that knows two losses."""
        return not math.isnan(self.bound)

    @property
    def decided(self) -> bool:
        """Whether the candidate is within the margin of the best of all, with 95 %."""
        return self.bound <= self.margin

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(sentence)}</p>" for sentence in self.sentences)


def decide(
    posterior: Posterior,
    margin: float,
    baselines: Collection[str] = (),
    further_runs: int | None = None,
) -> Decision:
    """The decision that a posterior gives, without sentences.

    Parameters
    ----------
    posterior : Posterior
    margin : float
        The regret that does not matter, in nats.
    baselines : collection of str
        The candidates that have a name.
    further_runs : int, optional
        As `dynamoe_search.decision.acquisition.runs_to_decide` predicts.
    """
    table = posterior.table().sort_values("loss", kind="stable")
    surely = table.index[(posterior.within(margin)[table.index] >= CONFIDENCE) & table["feasible"]]
    return Decision(
        candidate=posterior.best,
        indistinguishable=tuple(
            name for name in surely if table["tried"][name] and name != posterior.best
        ),
        sentences=(),
        margin=margin,
        expected_regret=posterior.expected_regret(),
        bound=posterior.bound(),
        within=tuple(name for name in surely if name in baselines),
        cheapest=posterior.cheapest(margin),
        further_runs=further_runs,
    )
