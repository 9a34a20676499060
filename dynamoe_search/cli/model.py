"""The command ``model``: what a real model has, and what it costs."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from dynamoe_search.cli.console import PlotFile, console, save_plot, say


def model(
    config: Annotated[
        Path, typer.Argument(help="A config.json as on Hugging Face, or the folder of one.")
    ],
    context: Annotated[
        int, typer.Option(min=1, help="Tokens of a sequence, for FLOPs and the cache.")
    ] = 4096,
    batch: Annotated[
        int, typer.Option(min=1, help="Sequences at once, of all ranks together.")
    ] = 32,
    expert_parallel: Annotated[
        int, typer.Option(min=1, help="Ranks that share the routed experts of each layer.")
    ] = 1,
    weight_bytes: Annotated[
        float, typer.Option(min=0.0, help="Bytes of a weight: 2 for bfloat16, 0.5 for 4 bits.")
    ] = 2.0,
    cache_bytes: Annotated[
        float, typer.Option(min=0.0, help="Bytes of a number in the cache of keys and values.")
    ] = 2.0,
    optimizer_bytes: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Bytes per weight of the optimizer: 12 for AdamW's two moments and its own copy"
            " of the weight in float32.",
        ),
    ] = 12.0,
    peak_flops: Annotated[
        float,
        typer.Option(
            min=1.0, help="FLOP/s of a rank at best; the default is an H100's in bfloat16."
        ),
    ] = 989e12,
    bandwidth: Annotated[
        float, typer.Option(min=1.0, help="Bytes/s of a rank's memory; the default is an H100's.")
    ] = 3.35e12,
    json: Annotated[
        bool, typer.Option("--json", help="Print all of it as JSON, and nothing else.")
    ] = False,
    plot: PlotFile = None,
) -> None:
    """Say what a real model has and costs, from its config alone; nothing is downloaded or built.

    Parameters, all and those that a token uses, of each part and each layer; FLOPs per token;
    memory of weights, optimizer and cache, also per expert-parallel rank; the experts that a batch
    touches; the least times on a machine; and how many ways to route its schedule has, beside the
    best schedule of the same experts.

    It knows mixtral, olmoe, qwen2_moe, qwen3_moe, deepseek_v2, deepseek_v3, gpt_oss, phimoe,
    granitemoe, dbrx, jamba, jetmoe, llama4, glm4_moe, nemotron_h and the vision encoder of
    dots3_note; and reads per_layer_config, block_configs and pyramid_num_routed.

    Example: `dynamoe-search model mixtral/config.json --expert-parallel 8 --plot model.png`

    Example: `dynamoe-search model config.json --json > model.json`
    """
    from dynamoe_search.bounds.machine import Machine
    from dynamoe_search.interop.costs import Workload
    from dynamoe_search.interop.reading import read_config
    from dynamoe_search.report import model as report
    from dynamoe_search.report.terminal import print_table

    read, machine = read_config(config), Machine(peak_flops, bandwidth)
    workload = Workload(context, batch, expert_parallel, weight_bytes, cache_bytes, optimizer_bytes)
    if json:
        record = report.model_record(read, workload, machine)
        typer.echo(json_format.dumps(record, indent=2, allow_nan=False))
    else:
        sentences = report.model_sentences(read, workload, machine)
        print_table(console, report.parts_table(read))
        print_table(console, report.layers_table(read, workload))
        for sentence in sentences:
            say(sentence)
    if plot is not None:
        from dynamoe_search.report.model_plot import plot_model

        save_plot(plot_model(read, workload), plot)
