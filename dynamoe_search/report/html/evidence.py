"""What a report is made from: a study, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.bounds.budget import sample_family
from dynamoe_search.decision.leaderboard import make_leaderboard, rank_candidates
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.table import measurement_table
from dynamoe_search.plan.allotment import active_schedules_of, experts_spent, schedules_of
from dynamoe_search.plan.candidate import Candidate, parse_candidate
from dynamoe_search.schedules import NONE, make_family

if TYPE_CHECKING:
    from dynamoe_search.decision.decision import Decision
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
    def changes(self) -> list[str]:
        """Sentences on how the study file was changed."""
        return self.study.changes

    @cached_property
    def decision(self) -> Decision | None:
        """What the study has decided; None where no training run is complete."""
        if not (self.runs["state"] == "complete").any():
            return None
        return self.study.decision()

    @cached_property
    def ladder(self) -> pd.DataFrame | None:
        """The results of the ladder, if there is one."""
        try:
            return self.study.ladder()
        except InvalidInput:
            return None

    @property
    def finished_runs(self) -> int:
        """How many training runs have ended for good."""
        going = ["running", "died", "interrupted", "superseded"]
        return int(self.runs.loc[~self.runs["state"].isin(going), "run"].nunique())

    @property
    def seconds_per_run(self) -> float:
        """The time of a complete run, without what other workers did meanwhile."""
        complete = self.runs[self.runs["state"] == "complete"].drop_duplicates("run")
        return float((complete["finished"] - complete["started"]).dt.total_seconds().mean())

    @property
    def known(self) -> str:
        """When the last training run ended; "" where none has."""
        finished = self.runs["finished"].dropna()
        return f"{finished.max():%Y-%m-%d %H:%M}" if len(finished) else ""

    @property
    def log(self) -> str:
        """Where the log is, without any path of this machine."""
        storage = self.study.storage
        return str(storage) if storage.file is None else storage.file.name

    def without_paths(self, text: str) -> str:
        """A text in which paths of this machine are replaced by what they mean to others."""
        storage, path = self.study.storage, self.study.path
        words = {} if storage.file is None else {str(storage.file): self.log}
        if path is not None:
            words |= {
                f"{folder}/": "" for folder in (path.parent.absolute(), path.parent.resolve())
            }
        words[str(Path.home())] = "~"
        for path_here, word in words.items():
            text = text.replace(path_here, word)
        return text

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
        """Schedules from all over the family; shape (schedules, depth).

        Where only the active schedule moves, it is these.
        """
        file, depth = self.file, self.file.model.depth
        minimum, maximum, step = file.limits
        first = parse_candidate(self.board["candidate"].iloc[0])
        assert isinstance(first, Candidate)  # a search trains no dense baseline
        schedule, contrast = first.schedule, file.search.contrast
        if file.search.family == NONE and file.search.active_family != NONE:
            share = round(file.active * depth)
            family = make_family(file.search.active_family, share, 1, maximum, contrast)
            profiles = list(sample_family(family, depth, _POINTS_OF_THE_FAMILY))
            found = active_schedules_of(profiles, [schedule] * len(profiles), file)
        else:
            # All candidates share as many experts, except those of another expert width.
            total = experts_spent(schedule, file)
            family = make_family(file.search.family, total, minimum, maximum, contrast, step)
            profiles = list(sample_family(family, depth, _POINTS_OF_THE_FAMILY))
            shared = None if file.budget.regime == "paper" else total
            found = schedules_of(profiles, file, shared)
        return np.array([one.counts for one in found])
