"""The networks of several seeds are computed at once, each as if it were alone."""

from dataclasses import replace

import pytest
import torch

from dynamoe_search.models import (
    Dispatch,
    Model,
    MoELayer,
    build_model,
    calibrate,
    single_network,
)
from dynamoe_search.models.initial import generator_for
from dynamoe_search.models.routing import Routing
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Balance,
    Classifier,
    Dense,
    Experts,
    LanguageModel,
    Specification,
    Threshold,
    TopK,
)

SEEDS = (4, 9, 2)
ROUTER = Threshold(1.5, noise=0.1)
EXPERTS = Experts(8, Schedule((4, 0, 1, 3)), ROUTER, Balance("bias"), dense_hidden=6)
CLASSIFIER = Classifier(6, 5, 8, EXPERTS)
MODERN = replace(EXPERTS, router=TopK(2, gates="sigmoid"), shared=2, style="modern")
PROXIES = [
    CLASSIFIER,
    replace(CLASSIFIER, blocks=Dense((8, 4))),
    LanguageModel(11, 6, 8, heads=0, blocks=EXPERTS),
    LanguageModel(11, 6, 8, heads=2, blocks=EXPERTS),
    LanguageModel(11, 6, 16, 4, MODERN, key_value_heads=2, query_key_norm=True),
]
KINDS = ["classifier", "dense", "no attention", "attention", "modern"]


def inputs_of(specification: Specification) -> torch.Tensor:
    """Others for each network."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(specification, Classifier):
        return torch.randn(3, 20, specification.inputs, generator=generator).double()
    shape = (3, 4, specification.context)
    return torch.randint(0, specification.vocabulary, shape, generator=generator)


def trained_a_little(specification: Specification, dispatch: Dispatch = "auto") -> Model:
    """With thresholds and biases that differ between the networks."""
    model = build_model(specification, SEEDS, dispatch).double()
    for _ in range(3):
        model(inputs_of(specification))
    calibrate(model, inputs_of(specification))
    return model


@pytest.mark.parametrize("specification", PROXIES, ids=KINDS)
def test_a_single_network_is_that_of_its_seed(specification: Specification) -> None:
    model, inputs = trained_a_little(specification), inputs_of(specification)
    report: list[Routing] = []
    logits = model(inputs, report)
    for place, seed in enumerate(SEEDS):
        alone = single_network(model, place)
        assert alone.seeds == (seed,)
        assert not alone.training
        of_one: list[Routing] = []
        torch.testing.assert_close(alone(inputs[place], of_one), logits[place])
        for found, expected in zip(of_one, report, strict=True):
            assert torch.equal(found.chosen, expected.of_seed(place).chosen)
            torch.testing.assert_close(found.weights, expected.weights[place])
        # It is a copy.
        next(alone.parameters()).data.zero_()
        torch.testing.assert_close(model(inputs), logits, atol=0, rtol=0)


@pytest.mark.parametrize("specification", PROXIES, ids=KINDS)
def test_inputs_without_a_seed_axis_are_for_a_single_network(specification: Specification) -> None:
    model, inputs = build_model(specification, (3,)).double().eval(), inputs_of(specification)
    with_axis: list[Routing] = []
    without: list[Routing] = []
    logits = model(inputs[:1], with_axis)
    assert torch.equal(model(inputs[0], without), logits[0])
    for found, expected in zip(without, with_axis, strict=True):
        assert torch.equal(found.chosen, expected.chosen[0])
        assert found.logits.shape == expected.logits.shape[1:]
    with pytest.raises(ValueError, match="the model has 3 networks"):
        build_model(specification, SEEDS)(inputs[0])


@pytest.mark.parametrize("specification", PROXIES, ids=KINDS)
def test_a_network_has_no_gradient_from_the_others(specification: Specification) -> None:
    model = build_model(specification, SEEDS).double()
    logits = model(inputs_of(specification))
    logits[1].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad[[0, 2]].any(), name
    assert any(parameter.grad[1].any() for parameter in model.parameters())


@pytest.mark.parametrize("dispatch", ["masked", "sorted"])
def test_counts_thresholds_and_biases_are_of_each_network(dispatch: Dispatch) -> None:
    balance = Balance("bias", 0.01)
    together = MoELayer(4, 8, 8, ROUTER, dispatch, balance, SEEDS, "blocks.0")
    alone = [MoELayer(4, 8, 8, ROUTER, dispatch, balance, (seed,), "blocks.0") for seed in SEEDS]
    for _ in range(5):
        x = torch.randn(3, 30, 8)
        output = together(x)
        for place, layer in enumerate(alone):
            torch.testing.assert_close(layer(x[place : place + 1])[0], output[place])
    for place, layer in enumerate(alone):
        assert layer.mean_active == together.mean_active[place : place + 1]
        torch.testing.assert_close(layer.thresholds[0, 0], together.thresholds[place, 0])
        torch.testing.assert_close(layer.bias[0], together.bias[place])
    assert len(set(together.mean_active)) > 1
    assert together.tokens == 5 * 30


def noisy_choices(seeds: tuple[int, ...], name: str, passes: int = 2) -> list[torch.Tensor]:
    """What is chosen where noise alone decides, by pass; shape (S, T, N)."""
    layer = MoELayer(8, 4, 4, TopK(2, noise=1.0), seeds=seeds, name=name)
    layer.gate.data.zero_()
    return [layer.route(torch.zeros(len(seeds), 50, 4)).chosen for _ in range(passes)]


def test_each_network_has_its_own_noise_by_seed_and_layer() -> None:
    torch.manual_seed(0)
    random_state = torch.get_rng_state()
    first, second = noisy_choices(SEEDS, "blocks.0")
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    for place, seed in enumerate(SEEDS):
        alone = noisy_choices((seed,), "blocks.0")
        assert torch.equal(alone[0][0], first[place])
        assert torch.equal(alone[1][0], second[place])
    others = [first[1], first[2], noisy_choices(SEEDS, "blocks.1")[0][0]]
    assert not any(torch.equal(first[0], other) for other in others)


def test_the_noise_is_standard_normal_from_the_generator_of_seed_and_layer() -> None:
    layer = MoELayer(3, 4, 4, TopK(1, noise=0.2), seeds=(7,), name="blocks.5")
    x = torch.randn(1, 20, 4)
    generator = generator_for(7, "blocks.5.noise")
    for _ in range(2):
        routing = layer.route(x)
        noisy = routing.gates + 0.2 * torch.randn(20, 3, generator=generator)
        assert torch.equal(routing.chosen.long().argmax(dim=2), noisy.argmax(dim=2))
    layer.eval()
    assert torch.equal(layer.route(x).chosen, layer.route(x).chosen)
