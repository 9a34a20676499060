"""A study's decision in sentences: each number in them is the posterior's."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search import Study
from dynamoe_search.decision.decision import decide
from dynamoe_search.decision.posterior import Posterior, fit_posterior
from dynamoe_search.log.runs import finished, started
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import open_log
from dynamoe_search.plan.baselines import names_of
from dynamoe_search.report.decision import decision_sentences, too_little_to_decide
from dynamoe_search.search.policy import SearchPolicy
from tests.decision import made_up as losses
from tests.report import made_up

NAMES = {"c000": "uniform", "c001": "descending"}


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    results, features, _ = losses.study(tried=6, untried=20)
    return fit_posterior(results, features, family_size=1000)


def sentences(posterior: Posterior, margin: float, further: int | None = None) -> tuple[str, ...]:
    decision = decide(posterior, margin, NAMES, further)
    return decision_sentences(decision, posterior, NAMES, minutes_per_run=0.5)


def test_the_first_says_what_to_take(posterior: Posterior) -> None:
    row = posterior.table().loc[posterior.best]
    shown = f"uniform ({posterior.best})" if posterior.best == "c000" else posterior.best
    assert sentences(posterior, 0.01)[0] == (
        f"Take {shown}: its expected validation loss is {row['loss']:.4f} (95 % interval"
        f" {row['loss_low']:.4f} to {row['loss_high']:.4f})."
    )


def test_the_second_says_how_sure_that_is_and_what_is_missing(posterior: Posterior) -> None:
    bound, regret = posterior.bound(), posterior.expected_regret()
    known = (
        f"It is expected to be {regret:.4f} nats worse than the best of 1,000 candidates of the"
        f" family, trained or not, and with a probability of 95 % at most {bound:.4f}"
    )
    wide, narrow = 2 * bound, bound / 2
    assert sentences(posterior, wide)[1] == f"{known}, which is within the margin of {wide:g}."
    assert sentences(posterior, narrow, further=7)[1] == (
        f"{known}; about 7 further training runs (3.5 min) would bring that below the margin of"
        f" {narrow:g}."
    )
    assert "; more than 500 further training runs" in sentences(posterior, narrow)[1]


def test_the_third_says_what_is_as_good(posterior: Posterior) -> None:
    shares = posterior.within(0.01)[list(NAMES)]
    nearest = shares.idxmax()
    assert shares.max() < 0.95
    assert sentences(posterior, 0.01)[2].startswith(
        "No named pattern is within 0.01 nats of the best with a probability of 95 %; the likeliest"
        f" is {NAMES[nearest]} ({nearest}), with {100 * shares.max():.0f} %"
    )
    # All are within a nat: so the cheapest is, too.
    posterior = replace(posterior, costs=posterior.costs - (posterior.candidates == "c003"))
    order = posterior.table().loc[list(NAMES), "loss"].sort_values().index
    listed = " and ".join(f"{NAMES[one]} ({one})" for one in order)
    assert sentences(posterior, 1.0)[2] == (
        f"Of the named patterns within 1 nats of the best with a probability of 95 %: {listed}; the"
        " cheapest of all candidates that are: c003."
    )


def test_where_all_miss_a_constraint_that_is_said() -> None:
    results, features, _ = losses.study(tried=4, untried=6, blocks=1)
    feasible = pd.Series(False, features.index)
    first = sentences(fit_posterior(results, features, feasible), 0.01)[0]
    assert ", although it misses a constraint as all others do: its expected" in first


@pytest.mark.slow
def test_a_study_says_the_same_and_what_was_equal(small_study: Path) -> None:
    made_up.search(small_study)
    study = Study(small_study)
    decision, posterior = study.decision(), study.posterior()
    names = names_of(study.plan.baselines)
    assert decision.sentences[::2][:2] == decision_sentences(decision, posterior, names)[::2]
    assert decision.sentences[3] == "Active experts per layer, measured: 1.000 to 1.000."
    assert str(decision) == "\n".join(decision.sentences)


def test_of_a_single_loss_no_more_is_said_than_that(small_study: Path) -> None:
    made_up.search(small_study, most=1)
    study = Study(small_study)
    decision, board = study.decision(), study.leaderboard()
    assert decision == too_little_to_decide(board, [])
    assert str(decision).startswith(
        f"Take descending (5-4-2-1): its validation loss is"
        f" {board['mean_loss'][0]:.4f}, the only one that is known."
    )
    assert not decision.decided


def test_a_pruned_run_is_no_second_loss(small_study: Path) -> None:
    made_up.search(small_study, most=1)
    study = Study(small_study)
    with open_log(study.storage, create=False) as log:
        state, policy = State(), SearchPolicy(study.plan)
        catch_up(log, state, policy.follow)
        start = policy.ask(state, worker="", session="")
        assert start is not None
        result = made_up.made_up_result(start.candidate, start.seeds[0], str(state.data))
        log.append(started(start), finished(start, "pruned", [result]))
    assert study.training_runs()["validation_loss"].count() == 2
    assert not study.decision().has_bound
    assert "the only candidate whose loss is known" in study.decision().headline
