import math
from dataclasses import replace

import pytest
import torch

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.data import ImageSplit, TextSplit, embedded_digits, embedded_topics
from dynamoe_search.models import Model, build_model, single_network
from dynamoe_search.models.routing import Routing
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Classifier,
    Experts,
    LanguageModel,
    Percentile,
    Relative,
    Router,
    TopK,
    TopP,
)
from dynamoe_search.training import evaluation
from dynamoe_search.training.evaluation import evaluate, evaluate_seeds

EXPERTS = Experts(16, Schedule((4, 1, 3)))
NETWORK = Classifier(64, 10, 16, EXPERTS)


@pytest.fixture(scope="module")
def digits() -> ImageSplit:
    return embedded_digits(seed=0).validation


@pytest.fixture(scope="module")
def topics() -> TextSplit:
    """Some forty windows."""
    split = embedded_topics(context=32).validation
    return replace(split, tokens=split.tokens[:1300])


def classifier(router: Router) -> Model:
    return build_model(replace(NETWORK, blocks=replace(EXPERTS, router=router)))


@pytest.mark.parametrize("router", [TopK(), TopP(0.6), Percentile(), Relative(0.8)], ids=str)
def test_results_do_not_depend_on_the_batches(
    digits: ImageSplit, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(router).double()
    split = replace(digits, images=digits.images.double())
    monkeypatch.setattr(evaluation, "_TOKENS_AT_ONCE", 7)
    measured = evaluate(model, split)
    report: list[Routing] = []
    with torch.no_grad():
        logits = model(split.images, report)
    loss = torch.nn.functional.cross_entropy(logits, split.labels)
    assert measured.loss == pytest.approx(float(loss), rel=1e-12)
    hits = sum(
        int(guess == label)
        for guess, label in zip(logits.argmax(dim=1).tolist(), split.labels.tolist(), strict=True)
    )
    assert measured.accuracy == hits / len(split)
    assert measured.bits_per_byte is None
    # Token by token, without the sums under test.
    for layer, routing in enumerate(report):
        users = [0] * routing.chosen.shape[1]
        for token in routing.chosen.tolist():
            for expert, chosen in enumerate(token):
                users[expert] += chosen
        assert measured.load[layer] == tuple(users)
        assert measured.mean_active[layer] == sum(users) / len(split)


def test_every_token_of_a_text_counts(topics: TextSplit) -> None:
    model = build_model(LanguageModel(257, 32, 16, heads=2, blocks=EXPERTS)).double()
    measured = evaluate(model, topics)
    tokens = 1299  # all but the first; 19 of them in a shorter window
    assert [sum(layer) for layer in measured.load] == [2 * tokens, tokens, 2 * tokens]
    losses = []
    with torch.no_grad():
        for inputs, targets in topics.batches(1):
            picked = model(inputs).log_softmax(dim=2).gather(2, targets[:, :, None])
            losses += (-picked).flatten().tolist()
    assert measured.loss == pytest.approx(math.fsum(losses) / tokens, rel=1e-12)
    assert measured.bits_per_byte == pytest.approx(
        measured.loss / math.log(2) / topics.bytes_per_token
    )
    assert measured.perplexity == pytest.approx(math.exp(measured.loss))


def test_a_dense_network_has_no_load(digits: ImageSplit) -> None:
    measured = evaluate(build_model(dense_baseline(NETWORK, "total")), digits)
    assert measured.load == measured.mean_active == ()
    assert math.isfinite(measured.loss)


def test_the_routers_noise_is_off_and_nothing_is_counted(digits: ImageSplit) -> None:
    quiet, noisy = classifier(TopK()), classifier(TopK(noise=10.0))
    random_state = torch.get_rng_state()
    assert evaluate(noisy, digits) == evaluate(quiet, digits)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not noisy.training
    assert noisy.blocks[0].tokens == 0


def test_bfloat16_changes_the_products_and_not_the_sums(digits: ImageSplit) -> None:
    model = classifier(TopK())
    exact, lower = evaluate(model, digits), evaluate(model, digits, "bfloat16")
    assert lower.loss == pytest.approx(exact.loss, rel=0.01)
    assert lower.loss != exact.loss
    logits = evaluation.predict(model, digits.images, "bfloat16")
    assert logits.dtype == torch.float32
    wide = evaluation.predict(model.double(), digits.images.double(), "float32")
    assert wide.dtype == torch.float64


@pytest.mark.parametrize("kind", ["images", "text"])
def test_the_networks_of_several_seeds_are_measured_as_each_alone(
    digits: ImageSplit, topics: TextSplit, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = replace(EXPERTS, router=Relative(0.8))
    if kind == "images":
        network, split = replace(NETWORK, blocks=blocks), digits
    else:
        network, split = LanguageModel(257, 32, 16, heads=2, blocks=blocks), topics
    model = build_model(network, seeds=(5, 3, 8))
    together = evaluate_seeds(model, split)
    for place, measured in enumerate(together):
        alone = evaluate(single_network(model, place), split)
        assert measured.loss == pytest.approx(alone.loss, rel=1e-5)
        assert measured.accuracy == alone.accuracy
        assert measured.load == alone.load
    assert len({measured.loss for measured in together}) == 3
    # More networks than fit at once with one sample each.
    monkeypatch.setattr(evaluation, "_TOKENS_AT_ONCE", 2)
    if kind == "images":
        some = replace(digits, images=digits.images[:9], labels=digits.labels[:9])
        assert [one.loss for one in evaluate_seeds(model, some)] == pytest.approx(
            [evaluate(single_network(model, place), some).loss for place in range(3)], rel=1e-5
        )
