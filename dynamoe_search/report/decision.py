"""A study's decision in three sentences: what to take, how sure that is, and what is as good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dynamoe_search.decision.acquisition import MOST_FORESEEN, runs_to_decide
from dynamoe_search.decision.decision import Decision, decide
from dynamoe_search.decision.posterior import Posterior
from dynamoe_search.plan.baselines import names_of
from dynamoe_search.report.leaderboard import what_was_equal
from dynamoe_search.report.wording import counted, duration, enumerated, named, percents
from dynamoe_search.statistics.intervals import CONFIDENCE

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.plan.plan import Plan


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


def decide_in_words(
    posterior: Posterior,
    plan: Plan,
    board: pd.DataFrame,
    minutes_per_run: float,
    changes: Sequence[str] = (),
) -> Decision:
    """The decision of a study, in its three sentences and what else must be known.

    Parameters
    ----------
    posterior : Posterior
    plan : Plan
        Of the study.
    board : DataFrame
        Its leaderboard.
    minutes_per_run : float
        How long one more training run takes.
    changes : sequence of str
        Sentences on how the study file was changed; see `Study.changes`.
    """
    margin, tried = plan.study.search.margin, set(board["candidate"])
    names = {one: name for one, name in names_of(plan.baselines).items() if one in tried}
    further = runs_to_decide(posterior, margin, seeds_per_block=plan.study.training.seeds)
    found = decide(posterior, margin, names, further)
    sentences = decision_sentences(found, posterior, names, minutes_per_run)
    return replace(
        found,
        headline=_headline(found, posterior, names),
        sentences=(*sentences, *what_was_equal(board), *changes),
    )


def too_little_to_decide(board: pd.DataFrame, changes: Sequence[str]) -> Decision:
    """The decision of a study that knows a single loss."""
    best = board.iloc[0]
    title = named(best["pattern"], best["candidate"])
    sentence = (
        f"Take {title}: its validation loss is {best['mean_loss']:.4f}, the only one that is known."
        " Train more before you decide."
    )
    headline = f"Nothing is decided yet: {title} is the only candidate whose loss is known."
    sentences = (sentence, *what_was_equal(board), *changes)
    return Decision(best["candidate"], (), sentences, headline)


def _headline(decision: Decision, posterior: Posterior, names: Mapping[str, str]) -> str:
    title = named(names.get(decision.candidate, ""), decision.candidate)
    best = f"the best of {counted(posterior.family_size, 'candidate')}"
    if decision.decided:
        return (
            f"Take {title}: with a probability of {percents(CONFIDENCE)} it is within"
            f" {decision.margin:g} nats of {best}."
        )
    return (
        f"Take {title} for now: it may still be {decision.bound:.4f} nats worse than {best}, more"
        f" than the margin of {decision.margin:g}."
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
        time = f" ({duration(60 * decision.further_runs * minutes_per_run)})"
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
