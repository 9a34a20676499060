"""Decisions in memory: a sampler is asked and answered there, and what is decided is written once.

Asked of the records themselves, a question costs a write for each parameter, and reads between
them: most of what a search takes besides its trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from dynamoe_search.search.assignment import Assignment


def decide_in_memory(
    study: optuna.Study, decide: Callable[[optuna.Study], Assignment | None]
) -> Assignment | None:
    """What is decided of a study, each new trial written in one piece.

    The caller holds the claim lock, under which nobody else begins or ends trials.

    Parameters
    ----------
    study : Study
    decide : callable
        Is given a study of the same trials. It may ask for new ones, of which the last is the
        assignment's, but change neither the others nor what else is kept with a study.

    Returns
    -------
    Assignment or None
        What was decided; its trial is the one that is recorded.
    """
    draft = _Draft(study)
    assignment = decide(
        optuna.load_study(study_name=study.study_name, storage=draft, pruner=study.pruner)
    )
    written = [
        study._storage.create_new_trial(study._study_id, trial) for trial in draft.new_trials()
    ]
    if assignment is None:
        return None
    study.sampler = optuna.samplers.RandomSampler()  # which is asked for nothing
    return replace(assignment, trial=optuna.Trial(study, written[-1]))


class _Draft(InMemoryStorage):
    """The trials of a study as they stand, which cannot be changed, and new ones, which can."""

    def __init__(self, study: optuna.Study) -> None:
        super().__init__()
        self.recorded = study.get_trials(deepcopy=False)
        self.study = self.create_new_study(study.directions, study.study_name)

    def new_trials(self) -> list[FrozenTrial]:
        """Those that are not recorded yet."""
        return super().get_all_trials(self.study, deepcopy=False)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self.get_trial(trial_id).number += len(self.recorded)
        return trial_id

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        recorded = [trial for trial in self.recorded if states is None or trial.state in states]
        return recorded + super().get_all_trials(study_id, deepcopy, states)
