"""The representations of tokens at each block: their effective rank, and their similarity (CKA).

A token's representation is a block's input: the normalized residual stream, which routers and
experts see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import entr
from torch import Tensor

from dynamoe_search.data import ImageSplit, TextSplit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.models import Model
from dynamoe_search.training.evaluation import evaluation_mode, predict, samples_at_once
from dynamoe_search.training.settings import Precision

_FEWEST_TOKENS = 4  # the unbiased estimator needs them
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class RepresentationSums:
    """Sums over tokens, from which both measures follow exactly. Add them with ``+``.

    A representation x of width d is summed as (x, |x|^2), of width d + 1.

    Parameters
    ----------
    tokens : int
        n, the number of tokens.
    first : ndarray of float64, shape (L, d + 1)
        The sums.
    second : ndarray of float64, shape (L, d + 1, L, d + 1)
        The sums of products; 8 (L (d + 1))^2 bytes.
    """

    tokens: int
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @classmethod
    def of(cls, layers: Sequence[Tensor]) -> RepresentationSums:
        """The sums of some tokens.

        Parameters
        ----------
        layers : sequence of Tensor of float, shape (n, d)
            The representations of the same tokens, one tensor per layer.
        """
        tokens = len(layers[0])
        first, second = (part.cpu().numpy() for part in _sums(layers))
        return cls(tokens, first, second)

    def __add__(self, other: RepresentationSums) -> RepresentationSums:
        if self.first.shape != other.first.shape:
            raise InvalidInput(
                f"sums of shapes {self.first.shape} and {other.first.shape} cannot be added; both"
                " must be of the same network"
            )
        return RepresentationSums(
            self.tokens + other.tokens, self.first + other.first, self.second + other.second
        )


@torch.no_grad()
def sum_representations(
    model: Model, split: ImageSplit | TextSplit, precision: Precision = "float32"
) -> RepresentationSums:
    """Sum the inputs of each block of a network over the tokens of a split, in one pass.

    Parameters
    ----------
    model : ClassifierModel or DecoderModel
        With experts or dense; measured in evaluation mode, and left as it was.
    split : ImageSplit or TextSplit
    precision : {"float32", "bfloat16"}
        The precision of the network's matrix products; the sums are in float64.

    Examples
    --------
    >>> from dynamoe_search.data import embedded_digits
    >>> from dynamoe_search.models import build_model
    >>> from dynamoe_search.schedules import Schedule
    >>> from dynamoe_search.specification import Classifier, Experts
    >>> model = build_model(Classifier(64, 10, 16, Experts(16, Schedule((4, 2)))))
    >>> sums = sum_representations(model, embedded_digits(seed=0).validation)
    >>> sums.tokens, sums.first.shape
    (360, (2, 17))
    """
    layers: list[Tensor] = []

    def keep(_: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        layers.append(given[0].squeeze(0))  # without the seed axis

    first = second = torch.zeros((), dtype=torch.float64, device=split.device)
    tokens = 0
    hooks = [block.register_forward_pre_hook(keep) for block in model.blocks]
    try:
        with evaluation_mode(model):
            for inputs, _ in split.batches(samples_at_once(split)):
                layers.clear()
                predict(model, inputs, precision)
                of_first, of_second = _sums(layers)
                first, second = first + of_first, second + of_second
                tokens += len(layers[0])
    finally:
        for hook in hooks:
            hook.remove()
    return RepresentationSums(tokens, first.cpu().numpy(), second.cpu().numpy())


def _sums(layers: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The sums and the sums of products, as in `RepresentationSums`."""
    x = torch.stack(list(layers), dim=1).double()
    x = torch.cat([x, x.square().sum(dim=2, keepdim=True)], dim=2)
    flat = x.flatten(1)
    return x.sum(dim=0), (flat.T @ flat).view(*x.shape[1:], *x.shape[1:])


