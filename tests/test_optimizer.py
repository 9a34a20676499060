"""AdamW against torch's own class, bit for bit."""

import subprocess
import sys

import torch
from torch import nn

from dynamoe_search.optimizer import AdamW


def trained(make: str, steps: int = 20) -> list[torch.Tensor]:
    """After steps in which the second weight has a gradient now and then, and the third never."""
    generator = torch.Generator().manual_seed(0)
    weights = [
        nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 3), (4,), (2,))
    ]
    if make == "torch":
        optimizer = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1, fused=True)
    else:
        optimizer = AdamW(weights, learning_rate=0.01, weight_decay=0.1)
    for step in range(steps):
        for weight in weights:
            weight.grad = None
        for weight in weights[: 1 + step % 2]:
            (weight**3 * torch.randn(weight.shape, generator=generator)).sum().backward()
        optimizer.step()
    return [weight.detach() for weight in weights]


def test_it_is_torchs_own_bit_for_bit() -> None:
    ours, torchs, begun = trained("ours"), trained("torch"), trained("ours", steps=0)
    assert all(torch.equal(one, other) for one, other in zip(ours, torchs, strict=True))
    unchanged = [torch.equal(one, other) for one, other in zip(ours, begun, strict=True)]
    assert unchanged == [False, False, True]


def test_without_any_gradient_nothing_changes() -> None:
    weight = nn.Parameter(torch.ones(3))
    AdamW([weight], learning_rate=0.1, weight_decay=0.1).step()
    assert torch.equal(weight, torch.ones(3))


def test_a_training_does_not_wait_for_torchs_compiler() -> None:
    program = """
import sys
from dynamoe_search.data import embedded_digits
from dynamoe_search.specification import Classifier, Experts, TopK
from dynamoe_search.schedules import Schedule
from dynamoe_search.training.loop import train
from dynamoe_search.training.settings import TrainingSettings
network = Classifier(64, 10, 8, Experts(8, Schedule((2, 2)), TopK(k=1)))
train(network, embedded_digits(seed=0), TrainingSettings(epochs=1), seed=0)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
