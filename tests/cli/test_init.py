"""``init``: from the config of a model to a study file."""

import json
from pathlib import Path

import pytest

from dynamoe_search.plan.plan import DataShape, make_plan
from dynamoe_search.plan.reader import read_study_file
from tests.cli.calls import error_of, output_of
from tests.interop.few_layers import config_of


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_of("qwen3_moe")))
    return path


@pytest.mark.slow
def test_a_study_file_is_written(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "study"
    given = ("--like", config, "--data", "topics", "--minutes", 8, "--workers", 2)
    said = output_of("init", folder, *given).replace("\n", " ")
    assert "minutes for all 40." in said
    assert "normalized per head in the model" in said
    study = read_study_file(folder / "study.toml")
    assert (study.search.runs, study.search.minutes) == (40, 8)
    assert study.model.depth == 3
    assert make_plan(study, DataShape(vocabulary=257, context=64)).solution is not None
    assert "# as in the model" in (folder / "study.toml").read_text()
    assert "exists; name another folder" in error_of("init", folder, *given)


@pytest.mark.parametrize(
    ("data", "message"),
    [("digits", "digits is images; a proxy of qwen3_moe needs text"), ("no.tokens", "no.tokens")],
)
def test_mistakes_are_answered(config: Path, tmp_path: Path, data: str, message: str) -> None:
    found = error_of("init", tmp_path / "study", "--like", config, "--data", data)
    assert message in found.replace("\n", " ")
    assert not (tmp_path / "study").exists()
