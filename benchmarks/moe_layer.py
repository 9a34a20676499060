"""The layer of experts, forward and backward on one thread, at a large and a small size.

python benchmarks/moe_layer.py

Against its masked form, itself in bfloat16, Mixtral's block of the transformers library (where the
`benchmark` extra is installed), and the machine's own rate of matrix products. The layers
take turns, and the shortest of many times counts, so that ratios do not depend on the load.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from dynamoe_search.models import Dispatch, MoELayer
from dynamoe_search.specification import TopK

MASKED, SORTED, BFLOAT16 = "masked", "sorted", "sorted, bfloat16"
ROUTER, SORTING, PRODUCTS, SCATTERING = PARTS = (
    "router and choice",
    "sorting and gathering",
    "experts' products",
    "scattering",
)
FIXED = "a step with very few tokens"


@dataclass(frozen=True)
class Size:
    """A layer, its batch, and how often it is timed; `active` is K."""

    tokens: int
    width: int
    hidden: int
    experts: int
    active: int
    repeats: int

    def __str__(self) -> str:
        return f"{self.tokens} tokens, {self.width}/{self.hidden}/{self.experts}/{self.active}"

    def flops(self, matrices: int = 2) -> float:
        """The useful operations of a step: the chosen experts' products, and the router's.

        The backward pass takes twice as many as the forward pass.
        """
        experts = self.active * matrices * self.width * self.hidden
        return 3 * 2 * self.tokens * experts + self.router_flops()

    def router_flops(self) -> float:
        """Of these, the router's."""
        return 3 * 2 * self.tokens * self.width * self.experts

    def products(self) -> list[tuple[int, int, int]]:
        """The (m, k, n) of the products of an expert with its fair share of the tokens."""
        g, d, h = self.tokens * self.active // self.experts, self.width, self.hidden
        return [(g, d, h), (g, h, d), (h, g, d), (d, g, h)]


LARGE = Size(4096, 128, 256, 16, 3, repeats=8)
SMALL = Size(512, 64, 128, 8, 2, repeats=100)
PLAIN = [(n, n, n) for n in (256, 512, 1024)] + LARGE.products() + SMALL.products()


