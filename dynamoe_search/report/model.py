"""A real model in words and tables: its parameters, its costs, and how good its schedule can be.

All take a ``model`` as `dynamoe_search.read_config` reads it, and the ``workload`` that it is for.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from dynamoe_search.interop.costs import (
    Costs,
    Workload,
    layer_flops,
    least_seconds,
    model_costs,
    parameter_parts,
)
from dynamoe_search.interop.model_bounds import model_bounds
from dynamoe_search.interop.model_config import LayerConfig, ModelConfig
from dynamoe_search.report.table import Column, Table, numbers, texts
from dynamoe_search.report.wording import counted, engineering, percents, span
from dynamoe_search.schedules import Schedule

if TYPE_CHECKING:
    import pandas as pd

    from dynamoe_search.bounds.machine import Machine

_MOST_SPELLED_OUT = 60  # characters of a schedule
_MOST_RUNS = 4  # of layers of one kind, before the last one


def model_record(model: ModelConfig, workload: Workload, machine: Machine) -> dict[str, Any]:
    """All of it as plain data, for JSON.

    Parameters
    ----------
    model, workload
    machine : Machine
        Of one rank.
    """
    costs = model_costs(model, workload)
    decoding, training = least_seconds(model, workload, machine)
    record = {
        "family": model.family,
        "total_parameters": model.total_parameters,
        "active_parameters": model.active_parameters,
        "active_parameters_without_embedding": model.active_parameters_without_embedding,
        "parts": {
            name: {"total": total, "active": active}
            for name, (total, active) in parameter_parts(model).items()
        },
        "layers": [
            {
                **asdict(layer),
                "total_parameters": layer.total_parameters,
                "active_parameters": layer.active_parameters,
                "decoding_flops": _decoding(layer, model, workload),
                "distinct_experts": distinct,
            }
            for layer, distinct in zip(model.layers, costs.distinct_experts, strict=True)
        ],
        "workload": asdict(workload),
        "machine": asdict(machine),
        "costs": {key: value for key, value in asdict(costs).items() if key != "distinct_experts"}
        | {"decoding_seconds": decoding, "training_seconds": training},
        "notes": list(model.notes),
    }
    if model.moe_layers:
        bounds = model_bounds(model, workload.batch, workload.expert_parallel)
        record["schedule"] = str(model.schedule)
        record["active_schedule"] = str(model.active_schedule)
        record["bounds"] = bounds.astype({"most_schedule": str}).to_dict("index")
    return record


def parts_table(model: ModelConfig) -> Table:
    """The parameters of each part."""
    rows = [
        (name, f"{total:,}", f"{100 * total / model.total_parameters:.1f} %", f"{active:,}")
        for name, (total, active) in parameter_parts(model).items()
        if total
    ]
    rows.append(("all", f"{model.total_parameters:,}", "100.0 %", f"{model.active_parameters:,}"))
    columns = (
        Column("part", is_name=True),
        *numbers("parameters", "share", "that a token uses"),
    )
    return Table(columns, rows, emphasized=(len(rows) - 1,))


def layers_table(model: ModelConfig, workload: Workload) -> Table:
    """Each kind of layer; those that are the same are one row."""
    places: dict[LayerConfig, list[int]] = {}
    for place, layer in enumerate(model.layers):
        places.setdefault(layer, []).append(place)
    rows = [_row(layer, found, model, workload) for layer, found in places.items()]
    columns = (
        Column("layers", is_name=True),
        *texts("mixer"),
        *numbers("experts", "active", "expert width", "parameters", "of a token", "FLOPs", "cache"),
    )
    caption = (
        "Of one layer: its parameters, and those that a token uses; FLOPs of decoding at a context"
        f" of {workload.context:,}; bytes that a token adds to the cache. Dense: without experts."
    )
    return Table(columns, rows, caption=caption)


def _row(
    layer: LayerConfig, places: list[int], model: ModelConfig, workload: Workload
) -> tuple[str, ...]:
    shared = f" + {layer.shared_hidden} shared" if layer.shared_hidden else ""
    width = f"{layer.expert_hidden}{shared}" if layer.experts else "-"
    window = "" if layer.window is None else f", window {layer.window:,}"
    return (
        _places(places),
        layer.mixer + window,
        str(layer.experts) if layer.experts else "dense" if layer.dense_hidden else "-",
        str(layer.active) if layer.experts else "-",
        width,
        engineering(layer.total_parameters).rstrip(),
        engineering(layer.active_parameters).rstrip(),
        engineering(_decoding(layer, model, workload)).rstrip(),
        f"{workload.cache_bytes * layer.cache_elements:,.0f} B",
    )


def _places(places: list[int]) -> str:
    """Where layers of one kind are.

    Examples
    --------
    >>> _places([3, 4, 5]), _places([0, 2, 3]), _places([*range(0, 64, 2)])
    ('3 to 5', '0, 2 to 3', '0, 2, 4, 6, ..., 62 (32 layers)')
    """
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    texts_of_runs = [span(str(run[0]), str(run[-1])) for run in runs]
    if len(runs) > _MOST_RUNS + 1:
        texts_of_runs[_MOST_RUNS:-1] = ["..."]
        texts_of_runs[-1] += f" ({len(places)} layers)"
    return ", ".join(texts_of_runs)


def _decoding(layer: LayerConfig, model: ModelConfig, workload: Workload) -> float:
    seen = workload.context if layer.window is None else min(layer.window, workload.context)
    return layer_flops(layer, model.width, seen, layer.decoding_score_flops)


def model_sentences(model: ModelConfig, workload: Workload, machine: Machine) -> list[str]:
    """What the model is, what it costs, and how far its schedule is from the best of its budget."""
    costs = model_costs(model, workload)
    sentences = [
        _size(model),
        _flops(model, workload, costs),
        _memory(workload, costs),
        _times(model, workload, costs, machine),
    ]
    if model.moe_layers:
        sentences += _bounds(model, workload)
    return sentences + list(model.notes)


def _size(model: ModelConfig) -> str:
    size = (
        f"{model.family}: {model.depth} layers of width {model.width:,},"
        f" {_count(model.total_parameters)} parameters. A token uses"
        f" {_count(model.active_parameters)}"
    )
    if not model.vocabulary:
        return f"{size}."
    if model.tied:
        return f"{size}, with the table that is both input embedding and output head."
    return (
        f"{size} with the input embedding, as Mixtral and Qwen count, and"
        f" {_count(model.active_parameters_without_embedding)} without it, as DeepSeek and gpt-oss"
        " count."
    )


def _count(parameters: int) -> str:
    """A number of parameters in words.

    Examples
    --------
    >>> _count(46_702_792_704), _count(1_234_567)
    ('46.7 billion', '1.23 million')
    """
    if parameters >= 999_500_000:
        return f"{parameters / 1e9:.{3 if parameters < 999.5e9 else 4}g} billion"
    return f"{parameters / 1e6:.3g} million"


def _flops(model: ModelConfig, workload: Workload, costs: Costs) -> str:
    forward, training = engineering(costs.prefill_flops), engineering(costs.training_flops)
    start = f"FLOPs per token at a context of {workload.context:,}:"
    if not model.vocabulary:
        return f"{start} forward {forward.rstrip()}, training {training.rstrip()}."
    return (
        f"{start} prefill {forward.rstrip()}, decoding"
        f" {engineering(costs.decoding_flops).rstrip()}, training {training.rstrip()}."
    )


def _memory(workload: Workload, costs: Costs) -> str:
    all_of_it = (
        f"Memory: weights {_bytes(costs.weight_bytes)}, optimizer {_bytes(costs.optimizer_bytes)},"
        f" caches of {counted(workload.batch, 'sequence')} {_bytes(costs.cache_bytes)}."
    )
    if workload.expert_parallel == 1:
        return all_of_it
    return (
        f"{all_of_it} Of each of {workload.expert_parallel} expert-parallel ranks: weights"
        f" {_bytes(costs.rank_weight_bytes)}, optimizer {_bytes(costs.rank_optimizer_bytes)}, cache"
        f" {_bytes(costs.rank_cache_bytes)}."
    )


def _times(model: ModelConfig, workload: Workload, costs: Costs, machine: Machine) -> str:
    decoding, training = least_seconds(model, workload, machine)
    tokens = workload.batch * workload.context
    touched, total = sum(costs.distinct_experts), model.expert_total
    experts = f"touches {touched:,.1f} of {total:,} experts, " if total else ""
    return (
        f"A step of {counted(workload.batch, 'token')} {experts}reads"
        f" {_bytes(workload.weight_bytes * costs.read_parameters)} of weights, and takes at least"
        f" {engineering(decoding)}s; a training step of {tokens:,} tokens at least"
        f" {engineering(training)}s, with {engineering(machine.peak_flops)}FLOP/s and"
        f" {engineering(machine.bandwidth)}B/s per rank."
    )


def _bounds(model: ModelConfig, workload: Workload) -> list[str]:
    bounds = model_bounds(model, workload.batch, workload.expert_parallel)
    ways, entropy = bounds.loc["log2_configurations"], bounds.loc["entropy_ceiling"]
    sentences = [
        f"Its schedule {_short(model.schedule)} can route a token in 2^{ways['value']:.1f} ways;"
        f" of all schedules of its {model.expert_total:,} experts with the same k,"
        f" {_best(model, ways)}, the fewest has 2^{ways['least']:.1f}."
    ]
    if len({model.layers[place].expert_parameters for place in model.moe_layers}) > 1:
        sentences.append(
            "Its experts differ in size between layers, so these schedules differ in parameters."
        )
    if ways["share"] < 1:
        sentences.append(
            f"That is {percents(ways['share'])} of the most bits. Its load entropy can be at most"
            f" {entropy['value']:.3f} nats per layer, of {entropy['most']:.3f} at most."
        )
    return sentences


def _best(model: ModelConfig, row: pd.Series) -> str:
    if row["share"] == 1:
        return "none has more"
    counts = iter(row["most_schedule"])
    whole = Schedule(tuple(next(counts) if n else 0 for n in model.schedule))
    return f"the most has 2^{row['most']:.1f} ({_short(whole)})"


def _short(schedule: Schedule) -> str:
    """A schedule as text; where that is long, with the number of equal layers in a row.

    Examples
    --------
    >>> _short(Schedule((4, 2))), _short(Schedule((0, *[256] * 58)))
    ('4-2', '0, 58 x 256')
    """
    if len(str(schedule)) <= _MOST_SPELLED_OUT:
        return str(schedule)
    runs = [(count, len(list(group))) for count, group in groupby(schedule)]
    return ", ".join(f"{n} x {count}" if n > 1 else str(count) for count, n in runs)


def _bytes(count: float) -> str:
    return f"{engineering(count)}B"
