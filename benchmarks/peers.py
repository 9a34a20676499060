"""Peers that decide what to train next, used as their users would use them.

The value of a training run is its mean loss over the block's seeds. A candidate that is proposed
again is trained on its next block.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from benchmarks.landscapes import Floats, Space
from benchmarks.simulation import History, Method, Recommendation, best_mean, values_of
from dynamoe_search.schedules import Schedule, allocate
from dynamoe_search.search.quiet import quiet
from dynamoe_search.search.space import suggest


class OptunaSampler:
    """A sampler of Optuna in the parameters of the family; it takes the best mean.

    Parameters
    ----------
    space : Space
    sampler : BaseSampler
    """

    def __init__(self, space: Space, sampler: BaseSampler) -> None:
        self.space = space
        self.study = _study(sampler)
        self._asked: optuna.Trial | None = None

    def propose(self, history: History) -> str:
        """Tell the last value, and ask."""
        if self._asked is not None:
            self.study.tell(self._asked, fmean(history[-1].losses))
        self._asked = self.study.ask()
        return _suggested(self._asked, self.space)

    def recommend(self, history: History) -> Recommendation:
        """The best mean."""
        return best_mean(history)


class Wilcoxon:
    """TPE with Optuna's Wilcoxon pruner, as its documentation shows it: seeds are its steps.

    A candidate is trained on up to 4 blocks, one after another, and given up where the pruner says
    so; its value is the mean of the losses that it got. Where TPE proposes a known candidate it is
    asked again, and after 10 times a random one is. Where 50 of those are known, too, as in a small
    space, the last one is trained on further blocks. Candidates that were given up are not taken
    while there are others that were not.

    Parameters
    ----------
    space : Space
    seed : int
    """

    BLOCKS, IN_VAIN, RANDOM_IN_VAIN = 4, 10, 50

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        with quiet():
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.1)
        self._samplers = TPESampler(seed=seed, multivariate=True), RandomSampler(seed=seed)
        self.study = _study(self._samplers[0], pruner)
        self._asked: optuna.Trial | None = None
        self._candidate = ""
        self._losses: list[float] = []
        self._known: set[str] = set()
        self._finished: set[str] = set()

    def propose(self, history: History) -> str:
        """The same candidate on its next block, until it is done or given up."""
        if self._asked is not None:
            run = history[-1]
            for place, loss in enumerate(run.losses):
                self._asked.report(loss, step=run.block * len(run.losses) + place)
            self._losses += run.losses
            is_given_up = self._asked.should_prune()
            is_done = len(self._losses) >= self.BLOCKS * len(run.losses)
            if not (is_given_up or is_done):
                return self._candidate
            if not is_given_up:
                self._finished.add(self._candidate)
            self.study.tell(self._asked, fmean(self._losses))
        self._ask_for_a_new_one()
        return self._candidate

    def _ask_for_a_new_one(self) -> None:
        last = self.IN_VAIN + self.RANDOM_IN_VAIN - 1
        for attempt in range(last + 1):
            self.study.sampler = self._samplers[attempt >= self.IN_VAIN]
            trial = self.study.ask()
            candidate = _suggested(trial, self.space)
            if candidate not in self._known or attempt == last:
                break
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        self._asked, self._candidate, self._losses = trial, candidate, []
        self._known.add(candidate)

    def recommend(self, history: History) -> Recommendation:
        """The best mean of the candidates that were trained on all blocks, if there are any."""
        return best_mean([run for run in history if run.candidate in self._finished] or history)


def _study(sampler: BaseSampler, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(sampler=sampler, pruner=pruner or optuna.pruners.NopPruner())


def _suggested(trial: optuna.Trial, space: Space) -> str:
    parameters = suggest(trial, space.points.search_space(space.depth))
    return _allocated(parameters, space)


def _allocated(parameters: dict[str, float], space: Space) -> str:
    profile = space.points.profile(parameters, space.depth)
    return str(allocate(profile, space.total, space.minimum))


class Smac:
    """SMAC3's facade for hyperparameters: a random forest, and its intensifier.

    The intensifier races candidates on the same seeds, here blocks, up to 3 for each. Its incumbent
    is taken.

    Parameters
    ----------
    space : Space
    seed : int
    runs : int
        That it may ask for: its initial design is at most a quarter of them.
    """

    def __init__(self, space: Space, seed: int, runs: int) -> None:
        from ConfigSpace import ConfigurationSpace
        from smac import HyperparameterOptimizationFacade, Scenario

        # joblib would start a pool of threads for every prediction.
        os.environ["LOKY_MAX_CPU_COUNT"] = "1"
        logging.getLogger("smac").setLevel(logging.ERROR)
        self.space = space
        ranges = {dimension.name: (dimension.low, dimension.high) for dimension in space.dimensions}
        configurations = ConfigurationSpace(ranges, seed=seed)
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            configurations, n_trials=runs, seed=seed, output_directory=self._folder.name
        )
        self.facade = HyperparameterOptimizationFacade(
            scenario, _no_target, overwrite=True, logging_level=False
        )
        self._asked: Any = None

    def propose(self, history: History) -> str:
        """Tell the last value, and ask."""
        from smac.runhistory.dataclasses import TrialValue

        if self._asked is not None:
            self.facade.tell(self._asked, TrialValue(cost=fmean(history[-1].losses)))
        self._asked = self.facade.ask()
        return self._candidate(self._asked.config)

    def recommend(self, history: History) -> Recommendation:
        """The incumbent; the best mean while there is none."""
        incumbents = self.facade.intensifier.get_incumbents()
        if not incumbents:
            return best_mean(history)
        return Recommendation(self._candidate(incumbents[0]))

    def _candidate(self, configuration: Any) -> str:
        return _allocated(dict(configuration), self.space)


def _no_target(configuration: Any, seed: int = 0) -> float:
    """SMAC wants one, and is told values instead."""
    raise NotImplementedError


class NoisyExpectedImprovement:
    """BoTorch's qLogNEI over a Gaussian process with its default priors.

    Inputs are ln(N_l / mean N) in the unit cube. It begins with 8 random candidates. To save time,
    the process is fitted again after each of the first 16 runs only, and then after every fourth,
    with at most 50 iterations that go on from the last fit. It chooses among 512 schedules of the
    pool, drawn again each time, and the tried ones. It takes the tried candidate of the lowest
    posterior mean.

    Parameters
    ----------
    space : Space
    seed : int
    """

    FIRST, ALWAYS_FITTED, THEN_EVERY, ITERATIONS = 8, 16, 4, 50
    CHOICES, SAMPLES = 512, 64

    def __init__(self, space: Space, seed: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.space = space
        self.generator = np.random.default_rng([seed, 2])
        self.seed = seed
        logs = self._logs(space.pool)
        self._low, self._width = logs.min(axis=0), np.ptp(logs, axis=0)
        self._hyperparameters: Any = None
        self._fitted: tuple[int, Any, Any] = (0, None, None)

    def propose(self, history: History) -> str:
        """The best of random choices and the tried candidates."""
        rows = self.generator.integers(len(self.space.pool), size=self.CHOICES)
        choices = [Schedule(row) for row in map(tuple, self.space.pool[rows].tolist())]
        if len(history) < self.FIRST:
            return str(choices[0])
        import torch
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.sampling import SobolQMCNormalSampler

        tried = [Schedule.parse(candidate) for candidate in values_of(history)]
        model, inputs = self._model(history)
        choices += tried
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            acquisition = qLogNoisyExpectedImprovement(
                model,
                inputs,
                sampler=SobolQMCNormalSampler(torch.Size([self.SAMPLES]), seed=self.seed),
                prune_baseline=True,
            )
            values = acquisition(self._inputs(choices)[:, None])
        return str(choices[int(values.argmax())])

    def recommend(self, history: History) -> Recommendation:
        """The tried candidate of the lowest posterior mean."""
        if len(history) < self.FIRST:
            return best_mean(history)
        import torch

        tried = list(values_of(history))
        model, _ = self._model(history)
        with torch.no_grad():
            means = model.posterior(self._inputs(list(map(Schedule.parse, tried)))).mean
        return Recommendation(tried[int(means.argmax())])

    def _model(self, history: History) -> tuple[Any, Any]:
        """The process of these runs, and its inputs; losses are negative, as it maximizes."""
        length, model, inputs = self._fitted
        if length != len(history):
            model, inputs = self._fit(history)
            self._fitted = len(history), model, inputs
        return model, inputs

    def _fit(self, history: History) -> tuple[Any, Any]:
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Standardize
        from gpytorch.mlls import ExactMarginalLogLikelihood

        inputs = self._inputs([Schedule.parse(run.candidate) for run in history])
        losses = torch.tensor([[-fmean(run.losses)] for run in history], dtype=torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = SingleTaskGP(inputs, losses, outcome_transform=Standardize(1))
            is_due = len(history) <= self.ALWAYS_FITTED or len(history) % self.THEN_EVERY == 0
            if self._hyperparameters is not None:
                model.load_state_dict(self._hyperparameters, strict=False)
            if self._hyperparameters is None or is_due:
                fit_gpytorch_mll(
                    ExactMarginalLogLikelihood(model.likelihood, model),
                    optimizer_kwargs={"options": {"maxiter": self.ITERATIONS}},
                )
                self._hyperparameters = {
                    name: value
                    for name, value in model.state_dict().items()
                    if not name.startswith("outcome_transform")
                }
        return model.eval(), inputs

    def _inputs(self, schedules: Sequence[Schedule]) -> Any:
        import torch

        logs = self._logs(np.array([schedule.counts for schedule in schedules]))
        return torch.tensor((logs - self._low) / self._width)

    def _logs(self, counts: Any) -> Floats:
        return np.asarray(np.log(counts / counts.mean(axis=1, keepdims=True)))


PEERS: dict[str, Callable[[Space, int, int], Method]] = {
    "random": lambda space, seed, runs: OptunaSampler(space, RandomSampler(seed=seed)),
    "TPE": lambda space, seed, runs: OptunaSampler(space, TPESampler(seed=seed, multivariate=True)),
    "TPE, Wilcoxon": lambda space, seed, runs: Wilcoxon(space, seed),
    "GP": lambda space, seed, runs: OptunaSampler(space, GPSampler(seed=seed)),
    "SMAC3": Smac,
    "qLogNEI": lambda space, seed, runs: NoisyExpectedImprovement(space, seed),
}
"""Each makes a method for a space, given a seed and the number of runs."""
SLOW = ("GP", "SMAC3", "qLogNEI")
"""They take 4 to 13 seconds for a study of 100 runs."""
