"""Routers of public families: found, read, and set, against the formulas of each family."""

import pytest
import torch
from torch import Tensor, nn

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.reading import read_config
from dynamoe_search.interop.routers import (
    ModelRouter,
    active_experts,
    chosen_experts,
    find_routers,
)

pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

from tests.interop.configs import SMALL  # noqa: E402
from tests.interop.families import FAMILIES, build, tokens  # noqa: E402

GROUPED = "group_limited_greedy"  # of DeepSeek-V2, not its default


@torch.no_grad()
def run(model: nn.Module) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor, Tensor]]]:
    """The model's logits; by the router's name what enters it, its choices and its logits."""
    seen = {}

    def see(router: ModelRouter) -> None:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: object) -> None:
            seen[router.name] = (args[0].clone(), *chosen_experts(router, output))

        handles.append(router.module.register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for router in find_routers(model):
        see(router)
    logits = model(tokens(), use_cache=False).logits
    for handle in handles:
        handle.remove()
    return logits, seen


def expected_choice(family: str, module: nn.Module, hidden: Tensor, k: int) -> Tensor:
    """Which experts a token uses, from the router's weights and the family's published rule."""
    matrix = module.layer.weight if hasattr(module, "layer") else module.weight
    logits = hidden.reshape(-1, hidden.shape[-1]).double() @ matrix.double().T
    if family == "gpt_oss":
        logits = logits + module.bias.double()
    scores = logits
    if hasattr(module, "e_score_correction_bias"):
        scores = logits.sigmoid() + module.e_score_correction_bias.double()
    config = SMALL[family]
    if config.get("topk_group"):  # of groups of experts the best, by one or two of their experts
        groups = scores.reshape(len(scores), config["n_group"], -1)
        best = 1 if config.get("model_type") == "deepseek_v2" else 2
        allowed = torch.zeros_like(groups[..., 0], dtype=torch.bool)
        of_groups = groups.topk(best, dim=-1).values.sum(dim=-1)
        allowed.scatter_(1, of_groups.topk(config["topk_group"]).indices, True)
        scores = groups.masked_fill(~allowed[..., None], -torch.inf).flatten(1)
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, scores.topk(k).indices, True)


@pytest.mark.parametrize("family", FAMILIES)
def test_choices_and_active_experts_of_a_family(family: str) -> None:
    model = build(family, **({"topk_method": GROUPED} if family == "deepseek_v2" else {}))
    routers = find_routers(model)
    config = read_config(SMALL[family])
    assert [router.layer for router in routers] == list(config.moe_layers)
    for router in routers:
        layer = config.layers[router.layer]
        assert (router.experts, router.active) == (layer.experts, layer.active)
    before, seen = run(model)
    counts = sorted({routers[0].possible[0], routers[0].active, routers[0].possible[-1]})
    for count in counts:
        # The layers use different numbers, where the family can.
        given = [counts[(counts.index(count) + one) % len(counts)] for one in range(len(routers))]
        with active_experts(model, given):
            now, seen = run(model)
        for router, k in zip(routers, given, strict=True):
            hidden, indices, logits = seen[router.name]
            assert (indices.shape, indices.dtype) == ((18, k), torch.int64)
            assert logits.shape == (18, router.experts)
            chosen = torch.zeros(18, router.experts, dtype=torch.bool).scatter(1, indices, True)
            assert torch.equal(chosen, expected_choice(family, router.module, hidden, k)), (
                router.name
            )
        is_as_before = given == [router.active for router in routers]
        assert torch.equal(now, before) == is_as_before
    after, _ = run(model)
    assert torch.equal(after, before)
    assert [router.active for router in find_routers(model)] == [one.active for one in routers]


def test_it_is_restored_after_an_error() -> None:
    model = build("dbrx")
    with pytest.raises(KeyError, match=r"1, 2"), active_experts(model, [1, 2]):
        raise KeyError([router.active for router in find_routers(model)])
    assert [router.active for router in find_routers(model)] == [3, 3]


def test_gates_of_families() -> None:
    sigmoid = [one for one in FAMILIES if find_routers(build(one))[0].gates == "sigmoid"]
    assert sigmoid == ["deepseek_v3", "llama4_text", "glm4_moe", "nemotron_h"]


@pytest.mark.parametrize(
    ("family", "counts", "message"),
    [
        ("mixtral", [2, 2], "2 numbers of active experts are given; the model has 3 routers"),
        ("mixtral", [2, 7, 2], "layer 1 .MixtralTopKRouter. cannot use 7 of its 5 experts"),
        ("olmoe", [0, 1, 1], "it can use from 1 to 6"),
        ("deepseek_v3", [2, 5], "layer 2 .* cannot use 5 of its 8 experts; .* from 1 to 4"),
        ("phimoe", [2, 2, 1], "layer 2 .* it can use only 2"),
    ],
)
def test_counts_that_cannot_be(family: str, counts: list[int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message), active_experts(build(family), counts):
        pass


def test_a_model_without_routers_says_what_was_looked_for() -> None:
    with pytest.raises(InvalidInput, match=r"Linear has no router .* TopKRouter, TopkRouter"):
        find_routers(nn.Linear(2, 2))


def test_two_routers_of_one_layer() -> None:
    towers = nn.ModuleDict({"image": build("mixtral"), "text": build("mixtral")})
    with pytest.raises(InvalidInput, match=r"layer 0 .* image.* and text.*; give the part"):
        find_routers(towers)


def test_a_router_of_another_form() -> None:
    class StrangeTopKRouter(nn.Module):
        pass

    with pytest.raises(InvalidInput, match="not the attributes top_k and num_experts"):
        find_routers(nn.Sequential(StrangeTopKRouter()))


@pytest.mark.parametrize("output", [None, (), torch.zeros(3, 6), (torch.zeros(3, 6),) * 3])
def test_an_output_of_another_form(output: object) -> None:
    router = find_routers(build("mixtral"))[0]
    with pytest.raises(InvalidInput, match=r"MixtralTopKRouter. has a form that is not known"):
        chosen_experts(router, output)
