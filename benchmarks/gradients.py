"""Per-sample gradients of 512 images, by vmap and by a loop, for the network of studies/digits.

python benchmarks/gradients.py

On one thread. Both take turns, and the shortest time of each counts. The loop computes the experts
dense, as vmap does, and sorted, as in training.
"""

from __future__ import annotations

import math
import time

import torch
from torch import nn

from dynamoe_search.data import ImageSplit, embedded_digits
from dynamoe_search.measure.per_sample_gradients import per_sample_gradient_noise
from dynamoe_search.models import Dispatch, Model, build_model, calibrate
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Experts, Percentile, Router, TopK, TopP

SAMPLES, TURNS = 512, 5
DISPATCHES: tuple[Dispatch, ...] = ("masked", "sorted")


def loop(model: Model, split: ImageSplit) -> float:
    """The trace of the covariance, with one backward pass per sample."""
    parameters = list(model.parameters())
    squares = torch.zeros((), dtype=torch.float64)
    summed = torch.zeros(sum(parameter.numel() for parameter in parameters), dtype=torch.float64)
    for inputs, labels in split.batches(1):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        gradient = torch.cat([gradient.flatten() for gradient in gradients])
        squares += torch.linalg.vector_norm(gradient, dtype=torch.float64).square()
        summed += gradient
    count = len(split)
    return float((squares - summed.square().sum() / count) / (count - 1))


def main() -> None:
    """Time both for some routers in either precision, and print the ratios."""
    torch.set_num_threads(1)
    data = embedded_digits(seed=0)
    schedule = Schedule((4,) * 8)
    routers: tuple[Router, ...] = (TopK(2), Percentile(), TopP(target=2.0))
    for router in routers:
        for dtype in (torch.float32, torch.float64):
            torch.manual_seed(0)
            network = Classifier(64, 10, 32, Experts(64, schedule, router))
            model = build_model(network).to(dtype)
            calibrate(model, data.validation.images.to(dtype))
            split = ImageSplit(data.train.images[:SAMPLES].to(dtype), data.train.labels[:SAMPLES])
            seconds = dict.fromkeys(("vmap", *DISPATCHES), math.inf)
            for _ in range(TURNS):
                start = time.perf_counter()
                trace = per_sample_gradient_noise(model, split)["trace"].sum()
                seconds["vmap"] = min(seconds["vmap"], time.perf_counter() - start)
                for dispatch in DISPATCHES:
                    for block in model.blocks:
                        block.dispatch = dispatch  # type: ignore[assignment]
                    start = time.perf_counter()
                    looped = loop(model, split)
                    seconds[dispatch] = min(seconds[dispatch], time.perf_counter() - start)
                    assert math.isclose(looped, trace, rel_tol=1e-4)
            masked, sorted_ = (seconds[dispatch] / seconds["vmap"] for dispatch in DISPATCHES)
            print(
                f"{router.name:10} {dtype!s:13} vmap {seconds['vmap']:.3f} s,"
                f" loop {seconds['masked']:.2f} s masked, {seconds['sorted']:.2f} s sorted,"
                f" ratio {masked:4.1f} and {sorted_:4.1f}"
            )


if __name__ == "__main__":
    main()
