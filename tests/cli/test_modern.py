"""A study of the modern style, from its first training run to the report."""

from pathlib import Path

import pytest

from dynamoe_search.budgets import parameter_count
from dynamoe_search.study import Study
from tests.cli.calls import output_of
from tests.conftest import SMALL_STUDY, edit

MODERN = """\
depth = 2
width = 16
hidden = 8
context = 16
key_value_heads = 2
query_key_norm = true
style = "modern"
shared = 1
dense_first = 1
"""
ROUTER = """\
k = 2
gates = "sigmoid"

[balance]
name = "bias"
"""


@pytest.mark.slow
def test_a_modern_study_is_trained_ranked_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(
        path,
        ('"digits"', '"topics"'),
        ("depth = 4\nwidth = 8\nhidden = 8\n", MODERN),
        ("k = 1\n", ROUTER),
        ("experts = 12", "experts = 6"),
        ("epochs = 2", "flops = 1e7"),
        ("runs = 14", 'runs = 2\nkeep_models = true\nmeasure = ["utilization"]'),
    )
    said = output_of("run", path, "--workers", 1)
    assert "1 dense block of hidden width 24 before the layers of experts" in said
    runs = Study(path).training_runs()
    assert runs["total_parameters"].nunique() == 1
    # The dense block routes nothing: it uses no experts, and has no row.
    assert [active[0] for active in runs["mean_active"]] == [0.0, 0.0]
    assert [row["layer"] for row in runs["utilization"][0]] == [2, 3]
    assert "Take " in output_of("leaderboard", path)
    assert "wrote" in output_of("report", path)
    assert "experts are" in output_of("analyze", path)
    network = Study(path).network()
    assert network.loss_again is None  # it was kept, and read again
    built = sum(parameter.numel() for parameter in network.model.parameters())
    assert built == parameter_count(network.model.specification).total
    assert built == runs["total_parameters"][0]
