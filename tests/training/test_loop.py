import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from types import SimpleNamespace

import pytest
import torch

from dynamoe_search.budgets import dense_baseline, training_flops
from dynamoe_search.data import ImageData, TextData, embedded_digits, embedded_topics
from dynamoe_search.errors import InvalidInput
from dynamoe_search.models import Model, build_model
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
from dynamoe_search.training import loop
from dynamoe_search.training.evaluation import evaluate, evaluate_seeds
from dynamoe_search.training.loop import Interrupted, NonFiniteLoss, Seconds, Times, train
from dynamoe_search.training.settings import CurvePoint, TrainingSettings
from tests.training.devices import on

EXPERTS = Experts(16, Schedule((4, 2)))
NETWORK = Classifier(64, 10, 16, EXPERTS)
DECODER = LanguageModel(257, 32, 16, heads=2, blocks=EXPERTS)
SHORT = TrainingSettings(epochs=3, batch=64, evaluations=2)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return embedded_digits(seed=0)


@pytest.fixture(scope="module")
def topics() -> TextData:
    """A sixteenth of the embedded text, in windows of 32 bytes."""
    whole = embedded_topics(context=32)

    def part(split):
        return replace(split, tokens=split.tokens[: len(split.tokens) // 16])

    return replace(
        whole,
        train=part(whole.train),
        validation=part(whole.validation),
        test=part(whole.test),
    )


def with_router(router) -> Classifier:
    return replace(NETWORK, blocks=replace(EXPERTS, router=router))


def test_learns_real_digits(digits: ImageData) -> None:
    settings = TrainingSettings(epochs=12, batch=64, learning_rate=5e-3)
    trained = train(NETWORK, digits, settings, seeds=(0, 1))
    result = trained.of_seeds[0]
    assert trained.of_seeds[1].validation.accuracy > 0.85
    assert result.validation.accuracy > 0.85
    assert result.curve[-1].loss < result.curve[0].loss
    assert len(result.curve) == 10
    assert result.curve[-1].samples == result.samples == 12 * len(digits.train)
    assert result.flops == training_flops(NETWORK, result.samples)
    assert evaluate_seeds(trained.model, digits.validation)[0] == result.validation
    alone = evaluate(trained.network(0), digits.validation)
    assert alone.loss == pytest.approx(result.validation.loss, rel=1e-5)


@pytest.mark.parametrize(
    "router",
    [
        *(TopK(1), TopP(0.6), Percentile(0.5), Relative(), Threshold(1.5)),
        *(TopP(0.5, noise=0.1), TopK(2, noise=1.0), Threshold(1.5, noise=0.1), TopP(1.0)),
    ],
    ids=str,
)
def test_mean_active_is_measured(digits: ImageData, router) -> None:
    network = with_router(router)
    for result in train(network, digits, SHORT, seeds=(0, 1)).of_seeds:
        for mean, experts in zip(result.mean_active, EXPERTS.schedule, strict=True):
            least, most = router.active_bounds(experts)
            assert least <= mean <= most
        assert result.flops == training_flops(network, result.samples, result.mean_active)


def test_plain_blocks_have_no_active_experts(digits: ImageData) -> None:
    network = replace(NETWORK, blocks=Experts(16, Schedule((0, 3)), TopK(2), dense_hidden=32))
    (found,) = train(network, digits, TrainingSettings(epochs=1), seeds=(0,)).of_seeds
    assert found.mean_active == found.validation.mean_active == (0, 2)
    assert found.validation.load[0] == ()
    assert found.flops == training_flops(network, found.samples)


def test_dense_baselines_train_the_same_way(digits: ImageData) -> None:
    (result,) = train(dense_baseline(NETWORK, "total"), digits, SHORT, seeds=(0,)).of_seeds
    assert result.mean_active == result.validation.mean_active == ()
    assert math.isfinite(result.validation.loss)


def trained_by_hand(
    network: Classifier, data: ImageData, settings: TrainingSettings, seed: int
) -> Model:
    """Loshchilov and Hutter's algorithm 2 in float64, on full batches, with the recipe's rate."""
    model = build_model(network, (seed,)).double()
    weights = list(model.parameters())
    means, squares = ([torch.zeros_like(p) for p in weights] for _ in range(2))
    assert settings.epochs is not None
    for step in range(1, settings.epochs + 1):
        logits = model(data.train.images.double())
        loss = torch.nn.functional.cross_entropy(logits, data.train.labels)
        gradients = torch.autograd.grad(loss, weights)
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        factor = min(1.0, settings.clip / norm) if settings.clip else 1.0
        rate = settings.learning_rate * settings.rate_at((step - 0.5) / settings.epochs)
        with torch.no_grad():
            for weight, gradient, mean, square in zip(
                weights, gradients, means, squares, strict=True
            ):
                mean += 0.1 * (factor * gradient - mean)
                square += 0.001 * ((factor * gradient) ** 2 - square)
                direction = mean / (1 - 0.9**step)
                scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
                weight -= rate * (direction / scale + settings.weight_decay * weight)
    return model


@pytest.mark.parametrize(
    "recipe", [{"recipe": "paper"}, {"clip": 0.3}, {"warmup": 0.5, "final_rate": 0.2}], ids=str
)
def test_the_optimizer_is_adamw_with_decoupled_decay_and_the_recipe(
    digits: ImageData, recipe: dict
) -> None:
    network = dense_baseline(NETWORK, "total")
    settings = TrainingSettings(
        **{"epochs": 6, "batch": len(digits.train), "learning_rate": 0.01, "weight_decay": 0.5},
        **{"evaluations": 1} | recipe,
    )
    trained = train(network, digits, settings, seeds=(0, 4)).model
    for place, seed in enumerate((0, 4)):
        by_hand = trained_by_hand(network, digits, settings, seed)
        for weight, exact in zip(trained.parameters(), by_hand.parameters(), strict=True):
            torch.testing.assert_close(weight[place].double(), exact[0], rtol=0, atol=1e-5)
    undecayed = trained_by_hand(network, digits, replace(settings, weight_decay=0.0), seed=4)
    assert (by_hand.head.weight - undecayed.head.weight).abs().max() > 1e-3


def test_the_same_block_gives_the_same_bits_whatever_was_trained_before(digits: ImageData) -> None:
    noisy = with_router(TopP(0.6, noise=0.1))
    first = train(noisy, digits, SHORT, seeds=(1, 5))
    torch.manual_seed(99)
    other = train(with_router(TopK(1)), digits, SHORT, seeds=(2, 5))
    again = train(noisy, digits, SHORT, seeds=(1, 5))
    assert first.of_seeds == again.of_seeds
    curves = {one.curve for one in (*first.of_seeds, *other.of_seeds)}
    assert len(curves) == 4
    for left, right in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("router", [TopK(), Percentile(), Relative(), Threshold()], ids=str)
@pytest.mark.parametrize("limit", [{"epochs": 3}, {"flops": 1e9}])
def test_a_diverging_loss_is_reported(digits: ImageData, router, limit) -> None:
    settings = TrainingSettings(**limit, batch=64, learning_rate=1e30)
    with pytest.raises(NonFiniteLoss, match="validation loss of seed 0 is"):
        train(with_router(router), digits, settings, seeds=(0, 1))


def test_stops_when_asked(digits: ImageData) -> None:
    calls: list[Sequence[CurvePoint]] = []
    with pytest.raises(Interrupted, match="stopped at 33% of the training"):
        train(
            NETWORK,
            digits,
            replace(SHORT, evaluations=3),
            seeds=(0,),
            on_evaluation=lambda points, model: calls.append(points),
            should_stop=lambda: len(calls) == 1,
        )


def test_the_evaluation_hook_does_not_change_the_run(digits: ImageData) -> None:
    seen: list[Sequence[CurvePoint]] = []

    def look(points: Sequence[CurvePoint], model: Model) -> None:
        assert not model.training
        found = evaluate_seeds(model, digits.validation)
        assert [one.loss for one in found] == [point.loss for point in points]
        evaluate_seeds(model, digits.test)
        seen.append(points)

    network = with_router(Relative(target=1.5, noise=0.1))
    settings = replace(SHORT, average=0.5)
    with_hook = train(network, digits, settings, seeds=(0, 1), on_evaluation=look)
    alone = train(network, digits, settings, seeds=(0, 1))
    assert [one.curve for one in with_hook.of_seeds] == list(zip(*seen, strict=True))
    assert with_hook.of_seeds == alone.of_seeds
    for left, right in zip(with_hook.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_number_of_evaluations_does_not_change_the_run(digits: ImageData) -> None:
    network = with_router(Relative(target=1.5, noise=0.1))
    settings = replace(SHORT, average=0.5)
    rarely, often = (
        train(network, digits, replace(settings, evaluations=times), seeds=(0,)) for times in (1, 5)
    )
    assert rarely.of_seeds[0].curve[-1] == often.of_seeds[0].curve[-1]
    assert rarely.of_seeds[0].mean_active == often.of_seeds[0].mean_active
    for left, right in zip(rarely.model.parameters(), often.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_run_that_the_hook_ends_knows_its_cost(digits: ImageData) -> None:
    class Enough(Exception):
        pass

    def prune(of_seeds: Sequence[CurvePoint], model: Model) -> None:
        points.append(of_seeds[0])
        if of_seeds[0].fraction > 0.6:
            raise Enough

    points: list[CurvePoint] = []
    network = with_router(TopP(0.6))
    settings = replace(SHORT, evaluations=3)
    with pytest.raises(Enough):
        train(network, digits, settings, seeds=(0,), on_evaluation=prune)
    assert [point.fraction for point in points] == pytest.approx([1 / 3, 2 / 3], abs=0.01)
    (whole,) = train(network, digits, settings, seeds=(0,)).of_seeds
    assert tuple(points) == whole.curve[:2]
    assert whole.curve[-1].flops == whole.flops
    for point in points:
        # Not a number of samples times a constant: K is measured, and moves.
        assert point.flops == pytest.approx(whole.flops * point.samples / whole.samples, rel=0.1)
        assert point.flops <= training_flops(network, point.samples)


def test_the_time_of_each_part_is_measured(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On clocks that move only with the work: 1 s per batch, 10 s per evaluation."""
    clock = 0.0

    def takes(seconds: float, function):
        def timed(*arguments):
            nonlocal clock
            clock += seconds
            return function(*arguments)

        return timed

    clocks = SimpleNamespace(perf_counter=lambda: clock, process_time=lambda: clock / 2)
    monkeypatch.setattr(loop, "time", clocks)
    monkeypatch.setattr(loop, "predict", takes(1, loop.predict))
    monkeypatch.setattr(loop, "evaluate_seeds", takes(10, evaluate_seeds))
    hook = takes(100, lambda points, model: None)
    result = train(NETWORK, digits, SHORT, seeds=(0, 1), on_evaluation=hook)
    steps = SHORT.epochs * -(-len(digits.train) // SHORT.batch)
    assert result.times == Times(Seconds(steps, steps / 2), Seconds(20, 10))


def test_networks_and_data_of_different_kinds(digits: ImageData, topics: TextData) -> None:
    with pytest.raises(InvalidInput, match="takes 63 values"):
        train(replace(NETWORK, inputs=63), digits, SHORT, seeds=(0,))
    with pytest.raises(InvalidInput, match="a classifier needs images; topics is text"):
        train(NETWORK, topics, SHORT, seeds=(0,))
    with pytest.raises(InvalidInput, match="a language model needs text; digits is images"):
        train(DECODER, digits, SHORT, seeds=(0,))
    with pytest.raises(InvalidInput, match="a vocabulary of 256 and a context of 32; topics has"):
        train(replace(DECODER, vocabulary=256), topics, SHORT, seeds=(0,))


@pytest.mark.slow
@pytest.mark.parametrize("heads", [0, 2])
def test_learns_real_text(topics: TextData, heads: int) -> None:
    network = replace(DECODER, heads=heads)
    settings = TrainingSettings(epochs=2, batch=16, learning_rate=5e-3, evaluations=4)
    result = train(network, topics, settings, seeds=(0, 1)).of_seeds[1]
    validation = result.validation
    # Equal probabilities for all bytes cost 8 bits.
    assert 2 < validation.bits_per_byte < 5
    assert validation.perplexity == pytest.approx(math.exp(validation.loss))
    split = topics.validation
    bits = validation.loss / math.log(2) * len(split.tokens)
    assert validation.bits_per_byte == pytest.approx(
        bits / (len(split.tokens) * split.bytes_per_token)
    )
    assert [point.fraction for point in result.curve] == pytest.approx(
        [0.25, 0.5, 0.75, 1.0], abs=0.02
    )
    assert result.samples == 2 * len(topics.train)
    assert result.flops == training_flops(network, result.samples * 32)


@pytest.mark.slow
@pytest.mark.parametrize("router", [TopK(2), TopP(0.6), Relative(0.8)], ids=str)
def test_training_stops_at_equal_flops_counted_from_the_measured_k(
    digits: ImageData, router
) -> None:
    network = with_router(router)
    budget = 2e8
    settings = TrainingSettings(flops=budget, batch=50, evaluations=3)
    results = train(network, digits, settings, seeds=(0, 1)).of_seeds
    for result in results:
        assert result.flops == training_flops(network, result.samples, result.mean_active)
    # It stops at the first step beyond the budget, and a step is a small part of it.
    spent = fmean(result.flops for result in results)
    assert budget <= spent <= budget + 1.2 * training_flops(network, 50)
    assert [point.fraction for point in result.curve] == pytest.approx([1 / 3, 2 / 3, 1], abs=0.03)


@pytest.mark.slow
def test_the_balance_evens_out_the_load_in_training(digits: ImageData) -> None:
    def unevenness(balance: Balance) -> float:
        blocks = Experts(16, Schedule((8, 8)), TopK(1), balance)
        settings = TrainingSettings(epochs=15, batch=64, evaluations=1)
        model = train(replace(NETWORK, blocks=blocks), digits, settings, seeds=(0,)).model
        report: list = []
        model(digits.train.images, report)
        loads = [routing.chosen.sum(dim=0).double() for routing in report]
        return sum(float(load.max() / load.mean() - 1) for load in loads) / 2

    plain = unevenness(Balance())
    assert unevenness(Balance("switch", 0.1)) < 0.75 * plain
    assert unevenness(Balance("bias", 0.005)) < 0.75 * plain


@pytest.mark.slow
def test_bfloat16_learns_as_float32_does(digits: ImageData, device: str) -> None:
    digits = on(digits, device)
    settings = TrainingSettings(epochs=12, batch=64, learning_rate=5e-3, precision="bfloat16")
    trained = train(NETWORK, digits, settings, seeds=(0,))
    exact = train(NETWORK, digits, replace(settings, precision="float32"), seeds=(0,))
    found, expected = trained.of_seeds[0].validation, exact.of_seeds[0].validation
    assert found.accuracy == pytest.approx(expected.accuracy, abs=0.06)
    assert found.loss != expected.loss
    assert {p.dtype for p in trained.model.parameters()} == {torch.float32}
    assert evaluate(trained.model, digits.validation, "bfloat16") == found
