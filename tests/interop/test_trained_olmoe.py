"""Sensitivities of a small OLMoE of Hugging Face, trained for a moment on real text."""

import copy
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dynamoe_search.data.documents import embedded_documents
from dynamoe_search.data.split import choose_split
from dynamoe_search.data.text import embedded_topics
from dynamoe_search.data.token_file import write_token_file
from dynamoe_search.data.tokenizer import ByteTokenizer
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.active_choice import choose_active
from dynamoe_search.interop.held_out import HeldOut, held_out_documents
from dynamoe_search.interop.pretrained import load_pretrained
from dynamoe_search.interop.reading import read_config
from dynamoe_search.interop.sensitivity import measure_sensitivity, schedule_losses
from tests.cli.calls import error_of, output_of

pytest.importorskip("transformers")
pytestmark = pytest.mark.slow
LAYERS, EXPERTS, ACTIVE = 3, 6, 2
FILES = {"--plot": "plot.png", "--csv": "table.csv", "--out": "config.json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from benchmarks.active_olmoe import small_olmoe, train

    torch.manual_seed(0)
    model = small_olmoe(LAYERS, EXPERTS, ACTIVE)
    train(model, embedded_topics().train.tokens, steps=40, batch=8)
    folder = tmp_path_factory.mktemp("olmoe")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load_pretrained(folder)


@pytest.fixture(scope="module")
def data() -> HeldOut:
    return held_out_documents(embedded_topics(context=64), documents=4, tokens=100)


def own_losses(model: Any, data: HeldOut) -> list[float]:
    """The library's own loss of each document, window by window."""
    found = []
    for document in data.measuring:
        tokens = torch.from_numpy(document.astype(np.int64))
        windows = [tokens[i : i + 65] for i in range(0, len(tokens) - 1, 64)]
        sums = [
            float(model(input_ids=one[None], labels=one[None], output_router_logits=False).loss)
            * (len(one) - 1)
            for one in windows
        ]
        found.append(sum(sums) / (len(tokens) - 1))
    return found


@torch.no_grad()
def test_losses_are_those_of_the_library_for_a_model_with_so_many_experts(
    folder: Path, model: Any, data: HeldOut
) -> None:
    from transformers import OlmoeForCausalLM

    again = HeldOut(data.measuring, data.measuring, data.context)
    for active in (1, 2, 5):
        other = OlmoeForCausalLM.from_pretrained(folder, num_experts_per_tok=active)
        found = schedule_losses(model, again, {"even": [active] * LAYERS}, batch=3)["even"]
        assert found.tolist() == pytest.approx(own_losses(other, data), rel=1e-5)


def test_the_choice_is_predicted_best_of_all_and_the_sum_is_near_the_loss(
    model: Any, data: HeldOut
) -> None:
    table = measure_sensitivity(model, data, counts=[1, 2, 3])
    assert table["flops"].tolist() == [k * 2 * 3 * 64 * 64 for k in (1, 2, 3)] * LAYERS
    change = table.pivot(index="layer", columns="active", values="difference")
    again = HeldOut(data.measuring, data.measuring, data.context)
    schedules = {str(one): one for one in product((1, 2, 3), repeat=LAYERS)}
    measured = schedule_losses(model, again, schedules).mean()
    predicted = {
        name: sum(change.loc[layer, k] for layer, k in enumerate(one))
        for name, one in schedules.items()
    }
    for layer, active in product(range(LAYERS), (1, 3)):
        alone = [ACTIVE] * LAYERS
        alone[layer] = active
        loss = table.set_index(["layer", "active"]).loc[(layer, active), "loss"]
        assert loss == pytest.approx(measured[str(tuple(alone))], abs=1e-6)
    base = measured[str((ACTIVE,) * LAYERS)]
    errors = [abs(measured[name] - base - predicted[name]) for name in schedules]
    assert max(errors) < np.ptp(measured)  # layers interact, but less than they act
    choice = choose_active(table, mean=ACTIVE)
    within = [name for name, one in schedules.items() if sum(one) <= LAYERS * ACTIVE]
    assert predicted[str(choice.chosen.counts)] == min(predicted[name] for name in within)


def test_the_model_is_bit_for_bit_what_it_was(model: Any, data: HeldOut) -> None:
    other = copy.deepcopy(model).train()
    before = copy.deepcopy(other.state_dict())
    tokens = torch.arange(40)[None]
    with torch.no_grad():
        logits = model(input_ids=tokens).logits
    measure_sensitivity(other, data, counts=[1])
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())
    assert all(module.training for module in other.modules())
    with torch.no_grad():
        assert torch.equal(other.eval()(input_ids=tokens).logits, logits)
    assert all(parameter.grad is None for parameter in other.parameters())


