import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from statistics import mean, stdev

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dynamoe_search.budgets import dense_baseline, parameter_count
from dynamoe_search.data import ImageData, ImageSplit, TextSplit, embedded_digits, embedded_topics
from dynamoe_search.errors import InvalidInput
from dynamoe_search.measure.gradient_moments import pool_gradients, with_ratios
from dynamoe_search.measure.gradients import (
    GradientNoise,
    gradient_noise,
    gradient_noise_by_group,
)
from dynamoe_search.models import Model, build_model, calibrate
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
from dynamoe_search.training.loop import train
from dynamoe_search.training.settings import CurvePoint, TrainingSettings

EXPERTS = Experts(8, Schedule((4, 2)), TopP(0.6))
NETWORK = Classifier(64, 10, 8, EXPERTS)


class Softmax(nn.Linear):
    """Softmax regression, which has a closed form where its weights are 0."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__(inputs, classes, dtype=torch.float64)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, report: object = None) -> Tensor:
        return super().forward(x)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return embedded_digits(seed=0)


@pytest.fixture(scope="module")
def few(digits: ImageData) -> ImageSplit:
    """24 images in float64."""
    return ImageSplit(digits.train.images[:24].double(), digits.train.labels[:24])


@pytest.fixture(scope="module")
def windows() -> TextSplit:
    """10 windows of 16 bytes."""
    split = embedded_topics(context=16).train
    return replace(split, tokens=split.tokens[:161])


def classifier(**of_experts: object) -> Model:
    return build_model(replace(NETWORK, blocks=replace(EXPERTS, **of_experts)))


def sample_by_sample(model: Model, split: ImageSplit | TextSplit) -> Tensor:
    """The gradient of every sample alone, shape (samples, parameters), one pass each."""
    model.eval()
    rows = []
    for inputs, labels in split.batches(1):
        model.zero_grad()
        losses = nn.functional.cross_entropy(
            model(inputs).squeeze(0), labels.squeeze(0), reduction="none"
        )
        losses.mean().backward()
        rows.append(
            torch.cat(
                [
                    torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                    for p in model.parameters()
                ]
            )
        )
    model.zero_grad()
    return torch.stack(rows)


def exact(gradients: Tensor) -> tuple[float, float]:
    """|mean g|^2 and the sum of the parameters' variances, with divisor n - 1."""
    return float(gradients.mean(dim=0).square().sum()), float(gradients.var(dim=0).sum())


@pytest.mark.parametrize(
    ("router", "balance"),
    [
        (TopK(2), Balance("switch")),
        (TopK(1), Balance("bias")),
        (TopP(0.6, noise=0.5), Balance(z_loss=0.1)),
        (Percentile(), Balance()),
        (Relative(target=1.5), Balance()),
        (Threshold(1.5), Balance("bias")),
    ],
    ids=str,
)
def test_all_samples_one_by_one_give_the_exact_noise(
    digits: ImageData, few: ImageSplit, router: Router, balance: Balance
) -> None:
    model = classifier(router=router, balance=balance)
    calibrate(model, digits.train.images)
    model.double()
    squared_norm, trace = exact(sample_by_sample(model, few))
    noise = gradient_noise(model, few, batch=1, micro_batches=24, seed=3)
    assert noise.samples == 24
    assert noise.squared_norm == pytest.approx(squared_norm, rel=1e-9)
    assert noise.trace == pytest.approx(trace, rel=1e-9)
    assert noise.noise_scale == pytest.approx(trace / squared_norm, rel=1e-9)


def test_a_window_of_text_is_one_sample(windows: TextSplit) -> None:
    torch.manual_seed(0)
    model = build_model(LanguageModel(257, 16, 8, heads=2, blocks=EXPERTS)).double()
    squared_norm, trace = exact(sample_by_sample(model, windows))
    noise = gradient_noise(model, windows, batch=1, micro_batches=10, seed=0)
    assert noise.squared_norm == pytest.approx(squared_norm, rel=1e-9)
    assert noise.trace == pytest.approx(trace, rel=1e-9)
    # The mean gradient does not hang on how all samples are cut into micro-batches.
    halves = gradient_noise(model, windows, batch=5, micro_batches=2, seed=0)
    assert halves.squared_norm == pytest.approx(squared_norm, rel=1e-9)


def test_softmax_regression_in_closed_form(few: ImageSplit) -> None:
    """With all weights 0, g = (1/C - onehot(y)) (x, 1)^T, so |g|^2 = (1 - 1/C) (|x|^2 + 1)."""
    model = Softmax(64, 10)
    x = torch.cat([few.images, torch.ones(24, 1)], dim=1)
    residual = 0.1 - nn.functional.one_hot(few.labels, 10).double()
    squared_norm = float((residual.T @ x / 24).square().sum())
    squares = float((0.9 * x.square().sum(dim=1)).sum())
    noise = gradient_noise(model, few, batch=1, micro_batches=24, seed=0)
    assert noise.squared_norm == pytest.approx(squared_norm, rel=1e-12)
    assert noise.trace == pytest.approx((squares - 24 * squared_norm) / 23, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "micro_batches"), [(1, 2), (3, 4), (6, 4)])
