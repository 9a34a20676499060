"""A simulated search: a method decides what to train, and known losses answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from benchmarks.landscapes import Problem


@dataclass(frozen=True)
class Run:
    """A training run: a candidate's losses on a block, one per seed."""

    candidate: str
    block: int
    losses: tuple[float, ...]


History = Sequence[Run]


@dataclass(frozen=True)
class Recommendation:
    """The candidate to take, and a 95 % bound on its regret in nats; None where there is none."""

    candidate: str
    bound: float | None = None


class Method(Protocol):
    """A way to decide. It is asked and told in turn, from an empty history on."""

    def propose(self, history: History) -> str:
        """The candidate to train on its next block."""

    def recommend(self, history: History) -> Recommendation:
        """The candidate to take after these runs, at least one."""


def values_of(history: History) -> dict[str, list[float]]:
    """The mean losses of each candidate's blocks."""
    values: dict[str, list[float]] = {}
    for run in history:
        values.setdefault(run.candidate, []).append(fmean(run.losses))
    return values


def best_mean(history: History) -> Recommendation:
    """The candidate of the lowest mean loss over its blocks."""
    means = {candidate: fmean(values) for candidate, values in values_of(history).items()}
    return Recommendation(min(means, key=lambda name: (means[name], name)))


def searched(problem: Problem, method: Method, runs: int) -> Iterator[History]:
    """The training runs so far, after each run."""
    history: list[Run] = []
    blocks: dict[str, int] = {}
    for _ in range(runs):
        candidate = method.propose(history)
        block = blocks.get(candidate, 0)
        blocks[candidate] = block + 1
        history.append(Run(candidate, block, problem.losses(candidate, block)))
        yield history


def simulate(problem: Problem, method: Method, runs: int) -> tuple[list[float], list[float | None]]:
    """The regrets, and the bounds on them, after each of a number of training runs."""
    regrets, bounds = [], []
    for history in searched(problem, method, runs):
        taken = method.recommend(history)
        regrets.append(round(problem.regret(taken.candidate), 7))
        bounds.append(None if taken.bound is None else round(taken.bound, 7))
    return regrets, bounds
