"""Hand a schedule to a trainer or a model library, and read it back."""

from __future__ import annotations

from dataclasses import dataclass

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.formats.layers import Experts, refuse
from dynamoe_search.interop.formats.table import format_of
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.interop.spread import spread_schedule
from dynamoe_search.schedules import Schedule


@dataclass(frozen=True)
class Export:
    """A schedule as a trainer reads it.

    Parameters
    ----------
    text : str
        What to write to a file.
    model : ModelConfig
        The model with these experts; its ``schedule`` and ``active_schedule`` are per layer.
    residual : int
        By how many parameters it is larger than the given model.
    warnings : tuple of str
        Sentences that a user of the text must know.
    """

    text: str
    model: ModelConfig
    residual: int
    warnings: tuple[str, ...]


def export_schedule(
    schedule: Schedule,
    config: ModelConfig,
    format: str,
    active: Schedule | None = None,
    expert_parallel: int = 1,
    minimum: int = 1,
) -> Export:
    """Spread a schedule over a real model, and write it as a trainer or a model library reads it.

    Parameters
    ----------
    schedule, config, active, expert_parallel, minimum
        As for `dynamoe_search.interop.spread.spread_schedule`.
    format : str
        A name of `dynamoe_search.interop.formats.table.FORMATS`, such as ``hf``.

    Raises
    ------
    InvalidInput
        Where the model or the format cannot have the schedule: the message names the layer.
    """
    target = format_of(format)
    if expert_parallel < 1:
        raise InvalidInput(
            f"the expert-parallel degree is {expert_parallel}; it must be at least 1"
        )
    model = spread_schedule(config, schedule, active, expert_parallel, minimum)
    if not target.places:
        for place in config.moe_layers:
            if not model.layers[place].experts:
                raise refuse(place, format, "it would be dense, and has experts in the config")
    residual = model.total_parameters - config.total_parameters
    return Export(target.write(model, expert_parallel), model, residual, target.warnings)


def import_schedule(text: str, format: str, where: str = "the text") -> Experts:
    """The schedule and the active schedule that a text of a format says.

    Parameters
    ----------
    text : str
        Untrusted; code in it is parsed, and not run.
    format : str
        As for `export_schedule`.
    where : str
        What the text is called in messages.

    Returns
    -------
    Schedule
        The experts of each layer, 0 where it is dense.
    Schedule or None
        The active experts of each layer, 0 where it is dense; None where the text does not say.

    Raises
    ------
    InvalidInput
        Where the text is not of the format.

    Examples
    --------
    >>> schedule, active = import_schedule("--num-experts 8 6 4 2 --expert-interval 1",
    ...                                    "megatron-deepspeed")
    >>> str(schedule), str(active)
    ('8-6-4-2', '1-1-1-1')
    """
    return format_of(format).read(text, where)