@pytest.mark.parametrize("model", [Softmax(64, 10), classifier().double()], ids=["linear", "moe"])
def test_micro_batches_are_unbiased(
    few: ImageSplit, model: Model, batch: int, micro_batches: int
) -> None:
    squared_norm, trace = exact(sample_by_sample(model, few))
    draws = [gradient_noise(model, few, batch, micro_batches, seed) for seed in range(150)]
    for values, expected in (
        ([draw.squared_norm for draw in draws], squared_norm),
        ([draw.trace for draw in draws], trace),
    ):
        standard_error = stdev(values) / len(draws) ** 0.5
        # All 24 samples in every draw leave |G|^2 nothing but rounding to differ in.
        assert abs(mean(values) - expected) <= 3.5 * standard_error + 1e-9 * expected


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "micro_batches"), [(4, 4), (3, 8)])
def test_micro_batches_are_unbiased_by_group(
    few: ImageSplit, batch: int, micro_batches: int
) -> None:
    model = classifier(router=TopK(2)).double()
    place = ["layer", "group"]
    exact = gradient_noise_by_group(model, few, 1, 24, seed=0).set_index(place)
    draws = pd.concat(
        gradient_noise_by_group(model, few, batch, micro_batches, seed) for seed in range(100)
    )
    # Per token, the trace is unbiased, too; the norm only where nothing is left to chance.
    quantities = ["trace", "squared_norm", "token_trace"]
    grouped = draws.groupby(place)[quantities]
    bias = (grouped.mean() - exact[quantities]).abs()
    assert len(bias) == 7
    assert (bias <= 3.5 * grouped.sem() + 1e-9 * exact[quantities]).to_numpy().all()
    if batch * micro_batches == 24:
        norms = draws.groupby(place)["token_squared_norm"].agg(["min", "max"])
        assert norms["min"].to_numpy() == pytest.approx(norms["max"].to_numpy(), rel=1e-9)


@pytest.mark.parametrize("heads", [0, 2])
def test_the_groups_add_up_to_the_network(
    windows: TextSplit, digits: ImageData, heads: int
) -> None:
    for model, split in (
        (classifier(), digits.train),
        (build_model(LanguageModel(257, 16, 8, heads, EXPERTS)), windows),
        (build_model(dense_baseline(NETWORK, "total")), digits.train),
    ):
        table = gradient_noise_by_group(model, split, 2, 5, seed=1)
        noise = gradient_noise(model, split, 2, 5, seed=1)
        whole = pool_gradients(table.assign(whole=0), ["whole"]).iloc[0]
        assert whole["trace"] == pytest.approx(noise.trace, rel=1e-9)
        assert whole["squared_norm"] == pytest.approx(noise.squared_norm, rel=1e-9)
        assert whole["noise_scale"] == pytest.approx(noise.noise_scale, rel=1e-9)
        parameters = pool_gradients(table, ["group"]).set_index("group")["parameters"]
        count = parameter_count(model.specification)
        assert parameters["trunk"] == count.trunk
        assert parameters["experts"] == count.experts
        assert parameters.get("router", 0) == count.routers
        tokens = 16 if split is windows else 1
        trunk = table[table["group"] == "trunk"]
        assert (trunk["token_trace"] / trunk["trace"]).to_numpy() == pytest.approx(tokens, rel=1e-9)


