"""From a trained network to what the log keeps of it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dynamoe_search
from dynamoe_search.budgets import active_parameters, flops_per_token, parameter_count
from dynamoe_search.data import ImageData, TextData
from dynamoe_search.log.runs import RunResult
from dynamoe_search.measure.utilization import load_entropy, mean_normalized_entropy
from dynamoe_search.specification import Specification
from dynamoe_search.training.evaluation import Evaluation
from dynamoe_search.training.loop import SeedResult
from dynamoe_search.training.settings import CurvePoint

_SECONDS_FOR_GIT = 10


def make_result(
    data: ImageData | TextData, network: Specification, training: SeedResult
) -> RunResult:
    """The results and the cost of one seed of a complete training run."""
    validation = training.validation
    mean_active = validation.mean_active
    measured = mean_active or None  # a dense network has none
    # Without plain blocks.
    of_experts = [mean for mean in mean_active if mean]
    loads = [load for load in validation.load if load]
    result = RunResult(
        training_flops=training.flops,
        samples=training.samples,
        fraction=1.0,
        active_experts=sum(of_experts) / len(of_experts) if of_experts else 1.0,
        mean_active=mean_active,
        training_mean_active=training.mean_active,
        total_parameters=parameter_count(network).total,
        active_parameters=active_parameters(network, measured).expected,
        flops_per_token=flops_per_token(network, measured).expected,
        utilization_entropy=mean_normalized_entropy(loads) if measured else None,
        layer_entropy=tuple(load_entropy(load) if load else 0.0 for load in validation.load),
        curve=training.curve,
    )
    return replace(result, **split_result("validation", data, validation), **_origin(data))


def split_result(split: str, data: ImageData | TextData, evaluation: Evaluation) -> dict[str, Any]:
    """The quality of a network on a split: fields of `RunResult`."""
    result: dict[str, Any] = {
        f"{split}_loss": evaluation.loss,
        f"{split}_accuracy": evaluation.accuracy,
    }
    if isinstance(data, TextData):
        result[f"{split}_perplexity"] = evaluation.perplexity
        result[f"{split}_bits_per_byte"] = evaluation.bits_per_byte
    return result


def pruned_result(data: ImageData | TextData, curve: Sequence[CurvePoint]) -> RunResult:
    """The results and the cost of one seed up to the point where its run was ended early."""
    last = curve[-1]
    return RunResult(last.flops, last.samples, last.fraction, curve=tuple(curve), **_origin(data))


def _origin(data: ImageData | TextData) -> dict[str, Any]:
    return {"data": data.fingerprint, "versions": versions(), "commit": commit()}


@cache
def versions() -> dict[str, str]:
    """The versions of everything that decides a result."""
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
