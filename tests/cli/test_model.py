"""The command model."""

import json
from pathlib import Path

import pytest

import dynamoe_search as ds
from tests.cli.calls import dynamoe_search, error_of, output_of
from tests.interop.configs import FULL_SIZE, SMALL


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(FULL_SIZE["qwen3-30b-a3b"]["config"]))
    return path


@pytest.mark.slow
def test_tables_sentences_and_a_plot(config: Path) -> None:
    plot = config.with_suffix(".svg")
    output = output_of("model", config, "--plot", plot, "--expert-parallel", 16)
    assert "30,532,122,624" in output
    assert "0 to 47" in output
    assert "Of each of 16 expert-parallel ranks" in output
    assert "30.5 B parameters" in plot.read_text()


def test_json(config: Path) -> None:
    record = json.loads(output_of("model", config, "--json", "--context", 100, "--batch", 4))
    model = ds.read_config(config)
    assert record["total_parameters"] == model.total_parameters == 30_532_122_624
    assert record["active_parameters"] == 3_353_032_704
    assert record["active_parameters_without_embedding"] == 3_041_867_776
    assert len(record["layers"]) == 48
    assert record["workload"]["context"] == 100
    assert record["costs"]["decoding_seconds"] > 0


def test_a_machine_of_ones_own(config: Path) -> None:
    slow = json.loads(output_of("model", config, "--json", "--bandwidth", 1e9))
    fast = json.loads(output_of("model", config, "--json", "--weight-bytes", 0.5))
    assert slow["costs"]["decoding_seconds"] > fast["costs"]["decoding_seconds"]


def test_mistakes(config: Path, tmp_path: Path) -> None:
    assert "cannot be read" in error_of("model", tmp_path / "other.json")
    assert "which 7 ranks cannot share" in error_of("model", config, "--expert-parallel", 7)
    assert "must be from 1 to" in error_of("model", config, "--context", 10**10)
    config.write_text(json.dumps({**SMALL["mixtral"], "hidden_size": "wide"}))
    error = error_of("model", config)
    assert 'hidden_size is "wide"; expected a whole number' in " ".join(error.split())


def test_help_teaches() -> None:
    output = dynamoe_search("model", "--help").output
    for word in ("deepseek_v3", "per_layer_config", "--expert-parallel", "--json"):
        assert word in output
