"""Studies whose trainings are made up: recorded as a search would, in a moment."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from dynamoe_search.log.definition import check_data, record_study_file
from dynamoe_search.log.records import record_result
from dynamoe_search.run.confirm import confirm_study, loss_alone
from dynamoe_search.run.run import directions_of
from dynamoe_search.search.agenda import ConfirmationAgenda
from dynamoe_search.search.assignment import next_assignment

from dynamoe_search.log.storage import begin_study, open_study, place_of
from dynamoe_search.plan.candidate import DenseBaseline, parse_candidate
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.run.worker import load_study_data

GROUPS = ("trunk", "router", "experts", "network")


def begin(path: Path, name: str | None = None) -> tuple[Any, Plan, Any]:
    """A study that has begun, without any training."""
    study_file = read_study_file(path)
    place = place_of(path.parent, None, name)
    data = load_study_data(study_file, None)
    study = begin_study(place, directions_of(study_file))
    record_study_file(study, study_file, place)
    check_data(study, data, place)
    return study, make_plan(study_file, data), data


def search(path: Path, most: int = 1000, measured: bool = False, name: str | None = None) -> None:
    """Search as the file says, at most so many trainings; descending schedules are the best."""
    study, plan, data = begin(path, name)
    for _ in range(most):
        assignment = next_assignment(study, plan, worker="", run="")
        if assignment is None:
            break
        claim = assignment.claim
        result = made_up_result(claim.candidate, claim.seed, data.fingerprint, measured)
        record_result(study, assignment.trial, claim, result, plan.study.search)


def confirm(path: Path, seeds: int = 4) -> None:
    """Confirm it."""

    def stop(plan: Plan, confirmation: object) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        confirm_study(path, seeds, on_start=stop)
    study_file = loss_alone(read_study_file(path))
    data = load_study_data(study_file, None)
    plan = make_plan(study_file, data)
    study = open_study(place_of(path.parent).confirmation)
    kept = study.user_attrs["confirmation"]
    agenda = ConfirmationAgenda(tuple(kept["names"]), kept["seeds"][-1])
    while (assignment := agenda.next(study, study.runs, plan, "", "")) is not None:
        claim = assignment.claim
        result = made_up_result(claim.candidate, claim.seed, data.fingerprint, measured=False)
        result |= {"test_loss": result["validation_loss"], "test_accuracy": 0.9}
        record_result(study, assignment.trial, claim, result, study_file.search)


def made_up_result(candidate: str, seed: int, data: str, measured: bool) -> dict[str, Any]:
    """What a training might have found: the more experts early, the lower the loss."""
    parsed = parse_candidate(candidate)
    generator = np.random.default_rng([seed, *candidate.encode()])
    counts = (4, 4, 4, 4) if isinstance(parsed, DenseBaseline) else parsed.schedule.counts
    tilt = float(np.dot(counts, np.linspace(-1, 1, len(counts)))) / sum(counts)
    loss = 0.5 + 0.2 * tilt + 0.004 * float(generator.standard_normal())
    result: dict[str, Any] = {
        "validation_loss": loss,
        "validation_accuracy": 1 - loss / 5,
        "active_experts": 1.0,
        "mean_active": [1.0] * len(counts),
        "layer_entropy": [0.9 * float(np.log(count)) for count in counts],
        "utilization_entropy": 0.9,
        "total_parameters": 4000,
        "active_parameters": 2000.0,
        "flops_per_token": 4000.0 + counts[0],
        "training_flops": 1e9,
        "samples": 1000,
        "curve": [
            {"fraction": part, "samples": 1, "flops": 1.0, "loss": loss + 1 - part, "accuracy": 0.5}
            for part in (0.25, 0.5, 1.0)
        ],
        "data": data,
        "commit": "0123456789abcdef",
        "versions": {"python": "3.11.4", "torch": "2.13"},
        **{f"{part}_seconds": 1.0 for part in ("deciding", "training", "evaluation", "measuring")},
        "training_cpu_seconds": 1.0,
    }
    return result | (_measurements(counts, generator) if measured else {})


def _measurements(counts: tuple[int, ...], generator: np.random.Generator) -> dict[str, Any]:
    layers = range(1, len(counts) + 1)
    shares = [generator.dirichlet(np.full(count, 5.0)).tolist() for count in counts]
    return {
        "gini": 0.2,
        "dead_experts": 0.0,
        "effective_rank": 4.0,
        "gradient_noise": 100.0,
        "gradients": [
            {
                "fraction": part,
                "group": group,
                "trace": 10.0 * (1 + part),
                "squared_norm": 0.1 + 0.01 * float(generator.uniform()),
                "noise_scale": 100.0,
            }
            for part in (0.25, 0.5, 1.0)
            for group in GROUPS
        ],
        "utilization": [{"layer": layer, "experts": counts[layer - 1]} for layer in layers],
        "load": [
            {"layer": layer, "expert": expert, "load": round(1000 * share), "share": share}
            for layer in layers
            for expert, share in enumerate(shares[layer - 1], start=1)
        ],
        "representation": [
            {"layer": layer, "width": 8, "effective_rank": 8 / layer, "rank_share": 1 / layer}
            for layer in layers
        ],
    }