def test_the_type_of_the_weights_is_kept(folder: Path, data: HeldOut) -> None:
    coarse = load_pretrained(folder, dtype="bfloat16")
    table = measure_sensitivity(coarse, data, counts=[1])
    assert {parameter.dtype for parameter in coarse.parameters()} == {torch.bfloat16}
    exact = measure_sensitivity(load_pretrained(folder), data, counts=[1])
    assert table["loss"].tolist() == pytest.approx(exact["loss"].tolist(), abs=0.02)
    assert not table["loss"].equals(exact["loss"])


def test_a_layer_without_experts_has_no_sensitivity(data: HeldOut) -> None:
    from transformers import DeepseekV2Config, DeepseekV2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 8}
    heads = {"num_attention_heads": 2, "kv_lora_rank": 8, "q_lora_rank": None, "v_head_dim": 8}
    more = {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "n_shared_experts": 1}
    config = DeepseekV2Config(
        **{**sizes, **heads, **more},
        vocab_size=257,
        num_hidden_layers=3,
        first_k_dense_replace=1,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
    )
    table = measure_sensitivity(DeepseekV2ForCausalLM(config), data, counts=[1])
    assert table["layer"].tolist() == [1, 1, 2, 2]
    assert table["flops"].tolist() == [k * 2 * 3 * 16 * 8 for k in (1, 2, 1, 2)]


def test_the_command_measures_decides_and_goes_on(folder: Path, tmp_path: Path) -> None:
    documents = embedded_documents()
    tokens, losses = tmp_path / "topics.tokens", tmp_path / "losses.csv"
    write_token_file(tokens, documents, ByteTokenizer(), choose_split(documents, 0))
    options = ("sensitivity", folder, "--data", tokens, "--active-budget", 1, "--counts", "1,2")
    options += ("--documents", 3, "--tokens", 80, "--context", 64, "--losses", losses)
    record = json.loads(output_of(*options, "--json"))
    assert record["active"]["even"] == [1, 1, 1]
    assert [row["name"] for row in record["schedules"]] == ["trained", "even", "chosen"]
    assert len(record["sensitivity"]) == LAYERS * 2
    before = losses.read_bytes()
    files = {option: tmp_path / name for option, name in FILES.items()}
    written = [part for pair in files.items() for part in pair]
    shown = output_of(*options, *written, "--format", "hf")
    assert losses.read_bytes() == before
    assert shown.startswith(record["sentences"][0])
    assert "trained with" in shown
    assert files["--plot"].read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(files["--csv"])) == LAYERS * 2
    config = read_config(files["--out"])
    assert list(config.active_schedule) == record["active"]["chosen"]
    assert list(config.schedule) == [EXPERTS] * LAYERS
    assert "belong together" in error_of(*options, "--format", "hf")
    assert "give whole numbers" in error_of(*options, "--counts", "1,x")
    assert "no tokenizer.json" in error_of("sensitivity", folder, "--data", __file__)


def test_a_folder_that_is_no_safe_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"must have config\.json and weights"):
        load_pretrained(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()
    changes = {
        "missing": {"num_hidden_layers": LAYERS + 1},
        "shape": {"hidden_size": 32},
        "code": {
            "model_type": "its own",
            "auto_map": {"AutoConfig": "a.B", "AutoModelForCausalLM": "a.C"},
        },
    }
    for name, change in changes.items():
        other = tmp_path / name
        other.mkdir()
        (other / "config.json").write_text(json.dumps(config | change))
        (other / "model.safetensors").write_bytes(weights)
        (other / "a.py").write_text("raise SystemExit")
        with pytest.raises(InvalidInput, match="cannot be loaded"):
            load_pretrained(other)
