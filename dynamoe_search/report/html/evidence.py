"""What a report is made from: a study, read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.bounds.budget import sample_family
from dynamoe_search.decision.leaderboard import make_leaderboard, rank_candidates
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.table import measurement_table
from dynamoe_search.schedules import Schedule, allocate_batch, make_family, stretch

if TYPE_CHECKING:
    from dynamoe_search.plan.confirmation import Confirmation
    from dynamoe_search.plan.plan import Plan
    from dynamoe_search.plan.study_file import StudyFile
    from dynamoe_search.study import Study

_POINTS_OF_THE_FAMILY = 1000


@dataclass(frozen=True)
class Evidence:
    """A study, and what follows from it; each part is read when it is first used, and then kept.

    What a study does not have raises `InvalidInput`, which says why, and how to get it.

    Parameters
    ----------
    study : Study
    runs : DataFrame
        Its training runs.
    """

    study: Study
    runs: pd.DataFrame

    @cached_property
    def file(self) -> StudyFile:
        """The study file as the study was begun with it."""
        return self.study.file

    @cached_property
    def plan(self) -> Plan:
        """What the study holds equal; it takes the study's data."""
        return self.study.plan

    @cached_property
    def changes(self) -> Sequence[str]:
        """Sentences on how the study file was changed."""
        return self.study.changes

    @cached_property
    def confirmation(self) -> tuple[pd.DataFrame, Confirmation]:
        """The comparison with the reference, and what was confirmed."""
        return self.study.confirmation()

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the study looks for."""
        return self.file.search.objectives

    @property
    def seeks_loss_alone(self) -> bool:
        """Whether one candidate can be called the best."""
        return self.objectives == ("loss",)

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard."""
        return make_leaderboard(self.runs)

    @cached_property
    def front(self) -> pd.DataFrame:
        """The Pareto table of the objectives, with what was measured."""
        return rank_candidates(self.runs, self.objectives)

    @cached_property
    def of_interest(self) -> dict[str, str]:
        """The candidate of the least loss, the best named one, uniform, and what each is called."""
        board = self.board
        chosen = {board["candidate"].iloc[0]: "best" if self.seeks_loss_alone else "least loss"}
        for candidate in board.loc[board["pattern"] != "", "candidate"].head(1):
            chosen.setdefault(candidate, "best named")
        for candidate in board.loc[board["group"] == "uniform", "candidate"]:
            chosen.setdefault(candidate, "")
        patterns = dict(zip(board["candidate"], board["pattern"], strict=True))
        return {
            candidate: ", ".join(filter(None, (patterns[candidate] or candidate, role)))
            for candidate, role in chosen.items()
        }

    def measured(self, kind: str, asked_as: str) -> pd.DataFrame:
        """A table of measurements; `InvalidInput` where the study did not ask for it."""
        table = measurement_table(self.runs, kind)
        if table.empty:
            raise InvalidInput(
                "this was not measured; begin a study (another --name) whose section search has"
                f' measure = ["{asked_as}"]'
            )
        return table

    def reachable(self) -> NDArray[np.int64]:
        """Schedules from all over the family; shape (schedules, depth)."""
        budget, search = self.file.budget, self.file.search
        # All candidates share as many experts, except those of another expert width.
        total = Schedule.parse(self.board["schedule"].iloc[0]).total
        bounds = (total, budget.minimum, budget.maximum, search.contrast, budget.step)
        family = make_family(search.family, *bounds)
        profiles = sample_family(family, self.file.model.depth, _POINTS_OF_THE_FAMILY)
        if budget.regime != "paper":
            return allocate_batch(profiles, total, *budget.limits)
        assert budget.maximum is not None  # the study file asks for it
        span = (budget.minimum, budget.maximum, search.contrast, budget.step)
        return np.array([stretch(profile, *span).counts for profile in profiles])
