import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dynamoe_search.models import Model, build_model, single_network
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Experts, TopK
from dynamoe_search.training.flat import FlatWeights, WeightAverage

SEEDS = (3, 1, 2)
NETWORK = Classifier(6, 4, 8, Experts(8, Schedule((3, 1)), TopK(1)))
EXACT = {"atol": 1e-12, "rtol": 1e-12}


def batch(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Images and labels of three networks; the scale makes their gradients differ in size."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([1.0, scale, 10 * scale], dtype=torch.float64)
    images = torch.randn(3, 20, 6, generator=generator, dtype=torch.float64)
    return images * sizes[:, None, None], torch.randint(0, 4, (3, 20), generator=generator)


def loss_of(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """The sum of the networks' mean losses."""
    logits = model(images).flatten(0, -2)
    return nn.functional.cross_entropy(logits, labels.flatten(), reduction="sum") / 20


def test_the_model_uses_the_flat_weights_and_keeps_its_values() -> None:
    model = build_model(NETWORK, SEEDS).double()
    before = copy.deepcopy(model.state_dict())
    images, _ = batch()
    logits = model(images)
    weights = FlatWeights(model)
    assert weights.values.shape == (3, sum(p[0].numel() for p in model.parameters()))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(model(images), logits)
    with torch.no_grad():
        weights.values[1] = 0.0
    assert all((parameter[1] == 0).all() for parameter in model.parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter[[0, 2]], before[name][[0, 2]])


@pytest.mark.parametrize("clip", [0.0, 1e-3, 0.9, 1e6])
def test_each_networks_gradient_is_clipped_as_torch_clips_it_alone(clip: float) -> None:
    model = build_model(NETWORK, SEEDS).double()
    images, labels = batch(scale=5.0)
    alone = [single_network(model, place) for place in range(3)]
    weights = FlatWeights(model)
    weights.backward(loss_of(model, images, labels), clip)
    assert weights.values.grad is not None
    norms = []
    for place, one in enumerate(alone):
        loss_of(one, images[place], labels[place]).backward()
        if clip:
            norms.append(float(nn.utils.clip_grad_norm_(one.parameters(), clip)))
        expected = torch.cat([p.grad.flatten() for p in one.parameters()])
        # torch adds 1e-6 to the norm.
        torch.testing.assert_close(weights.values.grad[place], expected, atol=1e-12, rtol=2e-6)
    if clip == 0.9:
        assert min(norms) < clip < max(norms)


def test_a_diverged_network_does_not_disturb_the_others() -> None:
    model = build_model(NETWORK, SEEDS).double()
    images, labels = batch()
    weights = FlatWeights(model)
    weights.backward(loss_of(model, images, labels), clip=0.1)
    assert weights.values.grad is not None
    before = weights.values.grad.clone()
    images[1] = torch.nan
    weights.backward(loss_of(model, images, labels), clip=0.1)
    assert torch.equal(weights.values.grad[[0, 2]], before[[0, 2]])
    assert weights.values.grad[1].isnan().any()


def test_no_gradient_is_not_clipped() -> None:
    model = build_model(NETWORK, SEEDS).double()
    weights = FlatWeights(model)
    weights.backward(0.0 * loss_of(model, *batch()), clip=0.1)
    assert weights.values.grad is not None
    assert not weights.values.grad.any()


def test_steps_on_the_flat_weights_are_those_on_each_tensor() -> None:
    model = build_model(NETWORK, SEEDS).double()
    images, labels = batch(scale=2.0)
    alone = [single_network(model, place) for place in range(3)]
    options = {"lr": 0.01, "weight_decay": 0.1}
    optimizers = [torch.optim.AdamW(one.parameters(), **options) for one in alone]
    weights = FlatWeights(model)
    optimizer = torch.optim.AdamW([weights.values], **options, fused=True)
    for _ in range(5):
        weights.backward(loss_of(model, images, labels), clip=0.0)
        optimizer.step()
        for place, one in enumerate(alone):
            optimizers[place].zero_grad()
            loss_of(one, images[place], labels[place]).backward()
            optimizers[place].step()
    for name, parameter in model.named_parameters():
        for place, one in enumerate(alone):
            torch.testing.assert_close(parameter[place], one.get_parameter(name)[0], **EXACT)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12))
def test_the_average_is_the_mean_of_what_was_taken_in(values: list[float]) -> None:
    model = nn.ParameterList([torch.zeros(2, 3, dtype=torch.float64)])
    first_and_second = torch.tensor([[1.0], [2.0]], dtype=torch.float64).expand(2, 3)
    weights = FlatWeights(model)
    average = WeightAverage(weights)
    average.swap()  # nothing was taken in yet
    assert not weights.values.any()
    for value in values:
        with torch.no_grad():
            weights.values.copy_(value * first_and_second)
        average.add()
    last = weights.values.detach().clone()
    average.swap()
    expected = sum(values) / len(values) * first_and_second
    torch.testing.assert_close(model[0].detach(), expected, atol=1e-9, rtol=1e-9)
    average.swap()
    assert torch.equal(model[0], last)
