"""A study's decision in three sentences: what to take, how sure that is, and what is as good."""

from __future__ import annotations

from collections.abc import Mapping

from dynamoe_search.decision.acquisition import MOST_FORESEEN
from dynamoe_search.decision.decision import Decision
from dynamoe_search.decision.posterior import Posterior
from dynamoe_search.report.wording import counted, enumerated, named, percents
from dynamoe_search.statistics.intervals import CONFIDENCE


def decision_sentences(
    decision: Decision,
    posterior: Posterior,
    names: Mapping[str, str],
    minutes_per_run: float | None = None,
) -> tuple[str, str, str]:
    """The decision of a study in three sentences.

    Parameters
    ----------
    decision : Decision
        As `dynamoe_search.decision.decision.decide` gives it.
    posterior : Posterior
    names : mapping of str to str
        What each baseline is called, by candidate.
    minutes_per_run : float, optional
        How long one more training run takes.
    """
    return (
        _what_to_take(decision, posterior, names),
        _how_sure(decision, posterior, minutes_per_run),
        _what_is_as_good(decision, posterior, names),
    )


def _what_to_take(decision: Decision, posterior: Posterior, names: Mapping[str, str]) -> str:
    row = posterior.table().loc[decision.candidate]
    title = named(names.get(decision.candidate, ""), decision.candidate)
    missed = "" if row["feasible"] else ", although it misses a constraint as all others do"
    return (
        f"Take {title}{missed}: its expected validation loss is {row['loss']:.4f} (95 % interval"
        f" {row['loss_low']:.4f} to {row['loss_high']:.4f})."
    )


def _how_sure(decision: Decision, posterior: Posterior, minutes_per_run: float | None) -> str:
    all_of_them = f"{counted(posterior.family_size, 'candidate')} of the family"
    known = (
        f"It is expected to be {decision.expected_regret:.4f} nats worse than the best of"
        f" {all_of_them}, trained or not, and with a probability of {percents(CONFIDENCE)} at most"
        f" {decision.bound:.4f}"
    )
    if decision.decided:
        return f"{known}, which is within the margin of {decision.margin:g}."
    return f"{known}; {_what_would_decide(decision, minutes_per_run)}."


def _what_would_decide(decision: Decision, minutes_per_run: float | None) -> str:
    if decision.further_runs is None:
        return (
            f"more than {MOST_FORESEEN} further training runs are predicted to be needed to bring"
            f" that below the margin of {decision.margin:g}"
        )
    time = ""
    if minutes_per_run is not None:
        time = f" ({decision.further_runs * minutes_per_run:.2g} minutes)"
    runs = counted(decision.further_runs, "further training run")
    return f"about {runs}{time} would bring that below the margin of {decision.margin:g}"


def _what_is_as_good(decision: Decision, posterior: Posterior, names: Mapping[str, str]) -> str:
    near = f"within {decision.margin:g} nats of the best with a probability of"
    if decision.within:
        listed = enumerated([named(names[one], one) for one in decision.within])
        found = f"Of the named patterns {near} {percents(CONFIDENCE)}: {listed}"
    else:
        shares = posterior.within(decision.margin)
        likely = shares[[one for one in names if one in shares.index]]
        found = f"No named pattern is {near} {percents(CONFIDENCE)}"
        if len(likely):
            nearest = str(likely.idxmax())
            title = named(names[nearest], nearest)
            found += f"; the likeliest is {title}, with {percents(likely[nearest])}"
    if decision.cheapest is None:
        return f"{found}."
    title = named(names.get(decision.cheapest, ""), decision.cheapest)
    return f"{found}; the cheapest of all candidates that are: {title}."
