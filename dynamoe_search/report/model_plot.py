"""A real model, drawn: its layers, and how its costs grow with context and batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from dynamoe_search.interop.costs import Workload, decoding_flops, model_costs
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.report.figure import BLUE, GRAY, GREEN, ORANGE, in_own_style, panels

_MOST_TOKENS = 12  # batches of 1 to 2^12 tokens
_LONGEST = 17  # contexts of 2^7 to 2^17 tokens


@in_own_style
def plot_model(model: ModelConfig, workload: Workload | None = None) -> Figure:
    """The experts and parameters of each layer, and costs by context and by batch.

    Parameters
    ----------
    model : ModelConfig
    workload : Workload, optional
        Its context and batch are marked.
    """
    workload = Workload() if workload is None else workload
    figure, ((experts, parameters), (flops, read)) = panels(2, 2, 11, 7)
    _plot_experts(experts, model)
    _plot_parameters(parameters, model)
    _plot_flops(flops, model, workload)
    _plot_read(read, model, workload)
    figure.suptitle(
        f"{model.family}: {model.total_parameters / 1e9:.3g} B parameters, a token uses"
        f" {model.active_parameters / 1e9:.3g} B",
        fontsize=11,
    )
    return figure


def _plot_experts(axes: Axes, model: ModelConfig) -> None:
    places = np.arange(model.depth)
    axes.bar(places, [layer.experts for layer in model.layers], color=BLUE, label="experts (N)")
    axes.bar(
        places,
        [layer.active for layer in model.layers],
        color=ORANGE,
        label="active per token (k)",
    )
    axes.set_ylabel("routed experts")
    axes.set_title("Experts per layer; a gap is a layer without", fontsize=10)
    _finish_layers(axes)


def _plot_parameters(axes: Axes, model: ModelConfig) -> None:
    """Stacked: what every token uses, the experts that it uses, and the other experts."""
    places, bottom = np.arange(model.depth), np.zeros(model.depth)
    used = [layer.active * layer.expert_parameters for layer in model.layers]
    layers = {
        "mixer and norms": (
            GREEN,
            [layer.mixer_active + layer.norm_parameters for layer in model.layers],
        ),
        "dense, shared, router": (
            "#E69F00",
            [
                layer.dense_parameters + layer.shared_parameters + layer.router_parameters
                for layer in model.layers
            ],
        ),
        "active experts": (ORANGE, used),
        "not used by a token": (
            GRAY,
            [layer.total_parameters - layer.active_parameters for layer in model.layers],
        ),
    }
    for name, (color, heights) in layers.items():
        axes.bar(places, heights, bottom=bottom, color=color, label=name)
        bottom = bottom + np.array(heights)
    axes.yaxis.set_major_formatter(EngFormatter())
    axes.set_ylabel("parameters")
    axes.set_title("Parameters per layer", fontsize=10)
    _finish_layers(axes)


def _finish_layers(axes: Axes) -> None:
    axes.set_xlabel("layer")
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")


def _plot_flops(axes: Axes, model: ModelConfig, workload: Workload) -> None:
    contexts = [2**power for power in range(7, _LONGEST + 1)]
    all_of_it = np.array([decoding_flops(model, context) for context in contexts])
    axes.plot(contexts, all_of_it, color=BLUE, marker="o", ms=4, label="all")
    no_attention = decoding_flops(_without_scores(model), 1)
    axes.axhline(
        no_attention, color=GRAY, ls="--", lw=1.2, label="without attention to the context"
    )
    axes.set_xscale("log", base=2)
    axes.axvline(workload.context, color=ORANGE, ls=":", lw=1.2, label="this context")
    axes.set_ylim(0, 1.25 * all_of_it.max())
    axes.yaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel("tokens of context")
    axes.set_ylabel("FLOPs per token")
    axes.set_title("A longer context costs more attention", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="upper left")


def _without_scores(model: ModelConfig) -> ModelConfig:
    layers = tuple(replace(layer, decoding_score_flops=0) for layer in model.layers)
    return replace(model, layers=layers)


def _plot_read(axes: Axes, model: ModelConfig, workload: Workload) -> None:
    batches = [2**power for power in range(_MOST_TOKENS + 1)]
    read = [
        workload.weight_bytes
        * model_costs(model, replace(workload, batch=batch, expert_parallel=1)).read_parameters
        for batch in batches
    ]
    axes.plot(batches, read, color=BLUE, marker="o", ms=4)
    axes.axvline(workload.batch, color=ORANGE, ls=":", lw=1.2, label="this batch")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 1.1 * max(read))
    axes.yaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.set_xlabel("tokens of a step, one of each sequence")
    axes.set_ylabel("weights that are read")
    axes.set_title("More tokens touch more experts (even load)", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
