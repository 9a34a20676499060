"""What was exported, or imported: in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from dynamoe_search.interop.export import Export
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.schedules import Schedule


def export_sentences(export: Export, config: ModelConfig) -> list[str]:
    """What a model has after an export, against the given one.

    Parameters
    ----------
    export : Export
    config : ModelConfig
        The given model.
    """
    model, total = export.model, config.total_parameters
    if export.residual == 0:
        equal = "exactly as many as the given config"
    else:
        equal = (
            f"{abs(export.residual):,} {'more' if export.residual > 0 else 'fewer'} than the given"
            f" config ({export.residual / total:+.2%})"
        )
    sentences = [
        *schedule_sentences(model.schedule, model.active_schedule),
        f"Total parameters: {model.total_parameters:,}, {equal}.",
        f"Active parameters: {model.active_parameters:,}; the given config has"
        f" {config.active_parameters:,}.",
    ]
    if model.expert_total != config.expert_total:
        sentences.append(
            f"Experts of all layers together: {model.expert_total:,}; the given config has"
            f" {config.expert_total:,}."
        )
    return [*sentences, *(f"Note: {one}" for one in (*export.warnings, *config.notes))]


def schedule_sentences(schedule: Schedule, active: Schedule | None) -> Iterator[str]:
    """Experts, and active experts, of each layer."""
    yield f"Experts per layer: {schedule}"
    if active is not None:
        yield f"Active experts per layer: {active}"
