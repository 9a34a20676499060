"""Every format: what is written is read back, and what nobody should read is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.export import export_schedule, import_schedule
from dynamoe_search.interop.formats.table import FORMATS
from dynamoe_search.schedules import Schedule
from tests.interop.models import model_of

ONE_NUMBER = ("megatron", "ltp-megatron")  # of experts
ONE_K = ("megatron", "megatron-deepspeed")
UP_TO_2 = ("megatron-deepspeed", "deepspeed")
BY_ITSELF = [name for name in FORMATS if name != "hf"]  # that needs a family's own keys


@pytest.mark.parametrize("name", BY_ITSELF)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_is_written_is_read_back(name: str, data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 6))
    dense = data.draw(st.lists(st.booleans(), min_size=depth, max_size=depth))
    dense[-1] = False
    if name == "mola":
        dense = [False] * depth
    least = 2 if name == "megatron-deepspeed" else 1  # its layers of one expert are dense
    counts = data.draw(st.lists(st.integers(least, 40), min_size=depth, max_size=depth))
    if name in ONE_NUMBER:
        counts = [counts[0]] * depth
    limit = 2 if name in UP_TO_2 else 40
    used = [data.draw(st.integers(1, min(limit, count))) for count in counts]
    if name in ONE_K:
        used = [min(used)] * depth
    model = model_of(
        [0 if d else n for d, n in zip(dense, counts, strict=True)],
        [0 if d else k for d, k in zip(dense, used, strict=True)],
        shared=data.draw(st.integers(0, 1)),
    )
    written = export_schedule(model.schedule, model, name, model.active_schedule)
    assert import_schedule(written.text, name) == (model.schedule, model.active_schedule)
    assert written.residual == 0


def text_of(name: str) -> str:
    model = model_of([0, 8, 4], [0, 2, 1], n_group=1, seed=7)
    return export_schedule(model.schedule, model, name).text


def test_keys_are_those_that_each_target_reads() -> None:
    """As they were read in the sources that docs/export.md names."""
    blocks = json.loads(text_of("puzzletron"))["block_configs"]
    assert blocks[:2] == [
        {"attention": {"num_key_value_heads": 1}, "ffn": {"intermediate_size": 8}},
        {
            "attention": {"num_key_value_heads": 1},
            "ffn": {
                "moe": {
                    "num_local_experts": 8,
                    "num_experts_per_tok": 2,
                    "expert_intermediate_dim": 4,
                    "shared_expert_intermediate_dim": 0,
                }
            },
        },
    ]
    flat = json.loads(text_of("nemotron"))
    assert [one["block_type"] for one in flat["block_configs"]] == [
        *("attention", "mlp", "attention", "moe", "attention", "moe")
    ]
    assert flat["block_configs"][5] == {
        "block_type": "moe",
        "n_routed_experts": 4,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 4,
        "moe_shared_expert_intermediate_size": 0,
    }
    hf = json.loads(text_of("hf"))
    assert hf["per_layer_config"] == {
        "01": {"num_local_experts": 8, "num_experts_per_tok": 2},
        "02": {"num_local_experts": 4, "num_experts_per_tok": 1},
    }
    assert hf["seed"] == flat["seed"] == 7  # all that the config says else stays
    alike = model_of([0, 8, 8], [0, 2, 2])
    args = export_schedule(alike.schedule, alike, "megatron", expert_parallel=4).text
    assert args == (
        "--num-layers 3 --num-experts 8 --expert-model-parallel-size 4"
        " --moe-layer-freq '[0,1,1]' --moe-router-topk 2\n"
    )
    args = export_schedule(alike.schedule, alike, "megatron-deepspeed").text
    assert "--num-experts 1 8 8 --expert-interval 1 --topk 2" in args
    assert (
        "--moe-router-topk-layer-wise '[0,2,2]'"
        in export_schedule(alike.schedule, alike, "ltp-megatron").text
    )
    both = model_of([8, 4], [2, 1])
    assert export_schedule(both.schedule, both, "mola").text == (
        '--number_experts "8,4" --top_k "2,1"\n'
    )
    assert "MoE(hidden_size=8, expert=make_expert(4), num_experts=4, ep_size=1, k=1)" in text_of(
        "deepspeed"
    )
    for name in ("deepspeed", "olmo-core", "torchtitan"):
        compile(text_of(name), name, "exec")


@pytest.mark.parametrize(
    ("name", "experts", "active", "message"),
    [
        ("megatron", [0, 8, 4], [0, 2, 2], "cannot take layer 2: it has 4 experts and layer 1 has"),
        ("megatron", [8, 8], [2, 1], "cannot take layer 1: it has 1 active experts and layer 0"),
        ("ltp-megatron", [8, 4], [2, 2], "cannot take layer 1: it has 4 experts"),
        ("megatron-deepspeed", [8, 1], [1, 1], "cannot take layer 1: it has 1 expert, and a layer"),
        ("megatron-deepspeed", [8, 8], [3, 3], "cannot take layer 0: a token uses 3 experts"),
        ("deepspeed", [8, 8], [2, 3], "cannot take layer 1: a token uses 3 experts, and k is 1 or"),
        (
            "hf",
            [0, 14],
            [0, 2],
            "hf cannot take layer 0: it would be dense, and has experts in the",
        ),
        ("mola", [0, 8], [0, 2], "cannot take layer 0: it is dense"),
    ],
)
def test_what_a_target_cannot_take_is_refused(
    name: str, experts: list[int], active: list[int], message: str
) -> None:
    model = model_of(experts, active)
    given = model_of([8, 8], [2, 2]) if name == "hf" else model
    with pytest.raises(InvalidInput, match=message):
        export_schedule(model.schedule, given, name)


def test_mixers_that_a_target_has_no_words_for_are_refused() -> None:
    mamba = model_of([8, 8], [2, 2], mixer="mamba")
    with pytest.raises(InvalidInput, match="Puzzletron cannot take layer 0: its mixer is mamba"):
        export_schedule(mamba.schedule, mamba, "puzzletron")
    heads = model_of([8, 8], [2, 2], mixer="mixture of attention heads")
    for name in ("hf", "nemotron"):
        with pytest.raises(InvalidInput, match="cannot take layer 0: "):
            export_schedule(heads.schedule, heads, name)


def test_a_layer_can_only_have_keys_that_the_config_has() -> None:
    model = model_of([8, 8], [2, 2])
    bare = type(model)(**{**vars(model), "config": {"model_type": "dbrx"}})
    with pytest.raises(InvalidInput, match="cannot take a config of mixtral without num_local_exp"):
        export_schedule(bare.schedule, bare, "hf")


@pytest.mark.parametrize(
    ("name", "text", "schedule", "active"),
    [
        ("megatron-deepspeed", "a.py --num-experts 8 \\\n --num-layers=4", "0-8-0-8", "0-1-0-1"),
        ("megatron-deepspeed", "--num-experts 4 2 --topk 2", "0-4-0-2", "0-2-0-2"),
        ("megatron", '--num-experts 8 --moe-layer-freq "([0]*2+[1]*1)*2"', "0-0-8-0-0-8", None),
        ("megatron", "--num-experts 8 --moe-layer-freq 2 --num-layers 3", "8-0-8", "2-0-2"),
        ("mola", '--number_experts "2, 2,4"', "2-2-4", "None"),
        ("olmo-core", "x = {1: b(), 0: f(moe=MoEConfig(num_experts=4))}", "4-0", "1-0"),
        ("puzzletron", '[{"ffn": {"moe": {"num_local_experts": 4, "num_experts_per_tok": 1}}}]',
         "4", "1"),
    ],
)  # fmt: skip
def test_what_others_have_written_is_read(
    name: str, text: str, schedule: str, active: str | None
) -> None:
    found = import_schedule(text, name)
    assert str(found[0]) == schedule
    assert active in (None, str(found[1]))


DEEP = "(" * 10**4 + ")" * 10**4
HOSTILE = [
    *(("megatron", f"--num-experts 8 --moe-layer-freq {one}") for one in (
        "[1]*10000000000", "[1]*999999999*999999999", "([1]*4096)*4096", "[1]+2", "[True]",
        "[[1]]", "__import__('os').getcwd()", "[x]", "[-1]", DEEP, "[2]", "[]", "0",
    )),
    ("megatron", "--moe-layer-freq 1"),
    ("megatron", "--num-experts 8 " + "1 " * 2**15),
    ("megatron", "--num-experts 8 --moe-layer-freq 1 --num-layers 5000"),
    ("megatron", "--num-experts 8 --moe-router-topk-layer-wise 3"),
    ("megatron-deepspeed", "--num-experts 8 x"),
    ("megatron-deepspeed", "--num-experts 8 4 2 --num-layers 4"),
    ("megatron-deepspeed", "--num-experts 8 --num-layers 999999999"),
    ("megatron-deepspeed", "--num-experts 8 --expert-interval 0"),
    ("megatron-deepspeed", "--num-experts '"),
    ("mola", "--number_experts 2,4 --top_k 3,1"),
    ("mola", "--number_experts 2,4 --top_k 1"),
    ("mola", "--number_experts 2,,4"),
    ("mola", "--number_experts " + "9" * 5000),
    *((name, text) for name in ("deepspeed", "olmo-core", "torchtitan") for text in (
        "", DEEP, "\0", "x = [1]", "config.layers[0].moe = f(num_experts=2**62)",
        "x = [MoE(num_experts=True)]", "x = {0: f(num_experts=len('ab'))}",
        "config.layers[7].moe = f(num_experts=2)", "x = {7: f(num_experts=2)}",
        "config.layers[0].moe = f(num_experts=2, top_k=3)",
    )),
    *((name, text) for name in ("puzzletron", "nemotron") for text in (
        "", "{}", "[]", "[1]", '{"block_configs": [{}]}', '[{"ffn": {"moe": {}}}]',
        '[{"block_type": "moe", "n_routed_experts": true, "num_experts_per_tok": 1}]',
        '[{"block_type": "mlp"}]', "[" * 10**4, '[{"ffn": 1}]',
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), HOSTILE)
def test_what_is_no_schedule_is_refused_and_not_run(name: str, text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        import_schedule(text, name, "their.txt")
    assert "their.txt" in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown format 'gguf'; choose from hf, puzzletron"):
        import_schedule("", "gguf")
    with pytest.raises(InvalidInput, match="the expert-parallel degree is 0"):
        export_schedule(Schedule((8,)), model_of([8], [2]), "hf", expert_parallel=0)
