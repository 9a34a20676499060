import pytest

from dynamoe_search.decision.decision import decide
from dynamoe_search.decision.posterior import fit_posterior
from dynamoe_search.report.decision import decision_sentences
from tests.decision.made_up import study

NAMES = {"c000": "uniform", "c001": "wave", "c002": "pyramid"}


@pytest.fixture(scope="module")
def posterior():
    results, features, _ = study(tried=10, untried=0, blocks=8, noise=0.004)
    return fit_posterior(results, features)


def test_a_decided_study_says_what_to_take_and_how_sure_that_is(posterior):
    decision = decide(posterior, 0.1, NAMES, further_runs=0)
    first, second, third = decision_sentences(decision, posterior, NAMES)
    assert decision.decided
    assert posterior.best in first
    assert f"{posterior.expected_regret():.4f} nats" in second
    assert f"at most {posterior.bound():.4f}" in second
    assert "within the margin of 0.1" in second
    assert set(decision.within) == set(NAMES)
    assert all(f"{name} ({candidate})" in third for candidate, name in NAMES.items())
    assert decision.cheapest is not None
    assert decision.cheapest in third


def test_an_undecided_study_says_how_many_runs_would_decide():
    results, features, _ = study(tried=10, untried=30, blocks=1)
    posterior = fit_posterior(results, features)
    decision = decide(posterior, 1e-6, NAMES, further_runs=12)
    _, second, third = decision_sentences(decision, posterior, NAMES, minutes_per_run=0.5)
    assert not decision.decided
    assert "about 12 further training runs (6 minutes)" in second
    assert "No named pattern is within 1e-06 nats" in third
    assert "the likeliest is" in third
    unknown = decide(posterior, 1e-6, NAMES)
    assert "more than 500 further training runs" in decision_sentences(unknown, posterior, NAMES)[1]


def test_what_is_within_the_margin_is_so_with_95_percent(posterior):
    decision = decide(posterior, 0.01, NAMES)
    share = posterior.within(0.01)
    wanted = {name for name in share.index if share[name] >= 0.95}
    assert set(decision.within) == wanted & set(NAMES)
    assert {decision.candidate, *decision.indistinguishable} == wanted | {decision.candidate}
