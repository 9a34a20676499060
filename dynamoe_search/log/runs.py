"""Training runs as the log has them: how one starts, what it finds, how it ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter

from dynamoe_search.log.events import Event
from dynamoe_search.plan.constraints import Constraint
from dynamoe_search.training.settings import MOST_SEEDS, CurvePoint

Stage = Literal["search", "confirmation"]
FinalState = Literal["complete", "pruned", "diverged", "out of memory", "error"]
LostState = Literal["died", "interrupted"]
RunState = Literal["running", "superseded"] | FinalState | LostState
ENDED_FOR_GOOD: tuple[FinalState, ...] = get_args(FinalState)
WITH_RESULTS = ("complete", "pruned")
"""The states of runs that have a result for each seed."""
# What the log holds may be damaged: no number may be so large that it breaks a table or a loop.
Count = Annotated[int, Field(ge=0, lt=2**31)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


@dataclass(frozen=True)
class Start:
    """The start of a training run.

    Parameters
    ----------
    stage : {"search", "confirmation"}
    candidate : str
        As `dynamoe_search.plan.candidate.parse_candidate` reads it.
    block : int
        The seed block, from 0; each candidate is trained once per block.
    attempt : int
        From 0; above it where earlier attempts at this block were lost.
    seeds : tuple of int
        Of the block.
    worker, session : str
        Who trains it, and the command that this worker belongs to.
    number : int
        Of the attempt in its stage, from 0. The log takes one start of each number, so that of two
        workers that decide at once one decides again.
    parameters : mapping of str to float, optional
        The candidate in the search space of Optuna; None where it lies outside the family.
    seen : int, optional
        The position in the log up to which the sampler knew results; None where none was asked.
    passed_over : int
        The sampler's proposals before this one that needed no run.
    prunable : bool
        Whether it may be ended early.
    """

    stage: Stage
    candidate: str
    block: Count
    attempt: Count
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS)]
    worker: str
    session: str
    number: Count = 0
    parameters: Mapping[str, float] | None = None
    seen: int | None = None
    passed_over: Annotated[int, Field(ge=0, lt=1000)] = 0
    prunable: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """The candidate and the block: what is trained once per stage."""
        return self.candidate, self.block


@dataclass(frozen=True)
class RunResult:
    """The results and the cost of one seed of a training run; columns of `Study.training_runs`.

    Parameters
    ----------
    training_flops : float
        Counted from the measured K; of a run that was ended early, up to its end.
    samples : int
        Images, or windows of text, seen.
    fraction : float
        The part of the training that was done, from 0 to 1.
    validation_loss, test_loss : float, optional
        In nats; so for ``_accuracy``, and for text ``_perplexity`` and ``_bits_per_byte``. The test
        split is measured in a confirmation only.
    active_experts : float, optional
        K on the validation split, its mean over tokens and the layers with experts;
        ``mean_active`` per layer, 0 for a plain block.
    total_parameters, active_parameters, flops_per_token : float, optional
    utilization_entropy : float, optional
        The mean over the layers with experts of H / ln N; ``layer_entropy`` is H per layer, in
        nats, 0 for a plain block.
    curve : tuple of CurvePoint
    measured : dict of str to float
        What else the study asked for; see `dynamoe_search.measure.quantities.MEASURED`.
    tables : dict of str to list of dict
        The same in detail: ``gradients``, ``utilization``, ``load``, ``representation``.
    seconds : dict of str to float
        Wall (``_seconds``) and CPU (``_cpu_seconds``) time of the run's parts: an equal share of it
        for each seed.
    data, commit : str, optional
        The fingerprint of the data, and the commit of this package.
    versions : dict of str to str
    """

    training_flops: float = 0.0
    samples: int = 0
    fraction: float = 0.0
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_perplexity: float | None = None
    validation_bits_per_byte: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_perplexity: float | None = None
    test_bits_per_byte: float | None = None
    active_experts: float | None = None
    mean_active: tuple[float, ...] = ()
    training_mean_active: tuple[float, ...] = ()
    total_parameters: int | None = None
    active_parameters: float | None = None
    flops_per_token: float | None = None
    utilization_entropy: float | None = None
    layer_entropy: tuple[float, ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    measured: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    data: str | None = None
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def value(self, column: str) -> float:
        """A measured quantity by the name of its column; NaN where there is none."""
        value = self.measured.get(column, getattr(self, column, None))
        return float("nan") if value is None else float(value)


@dataclass(frozen=True)
class Run:
    """One attempt at a training run, as far as the log knows it.

    Parameters
    ----------
    number : int
        From 0, in the order of the starts in its stage.
    start : Start
    started : float
        Seconds since the epoch; ``finished`` likewise.
    state : str
        running, complete, pruned, diverged, out of memory, error; died or interrupted: it is tried
        again; superseded: another attempt at it was finished first.
    message : str
        Why it failed.
    results : tuple of RunResult
        In the order of the seeds; empty where there are none.
    """

    number: int
    start: Start
    started: float
    state: RunState = "running"
    finished: float | None = None
    message: str = ""
    results: tuple[RunResult, ...] = ()


@dataclass(frozen=True)
class Finish:
    """What the log keeps of the end of a run, or of an attempt that was lost.

    A run that is complete, or was pruned, has a result for each seed. One that diverged may have
    the FLOPs it took, as a single one.
    """

    stage: Stage
    candidate: str
    block: Count
    attempt: Count
    state: FinalState | LostState
    message: str = ""
    results: tuple[RunResult, ...] = ()


@dataclass(frozen=True)
class Report:
    """A point of a run's learning curve, its mean over the seeds, which pruners read."""

    candidate: str
    block: Count
    step: Count
    loss: float


START: TypeAdapter[Start] = TypeAdapter(Start)
REPORT: TypeAdapter[Report] = TypeAdapter(Report)
FINISH: TypeAdapter[Finish] = TypeAdapter(Finish)


def started(start: Start) -> Event:
    """The event that a run starts; the log refuses a second start of the same number."""
    return Event("started", asdict(start), f"started {start.stage} {start.number}")


def reported(start: Start, step: int, loss: float) -> Event:
    """The event that a run has reached a point of its learning curve; pruners read these."""
    return Event("reported", asdict(Report(start.candidate, start.block, step, loss)))


def finished(
    start: Start, state: FinalState, results: Sequence[RunResult] = (), message: str = ""
) -> Event:
    """The event that a run has ended for good; the log refuses a second one for its block."""
    finish = Finish(
        start.stage, start.candidate, start.block, start.attempt, state, message, tuple(results)
    )
    return Event(
        "finished", asdict(finish), f"finished {start.stage} {start.candidate} {start.block}"
    )


def are_feasible(results: Collection[RunResult], constraints: Sequence[Constraint]) -> bool:
    """Whether most of some results meet the constraints."""
    met = sum(all(c.violation(result.value(c.key)) <= 0 for c in constraints) for result in results)
    return met > len(results) / 2


def lost(start: Start, state: LostState, message: str = "") -> Event:
    """The event that an attempt has ended without a result, so that the run is tried again."""
    finish = Finish(start.stage, start.candidate, start.block, start.attempt, state, message)
    key = f"lost {start.stage} {start.candidate} {start.block} {start.attempt}"
    return Event("lost", asdict(finish), key)
