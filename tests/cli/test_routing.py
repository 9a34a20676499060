"""``routing``, on traces as Megatron-LM writes them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.calls import error_of, output_of
from tests.interop.test_routing_trace import record, write


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The trace of a model with a dense layer first."""
    folder = tmp_path / "traces"
    folder.mkdir()
    write(folder / "router_trace_rank0.jsonl", *(record(one, [[0, 1], [2, 1]]) for one in (1, 2)))
    return folder


def test_it_says_and_writes_what_was_seen(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = output_of("routing", trace, "--experts", 8, "--out", out, "--title", "my model")
    assert "2 tokens were routed in each of 2 layers." in shown
    assert "10 of the 16 experts are dead; K per layer is 2.00." in shown
    assert {one.name for one in out.iterdir()} == {
        *("utilization.csv", "load.csv", "active.csv", "co_activation.csv"),
        *("metrics.json", "report.html", "load.png"),
    }
    load = pd.read_csv(out / "load.csv").query("layer == 2")
    assert load["load"].tolist() == [1, 2, 1, 0, 0, 0, 0, 0]
    assert json.loads((out / "metrics.json").read_text())["moe/layer_1/dead_expert_frac"] == 0.625
    assert "<h1>my model</h1>" in (out / "report.html").read_text()


def test_mistakes_of_users(trace: Path, tmp_path: Path) -> None:
    file = trace / "router_trace_rank0.jsonl"
    assert "expert 2; they must be from 0 to 1" in error_of("routing", file, "-e", 2)
    assert "cannot be read" in error_of("routing", tmp_path / "none.jsonl")
    assert "cannot be made" in error_of("routing", file, "--out", file)
