"""What a sampler that fits a model is fitted to: some of the trials, where there are very many."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dynamoe_search.plan.search_section import MOST_FITTED

Parameters = dict[str, float]

# TPE compares the best 10 %, but at most 25, with the rest. With the best 25 kept, and an even
# sample of the rest, it sees the same good trials, and the same distribution of the others.
_BEST = 25
_BETWEEN = 50  # trials that are added before the next choice; each choice copies all trials


class ThinnedStudy:
    """A study of Optuna that holds what another one was told, but never very much of it.

    Which trials it holds depends on the order in which they were told, and on nothing else.

    Parameters
    ----------
    study : Study
        The other one.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._whole = study
        self._hold([])

    def add(self, trial: FrozenTrial) -> None:
        """Add a trial that the other study was told; choose again where there are too many."""
        self.study.add_trial(trial)
        self._held += 1
        if self._held > MOST_FITTED:
            states = (TrialState.COMPLETE, TrialState.PRUNED)
            told = self._whole.get_trials(deepcopy=False, states=states)
            self._hold(thin(told, self._whole.directions, MOST_FITTED - _BETWEEN))

    def ask(self, sampler: BaseSampler, suggest: Callable[[optuna.Trial], object]) -> Parameters:
        """What a sampler proposes that is fitted to this study; `suggest` asks for each value."""
        self.study.sampler = sampler
        trial = self.study.ask()
        suggest(trial)
        self.study.tell(trial, state=TrialState.FAIL)  # here it gets no result
        return trial.params

    def _hold(self, trials: Sequence[FrozenTrial]) -> None:
        self.study = optuna.create_study(directions=self._whole.directions)
        self.study.add_trials(trials)
        self._held = len(trials)


def thin(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], most: int
) -> list[FrozenTrial]:
    """The best trials, and an even sample of the others by rank, in their own order.

    Those that meet the constraints rank before the others, complete ones before pruned ones.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        Complete or pruned.
    directions : sequence of StudyDirection
        Of the objectives, of which the first one decides.
    most : int
        How many to take, at least 25.
    """
    if len(trials) <= most:
        return list(trials)
    ranked = sorted(range(len(trials)), key=lambda i: _rank(trials[i], directions[0]))
    others = ranked[_BEST:]
    places = np.linspace(0, len(others) - 1, most - _BEST).round().astype(int)
    chosen = ranked[:_BEST] + [others[place] for place in places]
    return [trials[i] for i in sorted(chosen)]


def _rank(trial: FrozenTrial, direction: StudyDirection) -> tuple[bool, float, float]:
    if trial.state == TrialState.PRUNED or trial.values is None:
        return True, 0.0, -float(trial.last_step or 0)
    violation = sum(max(value, 0.0) for value in trial.constraints.values())
    sign = 1 if direction == StudyDirection.MINIMIZE else -1
    return False, violation, sign * trial.values[0]
