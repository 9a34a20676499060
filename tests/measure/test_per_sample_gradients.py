import math
from collections import defaultdict
from dataclasses import replace
from itertools import product
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynamoe_search.budgets import dense_baseline, parameter_count
from dynamoe_search.data import ImageSplit, TextSplit, embedded_digits, embedded_topics
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure import per_sample_gradients as module
from dynamoe_search.measure.gradients import gradient_noise_by_group
from dynamoe_search.measure.per_sample_gradients import (
    per_sample_gradient_noise,
    per_sample_gradients,
)
from dynamoe_search.models import Model, build_model, calibrate
from dynamoe_search.models.routing import Routing
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Balance,
    Classifier,
    Experts,
    LanguageModel,
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
)

DIGITS = embedded_digits(seed=0).train
TOPICS = embedded_topics(context=16).train
ROUTERS = [
    TopK(2),
    TopK(1),
    TopP(0.6, noise=0.5),
    TopP(target=2),
    Percentile(),
    Relative(target=1.5),
    Relative(0.7),
    Threshold(1.5),
]
BALANCES = [Balance(), Balance("switch", z_loss=0.1), Balance("bias", strength=0.02)]
NETWORKS = {
    "classifier": Classifier(64, 10, 8, Experts(6, Schedule((4, 2)))),
    "attention": LanguageModel(257, 16, 8, 2, Experts(6, Schedule((4, 2)))),
    "no attention": LanguageModel(257, 16, 8, 0, Experts(6, Schedule((4, 2)))),
}
MOMENTS = ["trace", "squared_norm", "token_trace", "token_squared_norm"]


def network(kind: str, router: Router = ROUTERS[2], balance: Balance = BALANCES[0]) -> Model:
    """In float64, with calibrated thresholds, and biases away from 0 where it has any."""
    blocks = replace(NETWORKS[kind].blocks, router=router, balance=balance)
    model = build_model(replace(NETWORKS[kind], blocks=blocks))
    data = DIGITS if kind == "classifier" else TOPICS
    inputs = next(data.batches(300))[0]
    for _ in range(5):
        model(inputs)  # in training mode: moves the biases
    calibrate(model, inputs)
    return model.double()


def some(kind: str, samples: int) -> ImageSplit | TextSplit:
    if kind == "classifier":
        return ImageSplit(DIGITS.images[-samples:].double(), DIGITS.labels[-samples:])
    return replace(TOPICS, tokens=TOPICS.tokens[-16 * samples - 1 :])


Loop = tuple[dict[str, Tensor], list[NDArray[np.int64]]]


def loop(model: Model, split: ImageSplit | TextSplit) -> Loop:
    """The oracle: a backward pass a sample, on the path that networks are trained on.

    The gradients by each parameter, and how many tokens each expert of each layer was given.
    """
    model.eval()
    rows, counts = defaultdict(list), []
    for inputs, labels in split.batches(1):
        model.zero_grad()
        report: list[Routing] = []
        logits = model(inputs, report)
        nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten()).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                none = torch.zeros_like(parameter)
                rows[name].append(none if parameter.grad is None else parameter.grad.clone())
        counts.append([routing.chosen.sum(dim=0).numpy() for routing in report])
    model.zero_grad()
    gradients = {name: torch.stack(each) for name, each in rows.items()}
    return gradients, [np.stack(layer) for layer in zip(*counts, strict=True)]


def by_hand(
    looped: Loop, tokens: int = 1, population: int | None = None
) -> dict[tuple[int, str], NDArray[np.float64]]:
    """`MOMENTS` by layer and group, from their definitions."""
    gradients, counts = looped
    found: dict[tuple[int, str], NDArray[np.float64]] = defaultdict(lambda: np.zeros(4))
    for name, gradient in gradients.items():
        words = name.split(".")
        layer = int(words[1]) + 1 if words[1:] and words[1].isdigit() else 0
        group = "trunk"
        if words[0] == "blocks":
            group = "router" if words[2] == "gate" else "experts"
        rows = gradient.flatten(1).numpy()
        samples = len(rows)
        unseen = 1 - samples / (population or samples)
        trace = rows.var(axis=0, ddof=1).sum()
        squared_norm = (rows.mean(axis=0) ** 2).sum() - unseen / samples * trace
        found[layer, group] += [trace, squared_norm, 0, 0]
        parts = [(rows, np.full(samples, tokens))]
        if gradient.ndim == 5:  # sample, network, expert, and its matrix
            of_experts = gradient[:, 0].flatten(2).unbind(1)
            parts = list(zip(map(np.asarray, of_experts), counts[layer - 1].T, strict=True))
        for part, used in parts:
            part, used = part[used > 0], used[used > 0]
            if len(used) < 2:
                continue
            part = part * (tokens / used)[:, None]
            center = np.average(part, axis=0, weights=used)
            trace = (used @ (part - center) ** 2).sum() / (len(used) - 1)
            squared_norm = (center**2).sum() - unseen / used.sum() * trace
            found[layer, group] += [0, 0, trace, squared_norm]
    return found


