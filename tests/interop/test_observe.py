"""What is observed, against counts that are made again from the logits that models give out."""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dynamoe_search as ds
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.observation import RoutingRecorder
from dynamoe_search.interop.observed import ObservedRouting
from dynamoe_search.interop.routers import active_experts, find_routers

pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

from tests.interop.families import build, tokens  # noqa: E402

# Families whose choice is the k largest of the logits that `output_router_logits` gives.
PLAIN = ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe", "gpt_oss", "granitemoe", "jetmoe", "jamba")


def assert_counts(
    routing: ObservedRouting, choices: Sequence[Tensor], layers: Sequence[int]
) -> None:
    """The counts of each layer, against sets of the experts of each token."""
    counts = routing.counts
    assert [one for one, count in enumerate(counts) if count.experts] == list(layers)
    for layer, chosen in zip(layers, choices, strict=True):
        sets = [set(row.nonzero()[:, 0].tolist()) for row in chosen]
        experts = range(chosen.shape[1])
        one = counts[layer]
        assert one.tokens.tolist() == [len(sets)]
        assert one.load.tolist() == [[sum(e in used for used in sets) for e in experts]]
        assert one.together.tolist() == [
            [sum({a, b} <= used for used in sets) for b in experts] for a in experts
        ]
        active = np.bincount([len(used) for used in sets], minlength=len(experts) + 1)
        assert one.active.tolist() == active.tolist()


def chosen_of(logits: Tensor, k: int) -> Tensor:
    flat = logits.reshape(-1, logits.shape[-1])
    return torch.zeros_like(flat, dtype=torch.bool).scatter(1, flat.topk(k).indices, True)


@pytest.mark.parametrize("family", PLAIN)
def test_counts_of_families_against_their_router_logits(family: str) -> None:
    model = build(family)
    routers = find_routers(model)
    given = []
    with torch.no_grad(), ds.observe(model) as routing:
        for seed in (1, 2):
            output = model(tokens(seed=seed), output_router_logits=True, use_cache=False)
            given.append(output.router_logits)
    logits = [torch.cat([one.reshape(18, -1) for one in both]) for both in zip(*given, strict=True)]
    if family == "jetmoe":  # those of attention and of experts by turns
        logits = logits[1::2]
    choices = [chosen_of(one, router.active) for one, router in zip(logits, routers, strict=True)]
    assert_counts(routing, choices, [router.layer for router in routers])
    for router, one in zip(routers, logits, strict=True):
        entropy = torch.distributions.Categorical(logits=one.double()).entropy().sum()
        assert routing.counts[router.layer].entropy == pytest.approx(entropy.item(), rel=1e-6)
    table = routing.utilization_table()
    assert table["layer"].tolist() == [router.layer + 1 for router in routers]
    assert set(table["mean_active"]) == {float(routers[0].active)}


def test_sigmoid_gates_and_different_k_by_layer() -> None:
    model = build("deepseek_v3")
    seen: list[Tensor] = []
    first = find_routers(model)[0]
    with torch.no_grad(), active_experts(model, [1, 4]), ds.observe(model) as routing:
        handle = first.module.register_forward_hook(lambda module, args, out: seen.append(out[0]))
        model(tokens(), use_cache=False)
    handle.remove()
    gates = seen[0].double().sigmoid()
    gates = gates / gates.sum(dim=1, keepdim=True)
    expected = -(gates * gates.log()).sum().item()
    assert routing.counts[1].entropy == pytest.approx(expected, rel=1e-6)
    table = routing.active_table().query("share > 0")
    assert table[["layer", "active", "share"]].to_numpy().tolist() == [[2, 1, 1], [3, 4, 1]]


def test_the_model_is_not_changed() -> None:
    model = build("mixtral")
    hooks = [len(one.module._forward_hooks) for one in find_routers(model)]
    with torch.no_grad():
        before = model(tokens()).logits
        with ds.observe(model):
            meanwhile = model(tokens()).logits
        after = model(tokens()).logits
    assert torch.equal(before, meanwhile)
    assert torch.equal(before, after)
    assert hooks == [len(one.module._forward_hooks) for one in find_routers(model)]


def test_memory_does_not_grow_with_tokens() -> None:
    model = build("olmoe")
    recorder = RoutingRecorder(model, find_routers(model))
    sizes = []
    with torch.no_grad(), recorder:
        for length in (2, 50):
            model(tokens(length=length))
            sizes.append([one.untyped_storage().nbytes() for one in recorder.sums.values()])
    assert sizes[0] == sizes[1] == [8 * (1 + 6 + 36 + 7 + 1)] * 3
    assert recorder.counts()[0].tokens.tolist() == [2 * 52]
    assert recorder.given is None  # nor are the tokens kept


def test_padding_is_left_out() -> None:
    model = build("qwen3_moe")
    ids = tokens()
    mask = torch.ones_like(ids)
    mask[0, 6:] = 0  # to the right
    mask[1, :4] = 0  # to the left
    by_position = list(inspect.signature(model.forward).parameters)[:2]
    assert by_position == ["input_ids", "attention_mask"]
    with torch.no_grad():
        logits = model(ids, attention_mask=mask, output_router_logits=True).router_logits
        with ds.observe(model) as routing:
            model(ids, attention_mask=mask)
        with ds.observe(model) as again:
            model(ids, mask)
    kept = mask.flatten().bool()
    choices = [chosen_of(one, 2)[kept] for one in logits]
    assert_counts(routing, choices, [1, 2])
    assert_counts(again, choices, [1, 2])


