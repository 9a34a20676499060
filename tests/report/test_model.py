"""A real model in words, tables and a plot."""

import json
from dataclasses import replace

import pytest

import dynamoe_search as ds
from dynamoe_search.bounds.machine import Machine
from dynamoe_search.interop.costs import Workload
from dynamoe_search.report.model import (
    layers_table,
    model_record,
    model_sentences,
    parts_table,
)
from dynamoe_search.report.model_plot import plot_model
from tests.interop.configs import FULL_SIZE, SMALL

MACHINE = Machine(peak_flops=989e12, bandwidth=3.35e12)


def full_size(name: str) -> ds.ModelConfig:
    return ds.read_config(FULL_SIZE[name]["config"])


@pytest.mark.parametrize("name", SMALL)
def test_a_record_is_plain_data(name: str) -> None:
    model = ds.read_config(SMALL[name])
    record = model_record(model, Workload(), MACHINE)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    for key in ("total_parameters", "active_parameters", "active_parameters_without_embedding"):
        assert record[key] == getattr(model, key)
    layers = record["layers"]
    outside = sum(
        record["parts"].get(part, {"total": 0})["total"] for part in ("embedding", "head")
    )
    assert outside + model.other_parameters == model.total_parameters - sum(
        layer["total_parameters"] for layer in layers
    )
    assert ("bounds" in record) == bool(model.moe_layers)
    if model.moe_layers:
        assert [layer["experts"] for layer in layers] == list(model.schedule)


def test_tables_of_a_model() -> None:
    model = full_size("deepseek-v3")
    parts, layers = parts_table(model), layers_table(model, Workload())
    assert parts.rows[-1] == ("all", "671,026,404,352", "100.0 %", "37,552,282,624")
    assert [row[0] for row in layers.rows] == ["0 to 2", "3 to 60"]
    assert layers.rows[1][2:5] == ("256", "8", "2048 + 2048 shared")
    assert all(len(row) == len(layers.columns) for row in layers.rows)
    jamba = layers_table(full_size("jamba-v0.1"), Workload())
    assert [row[:2] for row in jamba.rows] == [
        ("0, 2, 6, 8, ..., 30 (12 layers)", "mamba"),
        ("1, 3, 5, 7, ..., 31 (16 layers)", "mamba"),
        ("4, 12, 20, 28", "attention"),
    ]


def test_sentences_on_a_uniform_model() -> None:
    text = "\n".join(model_sentences(full_size("mixtral-8x7b"), Workload(), MACHINE))
    assert "46.7 billion parameters. A token uses 12.9 billion with the input embedding" in text
    assert "12.7 billion without it" in text
    assert "Memory: weights 93.4 GB, optimizer 560 GB" in text
    assert "rank" not in text.partition("per rank.")[0]
    assert "none has more" in text
    sharded = model_sentences(full_size("mixtral-8x7b"), Workload(expert_parallel=8), MACHINE)
    assert "Of each of 8 expert-parallel ranks: weights 14.5 GB" in sharded[2]


def test_a_table_that_is_the_head_too_is_named() -> None:
    first = model_sentences(full_size("jetmoe-8b"), Workload(), MACHINE)[0]
    assert first.endswith(
        "2.33 billion, with the table that is both input embedding and output head."
    )


def test_sentences_on_an_ascending_encoder() -> None:
    text = "\n".join(model_sentences(full_size("dots3-note-vision"), Workload(), MACHINE))
    assert "A token uses 1.29 billion." in text
    assert "decoding" not in text.partition("A step")[0]
    assert "2^146.2 ways" in text
    assert "the most has 2^157.8 (25 x 0, 13 x 36, 4 x 35)" in text
    assert "That is 93 % of the most bits." in text


def test_experts_of_different_sizes_are_no_equal_budget() -> None:
    own = {"per_layer_config": {"1": {"intermediate_size": 8}}}
    model = ds.read_config({**SMALL["mixtral"], **own})
    assert any("differ in size" in one for one in model_sentences(model, Workload(), MACHINE))


def test_a_model_without_experts_has_no_bounds() -> None:
    sentences = model_sentences(ds.read_config(SMALL["jamba, dense"]), Workload(), MACHINE)
    assert "ways" not in "\n".join(sentences)
    assert "reads" in sentences[3]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dots3-note-vision", "deepseek-v3"])
def test_a_plot_shows_layers_and_costs(name: str) -> None:
    model, work = full_size(name), Workload(context=1024, batch=8)
    experts, parameters, flops, read = plot_model(model, work).axes
    heights = [bar.get_height() for bar in experts.containers[0]]
    assert heights == list(model.schedule)
    tops = [
        sum(container[place].get_height() for container in parameters.containers)
        for place in range(model.depth)
    ]
    assert tops == pytest.approx([layer.total_parameters for layer in model.layers])
    assert flops.lines[2].get_xdata()[0] == 1024
    values = read.lines[0].get_ydata()
    assert list(values) == sorted(values)
    shared = replace(work, expert_parallel=2)
    assert len(plot_model(model, shared).axes) == 4