def effective_ranks(sums: RepresentationSums) -> NDArray[np.float64]:
    """The effective rank of the centered representations of each layer (Roy and Vetterli, 2007).

    exp(-sum_i p_i ln p_i), where p_i is the i-th singular value over the sum of all: the number of
    equal singular values with the same entropy. They are computed as the square roots of the
    covariance's eigenvalues.

    Parameters
    ----------
    sums : RepresentationSums

    Returns
    -------
    ndarray of float64, shape (L,)
        From 1 to the smaller of d and n - 1; NaN where all tokens are equal.

    Raises
    ------
    InvalidInput
        For fewer than 4 tokens.

    Examples
    --------
    >>> line, square = [[0, 0], [1, 0], [2, 0], [3, 0]], [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> effective_ranks(RepresentationSums.of([torch.tensor(line), torch.tensor(square)])).round(9)
    array([1., 2.])
    """
    _require_tokens(sums)
    x = sums.first[:, :-1] / sums.tokens
    moments = np.einsum("lilj->lij", sums.second[:, :-1, :, :-1]) / sums.tokens
    variances = np.linalg.eigvalsh(moments - x[:, :, None] * x[:, None, :])
    noise = _ROUNDING * np.trace(moments, axis1=1, axis2=2)
    singular = np.sqrt(np.where(variances > noise[:, None], variances, 0.0))
    total = singular.sum(axis=1)
    with np.errstate(invalid="ignore"):
        ranks = np.exp(entr(singular / total[:, None]).sum(axis=1))
    return np.asarray(np.clip(ranks, 1.0, x.shape[1]))


def linear_cka(sums: RepresentationSums) -> NDArray[np.float64]:
    """The debiased linear centered kernel alignment (CKA) of the representations of two layers.

    CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)) with the kernel x_i . x_j (arXiv
    1905.00414), and HSIC by the unbiased estimator of Song et al. (2012), in the form of equation 3
    of arXiv 2010.15327: with K and L the kernels, their diagonals set to 0,

        HSIC = (tr KL + 1'K1 1'L1 / ((n - 1) (n - 2)) - 2 1'KL1 / (n - 2)) / (n (n - 3))

    So unrelated layers have an expectation of about 0, even with few tokens. No n x n kernel is
    needed: all three terms follow from the sums.

    Parameters
    ----------
    sums : RepresentationSums

    Returns
    -------
    ndarray of float64, shape (L, L)
        From -1 to 1; 1 for representations that differ only by a rotation, a scale and a shift. It
        can be slightly below 0 by chance. NaN where all tokens are equal.

    Raises
    ------
    InvalidInput
        For fewer than 4 tokens.

    Examples
    --------
    >>> x = torch.randn(50, 3)
    >>> linear_cka(RepresentationSums.of([x, 2 * x.flip(1) + 1])).round(9)
    array([[1., 1.],
           [1., 1.]])
    """
    _require_tokens(sums)
    n = sums.tokens
    x, squares = sums.first[:, :-1], sums.first[:, -1]
    products, squared_products = sums.second[:, :-1, :, :-1], sums.second[:, -1, :, -1]
    weighted = np.einsum("li,limk->lmk", x, sums.second[:, :-1])
    trace = np.einsum("limj,limj->lm", products, products) - squared_products
    sum_ = np.square(x).sum(axis=1) - squares
    cross = np.einsum("lmk,mk->lm", weighted[:, :, :-1], x)
    cross += squared_products - weighted[:, :, -1] - weighted[:, :, -1].T
    hsic = trace + np.outer(sum_, sum_) / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)
    own = hsic.diagonal() / (n * (n - 3))
    own = np.where(own > _ROUNDING * np.square(squares / n), own, np.nan)
    cka = hsic / (n * (n - 3)) / np.sqrt(np.outer(own, own))
    return np.asarray(np.clip(cka, -1.0, 1.0))


def _require_tokens(sums: RepresentationSums) -> None:
    if sums.tokens < _FEWEST_TOKENS:
        raise InvalidInput(
            f"{sums.tokens} tokens are too few to measure representations; give at least"
            f" {_FEWEST_TOKENS}"
        )


def rank_table(sums: RepresentationSums) -> pd.DataFrame:
    """The effective rank of the representations at each block.

    Parameters
    ----------
    sums : RepresentationSums

    Returns
    -------
    DataFrame
        One row per layer: ``layer`` (from 1), ``width`` (d), ``effective_rank`` and ``rank_share``,
        the effective rank over d.
    """
    ranks, width = effective_ranks(sums), sums.first.shape[1] - 1
    return pd.DataFrame(
        {
            "layer": range(1, len(ranks) + 1),
            "width": width,
            "effective_rank": ranks,
            "rank_share": ranks / width,
        }
    )


def cka_table(sums: RepresentationSums) -> pd.DataFrame:
    """The similarity of the representations at every two blocks.

    Parameters
    ----------
    sums : RepresentationSums

    Returns
    -------
    DataFrame
        One row for each of the L^2 ordered pairs: ``layer``, ``other`` (both from 1) and ``cka``.
    """
    cka = linear_cka(sums)
    layers = np.arange(1, len(cka) + 1)
    return pd.DataFrame(
        {
            "layer": layers.repeat(len(cka)),
            "other": np.tile(layers, len(cka)),
            "cka": cka.ravel(),
        }
    )