@dataclass(frozen=True)
class Row:
    """A layer to time, the matrices each of its experts has, and the precision of products."""

    layer: nn.Module
    matrices: int = 2
    dtype: torch.dtype = torch.float32

    def step(self, x: Tensor, incoming: Tensor) -> tuple[Tensor, ...]:
        """The output, and the gradients by x and by the parameters."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            output = self.layer(x)
        return output, *torch.autograd.grad(output, [x, *self.layer.parameters()], incoming)


def rows_of(size: Size) -> tuple[dict[str, Row], dict[str, str]]:
    """The layers to time, all with the same router, and why others are left out."""
    sorts, masked = ours(size, "sorted"), ours(size, "masked")
    rows, left_out = {MASKED: Row(masked), SORTED: Row(sorts)}, {}
    if any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name):
        rows[BFLOAT16] = Row(sorts, dtype=torch.bfloat16)
    else:
        left_out[BFLOAT16] = "this CPU has no bfloat16 products"
    try:
        for implementation in ("grouped_mm", "eager"):
            block = mixtral(size, implementation, sorts.gate)
            rows[f"Mixtral, {implementation}"] = Row(block, matrices=3)
    except ImportError as error:
        left_out["Mixtral"] = str(error)
    return rows, left_out


def ours(size: Size, dispatch: Dispatch) -> MoELayer:
    """Our layer, in training mode."""
    return MoELayer(size.experts, size.width, size.hidden, TopK(k=size.active), dispatch)


def mixtral(size: Size, implementation: str, gate: Tensor) -> nn.Module:
    """Mixtral's block; its gated experts have three matrices each, ours have two.

    By default whole models use its grouped_mm form, and the block alone the eager form.
    """
    transformers: Any = importlib.import_module("transformers")
    modeling: Any = importlib.import_module("transformers.models.mixtral.modeling_mixtral")
    config = transformers.MixtralConfig(
        hidden_size=size.width,
        intermediate_size=size.hidden,
        num_local_experts=size.experts,
        num_experts_per_tok=size.active,
        experts_implementation=implementation,
    )
    block: nn.Module = modeling.MixtralSparseMoeBlock(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=size.width**-0.5, generator=generator)
    block.get_submodule("gate").load_state_dict({"weight": gate[0]})
    return block


def require_agreement(rows: Mapping[str, Row], x: Tensor, incoming: Tensor) -> None:
    """Check that equal rows agree, forward and backward."""
    found = {name: row.step(x, incoming) for name, row in rows.items()}
    for one, other in ((SORTED, MASKED), ("Mixtral, grouped_mm", "Mixtral, eager")):
        if one in rows:
            torch.testing.assert_close(found[one], found[other], atol=1e-4, rtol=1e-4)
    if BFLOAT16 in rows:
        exact = found[SORTED][0]
        assert (found[BFLOAT16][0] - exact).norm() < 0.02 * exact.norm()


def plain_product(m: int, k: int, n: int, dtype: torch.dtype) -> Callable[[], object]:
    """(m, k) @ (k, n), into existing memory."""
    left, right = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    output = torch.empty(m, n, dtype=dtype)
    return lambda: torch.mm(left, right, out=output)


def parts_of(layer: MoELayer, x: Tensor, incoming: Tensor) -> dict[str, Callable[[], object]]:
    """Parts of a step of the sorted layer, each alone on what the step would give it."""
    routing = layer.route(x)
    chosen, weights_gradient = routing.chosen[0], torch.randn_like(routing.weights)
    rows, of_output = x.detach()[0], incoming[0]
    tokens = chosen.T.nonzero(as_tuple=True)[1]
    sizes = chosen.sum(dim=0).tolist()
    outer = rows.index_select(0, tokens)
    hidden = torch.empty(len(tokens), layer.w_in.shape[2]).normal_()
    w_in, w_out = layer.w_in.detach()[0].mT, layer.w_out.detach()[0]

    def sort_and_gather() -> None:
        chosen.T.nonzero(as_tuple=True)
        chosen.sum(dim=0).tolist()
        for source in (rows, of_output, rows):
            source.index_select(0, tokens)

    def multiply() -> None:
        parts = outer.split_with_sizes(sizes), hidden.split_with_sizes(sizes), w_in, w_out
        for u, v, a, b in zip(*parts, strict=True):
            for left, right in ((u, a), (v, b), (u, b.T), (v.T, u), (u.T, v), (v, a.T)):
                torch.mm(left, right)

    def scatter() -> None:
        for _ in ("the output", "the gradient by x"):
            torch.zeros_like(of_output).index_add_(0, tokens, outer)

    return {
        ROUTER: lambda: torch.autograd.grad(
            layer.route(x).weights, [x, layer.gate], weights_gradient
        ),
        SORTING: sort_and_gather,
        PRODUCTS: multiply,
        SCATTERING: scatter,
    }


def fastest(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The shortest time of each, in milliseconds; they take turns of three runs."""
    milliseconds = dict.fromkeys(actions, float("inf"))
    for _ in range(repeats):
        for name, action in actions.items():
            for _ in range(3):
                start = time.perf_counter()
                action()
                milliseconds[name] = min(milliseconds[name], 1e3 * (time.perf_counter() - start))
    return milliseconds


@dataclass(frozen=True)
class Measured:
    """One size: milliseconds by row or part, and the best plain product by precision."""

    size: Size
    rows: dict[str, Row]
    left_out: dict[str, str]
    times: dict[str, float]
    best: dict[torch.dtype, tuple[float, str]]


