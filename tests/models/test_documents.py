"""Separate documents: each as if it stood alone in its window."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dynamoe_search.data import TextSplit
from dynamoe_search.models import DecoderModel, build_model
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Experts, LanguageModel, TopK
from dynamoe_search.training.evaluation import evaluate

END = 6
JOINED = LanguageModel(END + 1, 8, 8, heads=2, blocks=Experts(4, Schedule((3, 2)), TopK(2)))
MODERN = LanguageModel(
    END + 1,
    8,
    8,
    heads=2,
    blocks=Experts(4, Schedule((3, 2)), TopK(1), style="modern"),
    key_value_heads=1,
    query_key_norm=True,
)
TOKENS = st.lists(st.integers(0, END), min_size=16, max_size=16)


def both(network: LanguageModel, seeds: tuple[int, ...] = (0,)) -> tuple[DecoderModel, ...]:
    """The network with joined and with separate documents, of the same weights."""
    kinds = (network, replace(network, documents="separate"))
    torch.manual_seed(0)
    joined, separate = (build_model(kind, seeds).double().eval() for kind in kinds)
    for parameter, other in zip(joined.parameters(), separate.parameters(), strict=True):
        with torch.no_grad():
            parameter.uniform_(-1, 1)
            other.copy_(parameter)
    return joined, separate


@pytest.fixture(autouse=True)
def exact_positions() -> Iterator[None]:
    """Rotations are kept in the usual type; in float32, equal distances differ by 1e-7."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def parts_of(window: Tensor) -> list[Tensor]:
    """A window before each end of a document, which is the first input of the next."""
    begins = [place for place, token in enumerate(window.tolist()) if token == END and place]
    return list(window.tensor_split(begins))


@pytest.mark.parametrize("network", [JOINED, MODERN, replace(JOINED, heads=0)])
@settings(max_examples=10, deadline=None)
@given(tokens=TOKENS)
def test_each_document_of_a_window_is_as_if_alone(
    network: LanguageModel, tokens: list[int]
) -> None:
    joined, separate = both(network, seeds=(0, 1))
    windows = torch.tensor(tokens).view(2, 8)
    with torch.no_grad():
        found = separate(windows.expand(2, 2, 8))
        for place, window in enumerate(windows):
            alone = [joined(part.expand(2, 1, -1))[:, 0] for part in parts_of(window)]
            wanted = torch.cat(alone, dim=1)
            torch.testing.assert_close(found[:, place], wanted, atol=1e-12, rtol=1e-12)


def test_another_document_changes_nothing_and_an_earlier_token_of_its_own_does() -> None:
    joined, separate = both(JOINED)
    first = torch.tensor([[1, 2, 3, END, 4, 5, 0, 1]])
    other = torch.tensor([[5, 5, 0, END, 4, 5, 0, 1]])
    own = torch.tensor([[1, 2, 3, END, 3, 5, 0, 1]])
    with torch.no_grad():
        assert torch.equal(separate(first)[0, 3:], separate(other)[0, 3:])
        for changed, model in ((other, joined), (own, separate)):
            assert ((model(first) - model(changed))[0, 4:].abs().amax(dim=1) > 1e-6).all()


@settings(max_examples=10, deadline=None)
@given(tokens=st.lists(st.integers(0, END), min_size=9, max_size=40))
def test_the_loss_counts_every_token_once_and_none_from_another_document(
    tokens: list[int],
) -> None:
    joined, separate = both(JOINED)
    losses = []
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, 8):
            window = torch.tensor(tokens[start : start + 9])
            logits = torch.cat([joined(part[None])[0] for part in parts_of(window[:-1])])
            picked = logits.log_softmax(dim=1).gather(1, window[1:, None])
            losses += (-picked).flatten().tolist()
    split = TextSplit(np.array(tokens, dtype=np.uint16), 8, 1.0, "cpu")
    assert len(losses) == len(tokens) - 1
    measured = evaluate(separate, split)
    assert measured.loss == pytest.approx(math.fsum(losses) / len(losses), rel=1e-12)
    assert sum(measured.load[0]) == 2 * len(losses)
