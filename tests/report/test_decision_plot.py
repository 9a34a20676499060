"""The picture of a decision shows what the posterior says."""

from pathlib import Path

import numpy as np
import pytest

from dynamoe_search import Study
from dynamoe_search.decision.posterior import Posterior, fit_posterior
from dynamoe_search.plan.baselines import names_of
from dynamoe_search.report.decision_plot import plot_decision, plot_study
from tests.decision import made_up as losses
from tests.report import made_up

NAMES = {"c000": "uniform", "c001": "descending"}


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    results, features, _ = losses.study(tried=12, untried=20)
    return fit_posterior(results, features, family_size=1000)


def test_the_best_comes_first_and_the_named_are_there(posterior: Posterior) -> None:
    (axes,) = plot_decision(posterior, NAMES, margin=0.01).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == NAMES.get(posterior.best, posterior.best)
    assert set(NAMES.values()) <= set(labels)
    assert len(labels) == len(set(labels))
    points = axes.collections[-1].get_offsets()
    assert points[0][0] == pytest.approx(posterior.expected_regret())


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_the_title_says_whether_it_is_decided(posterior: Posterior, factor: float) -> None:
    margin = factor * posterior.bound()
    (axes,) = plot_decision(posterior, NAMES, margin).axes
    title = axes.get_title(loc="right")
    assert f"{posterior.bound():.4f}" in title
    assert ("not yet within" in title) == (factor < 1)
    faces = axes.collections[-1].get_facecolors()
    assert np.allclose(faces[0][:3], 1) == (factor < 1)  # white where it is not within


def test_a_study_at_a_glance_has_its_history_and_its_decision(small_study: Path) -> None:
    made_up.search(small_study)
    study = Study(small_study)
    names = names_of(study.plan.baselines)
    figure = plot_study(study.training_runs(), study.posterior(), names, study.file.search.margin)
    history, decision = figure.axes
    assert history.get_xlabel() == "trained seed"
    assert decision.get_yticklabels()[0].get_text() in {*names.values(), study.decision().candidate}
