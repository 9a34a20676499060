"""Loss and accuracy of a network on a split, and the load of its experts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.models import DecoderModel, Model
from dynamoe_search.models.routing import Routing
from dynamoe_search.specification import Experts
from dynamoe_search.training.settings import Precision

# Without gradients: enough to be fast, few enough for the logits of a large vocabulary.
_TOKENS_AT_ONCE = 8192


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a network on a split.

    Parameters
    ----------
    loss : float
        Mean cross-entropy per image or per token, in nats.
    accuracy : float
        The fraction of images, or of next tokens, predicted correctly.
    bits_per_byte : float or None
        The loss in bits per byte of text, comparable across tokenizers; None for images.
    mean_active : tuple of float
        Mean K of each layer, 0 for plain blocks; empty for dense networks.
    load : tuple of tuple of int
        For each layer, how many tokens used each expert, none for plain blocks; empty for dense
        networks.
    """

    loss: float
    accuracy: float
    bits_per_byte: float | None
    mean_active: tuple[float, ...]
    load: tuple[tuple[int, ...], ...]

    @property
    def perplexity(self) -> float:
        """exp(loss); comparable only between networks with the same tokenizer."""
        return math.exp(min(self.loss, 700.0))


def evaluate(
    model: Model, split: ImageSplit | TextSplit, precision: Precision = "float32"
) -> Evaluation:
    """Measure a single network on a split, without router noise; as `evaluate_seeds`.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.models import build_model
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts, TopK
    >>> model = build_model(Classifier(64, 10, 16, Experts(16, Schedule((4, 1)), TopK(1))))
    >>> measured = evaluate(model, embedded_digits(seed=0).validation)
    >>> measured.mean_active, sum(measured.load[0]), measured.load[1]
    ((1.0, 1.0), 360, (360,))
    """
    (only,) = evaluate_seeds(model, split, precision)
    return only


@torch.no_grad()
def evaluate_seeds(
    model: Model, split: ImageSplit | TextSplit, precision: Precision = "float32"
) -> tuple[Evaluation, ...]:
    """Measure the network of each seed on a split, without router noise.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        Left in evaluation mode.
    split : ImageSplit or TextSplit
    precision : {"float32", "bfloat16"}
        The type of matrix products.
    """
    model.eval()
    networks = len(model.seeds)
    loss = torch.zeros(networks, dtype=torch.float64, device=split.device)
    right = torch.zeros(networks, dtype=torch.int64, device=split.device)
    blocks = model.specification.blocks
    experts = blocks.schedule.counts if isinstance(blocks, Experts) else ()
    busy = torch.zeros(networks, sum(experts), dtype=torch.int64, device=split.device)
    tokens = 0
    for inputs, labels in split.batches(max(1, samples_at_once(split) // networks)):
        report: list[Routing] = []
        logits = predict(model, inputs.expand(networks, *inputs.shape), precision, report)
        labels = labels.flatten().expand(networks, -1)
        losses = nn.functional.cross_entropy(logits.mT, labels, reduction="none")
        loss += losses.sum(dim=1, dtype=torch.float64)
        right += (logits.argmax(dim=-1) == labels).sum(dim=1)
        tokens += labels.shape[1]
        if report:
            busy += torch.cat([routing.chosen.sum(dim=1) for routing in report], dim=1)
    # One transfer from the device; float64 holds the counts exactly.
    rows = torch.cat([loss[:, None], right[:, None], busy], dim=1).tolist()
    return tuple(_evaluation(row, tokens, experts, split) for row in rows)


def _evaluation(
    row: list[float], tokens: int, experts: Sequence[int], split: ImageSplit | TextSplit
) -> Evaluation:
    """The evaluation of one network, of its summed loss, its hits and its loads."""
    summed, hits, *counts = row
    remaining = map(int, counts)
    load = tuple(tuple(islice(remaining, number)) for number in experts)
    mean_loss = summed / tokens
    bits_per_byte = None
    if isinstance(split, TextSplit):
        bits_per_byte = mean_loss / math.log(2) / split.bytes_per_token
    return Evaluation(
        loss=mean_loss,
        accuracy=hits / tokens,
        bits_per_byte=bits_per_byte,
        mean_active=tuple(sum(layer) / tokens for layer in load),
        load=load,
    )


def predict(
    model: Model, inputs: Tensor, precision: Precision, report: list[Routing] | None = None
) -> Tensor:
    """The logits of every token, shape (S, tokens, classes), in float32 or better.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
    inputs : Tensor
        A batch of a split, with the seed axis; without it for a single network, and then logits and
        routings have none.
    precision : {"float32", "bfloat16"}
        The type of matrix products.
    report : list of Routing, optional
        Each layer of experts appends its routing to it.
    """
    with in_precision(precision, inputs.device.type):
        logits: Tensor = model(inputs, report)
    if isinstance(model, DecoderModel):
        logits = logits.flatten(-3, -2)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def in_precision(precision: Precision, device_type: str) -> AbstractContextManager[None]:
    """A context with matrix products in this type; weights, routers and losses stay float32."""
    return torch.autocast(device_type, torch.bfloat16, enabled=precision == "bfloat16")


def tokens_per_sample(split: ImageSplit | TextSplit) -> int:
    """The predictions per sample: 1 for an image, the context for a window of text."""
    return split.context if isinstance(split, TextSplit) else 1


def samples_at_once(split: ImageSplit | TextSplit) -> int:
    """How many samples to run through a network at once when no gradients are needed."""
    return max(1, _TOKENS_AT_ONCE // tokens_per_sample(split))


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """A context in evaluation mode; afterwards every module has its old mode again."""
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in was_training.items():
            module.training = training
