"""``export`` and ``import``."""

import json
from pathlib import Path

import pytest

from dynamoe_search.interop.reading import read_config
from dynamoe_search.plan.candidate import Candidate, parse_candidate
from dynamoe_search.study import Study
from tests.cli.calls import dynamoe_search, error_of, output_of
from tests.interop.configs import config_of


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_of("mixtral")))
    return path


def test_a_schedule_is_exported_and_imported(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.json"
    given = ("--like", config, "--format", "hf")
    said = output_of("export", *given, "--schedule", "3-1", "--active", "1-1", "--out", out)
    assert "Experts per layer: 12-9-7-4" in said
    assert "exactly as many as the given config." in said
    assert "github.com/huggingface/transformers/issues/45332" in said
    read = output_of("import", out, "--format", "hf")
    assert read == "Experts per layer: 12-9-7-4\nActive experts per layer: 2-2-2-2\n"


def test_without_a_file_the_text_alone_is_on_standard_output(config: Path) -> None:
    given = ("--like", config, "--format", "megatron-deepspeed", "--expert-parallel", 5)
    ended = dynamoe_search("export", *given, "--schedule", "2-1")
    assert ended.status == 0
    assert ended.output == (
        "--num-layers 4 --num-experts 10 10 5 5 --expert-interval 1 --topk 2"
        " --moe-expert-parallel-size 5\n"
    )
    fewer = 2 * (3 * 16 * 24 + 16)  # two experts with their rows of the router
    assert f"{fewer:,} fewer than the given config" in ended.errors
    assert "Experts of all layers together: 30; the given config has 32." in ended.errors


@pytest.mark.slow
def test_a_studys_decision_is_exported(finished: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "args.txt"
    said = output_of("export", finished, "--like", config, "--format", "mola", "--out", out)
    decision = Study(finished).decision()
    assert decision.sentences[0] in said.replace("\n", " ")
    candidate = parse_candidate(decision.candidate)
    assert isinstance(candidate, Candidate)
    counts = [int(n) for n in out.read_text().split('"')[1].split(",")]
    assert sum(counts) == read_config(config).expert_total
    assert (counts[0] > counts[-1]) == (candidate.schedule[0] > candidate.schedule[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a study, or --schedule, and not both"),
        (("s", "--schedule", "8-4"), "give a study, or --schedule, and not both"),
        (("s", "--active", "8-4"), "--active belongs to --schedule"),
        (("--schedule", "8--4"), "'8--4' is not a schedule"),
        (("--schedule", "8-4", "--like", "no.json"), "cannot be read"),
        (("--schedule", "9-7-8-8", "--expert-parallel", 2), "layer 0 gets 9 experts"),
        (("--schedule", "8-4", "--out", "no/such/file"), "cannot be written"),
        (("--schedule", "8-4", "--format", "megatron"), "Megatron-LM cannot take layer 1"),
    ],
)
def test_mistakes_are_answered(config: Path, arguments: tuple[object, ...], message: str) -> None:
    given = ("--like", config, "--format", "hf", *arguments)
    assert message in error_of("export", *given).replace("\n", " ")


def test_a_file_of_another_format_is_refused(config: Path) -> None:
    assert "has no --num-experts" in error_of("import", config, "--format", "megatron")
