"""Studies whose training runs are made up: logged as a search would, in a moment."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynamoe_search.log.begin import begin_study
from dynamoe_search.log.events import Event, Log
from dynamoe_search.log.runs import RunResult, finished, started
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import open_log
from dynamoe_search.plan.candidate import DenseBaseline, parse_candidate
from dynamoe_search.plan.confirmation import Until, loss_alone, plan_confirmation
from dynamoe_search.plan.plan import DataShape, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.run.session import Session
from dynamoe_search.search.policy import ConfirmationPolicy, Policy, SearchPolicy, leaders
from dynamoe_search.study import Study
from dynamoe_search.training.settings import CurvePoint

GROUPS = ("trunk", "router", "experts", "network")


def begin(path: Path, name: str | None = None, storage: str | None = None) -> Study:
    """A study that has begun, without any training run."""
    study = Study(path, storage, name)
    with open_log(study.storage, create=True) as log:
        study_file = read_study_file(path)
        data = study.data
        shape = DataShape.of(data)
        begin_study(log, State(), study_file, data.fingerprint, study.storage, shape=shape)
    return study


def search(
    path: Path,
    most: int = 1000,
    measured: bool = False,
    name: str | None = None,
    storage: str | None = None,
) -> None:
    """Search as the file says, at most so many runs; descending schedules are the best."""
    study = begin(path, name, storage)
    with open_log(study.storage, create=False) as log:
        _fill(log, SearchPolicy(study.plan), study.data.fingerprint, most, measured)


def confirm(path: Path, seeds: int | None = 4, most_seeds: int | None = None) -> None:
    """Confirm it from some seeds; or until all is decided, where the most seeds are given."""
    study, state = Study(path), State()
    plan = make_plan(loss_alone(study.file), study.data)
    with open_log(study.storage, create=False) as log:
        catch_up(log, state)
        in_order = leaders(state.search, study.file.search)
        until: Until = "seeds" if most_seeds is None else "decided"
        confirmation = plan_confirmation(
            state.confirmation, plan, in_order, {}, seeds, None, until, most_seeds
        )
        log.append(Event("confirmation", confirmation.dump()))
        _fill(log, ConfirmationPolicy(plan, confirmation), study.data.fingerprint, 1000, False)


def _fill(log: Log, policy: Policy, data: str, most: int, measured: bool) -> None:
    state = State()

    def read() -> None:
        catch_up(log, state, policy.follow)

    read()
    for _ in range(most):
        start = policy.ask(state, worker="", session="")
        if start is None:
            break
        results = [
            made_up_result(start.candidate, seed, data, measured, policy.stage)
            for seed in start.seeds
        ]
        log.append(started(start), finished(start, "complete", results))
        read()


def made_up_result(
    candidate: str, seed: int, data: str, measured: bool = False, stage: str = "search"
) -> RunResult:
    """What a run might have found: the more experts early, the lower the loss."""
    parsed = parse_candidate(candidate)
    generator = np.random.default_rng([seed, *candidate.encode()])
    counts = (4, 4, 4, 4) if isinstance(parsed, DenseBaseline) else parsed.schedule.counts
    tilt = float(np.dot(counts, np.linspace(-1, 1, len(counts)))) / sum(counts)
    loss = 0.5 + 0.2 * tilt + 0.004 * float(generator.standard_normal())
    parts = ("deciding", "training", "evaluation", "measuring")
    seconds = {f"{part}_seconds": 1.0 for part in parts} | {"training_cpu_seconds": 1.0}
    return RunResult(
        training_flops=1e9 * len(counts) / 4,
        samples=1000,
        fraction=1.0,
        validation_loss=loss,
        validation_accuracy=1 - loss / 5,
        test_loss=loss if stage == "confirmation" else None,
        test_accuracy=0.9 if stage == "confirmation" else None,
        active_experts=1.0,
        mean_active=(1.0,) * len(counts),
        total_parameters=4000,
        active_parameters=2000.0,
        flops_per_token=4000.0 + counts[0],
        utilization_entropy=0.9,
        layer_entropy=tuple(0.9 * float(np.log(count)) for count in counts),
        curve=tuple(CurvePoint(part, 1, 1.0, loss + 1 - part, 0.5) for part in (0.25, 0.5, 1.0)),
        seconds=seconds,
        data=data,
        commit="0123456789abcdef",
        versions={"python": "3.11.4", "torch": "2.13"},
        **(_measurements(counts, generator) if measured else {}),
    )


def _measurements(counts: tuple[int, ...], generator: np.random.Generator) -> dict[str, Any]:
    layers = range(1, len(counts) + 1)
    shares = [generator.dirichlet(np.full(count, 5.0)).tolist() for count in counts]
    numbers = {"gini": 0.2, "dead_experts": 0.0, "effective_rank": 4.0, "gradient_noise": 100.0}
    gradients = [
        {
            "fraction": part,
            "group": group,
            "trace": 10.0 * (1 + part),
            "squared_norm": 0.1 + 0.01 * float(generator.uniform()),
            "noise_scale": 100.0,
        }
        for part in (0.25, 0.5, 1.0)
        for group in GROUPS
    ]
    load = [
        {"layer": layer, "expert": expert, "load": round(1000 * share), "share": share}
        for layer in layers
        for expert, share in enumerate(shares[layer - 1], start=1)
    ]
    ranks = [
        {"layer": layer, "width": 8, "effective_rank": 8 / layer, "rank_share": 1 / layer}
        for layer in layers
    ]
    utilization = [{"layer": layer, "experts": counts[layer - 1]} for layer in layers]
    tables = {"gradients": gradients, "load": load, "representation": ranks}
    return {"measured": numbers, "tables": tables | {"utilization": utilization}}


def ladder(exponent: float = -0.1, size: float = -0.05, seeds: int = 4) -> pd.DataFrame:
    """A ladder in which pyramid differs from uniform by a power law, as `Study.ladder` gives it."""
    generator = np.random.default_rng(1)
    rows = []
    for scale, flops in enumerate((1e9, 8e9, 6.4e10), start=1):
        for seed in range(seeds):
            shared = 2.0 * (flops / 1e9) ** -0.1 + 0.01 * generator.standard_normal()
            own = size * (flops / 1e9) ** exponent + 0.001 * generator.standard_normal()
            about = {"scale": scale, "seed": seed, "training_flops": flops}
            about |= {"group": "pattern", "total_parameters": 1e5 * scale, "samples": 1000.0}
            rows += [
                about | {"label": "uniform", "candidate": "4-4-4", "loss": shared},
                about | {"label": "pyramid", "candidate": "3-6-3", "loss": shared + own},
            ]
    return pd.DataFrame(rows)


def carry_on(session: Session, log: Log, policy: Policy) -> str:
    """In place of what trains: all runs that are left, made up."""
    state = State()
    catch_up(log, state)
    _fill(log, policy, str(state.data), 1000, False)
    return "finished"
