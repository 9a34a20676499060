"""The picture of a decision."""

import numpy as np
import pytest

from dynamoe_search.decision.posterior import fit_posterior
from dynamoe_search.report.decision_plot import plot_decision
from tests.decision import made_up


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_candidate_to_take_comes_first_with_its_bound(share: float) -> None:
    results, features, _ = made_up.study(tried=12, untried=10)
    posterior = fit_posterior(results, features)
    last = posterior.tried_in_order()[-1]
    margin = share * posterior.bound()
    (axes,) = plot_decision(posterior, {last: "uniform"}, margin).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [*posterior.tried_in_order()[:8], "uniform"]
    title = axes.get_title(loc="right")
    assert title.startswith(f"Take {posterior.best}: regret at most {posterior.bound():.4f} with")
    assert ("not yet within" in title) == (share < 1)
    bars, points = axes.collections[-2:]
    shown = [*posterior.tried_in_order()[:8], last]
    ends = [path.vertices[1, 0] for path in bars.get_paths()]
    assert ends == pytest.approx([posterior.bound(one) for one in shown])
    regrets = np.asarray(points.get_offsets())[:, 0]
    assert regrets == pytest.approx([posterior.expected_regret(one) for one in shown])
