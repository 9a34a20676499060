"""Running moments of the gradients of many batches, by layer and group of parameters.

The trace of the samples' covariance and the squared norm of their mean are sums over parameters. So
they are estimated for each part of the network, and pooled by adding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynamoe_search.measure.quantities import GROUPS, NETWORK

_SUMS = ["trace", "squared_norm", "token_trace", "token_squared_norm"]
_QUANTITIES = [
    *("parameters", "trace", "squared_norm", "noise_scale", "signal_to_noise"),
    *("token_trace", "token_squared_norm", "token_noise_scale"),
]


def pool_gradients(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Add up the rows that agree in some columns, then compute the ratios of the sums.

    Parameters
    ----------
    table : DataFrame
        A table of `dynamoe_search.measure.gradients.gradient_noise_by_group`, with any further
        columns.
    by : sequence of str
        At least one column, such as ``group``, ``layer``, or a recorder's ``fraction``.

    Returns
    -------
    DataFrame
        The columns of `by`, in the order of the table, and all columns from ``parameters`` on.
    """
    grouped = table.groupby(list(by), sort=False)[["parameters", *_SUMS]]
    # A sum with NaN is NaN.
    return with_ratios(grouped.agg(lambda values: values.sum(skipna=False)).reset_index())


def pool_groups(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The gradients of the whole network, then those of each group: by some columns and ``group``.

    Parameters
    ----------
    table, by
        As in `pool_gradients`; `by` without ``group``.
    """
    whole = table.assign(group=NETWORK)
    pooled = [pool_gradients(part, [*by, "group"]) for part in (whole, table)]
    return pd.concat(pooled, ignore_index=True)


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add the ratios to a table of sums, or of means of sums."""
    trace, squared_norm = table["trace"], table["squared_norm"]
    ratios = {
        "noise_scale": noise_scale(trace, squared_norm),
        "signal_to_noise": _quotient(squared_norm, trace),
        "token_noise_scale": noise_scale(table["token_trace"], table["token_squared_norm"]),
    }
    others = [column for column in table if column not in _QUANTITIES]
    return table.assign(**ratios)[[*others, *_QUANTITIES]]


def noise_scale(trace: pd.Series, squared_norm: pd.Series) -> NDArray[np.float64]:
    """The noise scale, as `GradientNoise.noise_scale` defines it."""
    return _quotient(trace, squared_norm.mask(squared_norm <= 0, 0.0))


def _quotient(dividend: pd.Series, divisor: pd.Series) -> NDArray[np.float64]:
    """The quotient by IEEE 754, also for a divisor of 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(dividend.to_numpy(np.float64) / divisor.to_numpy(np.float64))


class GradientMoments:
    """Running sums over the gradients of equal-sized batches, from which the estimates follow.

    They take as much memory as the network in float64. A *part* is a tensor of parameters, or one
    expert's share of a tensor that holds all experts of a layer.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
    batch : int
        The number of samples per batch, b.
    tokens : int
        The number of tokens per sample, T.
    """

    def __init__(self, model: nn.Module, batch: int, tokens: int) -> None:
        parameters = trained_parameters(model)
        tensors = list(parameters.values())
        self.batch, self.tokens = batch, batch * tokens
        self.places = [_place(name) for name in parameters]
        # Tensors of experts have shape (1, N, h, d).
        self.parts = [tensor.shape[1] if tensor.ndim == 4 else 1 for tensor in tensors]
        of_all = [_place(name) for name, _ in model.named_parameters()]
        with_experts = [layer for layer, group in of_all if group == "router"]
        self.place_of_layer = {layer: place for place, layer in enumerate(with_experts)}
        self.sizes = [tensor.numel() // n for tensor, n in zip(tensors, self.parts, strict=True)]
        self.sums = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in tensors]
        # Sums over batches, where c is the number of tokens that use a part: of |g|^2, |g|^2 / c,
        # c, and c > 0.
        self.of_parts = self.sums[0].new_zeros(4, sum(self.parts))
        self.batches = 0

    def add(self, gradients: Sequence[Tensor], routed: Sequence[Tensor]) -> None:
        """Add some batches.

        Parameters
        ----------
        gradients : sequence of Tensor, shape (batches, ...)
            The gradients of each batch's mean loss, one tensor per trained parameter.
        routed : sequence of Tensor of int, shape (batches, N)
            The number of tokens that each expert was given, one tensor per layer of experts.
        """
        batches = len(gradients[0])
        everything = torch.full((batches, 1), self.tokens, device=gradients[0].device)
        squares, tokens = [], []
        for gradient, total, parts, (layer, _) in zip(
            gradients, self.sums, self.parts, self.places, strict=True
        ):
            total += gradient.sum(dim=0)
            squares.append(_square_norms(gradient).reshape(batches, parts, -1).sum(dim=2))
            tokens.append(routed[self.place_of_layer[layer]] if parts > 1 else everything)
        square, used = torch.cat(squares, dim=1), torch.cat(tokens, dim=1)
        terms = [square, square / used.clamp(min=1), used, used > 0]
        self.of_parts += torch.stack([term.sum(dim=0) for term in terms])
        self.batches += batches

    def estimates(self, population: int) -> NDArray[np.float64]:
        """The trace and squared norm per sample and per token; shape (4, parts).

        Parameters
        ----------
        population : int
            n, the samples of the split that the batches were drawn from.
        """
        of_sum = torch.cat(
            [
                _square_norms(total).reshape(parts, -1).sum(dim=1)
                for total, parts in zip(self.sums, self.parts, strict=True)
            ]
        )
        # One transfer from the device.
        known = torch.cat([self.of_parts, of_sum[None]]).cpu().numpy()
        squares, token_squares, tokens, used, square_of_sum = known
        samples = self.batch * self.batches
        unseen = 1 - samples / population
        # Sums of squares, which only rounding can make negative.
        spread = np.maximum(squares - square_of_sum / self.batches, 0)
        trace = self.batch * spread / (self.batches - 1)
        squared_norm = square_of_sum / self.batches**2 - unseen / samples * trace
        # Parts that fewer than two batches have used are left out.
        is_known = used > 1
        used, tokens = np.where(is_known, [used, tokens], 2)
        spread = np.maximum(token_squares - square_of_sum / tokens, 0) * self.tokens**2
        token_trace = is_known * spread / (used - 1)
        token_squared_norm = is_known * square_of_sum * (self.tokens / tokens) ** 2
        token_squared_norm -= unseen / tokens * token_trace
        return np.stack([trace, squared_norm, token_trace, token_squared_norm])

    def table(self, population: int) -> pd.DataFrame:
        """The estimates by layer and group, as `gradient_noise_by_group` describes them."""
        layers, groups = zip(*self.places, strict=True)
        of_parts = pd.DataFrame(self.estimates(population).T, columns=_SUMS)
        of_parts["layer"] = np.repeat(layers, self.parts)
        of_parts["group"] = np.repeat(groups, self.parts)
        of_parts["parameters"] = np.repeat(self.sizes, self.parts)
        table = pool_gradients(of_parts, ["layer", "group"])
        order = np.lexsort([table["group"].map(GROUPS.index), table["layer"]])
        return table.iloc[order].reset_index(drop=True)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that have a gradient, by name."""
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def _place(name: str) -> tuple[int, str]:
    """A parameter's layer, from 1, or 0 outside the layers; and its group."""
    module, *rest = name.split(".")
    layer = int(rest[0]) + 1 if len(rest) > 1 else 0
    if module != "blocks":
        return layer, "trunk"
    return layer, "router" if rest[1] == "gate" else "experts"


def _square_norms(vectors: Tensor) -> Tensor:
    """The squared norms along the last axis, in float64 for exact sums."""
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=-1)  # allocates no squares
    return norms.double().square()