def test_generation_with_a_cache_counts_each_token_once() -> None:
    model = build("mixtral")
    ids = tokens()
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    with ds.observe(model) as routing:
        written = model.generate(
            ids, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, do_sample=False
        )
    assert written.shape == (2, 13)
    # The last token that is written is read by nobody.
    assert routing.counts[0].tokens.tolist() == [18 - 4 + 2 * 3]


@pytest.mark.parametrize(("reentrant", "passes"), [(None, 1), (False, 2), (True, 2)])
def test_training_with_gradient_checkpointing_counts_each_token_once(
    reentrant: bool | None, passes: int
) -> None:
    model = build("olmoe").train()
    if reentrant is not None:
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
    ids = tokens()
    seen = []
    model.model.layers[0].mlp.gate.register_forward_hook(lambda *_: seen.append(1))
    with ds.observe(model) as routing:
        for _ in range(2):
            model(ids, labels=ids, use_cache=False).loss.backward()
    assert len(seen) == 2 * passes
    assert model.model.layers[0].mlp.gate.weight.grad.abs().sum() > 0
    assert [one.tokens.tolist() for one in routing.counts] == [[36]] * 3


def test_bfloat16_and_inference_mode() -> None:
    model = build("granitemoe").bfloat16()
    with ds.observe(model) as routing:
        with torch.inference_mode():
            logits = model(tokens(), output_router_logits=True).router_logits
        with torch.no_grad():
            more = model(tokens(seed=3), output_router_logits=True).router_logits
    choices = [
        torch.cat([chosen_of(one, 2), chosen_of(two, 2)])
        for one, two in zip(logits, more, strict=True)
    ]
    assert_counts(routing, choices, [0, 1, 2])


def test_tokens_by_their_ids() -> None:
    model = build("mixtral")
    ids = torch.tensor([[5, 7, 5, 9, 7, 5]])
    with torch.no_grad():
        logits = model(ids, output_router_logits=True).router_logits
        with ds.observe(model, token_ids=[7, 5]) as routing:
            model(ids)
    chosen = chosen_of(logits[1], 2)
    one = routing.counts[1]
    assert (one.groups, one.tokens.tolist()) == (("7", "5", "rest"), [2, 3, 1])
    assert one.load.tolist() == [
        chosen[ids[0] == 7].sum(dim=0).tolist(),
        chosen[ids[0] == 5].sum(dim=0).tolist(),
        chosen[ids[0] == 9].sum(dim=0).tolist(),
    ]
    assert set(routing.group_table()["group"]) == {"7", "5", "rest"}


def test_counts_of_workers_add_up() -> None:
    model = build("jamba")
    with torch.no_grad(), ds.observe(model) as first:
        model(tokens(seed=1))
    with torch.no_grad(), ds.observe(model) as second:
        model(tokens(seed=2))
    with torch.no_grad(), ds.observe(model) as both:
        model(tokens(seed=1))
        model(tokens(seed=2))
    for one, two, whole in zip(first.counts, second.counts, both.counts, strict=True):
        assert (one + two).together.tolist() == whole.together.tolist()


def test_nothing_was_routed() -> None:
    model = build("mixtral")
    with ds.observe(model) as routing:
        model.model(tokens())  # not the model that is observed
    with pytest.raises(InvalidInput, match=r"no token was routed in a forward pass of Mixtral"):
        routing.load_table()
    with ds.observe(model) as routing:
        model(tokens(), attention_mask=torch.zeros(2, 9, dtype=torch.int64))
    with pytest.raises(InvalidInput, match=r"no token was routed"):
        routing.load_table()


def test_an_id_that_is_given_twice() -> None:
    with (
        pytest.raises(InvalidInput, match=r"token_ids are .5, 7, 5.; give different ids"),
        ds.observe(build("mixtral"), token_ids=[5, 7, 5]),
    ):
        pass


def test_what_does_not_fit_the_tokens() -> None:
    model = build("mixtral")
    embedded = model.get_input_embeddings()(tokens())
    with (
        ds.observe(model, token_ids=[5]),
        pytest.raises(InvalidInput, match=r"input_ids is missing, but .* routes 18 tokens"),
    ):
        model(inputs_embeds=embedded)


class Block(nn.Module):
    """A part of a model, with a mask of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build("mixtral").model.layers[0].mlp

    def forward(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        return self.inner(hidden)


@pytest.mark.parametrize("shape", [(4, 3), (2, 8)])
def test_a_mask_that_does_not_fit_the_tokens(shape: tuple[int, int]) -> None:
    block = Block()
    message = r"attention_mask is of shape .*, but inner.gate routes 18 tokens"
    with ds.observe(block), pytest.raises(InvalidInput, match=message):
        block(torch.zeros(2, 9, 32), torch.ones(shape))


def test_only_a_mask_of_two_dimensions_tells_padding() -> None:
    block = Block()
    with ds.observe(block) as routing:
        block(torch.zeros(2, 9, 32), torch.ones(2, 1, 9, 9))
    assert routing.counts[0].tokens.tolist() == [18]


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "observing.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, "observing.md", "exec"), names)
    assert names["routing"].utilization_table()["tokens"].tolist() == [128] * 3
    assert "<h1>OLMoE</h1>" in Path("routing.html").read_text(encoding="utf-8")
