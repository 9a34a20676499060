"""The plot library: each figure of the report as a function of a table.

Each function takes a table (or schedules), as the library gives it, and returns a matplotlib
Figure. Functions of one panel also take ``axes``, the matplotlib axes to draw on, so that you can
put several plots into a figure of your own. `docs/plots.md` shows a picture of each.

Of a study:

- `plot_decision`: what to take, beside the margin, from `Study.posterior`; `plot_study` with the
  history;
- `plot_history`, `plot_leaders`, and `plot_search`, which is both;
- `plot_regret`: how soon the search had found its best, from `search_curve`;
- `plot_landscape`: where patterns lie, what was tried, and the fitted surface, from
  `fit_landscape`;
- `plot_importance`: what the loss depends on, from `Study.importance`;
- `plot_pareto`: the front of several objectives, from `make_pareto_table`;
- `plot_agreement`, `plot_curves`, and `plot_fidelity`, which is both: early looks;
- `plot_confirmation`: differences from fresh seeds, from `Study.confirmation`;
- `plot_ladder`: differences over training FLOPs, from `Study.ladder`;
- `plot_samplers`: samplers compared on recorded results.

Of schedules and networks:

- `plot_schedules`, `plot_bounds`, `plot_measured_bounds`;
- `plot_active`, `plot_load`, `plot_utilization`: which experts tokens use;
- `plot_gradient_noise`, `plot_gradient_groups`: the noise of gradients over the training;
- `plot_representation`, `plot_rank_shares`: how varied tokens are;
- `plot_model`: layers and costs of a real model, from `read_config`;
- `plot_sensitivity`: which layers of a trained model need their active experts, from
  `measure_sensitivity`.

`save_figure` writes a figure to a file.

Examples
--------
>>> from dynamoe_search import Schedule
>>> figure = plot_schedules({"descending": Schedule((8, 6, 4, 2))})
>>> [axes.get_title() for axes in figure.axes]
['descending']
"""

from __future__ import annotations

from dynamoe_search.decision.landscape import fit_landscape
from dynamoe_search.decision.regret import search_curve
from dynamoe_search.report.bounds_plot import plot_bounds
from dynamoe_search.report.confirmation import plot_confirmation
from dynamoe_search.report.decision_plot import plot_decision, plot_study
from dynamoe_search.report.fidelity import plot_agreement, plot_curves, plot_fidelity
from dynamoe_search.report.figure import save_figure
from dynamoe_search.report.gradient_noise import plot_gradient_groups, plot_gradient_noise
from dynamoe_search.report.history import plot_history, plot_regret, plot_search
from dynamoe_search.report.importance import plot_importance
from dynamoe_search.report.ladder import plot_ladder
from dynamoe_search.report.landscape import plot_landscape
from dynamoe_search.report.leaderboard import plot_leaders
from dynamoe_search.report.measured_bounds import plot_measured_bounds
from dynamoe_search.report.model_plot import plot_model
from dynamoe_search.report.pareto import plot_pareto
from dynamoe_search.report.representation import plot_rank_shares, plot_representation
from dynamoe_search.report.samplers import plot_samplers
from dynamoe_search.report.schedules import plot_schedules
from dynamoe_search.report.sensitivity import plot_sensitivity
from dynamoe_search.report.utilization import plot_active, plot_load, plot_utilization

__all__ = [
    "fit_landscape",
    "plot_active",
    "plot_agreement",
    "plot_bounds",
    "plot_confirmation",
    "plot_curves",
    "plot_decision",
    "plot_fidelity",
    "plot_gradient_groups",
    "plot_gradient_noise",
    "plot_history",
    "plot_importance",
    "plot_ladder",
    "plot_landscape",
    "plot_leaders",
    "plot_load",
    "plot_measured_bounds",
    "plot_model",
    "plot_pareto",
    "plot_rank_shares",
    "plot_regret",
    "plot_representation",
    "plot_samplers",
    "plot_schedules",
    "plot_search",
    "plot_sensitivity",
    "plot_study",
    "plot_utilization",
    "save_figure",
    "search_curve",
]
