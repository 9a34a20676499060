"""Configs are read as they are meant, and refused with the key and what was expected."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dynamoe_search as ds
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.families.any_family import FAMILIES
from dynamoe_search.interop.model_config import LayerConfig
from tests.interop.configs import FULL_SIZE, SMALL

MIXTRAL = SMALL["mixtral"]


# docs/models.md says why.
BEYOND_ROUNDING = {
    "deepseek-v3": "active",
    "jetmoe-8b": "active",  # without the table, which is also the head, it is 2.27 billion
    "llama-4-scout": "total",  # the published one has the vision tower
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_published_figures_are_met(name: str) -> None:
    """Rounded, or cut off, where the makers do it; or as docs/models.md says."""
    model = ds.read_config(FULL_SIZE[name]["config"])
    published = FULL_SIZE[name]["published"]
    active = (model.active_parameters, model.active_parameters_without_embedding)
    beyond = BEYOND_ROUNDING.get(name)
    assert is_rounded(model.total_parameters, published["total"]) == (beyond != "total")
    assert any(is_rounded(one, published["active"]) for one in active) == (beyond != "active")


def is_rounded(count: int, published: float) -> bool:
    """Whether a published number is the count, rounded or cut off at its last digit."""
    digits = f"{published / 1e9:g}"
    unit = 10.0 ** -len(digits.partition(".")[2])
    return -unit / 2 <= count / 1e9 - float(digits) < unit


def test_every_family_has_a_small_config() -> None:
    assert {config["model_type"] for config in SMALL.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", SMALL)
def test_layers_add_up(name: str) -> None:
    model = ds.read_config(SMALL[name])
    outside = model.embedding_parameters + model.head_parameters + model.other_parameters
    assert model.total_parameters == outside + sum(one.total_parameters for one in model.layers)
    assert model.active_parameters <= model.total_parameters
    assert model.expert_total == sum(model.schedule) if model.moe_layers else True
    for layer in model.layers:
        assert layer.active_parameters <= layer.total_parameters
        assert layer.active <= layer.experts


def test_the_schedules_of_a_pyramid() -> None:
    model = ds.read_config(FULL_SIZE["dots3-note-vision"]["config"])
    assert model.schedule.counts == (0,) * 25 + (*range(4, 65, 4), 64)
    assert model.active_schedule.counts == (0,) * 25 + (2,) * 17
    assert model.moe_layers == tuple(range(25, 42))


def test_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MIXTRAL))
    for place in (tmp_path, str(tmp_path), tmp_path / "config.json"):
        assert ds.read_config(place) == ds.read_config(MIXTRAL)


def test_a_config_is_kept_and_not_changed() -> None:
    config = {**FULL_SIZE["gpt-oss-20b"]["config"], "unknown": [1, {"a": None}]}
    before = json.dumps(config)
    assert ds.read_config(config).config == config
    assert json.dumps(config) == before


def test_missing_keys_are_those_of_the_public_class_and_are_named() -> None:
    model = ds.read_config({"model_type": "olmoe", "intermediate_size": 1024})
    assert model.total_parameters == 6_919_161_856
    assert "num_experts 64" in model.notes[0]
    assert "transformers 5.24.0" in model.notes[0]
    assert ds.read_config(SMALL["jetmoe"]).notes == ()


def test_other_names_of_keys() -> None:
    renamed = {**MIXTRAL, "num_experts": MIXTRAL["num_local_experts"]}
    del renamed["num_local_experts"]
    assert ds.read_config(renamed).layers == ds.read_config(MIXTRAL).layers


def test_the_language_model_of_llama4_is_counted() -> None:
    text = {key: value for key, value in SMALL["llama4_text"].items() if key != "model_type"}
    model = ds.read_config({"model_type": "llama4", "text_config": text, "vision_config": {}})
    assert model.family == "llama4_text"
    assert model.layers == ds.read_config(SMALL["llama4_text"]).layers
    assert "Only the language model" in model.notes[0]


def test_layers_with_numbers_of_their_own() -> None:
    own = {
        "0": {"num_local_experts": 3, "num_experts_per_tok": 1},
        "02": {"num_experts": 8, "intermediate_size": 10, "num_key_value_heads": 4},
    }
    model, uniform = ds.read_config({**MIXTRAL, "per_layer_config": own}), ds.read_config(MIXTRAL)
    assert str(model.schedule) == "3-5-8"
    assert str(model.active_schedule) == "1-2-2"
    assert model.layers[1] == uniform.layers[1]
    assert model.layers[0] == uniform.layers[0].with_experts(3, 1)
    assert model.layers[2].expert_parameters == 3 * 32 * 10
    assert model.layers[2].mixer_parameters == 4 * 32 * 32


def test_other_numbers_of_experts() -> None:
    layer = ds.read_config(MIXTRAL).layers[0].with_experts(9, 4)
    assert (
        layer
        == ds.read_config({**MIXTRAL, **{"num_local_experts": 9, "num_experts_per_tok": 4}}).layers[
            0
        ]
    )
    with pytest.raises(InvalidInput, match="cannot use 4 of 3 experts"):
        layer.with_experts(3, 4)
    with pytest.raises(InvalidInput, match="dense"):
        LayerConfig("none", 0, 0, 0, 0).with_experts(2, 1)


def test_blocks_of_puzzletron() -> None:
    blocks = [
        {
            "attention": {"no_op": False, "num_key_value_heads": 1},
            "ffn": {
                "moe": {
                    **{"num_local_experts": 4, "num_experts_per_tok": 1},
                    **{"expert_intermediate_dim": 10, "shared_expert_intermediate_dim": 0},
                }
            },
        },
        {"attention": {"no_op": True}, "ffn": {"intermediate_size": 7, "moe": None}},
        {"attention": {"n_heads_in_group": 2}, "ffn": {"no_op": True}},
    ]
    model = ds.read_config({**MIXTRAL, "block_configs": blocks})
    assert str(model.schedule) == "4-0-0"
    sparse, plain, none = model.layers
    assert sparse.total_parameters == 2 * 32 * (32 + 8) + 4 * 3 * 32 * 10 + 4 * 32 + 2 * 32
    # A block that is left out has no norm, either.
    assert plain.total_parameters == 3 * 32 * 7 + 32
    assert none.total_parameters == 2 * 32 * (32 + 16) + 32


def test_blocks_of_nemotron() -> None:
    blocks = [
        {"block_type": "mamba"},
        {"block_type": "moe", "n_routed_experts": 3, "moe_intermediate_size": 4},
        {"block_type": "attention"},
        {"block_type": "moe", "num_experts_per_tok": 1},
    ]
    config = {key: one for key, one in SMALL["nemotron_h"].items() if key != "layers_block_type"}
    model = ds.read_config({**config, "block_configs": blocks})
    assert str(model.schedule) == "0-3-0-6"
    assert str(model.active_schedule) == "0-2-0-1"
    assert [layer.mixer for layer in model.layers] == ["mamba", "none", "attention", "none"]
    same = ds.read_config({**config, "layers_block_type": ["mamba", "moe", "attention", "moe"]})
    assert model.layers[0] == same.layers[0]
    assert model.layers[3] == same.layers[3].with_experts(6, 1)


def test_flat_blocks_of_another_family() -> None:
    blocks = [
        {"block_type": "moe", "n_routed_experts": 3, "moe_intermediate_size": 10},
        {"block_type": "mlp", "intermediate_size": 7},
        {"block_type": "moe", "num_experts_per_tok": 4},
    ]
    model = ds.read_config({**MIXTRAL, "block_configs": blocks})
    assert str(model.schedule) == "3-0-5"
    assert str(model.active_schedule) == "2-0-4"
    assert [layer.expert_hidden for layer in model.layers] == [10, 0, 24]
    assert model.layers[1].dense_parameters == 3 * 32 * 7
    with pytest.raises(InvalidInput, match="block_type is 'mamba'; expected one of moe, mlp"):
        ds.read_config({**MIXTRAL, "block_configs": [{"block_type": "mamba"}] * 3})


def test_what_a_count_leaves_out_is_said() -> None:
    notes = ds.read_config(FULL_SIZE["deepseek-v3"]["config"]).notes
    assert notes == (
        "Left out: the further layers that predict more than the next token"
        " (num_nextn_predict_layers).",
    )
    notes = ds.read_config({**SMALL["deepseek_v3"]}).notes
    assert "1 of 2 groups of experts" in notes[0]


def test_an_unknown_family_says_what_it_needs() -> None:
    with pytest.raises(InvalidInput, match=r"not known; known are dbrx.*needs one of per_l"):
        ds.read_config({"model_type": "other"})
    config = {**MIXTRAL, "model_type": "other", "per_layer_config": {}, "n_shared_experts": 1}
    known, other = ds.read_config(MIXTRAL), ds.read_config(config)
    assert "not a known family" in other.notes[0]
    assert other.total_parameters == known.total_parameters + 3 * 3 * 32 * 24
    del config["hidden_size"]
    with pytest.raises(InvalidInput, match="the key hidden_size is missing"):
        ds.read_config(config)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hidden_size": "32"}, 'hidden_size is "32"; expected a whole number from 1'),
        ({"hidden_size": True}, "hidden_size is true; expected a whole number"),
        ({"hidden_size": 0}, "hidden_size is 0; expected"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000; expected"),
        ({"hidden_size": None}, "hidden_size is null; expected"),
        ({"num_hidden_layers": 5000}, "num_hidden_layers is 5000; expected .* to 4096"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3; expected a divisor of the 4"),
        ({"num_attention_heads": 64, "num_key_value_heads": 64}, "expected at most hidden_size"),
        ({"num_experts_per_tok": 6}, "num_experts_per_tok is 6; expected at most"),
        ({"tie_word_embeddings": "no"}, 'tie_word_embeddings is "no"; expected true or false'),
        ({"per_layer_config": [1]}, "per_layer_config is \\[1\\]; expected an object"),
        ({"per_layer_config": {"3": {}}}, "per_layer_config: 3 is no layer; expected .* 0 to 2"),
        ({"per_layer_config": {"-1": {}}}, "per_layer_config: -1 is no layer"),
        ({"per_layer_config": {"a": {}}}, "per_layer_config: a is no layer"),
        ({"per_layer_config": {"0": 3}}, "per_layer_config: 0 is 3; expected an object"),
        ({"per_layer_config": {"0": {"skip": ["mlp"]}}}, "skip is not supported"),
        ({"per_layer_config": {"0": {"hidden_size": 8}}}, "layer 0: no layer can have its own hid"),
        ({"block_configs": [{"block_type": []}] * 3}, "block_type is \\[\\]; expected one of moe"),
        ({"per_layer_config": {"0": {"num_experts": 0}}}, "layer 0: num_local_experts is 0;"),
        ({"pyramid_num_routed": [1, 2]}, "expected a list of 3 whole numbers from -1"),
        ({"pyramid_num_routed": [1, 2, True]}, "expected a list of 3 whole numbers"),
        ({"mlp_layer_types": ["dense", "sparse", "x"]}, "expected a list of 3 words"),
        ({"mlp_layer_types": [[], {}, "dense"]}, "expected a list of 3 words"),
        ({"block_configs": [{}]}, "expected a list of 3 objects"),
        ({"block_configs": [{}, {}, 1]}, "layer 2 is 1; expected an object"),
        ({"block_configs": [{"ffn": {"moe": {"experts": 1}}}, {}, {}]}, "experts is not known"),
        ({"block_configs": [{"attention": {"mamba": {}}}, {}, {}]}, "mamba is not known"),
        ({"model_type": 7}, "model_type is 7; expected the name"),
        ({"model_type": "../../x\n"}, "is not known; known are"),
        ({"deep": 2**70}, "an integer of more than 64 bits"),
    ],
)
def test_malformed_configs(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as caught:
        ds.read_config({**MIXTRAL, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "change", "complaint"),
    [
        ("jamba", {"expert_layer_offset": 2}, "expert_layer_offset is 2; expected .* 0 to 1"),
        ("qwen2_moe", {"mlp_only_layers": [-1]}, "mlp_only_layers is \\[-1\\]; expected a list"),
        ("gpt_oss", {"layer_types": ["other"] * 3}, "expected a list of 3 words, each of full"),
        ("nemotron_h", {"layers_block_type": None}, "expected a list with one word per layer"),
        ("nemotron_h, latent", {"hybrid_override_pattern": "MEX"}, "letters, each of M"),
        ("dbrx", {"ffn_config": 3}, "ffn_config is 3; expected an object"),
        ("llama4_text", {"no_rope_layers": [1]}, "one number for each of the 5 layers"),
        ("deepseek_v2", {"num_experts_per_tok": None}, "num_experts_per_tok is null"),
        ("deepseek_v3", {"moe_layer_freq": 2}, "moe_layer_freq is 2; expected .* from 1 to 1"),
        ("deepseek_v3", {"num_nextn_predict_layers": "a"}, 'num_nextn_predict_layers is "a"'),
    ],
)
def test_malformed_keys_of_families(family: str, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        ds.read_config({**SMALL[family], **change})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[1]", "is not a config"),
        ("{", "is not valid JSON"),
        ("[" * 2000, "nested"),
        ("\0", "JSON"),
    ],
)
def test_malformed_files(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=complaint):
        ds.read_config(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        ds.read_config(tmp_path / "nowhere.json")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**7) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_value_is_read_or_refused(data: st.DataObject) -> None:
    """Never another error than InvalidInput, whatever stands at a key."""
    config = SMALL[data.draw(st.sampled_from(sorted(SMALL)))]
    more = ("per_layer_config", "block_configs", "pyramid_num_routed", "mlp_layer_types")
    key = data.draw(st.sampled_from([*config, *more]))
    try:
        model = ds.read_config({**config, key: data.draw(ANYTHING)})
    except InvalidInput:
        return
    assert model.total_parameters >= model.active_parameters > 0