def test_it_is_the_estimator_of_the_paper_where_data_have_no_end(digits: ImageData) -> None:
    """Appendix A.1 in its own form, from gradients taken here; 1/n is what differs."""
    model = classifier().double().eval()
    split = ImageSplit(digits.train.images.double(), digits.train.labels)
    gradients = []
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(5))
    for inputs, labels in islice(split.batches(8, order), 4):
        model.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    small = mean(float(gradient.square().sum()) for gradient in gradients)
    big = float(torch.stack(gradients).mean(dim=0).square().sum())
    noise = gradient_noise(model, split, batch=8, micro_batches=4, seed=5)
    assert noise.trace == pytest.approx((small - big) / (1 / 8 - 1 / 32), rel=1e-9)
    endless = (32 * big - 8 * small) / (32 - 8)
    assert noise.squared_norm - noise.trace / len(split) == pytest.approx(endless, rel=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(digits: ImageData, training: bool) -> None:
    model = classifier(router=Relative(target=1.5, noise=0.1), balance=Balance("bias"))
    inputs, labels = digits.train.images[:64], digits.train.labels[:64]
    nn.functional.cross_entropy(model(inputs), labels).backward()
    model.head.weight.grad = None
    model.head.bias.requires_grad_(False)
    model.train(training)
    model.blocks[1].train(not training)

    def everything() -> list[object]:
        tensors = [*model.parameters(), *model.buffers()]
        return [
            *(tensor.tolist() for tensor in tensors),
            *(None if p.grad is None else p.grad.tolist() for p in model.parameters()),
            *((layer.tokens, layer.largest_batch) for layer in model.blocks),
            *(module.training for module in model.modules()),
            *(parameter.requires_grad for parameter in model.parameters()),
            torch.get_rng_state().tolist(),
        ]

    # NaN, which a threshold that is not calibrated is, equals itself in print only.
    before = repr(everything())
    noise = gradient_noise(model, digits.train, batch=16, micro_batches=4, seed=0)
    assert repr(everything()) == before
    assert noise == gradient_noise(model, digits.train, batch=16, micro_batches=4, seed=0)
    assert noise != gradient_noise(model, digits.train, batch=16, micro_batches=4, seed=1)


def test_it_is_left_as_it_was_even_by_a_failure(digits: ImageData) -> None:
    model = classifier()
    narrow = ImageSplit(digits.train.images[:, :5], digits.train.labels)
    with pytest.raises(RuntimeError, match="Expected size"):
        gradient_noise(model, narrow, batch=4, micro_batches=4, seed=0)
    assert all(module.training for module in model.modules())


@pytest.mark.slow
def test_training_is_the_same_with_and_without_it(digits: ImageData) -> None:
    measured: list[GradientNoise] = []

    def measure(points: Sequence[CurvePoint], model: Model) -> None:
        measured.append(gradient_noise(model, digits.train, 16, micro_batches=8, seed=1))

    blocks = replace(EXPERTS, router=Threshold(1.5, noise=0.1), balance=Balance("bias"))
    network = replace(NETWORK, blocks=blocks)
    settings = TrainingSettings(epochs=4, batch=64, evaluations=4)
    watched = train(network, digits, settings, seeds=(0,), on_evaluation=measure)
    alone = train(network, digits, settings, seeds=(0,))
    assert watched.of_seeds == alone.of_seeds
    for left, right in zip(watched.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(left, right)
    assert len(measured) == 4
    assert all(one.trace > 0 for one in measured)


def test_dense_networks_frozen_parts_and_bfloat16(digits: ImageData, few: ImageSplit) -> None:
    baseline = build_model(dense_baseline(NETWORK, "total"))
    assert gradient_noise(baseline, digits.train, 8, micro_batches=4, seed=0).trace > 0
    model = classifier()
    exact_noise = gradient_noise(model, digits.train, 16, micro_batches=8, seed=0)
    lower = gradient_noise(model, digits.train, 16, micro_batches=8, seed=0, precision="bfloat16")
    assert lower.trace == pytest.approx(exact_noise.trace, rel=0.05)
    assert lower != exact_noise
    # What is not trained has no gradient to be noisy.
    model.double()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter is model.head.bias)
    gradients = sample_by_sample(model, few)[:, -10:]
    frozen = gradient_noise(model, few, batch=1, micro_batches=24, seed=0)
    assert (frozen.squared_norm, frozen.trace) == pytest.approx(exact(gradients), rel=1e-9)


def test_a_diverged_network_has_no_noise_scale_and_neither_has_nothing() -> None:
    assert math.isnan(GradientNoise(math.nan, math.nan, 8).noise_scale)
    assert math.isnan(GradientNoise(0.0, 0.0, 8).noise_scale)
    for squared_norm in (0.0, -0.0, -1.0):
        assert GradientNoise(squared_norm, 1.0, 8).noise_scale == math.inf


@pytest.mark.slow
@given(
    measurements=st.lists(
        st.tuples(st.sampled_from([-1.0, -0.0, 0.0, 2.0, math.nan]), st.sampled_from([0.0, 3.0])),
        min_size=1,
    )
)
def test_a_table_has_the_ratios_of_its_sums(measurements: list[tuple[float, float]]) -> None:
    squared_norms, traces = zip(*measurements, strict=True)
    sums = {"token_trace": 6.0, "token_squared_norm": 2.0, "parameters": 5}
    table = pd.DataFrame({"squared_norm": squared_norms, "trace": traces}).assign(**sums)
    table = with_ratios(table.assign(layer=1))
    for row in table.itertuples():
        noise = GradientNoise(row.squared_norm, row.trace, 8)
        assert row.noise_scale == pytest.approx(noise.noise_scale, nan_ok=True)
        assert row.token_noise_scale == 3
        if row.squared_norm == 2 and row.trace:
            assert row.signal_to_noise == 2 / 3
    pooled = pool_gradients(table, ["layer"]).iloc[0]
    assert pooled["parameters"] == 5 * len(table)
    assert pooled["token_trace"] == 6 * len(table)
    whole = GradientNoise(sum(squared_norms), sum(traces), 8)
    assert pooled["noise_scale"] == pytest.approx(whole.noise_scale, nan_ok=True)


def test_too_little_to_measure_is_refused(few: ImageSplit) -> None:
    model = classifier().double()
    for batch, micro_batches in ((0, 4), (4, 1), (-1, -4)):
        with pytest.raises(InvalidInput, match="cannot show noise"):
            gradient_noise(model, few, batch, micro_batches, seed=0)
    with pytest.raises(InvalidInput, match="5 micro-batches of 5 are 25 samples; the split has 24"):
        gradient_noise(model, few, batch=5, micro_batches=5, seed=0)
