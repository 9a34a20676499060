"""What a report is made from: a study's records, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynamoe_search.bounds.budget import sample_family
from dynamoe_search.decision.leaderboard import make_leaderboard
from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.definition import recorded_study_file
from dynamoe_search.log.storage import Place, open_study, place_of
from dynamoe_search.measure.quantities import with_measured
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.reader import study_path
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.confirm import Confirmation, load_confirmation, paired_results
from dynamoe_search.run.networks import load_plan
from dynamoe_search.run.results import load_runs, measurement_table
from dynamoe_search.schedules import Schedule, allocate_batch, make_family, stretch
from dynamoe_search.statistics.comparison import compare_with_reference
from dynamoe_search.statistics.pareto import make_pareto_table

_POINTS_OF_THE_FAMILY = 1000


@dataclass(frozen=True)
class Evidence:
    """The records of a study, and what follows from them.

    What a study does not have raises `InvalidInput` when it is asked for, with a sentence that says
    why, and how to get it.

    Parameters
    ----------
    path : Path
        The study file.
    storage, name : str or None
        As they were given.
    data_directory : Path or None
    study_file : StudyFile
        As the records have it.
    runs : DataFrame
    """

    path: Path
    storage: str | None
    name: str | None
    data_directory: Path | None
    study_file: StudyFile
    runs: pd.DataFrame

    @property
    def place(self) -> Place:
        """Where the records are."""
        return place_of(self.path.parent, self.storage, self.name)

    @property
    def title(self) -> str:
        """What the study is called."""
        return self.name or self.path.parent.resolve().name

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the study looks for."""
        return tuple(self.study_file.search.objectives)

    @property
    def seeks_loss_alone(self) -> bool:
        """Whether one candidate can be called the best."""
        return self.objectives == ("loss",)

    @cached_property
    def plan(self) -> Plan:
        """What the study holds equal; it takes the study's data."""
        return load_plan(self.path, self.data_directory, self.storage, self.name)

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard, with a column ``candidate``."""
        board = make_leaderboard(self.runs)
        return board.assign(candidate=(board["schedule"] + " " + board["settings"]).str.rstrip())

    @cached_property
    def front(self) -> pd.DataFrame:
        """The Pareto table of the objectives, with what was measured."""
        return with_measured(make_pareto_table(self.runs, self.objectives), self.runs)

    @cached_property
    def of_interest(self) -> dict[str, str]:
        """The candidate of the least loss, the best named one, uniform, and what each is called."""
        board = self.board
        chosen = {board["candidate"].iloc[0]: "best" if self.seeks_loss_alone else "least loss"}
        named = board[board["pattern"] != ""]
        if len(named):
            chosen.setdefault(named["candidate"].iloc[0], "best named")
        for row in named[named["pattern"].str.contains("uniform")].itertuples():
            chosen.setdefault(str(row.candidate), "")
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
        budget, search = self.study_file.budget, self.study_file.search
        # All candidates share as many experts, but those of another expert width.
        total = Schedule.parse(self.board["schedule"].iloc[0]).total
        family = make_family(search.family, total, budget.minimum, budget.maximum, search.contrast)
        profiles = sample_family(family, self.study_file.model.depth, _POINTS_OF_THE_FAMILY)
        if budget.regime != "paper":
            return allocate_batch(profiles, total, budget.minimum, budget.maximum)
        assert budget.maximum is not None  # the study file asks for it
        return np.array(
            [stretch(p, budget.minimum, budget.maximum, search.contrast).counts for p in profiles]
        )

    @cached_property
    def confirmation(self) -> tuple[pd.DataFrame, Confirmation]:
        """What was confirmed: the comparison with the reference, and the names."""
        runs, confirmation = load_confirmation(self.path, self.storage, self.name)
        results = paired_results(runs)
        trained = set(results.loc[results["loss"].notna(), "candidate"])
        if confirmation.reference not in trained or len(trained) < 2:
            raise InvalidInput(
                "the confirmation has nothing to compare yet; go on with: dynamoe-search confirm"
                f" {self.path}"
            )
        table = compare_with_reference(results, confirmation.reference, confirmation.margin)
        table.insert(1, "name", table["candidate"].map(confirmation.names))
        return table, confirmation


def gather(
    study: Path,
    storage: str | None = None,
    name: str | None = None,
    data_directory: Path | None = None,
) -> Evidence:
    """Read a study.

    Parameters
    ----------
    study : Path
        The study file, or its folder.
    storage, name : str, optional
        As in `dynamoe_search.run.run.run_study`.
    data_directory : Path, optional
        Where data files are.

    Raises
    ------
    InvalidInput
        Where there is no such study, or it has not begun.
    """
    path = study_path(study)
    place = place_of(path.parent, storage, name)
    study_file = recorded_study_file(open_study(place), place)
    runs = load_runs(path, storage, name)
    return Evidence(path, storage, name, data_directory, study_file, runs)
