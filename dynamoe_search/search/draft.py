"""Decisions in memory: a sampler is asked and answered there, and what is decided is written once.

Asked of the records themselves, a question costs a write for each parameter, and reads between
them: most of what a search takes besides its trainings. Questions whose answer is known leave no
trace in the records: they taught the sampler nothing new.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from dynamoe_search.search.assignment import Assignment


def decide_in_memory(
    study: optuna.Study,
    trials: list[FrozenTrial],
    decide: Callable[[optuna.Study], Assignment | None],
) -> Assignment | None:
    """What is decided of a study, its trial written in one piece.

    The caller holds the claim lock, under which nobody else begins or ends trials.

    Parameters
    ----------
    study : Study
    trials : list of FrozenTrial
        Those of the study.
    decide : callable
        Is given a study of the same trials. It may ask for new ones, of which the assignment's is
        recorded, but change neither the others nor what else is kept with a study.

    Returns
    -------
    Assignment or None
        What was decided; its trial is the one that is recorded.
    """
    draft = _Draft(study, trials)
    assignment = decide(
        optuna.load_study(study_name=study.study_name, storage=draft, pruner=study.pruner)
    )
    if assignment is None:
        return None
    trial_id = study._storage.create_new_trial(
        study._study_id, draft.get_trial(assignment.trial._trial_id)
    )
    study.sampler = optuna.samplers.RandomSampler()  # which is asked for nothing
    return replace(assignment, trial=optuna.Trial(study, trial_id))


class _Draft(InMemoryStorage):
    """The trials of a study as they stand, which cannot be changed, and new ones, which can."""

    def __init__(self, study: optuna.Study, recorded: list[FrozenTrial]) -> None:
        super().__init__()
        self.recorded = recorded
        self.create_new_study(study.directions, study.study_name)

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
