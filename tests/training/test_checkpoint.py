import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.errors import InvalidInput
from dynamoe_search.models import build_model, calibrate, single_network
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Balance,
    Classifier,
    Experts,
    LanguageModel,
    Percentile,
    Relative,
    Threshold,
    TopK,
    TopP,
)
from dynamoe_search.training.checkpoint import load_model, read_about, save_model

EXPERTS = Experts(8, Schedule((4, 2, 3)), (TopK(3), Threshold(1.5), Percentile()), Balance("bias"))
CLASSIFIER = Classifier(12, 5, 16, EXPERTS)
DECODER = LanguageModel(30, 8, 16, 2, replace(EXPERTS, router=Relative(target=2.0)))
ROUTER = TopK(2, gates="sigmoid", renormalize=False)
MODERN = Experts(8, Schedule((0, 4, 3)), ROUTER, Balance("bias"), 9, shared=2, style="modern")
NETWORKS = [
    CLASSIFIER,
    DECODER,
    replace(DECODER, heads=0, blocks=replace(EXPERTS, router=TopP(0.4), balance=Balance())),
    dense_baseline(CLASSIFIER, "total"),
    LanguageModel(30, 8, 16, 4, MODERN, 2, query_key_norm=True, documents="separate"),
    dense_baseline(replace(CLASSIFIER, blocks=MODERN), "total"),
]


def inputs_of(network) -> torch.Tensor:
    torch.manual_seed(1)
    if isinstance(network, Classifier):
        return torch.randn(20, network.inputs)
    return torch.randint(0, network.vocabulary, (4, network.context))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(build_model(CLASSIFIER), path, {"seed": 3})
    return path


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_loaded_is_what_was_saved(network, tmp_path: Path) -> None:
    model = build_model(network, (5,))
    model(inputs_of(network))  # in training mode: thresholds and biases move
    calibrate(model, inputs_of(network))
    path = tmp_path / "model.safetensors"
    about = {"study": "digits", "run": 4, "schedule": "4-2-3", "seed": 9, "data": "abc"}
    save_model(model, path, about)
    loaded = load_model(path)
    assert loaded.specification == network
    assert read_about(path) == about
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    with torch.no_grad():
        assert torch.equal(loaded(inputs_of(network)), model.eval()(inputs_of(network)))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_one_network_of_several_is_saved_and_not_all(tmp_path: Path) -> None:
    model = build_model(CLASSIFIER, (5, 6))
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="the model has 2 networks; save one"):
        save_model(model, path)
    save_model(single_network(model, 1), path)
    loaded = load_model(path)
    for name, value in model.state_dict().items():
        found = loaded.state_dict()[name][0]
        torch.testing.assert_close(found, value[1], rtol=0, atol=0, equal_nan=True)
    # The file has no seed axis.
    assert load_file(path)["blocks.0.w_in"].shape == (4, 8, 16)


def rewrite(path: Path, change) -> None:
    """Apply `change` to the header's JSON and the tensors, and write the result."""
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]
    metadata = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]
    header, tensors = json.loads(metadata["dynamoe_search"]), load_file(path)
    change(header, tensors)
    save_file(tensors, path, metadata={"dynamoe_search": json.dumps(header)})


def test_foreign_and_truncated_files_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    whole = checkpoint.read_bytes()
    for size in (0, 5, 200, len(whole) - 1):
        checkpoint.write_bytes(whole[:size])
        with pytest.raises(InvalidInput, match="not a readable safetensors file"):
            load_model(checkpoint)
    with pytest.raises(InvalidInput, match="not a readable safetensors file"):
        load_model(tmp_path / "absent.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, foreign)
    with pytest.raises(InvalidInput, match="was not written by dynamoe_search"):
        load_model(foreign)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "is not valid JSON"),
        ('{"format": ' + "1" * 5000 + "}", "is not valid JSON: Exceeds the limit"),
        ('{"format": ' + "1" * 4000 + "}", "format: an integer of more than 64 bits"),
        ("[" * 100_000, "is nested too deep"),
        ('{"about": ' + "[" * 100 + "]" * 100 + "}", "nested more than 32 deep"),
        ('{"format": 2, "about": {}, "x": "' + "x" * 2**20 + '"}', "is longer than 1 MB"),
        ('{"format": "' + "x\\n" * 999 + '", "about": {}}', "has checkpoint format x.n"),
        ("[]", "damaged header"),
    ],
)
def test_a_header_of_any_kind_is_answered_with_one_line(
    tmp_path: Path, header: str, message: str
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={"dynamoe_search": header})
    with pytest.raises(InvalidInput, match=message) as raised:
        load_model(path)
    assert len(str(raised.value)) < 800
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, t: h.update(format=1), "has checkpoint format 1, but this version reads only"),
        (lambda h, t: h.pop("format"), "has checkpoint format None"),
        (lambda h, t: h.pop("specification"), "does not describe a network that can be built"),
        (lambda h, t: h.update(about=[1]), "damaged header"),
        (lambda h, t: h["specification"].update(width=-1), "not describe a network that can be"),
        (lambda h, t: h["specification"].update(width=10**6), "too few for the network"),
        (lambda h, t: h["specification"]["blocks"].update(hidden=0), "hidden is 0"),
        (
            lambda h, t: h["specification"].update(width=17),
            "blocks.0.gate is torch.float32 .4, 16. in the file, .* .4, 17. in the network",
        ),
        (lambda h, t: t.pop("head.bias"), "head.bias is nothing in the file"),
        (lambda h, t: t.update(more=torch.zeros(1)), "more is .* nothing in the network"),
        (lambda h, t: t.update({"head.bias": torch.zeros(5).half()}), "head.bias is torch.float16"),
    ],
)
def test_mismatching_files_are_refused(checkpoint: Path, change, message: str) -> None:
    rewrite(checkpoint, change)
    with pytest.raises(InvalidInput, match=message):
        load_model(checkpoint)


def test_impossible_sizes_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(build_model(DECODER), path)
    rewrite(path, lambda h, t: h["specification"].update(context=10**18))
    with pytest.raises(InvalidInput, match="a context of 1000"):
        load_model(path)
    save_model(build_model(CLASSIFIER), path)
    schedule = {"counts": [1] * 30_000}
    rewrite(path, lambda h, t: h["specification"]["blocks"].update(schedule=schedule, router={}))
    with pytest.raises(InvalidInput, match="describes"):
        load_model(path)


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be written"):
        save_model(build_model(CLASSIFIER), tmp_path / "absent" / "model.safetensors")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="cannot be written"):
        save_model(build_model(CLASSIFIER), tmp_path / "file" / "model.safetensors")
