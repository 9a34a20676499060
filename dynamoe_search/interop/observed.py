"""What was seen of the routing of a model: counts, and the tables and metrics of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dynamoe_search.interop.metrics import automodel_metrics
from dynamoe_search.measure import utilization_tables

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.measure.counts import RoutingCounts


class ObservedRouting:
    """How the layers of a model route: of `observe` and of `read_routing_trace`.

    The tables are those of `dynamoe_search.measure`. Their layers and experts count from 1, so the
    decoder layer 0 of a model is layer 1; layers without routed tokens are left out.

    Parameters
    ----------
    read : callable
        Gives the counts so far, one per layer: `RoutingCounts` with N = 0 for a layer that has
        routed nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from dynamoe_search.measure import RoutingCounts
    >>> counts = RoutingCounts.of_indices(np.array([[0, 1], [1, 2]]), experts=3)
    >>> routing = ObservedRouting(lambda: [counts])
    >>> routing.load_table()["load"].tolist()
    [1, 2, 1]
    >>> round(routing.metrics()["moe/expert_diversity_mean"], 3)
    0.943
    """

    def __init__(self, read: Callable[[], Sequence[RoutingCounts]]) -> None:
        self._read = read

    @property
    def counts(self) -> tuple[RoutingCounts, ...]:
        """The counts so far, one per layer; those of several processes are added by ``+``."""
        return tuple(self._read())

    def utilization_table(self) -> pd.DataFrame:
        """How each layer uses its experts, as `measure.utilization_table` has it."""
        return utilization_tables.utilization_table(self.counts)

    def load_table(self, by_group: bool = False) -> pd.DataFrame:
        """How often each expert is used, as `measure.load_table` has it."""
        return utilization_tables.load_table(self.counts, by_group)

    def active_table(self) -> pd.DataFrame:
        """The distribution of K over tokens, as `measure.active_table` has it."""
        return utilization_tables.active_table(self.counts)

    def co_activation_table(self) -> pd.DataFrame:
        """How often a token uses two experts, as `measure.co_activation_table` has it."""
        return utilization_tables.co_activation_table(self.counts)

    def group_table(self) -> pd.DataFrame:
        """How tokens of each token id use the experts, as `measure.group_table` has it."""
        return utilization_tables.group_table(self.counts)

    def metrics(self, detailed: bool = False, extremes: int = 0) -> dict[str, float]:
        """Scalars for a dashboard, under the names of NeMo Automodel; see `automodel_metrics`."""
        return automodel_metrics(self.counts, detailed, extremes)