def assert_same(table: pd.DataFrame, expected: dict[tuple[int, str], NDArray[np.float64]]) -> None:
    assert set(zip(table["layer"], table["group"], strict=True)) == set(expected)
    for row in table.itertuples():
        values = [getattr(row, name) for name in MOMENTS]
        assert values == pytest.approx(expected[row.layer, row.group], rel=1e-8, abs=1e-15)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("router", ROUTERS, ids=str)
@pytest.mark.parametrize("balance", BALANCES, ids=lambda balance: balance.name)
def test_every_sample_against_a_pass_of_its_own(
    kind: str, router: Router, balance: Balance
) -> None:
    model, split = network(kind, router, balance), some(kind, 6)
    looped = expected, counts = loop(model, split)
    gradients, routed = per_sample_gradients(model, *next(split.batches(6)))
    assert list(gradients) == list(expected)
    for name, gradient in gradients.items():
        assert (gradient - expected[name]).norm() <= 1e-8 * expected[name].norm(), name
    for tokens, count in zip(routed, counts, strict=True):
        assert tokens.tolist() == count.tolist()
    tokens_per_sample = 1 if kind == "classifier" else 16
    assert_same(per_sample_gradient_noise(model, split), by_hand(looped, tokens_per_sample))


@pytest.mark.slow
def test_a_modern_network_with_plain_blocks_between_layers_of_experts() -> None:
    router = TopK(2, gates="sigmoid")
    blocks = Experts(6, Schedule((0, 4, 0, 3)), router, dense_hidden=5, shared=1, style="modern")
    specification = LanguageModel(
        257, 16, 8, 4, blocks, key_value_heads=2, query_key_norm=True, documents="separate"
    )
    model, split = build_model(specification).double(), some("attention", 6)
    gradients, (second, fourth) = loop(model, split)
    found = per_sample_gradient_noise(model, split)
    none = np.zeros((6, 0))
    assert_same(found, by_hand((gradients, [none, second, none, fourth]), tokens=16))
    counts = parameter_count(specification)
    by_group = found.groupby("group")["parameters"].sum()
    assert by_group.to_dict() == {
        "experts": counts.experts,
        "router": counts.routers,
        "trunk": counts.trunk,
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_micro_batches_of_one_sample_give_the_same(kind: str) -> None:
    model, split = network(kind), some(kind, 20)
    for samples in (20, 13):
        table = per_sample_gradient_noise(model, split, samples, seed=5)
        other = gradient_noise_by_group(model, split, 1, samples, seed=5)
        pd.testing.assert_frame_equal(table, other, rtol=1e-8)


@pytest.mark.slow
def test_some_of_the_samples_are_unbiased_for_all() -> None:
    model, split = network("classifier", TopK(2)), some("classifier", 24)
    draws = [per_sample_gradient_noise(model, split, 8, seed) for seed in range(100)]
    exact = per_sample_gradient_noise(model, split)
    for row, quantity in product(exact.index, ("trace", "squared_norm")):
        values = [table[quantity][row] for table in draws]
        standard_error = stdev(values) / len(values) ** 0.5
        assert abs(mean(values) - exact[quantity][row]) <= 3.5 * standard_error
    drawn = torch.randperm(24, generator=torch.Generator().manual_seed(0))[:8]
    looped = loop(model, ImageSplit(split.images[drawn], split.labels[drawn]))
    assert_same(draws[0], by_hand(looped, population=24))


@pytest.mark.slow
def test_chunks_change_nothing_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    model, split = network("attention"), some("attention", 23)
    sizes = []

    def watched(model: Model, inputs: Tensor, labels: Tensor) -> object:
        sizes.append(len(labels))
        return per_sample_gradients(model, inputs, labels)

    monkeypatch.setattr(module, "per_sample_gradients", watched)
    whole = per_sample_gradient_noise(model, split, 20, seed=1)
    assert sizes == [20]
    gradient = 8 * parameter_count(model.specification).total
    for most in (1, 40 * gradient):
        sizes.clear()
        monkeypatch.setattr(module, "_BYTES_AT_ONCE", most)
        chunked = per_sample_gradient_noise(model, split, 20, seed=1)
        pd.testing.assert_frame_equal(chunked, whole, rtol=1e-9)
        assert sum(sizes) == 20
        assert len(sizes) > 1
        assert max(sizes) * gradient <= max(most, gradient)


def test_the_network_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("classifier", Relative(target=1.5, noise=0.1), Balance("bias")).train()
    model.blocks[1].eval()

    def everything() -> str:
        return repr(
            [
                *(tensor.tolist() for tensor in (*model.parameters(), *model.buffers())),
                *(parameter.grad for parameter in model.parameters()),
                *(module.training for module in model.modules()),
                *((layer.dispatch, layer.tokens, layer.largest_batch) for layer in model.blocks),
                torch.get_rng_state().tolist(),
            ]
        )

    before = everything()
    per_sample_gradient_noise(model, some("classifier", 8))
    assert everything() == before
    with pytest.raises(RuntimeError):
        per_sample_gradients(model, DIGITS.images[:4, :5].double(), DIGITS.labels[:4])
    assert everything() == before


def test_dense_networks_frozen_parts_and_float32() -> None:
    split = some("classifier", 12)
    baseline = build_model(dense_baseline(NETWORKS["classifier"], "total")).double()
    table = per_sample_gradient_noise(baseline, split)
    assert_same(table, by_hand(loop(baseline, split)))
    assert table.groupby("group")["parameters"].sum()["experts"] == (
        parameter_count(baseline.specification).experts
    )
    model = network("classifier")
    exact = per_sample_gradient_noise(model, split)
    single = ImageSplit(split.images.float(), split.labels)
    rounded = per_sample_gradient_noise(model.float(), single)
    pd.testing.assert_frame_equal(rounded, exact, rtol=1e-3)
    # What is not trained has no row.
    model.double().requires_grad_(False).blocks[1].requires_grad_(True)
    table = per_sample_gradient_noise(model, split)
    assert table[["layer", "group"]].to_numpy().tolist() == [[2, "router"], [2, "experts"]]
    assert_same(table, by_hand(loop(model, split)))


def test_a_lone_expert_leaves_its_router_nothing_to_learn() -> None:
    model = build_model(Classifier(64, 10, 8, Experts(6, Schedule((1, 3))))).double()
    table = per_sample_gradient_noise(model, some("classifier", 12))
    table = table.set_index(["layer", "group"])
    router = table.loc[1, "router"]
    assert router[MOMENTS].tolist() == [0, 0, 0, 0]
    assert math.isnan(router["noise_scale"])
    assert math.isnan(router["signal_to_noise"])
    # It is given every image, so an image is one of its own.
    expert = table.loc[1, "experts"]
    assert expert["token_trace"] == pytest.approx(expert["trace"], rel=1e-12)


def test_an_expert_that_is_hardly_used_has_no_noise_of_its_own() -> None:
    model, split = network("classifier", TopK(1)), some("classifier", 30)
    uses = loop(model, split)[1][0][:, 0]
    for users in (0, 1, 2):
        kept = [*np.flatnonzero(uses)[:users], *np.flatnonzero(uses == 0)[:8]]
        few = ImageSplit(split.images[kept], split.labels[kept])
        looped = loop(model, few)
        assert looped[1][0][:, 0].sum() == users
        assert_same(per_sample_gradient_noise(model, few), by_hand(looped))


def test_what_cannot_be_measured_is_refused() -> None:
    model, split = network("classifier"), some("classifier", 8)
    for samples in (1, 9, -2):
        with pytest.raises(InvalidInput, match="it must be from 2 to the 8 of the split"):
            per_sample_gradient_noise(model, split, samples)
    blocks = replace(NETWORKS["classifier"].blocks, router=Threshold(1.5))
    uncalibrated = build_model(replace(NETWORKS["classifier"], blocks=blocks)).double()
    with pytest.raises(InvalidInput, match="call calibrate"):
        per_sample_gradient_noise(uncalibrated, split)
    calibrate(uncalibrated, split.images)
    assert per_sample_gradient_noise(uncalibrated, split)["trace"].sum() > 0