def measure(size: Size) -> Measured:
    """Time everything of one size."""
    torch.manual_seed(0)
    x, few = (
        torch.randn(1, t, size.width, requires_grad=True) for t in (size.tokens, size.experts)
    )
    incoming, few_incoming = torch.randn_like(x), torch.randn_like(few)
    rows, left_out = rows_of(size)
    require_agreement(rows, x, incoming)
    layer: Any = rows[SORTED].layer
    plain = {
        f"{m} x {k} x {n} in {dtype}": (m, k, n, dtype)
        for dtype in dict.fromkeys(row.dtype for row in rows.values())
        for m, k, n in PLAIN
    }
    times = fastest(
        {name: partial(row.step, x, incoming) for name, row in rows.items()}
        | parts_of(layer, x, incoming)
        | {FIXED: partial(rows[SORTED].step, few, few_incoming)}
        | {name: plain_product(*shape) for name, shape in plain.items()},
        size.repeats,
    )
    best: dict[torch.dtype, tuple[float, str]] = {}
    for name, (m, k, n, dtype) in plain.items():
        rate = 2e-6 * m * k * n / times[name]
        best[dtype] = max(best.get(dtype, (0.0, "")), (rate, name))
    return Measured(size, rows, left_out, times, best)


def table_of_layers(measured: list[Measured]) -> Table:
    """The rows of all sizes."""
    table = Table("width/hidden/experts/K", "ms", "useful GFLOP/s", "of matmul", "masked / it")
    table.caption = "of matmul: in the row's own precision; Mixtral's experts have three matrices"
    for m in measured:
        table.add_section()
        table.add_row(f"[bold]{m.size}")
        for name, row in m.rows.items():
            rate = 1e-6 * m.size.flops(row.matrices) / m.times[name]
            share = rate / m.best[row.dtype][0]
            speed = m.times[MASKED] / m.times[name]
            table.add_row(
                name, f"{m.times[name]:.2f}", f"{rate:.1f}", f"{share:.0%}", f"{speed:.1f}"
            )
        for name, reason in m.left_out.items():
            table.add_row(f"{name}: {reason}")
    return table


def table_of_parts(m: Measured) -> Table:
    """Where the time of a step of the sorted layer goes."""
    table = Table(f"sorted, {m.size}", "ms", "of the step")
    step = m.times[SORTED]
    parts = {name: m.times[name] for name in PARTS}
    parts["the rest: ReLU, weighting, autograd, Python"] = step - sum(parts.values())
    for name, part in parts.items():
        table.add_row(name, f"{part:.3f}", f"{part / step:.0%}")
    table.add_section()
    table.add_row("the step", f"{step:.3f}", "100%")
    return table


def what_limits(m: Measured) -> str:
    """A sentence on the limits of the small size."""
    step, products, fixed = m.times[SORTED], m.times[PRODUCTS], m.times[FIXED]
    best, _ = m.best[torch.float32]
    count, router = 6 * m.size.experts, m.size.router_flops()
    flops = m.size.flops() - router
    ideal = 1e-6 * flops / best
    return (
        f"At {best:.0f} GFLOP/s the experts' {count} products, of {1e-6 * flops / count:.1f} MFLOP"
        f" each, would take {ideal:.2f} of the {step:.2f} ms; {step - ideal:.2f} are lost."
        f" Because they are small, they reach {1e-6 * flops / products:.0f} GFLOP/s and lose"
        f" {products - ideal:.2f} of that. The same step with only {m.size.experts} tokens takes"
        f" {fixed:.2f}: the fixed cost of many small operations is"
        f" {fixed / (step - ideal):.0%} of the loss. The router costs most of them,"
        f" {m.times[ROUTER] / step:.0%} of the time for {router / m.size.flops():.0%} of the"
        " arithmetic."
    )


def main() -> None:
    """Measure both sizes on one thread, and print the tables."""
    torch.set_num_threads(1)
    measured = [measure(size) for size in (LARGE, SMALL)]
    console = Console()
    console.print(table_of_layers(measured))
    for rate, name in measured[0].best.values():
        console.print(f"matmul beside the large size: {rate:.1f} GFLOP/s, {name}")
    console.print(table_of_parts(measured[-1]))
    console.print(what_limits(measured[-1]))


if __name__ == "__main__":
    main()
