"""The networks of a study's training runs: kept, or trained again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import Run, Start
from dynamoe_search.log.state import Progress
from dynamoe_search.models import Model, single_network
from dynamoe_search.plan.candidate import parse_candidate
from dynamoe_search.plan.plan import Plan
from dynamoe_search.training.checkpoint import load_model, read_about, save_model
from dynamoe_search.training.evaluation import evaluate
from dynamoe_search.training.loop import Data, train
from dynamoe_search.training.settings import CurvePoint

MODELS = "models"
_SAME_LOSS = 1e-3  # of a kept network; another machine may measure it a little differently


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that a search has trained.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
    data : ImageData or TextData
        What it was trained on.
    plan : Plan
        That of the study.
    run : int
    candidate : str
    block, seed : int
    recorded_loss : float
        On the validation split, in nats.
    path : Path
        Where it is kept.
    loss_again : float or None
        The loss after training it again, which is equal on the same machine and versions; None
        where that was not needed.
    """

    model: Model
    data: Data
    plan: Plan
    run: int
    candidate: str
    block: int
    seed: int
    recorded_loss: float
    path: Path
    loss_again: float | None


def trained_network(
    run: Run,
    seed: int,
    plan: Plan,
    data: Data,
    folder: Path,
    device: str = "cpu",
    on_start: Callable[[int, str], None] = lambda run, candidate: None,
    on_evaluation: Callable[[CurvePoint, Model], None] | None = None,
) -> TrainedNetwork:
    """The network of a complete run: the one that was kept, or the same, trained again and kept.

    Parameters
    ----------
    run : Run
    seed : int
        One of the run's.
    plan : Plan
    data : ImageData or TextData
        On the device.
    folder : Path
        Where networks of the study are kept.
    device : str
        The torch device.
    on_start : callable
        Called with the run and the candidate before the network is trained again.
    on_evaluation : callable, optional
        Called with each point of the learning curve and the network; then it is trained again in
        any case.
    """
    start = run.start
    place = start.seeds.index(seed)
    recorded = run.results[place].value("validation_loss")
    path, about = (
        _path(folder, run.number, start, seed),
        _about(folder, run.number, start, seed, data),
    )
    precision = plan.study.training.precision
    kept = None
    with suppress(InvalidInput):
        if read_about(path) == about:
            kept = load_model(path, device)
    if kept is not None:
        # A study that was begun again has other networks with the same numbers.
        found = evaluate(kept, data.validation, precision).loss
        kept = kept if math.isclose(found, recorded, rel_tol=_SAME_LOSS) else None
    if kept is not None and on_evaluation is None:
        model, again = kept, None
    else:
        on_start(run.number, start.candidate)
        with one_thread_here():
            result = train(
                plan.network_with(parse_candidate(start.candidate)),
                data,
                plan.study.training,
                start.seeds,
                on_evaluation=_of_one_seed(on_evaluation, place),
            )
        model, again = result.network(place), result.of_seeds[place].validation.loss
        if kept is None and again == recorded:
            # A network can be looked at even where it cannot be kept.
            with suppress(OSError, InvalidInput):
                _keep_network(model, folder, run.number, start, seed, data)
    return TrainedNetwork(
        model=model,
        data=data,
        plan=plan,
        run=run.number,
        candidate=start.candidate,
        block=start.block,
        seed=seed,
        recorded_loss=recorded,
        path=path,
        loss_again=again,
    )


def find_run(progress: Progress, leader: str | None, run: int | None, candidate: str | None) -> Run:
    """A complete run: by its number, or the first block of a candidate, or of the leader.

    Raises
    ------
    InvalidInput
        Where there is none.
    """
    complete = {one.number: one for one in progress.runs if one.state == "complete"}
    if not complete:
        raise InvalidInput("no training run of this study is complete yet")
    if run is not None:
        if run not in complete:
            state = progress.runs[run].state if 0 <= run < len(progress.runs) else "missing"
            raise InvalidInput(
                f"run {run} is {state}; choose one that is complete, from 0 to {max(complete)}:"
                " dynamoe-search leaderboard lists the candidates"
            )
        return complete[run]
    name = leader if candidate is None else str(parse_candidate(candidate))
    own = [one for one in complete.values() if one.start.candidate == name]
    if not own:
        known = sorted(progress.results)
        raise InvalidInput(
            f"{name} was not trained to its end in this study; {len(known)} candidates were,"
            f" such as {', '.join(known[:3])}: dynamoe-search leaderboard lists them"
        )
    return min(own, key=lambda one: one.start.block)


def keep_networks(model: Model, folder: Path, number: int, start: Start, data: Data) -> None:
    """Keep the networks of a run, a file per seed, with what identifies them."""
    for place, seed in enumerate(start.seeds):
        _keep_network(single_network(model, place), folder, number, start, seed, data)


def _keep_network(
    model: Model, folder: Path, number: int, start: Start, seed: int, data: Data
) -> None:
    path = _path(folder, number, start, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, path, _about(folder, number, start, seed, data))


def _of_one_seed(
    look: Callable[[CurvePoint, Model], None] | None, place: int
) -> Callable[[Sequence[CurvePoint], Model], None]:
    """What looks at one of the networks that are trained at once."""
    if look is None:
        return lambda points, model: None
    return lambda points, model: look(points[place], single_network(model, place))


@contextmanager
def one_thread_here() -> Iterator[None]:
    """Compute on one thread in the block, as workers do: only then a run gives the same network."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _path(folder: Path, number: int, start: Start, seed: int) -> Path:
    return folder / MODELS / f"{start.stage}-{number:05d}-{seed}.safetensors"


def _about(folder: Path, number: int, start: Start, seed: int, data: Data) -> dict[str, Any]:
    return {
        "study": folder.resolve().name,
        start.stage: number,
        "candidate": start.candidate,
        "block": start.block,
        "seed": seed,
        "data": data.fingerprint,
    }
