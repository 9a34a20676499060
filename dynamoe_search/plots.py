"""The plot library: each figure of the report as a function of a table.

Import what you need from here. Each function takes a table (or schedules), as the library gives it,
and returns a matplotlib Figure; those of one panel also take the ``axes`` to draw on, so that you
can put several into a figure of your own. `docs/plots.md` shows a picture of each.

Of a study:

- `plot_history`, `plot_leaders`, and `plot_search`, which is both: from `load_trials`;
- `plot_regret`: how soon the search had found its best;
- `plot_landscape`: where patterns lie, what was tried, and the fitted surface, from
  `fit_landscape`;
- `plot_importance`: what the loss depends on, from `parameter_importance`;
- `plot_pareto`: the front of several objectives, from `make_pareto_table`;
- `plot_agreement`, `plot_curves`, and `plot_fidelity`, which is both: early looks;
- `plot_confirmation`: differences from fresh seeds, from `compare_with_reference`;
- `plot_samplers`: samplers compared on recorded results.

Of schedules and networks:

- `plot_schedules`, `plot_bounds`, `plot_measured_bounds`;
- `plot_active`, `plot_load`, `plot_utilization`: which experts tokens use;
- `plot_gradient_noise`, `plot_gradient_groups`: the noise of gradients over a training;
- `plot_representation`, `plot_rank_shares`: how varied tokens are.

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
from dynamoe_search.report.between_bounds import plot_measured_bounds
from dynamoe_search.report.bounds_plot import plot_bounds
from dynamoe_search.report.confirmation import plot_confirmation
from dynamoe_search.report.fidelity import plot_agreement, plot_curves, plot_fidelity
from dynamoe_search.report.gradient_noise import plot_gradient_groups, plot_gradient_noise
from dynamoe_search.report.importance import plot_importance
from dynamoe_search.report.landscape import plot_landscape
from dynamoe_search.report.pareto import plot_pareto
from dynamoe_search.report.plots import (
    plot_active,
    plot_history,
    plot_leaders,
    plot_schedules,
    plot_search,
    save_figure,
)
from dynamoe_search.report.regret import plot_regret
from dynamoe_search.report.samplers import plot_samplers
from dynamoe_search.report.utilization import (
    plot_load,
    plot_rank_shares,
    plot_representation,
    plot_utilization,
)
from dynamoe_search.search.importance import parameter_importance

__all__ = [
    "fit_landscape",
    "parameter_importance",
    "plot_active",
    "plot_agreement",
    "plot_bounds",
    "plot_confirmation",
    "plot_curves",
    "plot_fidelity",
    "plot_gradient_groups",
    "plot_gradient_noise",
    "plot_history",
    "plot_importance",
    "plot_landscape",
    "plot_leaders",
    "plot_load",
    "plot_measured_bounds",
    "plot_pareto",
    "plot_rank_shares",
    "plot_regret",
    "plot_representation",
    "plot_samplers",
    "plot_schedules",
    "plot_search",
    "plot_utilization",
    "save_figure",
]
