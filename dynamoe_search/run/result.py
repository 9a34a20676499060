"""What is kept of a training, as JSON: what it found, what it cost, and how to repeat it."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dynamoe_search
from dynamoe_search.budgets import active_parameters, flops_per_token, parameter_count
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.measure.utilization import load_entropy, mean_normalized_entropy
from dynamoe_search.training.evaluation import Evaluation
from dynamoe_search.training.loop import TrainingResult
from dynamoe_search.training.settings import CurvePoint

_SECONDS_FOR_GIT = 10


def make_result(data: ImageData | TextData, training: TrainingResult) -> dict[str, Any]:
    """What a training has found and cost.

    Parameters
    ----------
    data : ImageData or TextData
    training : TrainingResult
    """
    network = training.model.specification
    validation = training.validation
    mean_active = validation.mean_active
    measured = mean_active or None  # a dense network has none
    result: dict[str, Any] = {
        **split_result("validation", data, validation),
        "active_experts": sum(mean_active) / len(mean_active) if mean_active else 1.0,
        "mean_active": list(mean_active),
        "training_mean_active": list(training.mean_active),
        "total_parameters": parameter_count(network).total,
        "active_parameters": active_parameters(network, measured).expected,
        "flops_per_token": flops_per_token(network, measured).expected,
        "training_flops": training.flops,
        "samples": training.samples,
        "curve": [asdict(point) for point in training.curve],
        "data": data.fingerprint,
        "versions": versions(),
        "commit": commit(),
    }
    if measured:
        result["utilization_entropy"] = mean_normalized_entropy(validation.load)
        result["layer_entropy"] = [load_entropy(load) for load in validation.load]
    return result


def split_result(name: str, data: ImageData | TextData, evaluation: Evaluation) -> dict[str, Any]:
    """How good a network is on a split, each key beginning with the split's name."""
    result: dict[str, Any] = {
        f"{name}_loss": evaluation.loss,
        f"{name}_accuracy": evaluation.accuracy,
    }
    if isinstance(data, TextData):
        result[f"{name}_perplexity"] = evaluation.perplexity
        result[f"{name}_bits_per_byte"] = evaluation.bits_per_byte
    return result


def make_spent(curve: list[CurvePoint], data: ImageData | TextData) -> dict[str, Any]:
    """What a training had found and cost when it was ended early."""
    return {
        "fraction": curve[-1].fraction,
        "training_flops": curve[-1].flops,
        "samples": curve[-1].samples,
        "curve": [asdict(point) for point in curve],
        "data": data.fingerprint,
        "versions": versions(),
        "commit": commit(),
    }


@cache
def versions() -> dict[str, str]:
    """The versions of all that decides a result."""
    return {
        "dynamoe_search": dynamoe_search.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "optuna", "scipy")},
    }


@cache
def commit() -> str | None:
    """The commit of this code, with a plus where files differ from it; None outside a clone."""
    root = Path(dynamoe_search.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(root), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=_SECONDS_FOR_GIT,
            ).stdout.strip()
            for command in (
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--untracked-files=no", "--", "dynamoe_search"],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changes else "")
