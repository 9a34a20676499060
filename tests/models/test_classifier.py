from dataclasses import replace

import pytest
import torch

from dynamoe_search.budgets import dense_baseline
from dynamoe_search.models import ClassifierModel, build_model
from dynamoe_search.models.routing import Routing
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Classifier,
    Experts,
    Percentile,
    Relative,
    Router,
    Threshold,
    TopK,
    TopP,
)

EXPERTS = Experts(24, Schedule((6, 4, 1, 3)))
NETWORK = Classifier(20, 5, 16, EXPERTS)
MODERN = replace(EXPERTS, schedule=Schedule((0, 6, 4)), dense_hidden=9, shared=2, style="modern")
GATES = [
    TopK(3, gates=gates, renormalize=one)
    for gates in ("softmax", "sigmoid")
    for one in (True, False)
]
MIXED = (TopK(3), Relative(), Percentile(noise=0.0), Threshold(1.5))
ROUTERS = [TopK(2), TopK(1), TopP(0.6), Percentile(0.5, noise=0.0), Relative(), Threshold(), MIXED]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def with_router(router: Router | tuple[Router, ...]) -> Classifier:
    return replace(NETWORK, blocks=replace(EXPERTS, router=router))


@pytest.mark.parametrize(
    "network",
    [
        *map(with_router, ROUTERS),
        *(replace(NETWORK, blocks=replace(MODERN, router=router)) for router in GATES),
    ],
    ids=lambda network: f"{network.blocks.style} {network.blocks.router}",
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_both_dispatches_agree_in_loss_and_gradients(
    network: Classifier, dtype: torch.dtype, tolerance: float
) -> None:
    masked = ClassifierModel(network, dispatch="masked").to(dtype)
    sparse = ClassifierModel(network, dispatch="sorted").to(dtype)
    images = torch.randn(30, 20, generator=generator(), dtype=dtype)
    labels = torch.randint(0, 5, (30,), generator=generator())
    for model in (masked, sparse):
        torch.nn.functional.cross_entropy(model(images), labels).backward()
    torch.testing.assert_close(sparse(images), masked(images), atol=tolerance, rtol=tolerance)
    pairs = zip(sparse.named_parameters(), masked.parameters(), strict=True)
    for (name, of_sparse), of_masked in pairs:
        torch.testing.assert_close(
            of_sparse.grad, of_masked.grad, atol=tolerance, rtol=tolerance, msg=name
        )


@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_a_gradient_penalty_is_that_of_the_masked_path(router: Router | tuple[Router, ...]) -> None:
    masked, sparse = (
        ClassifierModel(with_router(router), dispatch=dispatch).double()
        for dispatch in ("masked", "sorted")
    )
    images = torch.randn(10, 20, generator=generator(), dtype=torch.float64, requires_grad=True)
    found = []
    for model in (masked, sparse):
        (slope,) = torch.autograd.grad(model(images).sum(), images, create_graph=True)
        penalty = slope.square().sum()
        found.append([penalty, *torch.autograd.grad(penalty, model.blocks.parameters())])
    for of_masked, of_sparse in zip(*found, strict=True):
        torch.testing.assert_close(of_sparse, of_masked, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_no_images_give_no_logits(router: Router | tuple[Router, ...], training: bool) -> None:
    model = ClassifierModel(with_router(router)).train(training)
    logits = model(torch.empty(0, 20))
    assert logits.shape == (0, 5)
    logits.sum().backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_the_report_is_complete_and_changes_nothing(router) -> None:
    model = ClassifierModel(with_router(router)).eval()
    images = torch.randn(12, 20)
    report: list[Routing] = []
    torch.testing.assert_close(model(images, report), model(images), atol=0, rtol=0)
    assert [routing.gates.shape[1] for routing in report] == list(EXPERTS.schedule)
    for routing, of_layer in zip(report, with_router(router).blocks.routers, strict=True):
        least, most = of_layer.active_bounds(routing.gates.shape[1])
        assert routing.active.min() >= least
        assert routing.active.max() <= most


def test_dense_baselines_are_plain_networks_of_the_same_interface() -> None:
    for match in ("total", "active"):
        baseline = build_model(dense_baseline(NETWORK, match))
        report: list[Routing] = []
        assert baseline(torch.randn(3, 20), report).shape == (3, 5)
        assert report == []


def test_a_token_is_not_changed_by_its_neighbors() -> None:
    model = ClassifierModel(NETWORK).eval().double()
    images = torch.randn(10, 20, dtype=torch.float64)
    torch.testing.assert_close(model(images)[3:4], model(images[3:4]))
