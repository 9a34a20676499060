"""Networks in plain data: the proxies and their feed-forward blocks."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification.router import Router, TopK

_DEFAULT_STRENGTH = {"none": 0.0, "switch": 0.01, "bias": 0.001}

Style = Literal["paper", "modern"]
Documents = Literal["joined", "separate"]
"""As the source: LayerNorm, and experts with ReLU; or as today's decoders: RMSNorm (arXiv
1910.07467), and experts with SwiGLU (arXiv 2002.05202)."""

MATRICES: dict[Style, int] = {"paper": 2, "modern": 3}
"""The weight matrices of an expert: in and out; or gate, up and down."""


@dataclass(frozen=True)
class Balance:
    """How training keeps the experts of a layer equally busy.

    Parameters
    ----------
    name : {"none", "switch", "bias"}
        Nothing, as in the source; an auxiliary loss (arXiv 2101.03961); or a bias per expert that
        moves after every step and changes only which experts are chosen (arXiv 2408.15664).
    strength : float, optional
        The coefficient of the switch loss (default 0.01), or the step of the bias (default 0.001).
    z_loss : float
        The coefficient of the router's z-loss (arXiv 2202.08906), which keeps logits small.

    Raises
    ------
    InvalidInput
        If the name is unknown, or a coefficient is negative or not finite.
    """

    name: Literal["none", "switch", "bias"] = "none"
    strength: float | None = None
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in _DEFAULT_STRENGTH:
            raise InvalidInput(
                f"balance is {self.name!r}; choose from {', '.join(_DEFAULT_STRENGTH)}"
            )
        if self.strength is None:
            object.__setattr__(self, "strength", _DEFAULT_STRENGTH[self.name])
        elif self.name == "none" and self.strength:
            raise InvalidInput("balance none has no strength; leave it out, or choose another")
        for name in ("strength", "z_loss"):
            value = getattr(self, name)
            if not 0 <= value < inf:
                raise InvalidInput(f"{name} is {value}; it must be at least 0")


@dataclass(frozen=True)
class Experts:
    """Feed-forward blocks of experts, one layer of experts per block.

    Parameters
    ----------
    hidden : int
        The hidden width h of every expert; an expert is width -> hidden -> width, without biases:
        W2 relu(W1 x), or in the modern style W3 (silu(W1 x) * W2 x).
    schedule : Schedule
        The number of experts of each layer. A layer with 0 is a plain block: without a router, and
        the same for every token.
    router : Router or tuple of Router
        The rule by which tokens choose experts: one for all layers, or one per layer. Plain blocks
        do not use theirs.
    balance : Balance
        How training keeps the experts equally busy.
    dense_hidden : int or tuple of int, optional
        The hidden width of plain blocks: one for all of them, or one per layer, of which layers
        with experts do not use theirs.
    shared : int
        Experts of each layer that every token uses, whatever the router chooses (arXiv 2401.06066);
        plain blocks have none. They are computed as one block of hidden width `shared` h.
    style : {"paper", "modern"}
        Of experts, plain blocks, and the network's normalizations.

    Raises
    ------
    InvalidInput
        If a width is below 1, or missing for a plain block; the number of routers or widths
        differs from the depth; `shared` is below 0; or the style is unknown.

    Examples
    --------
    >>> Experts(48, Schedule((0, 4, 2)), dense_hidden=96).plain_widths
    (96, 0, 0)
    """

    hidden: int
    schedule: Schedule
    router: Router | tuple[Router, ...] = TopK()
    balance: Balance = Balance()
    dense_hidden: int | tuple[int, ...] | None = None
    shared: int = 0
    style: Style = "paper"

    def __post_init__(self) -> None:
        _require_positive(self, "hidden")
        _require_style(self.style)
        if self.shared < 0:
            raise InvalidInput(f"shared is {self.shared}; it must be at least 0")
        if isinstance(self.dense_hidden, tuple) and len(self.dense_hidden) != self.depth:
            raise InvalidInput(
                f"{len(self.dense_hidden)} widths of plain blocks are given for the {self.depth}"
                f" layers of {self.schedule}; give one for all layers, or one per layer"
            )
        for layer, (experts, width) in enumerate(
            zip(self.schedule, self.plain_widths, strict=True)
        ):
            if not experts and width < 1:
                raise InvalidInput(
                    f"layer {layer} of {self.schedule} has no experts; dense_hidden must give its"
                    " hidden width, at least 1"
                )
        if isinstance(self.router, tuple) and len(self.router) != self.depth:
            raise InvalidInput(
                f"{len(self.router)} routers are given for the {self.depth} layers of"
                f" {self.schedule}; give one for all layers, or one per layer"
            )

    @property
    def depth(self) -> int:
        """The number of blocks L."""
        return self.schedule.depth

    @property
    def routers(self) -> tuple[Router, ...]:
        """The router of each layer."""
        if isinstance(self.router, tuple):
            return self.router
        return (self.router,) * self.depth

    @property
    def plain_widths(self) -> tuple[int, ...]:
        """The hidden width of the plain block of each layer; 0 where a layer has experts."""
        widths = self.dense_hidden
        if not isinstance(widths, tuple):
            widths = (widths or 0,) * self.depth
        return tuple(
            0 if experts else width for experts, width in zip(self.schedule, widths, strict=True)
        )

    @property
    def always_widths(self) -> tuple[int, ...]:
        """The hidden width of each layer that every token uses: a plain block's, or shared h."""
        shared = self.shared * self.hidden
        return tuple(plain or shared for plain in self.plain_widths)


@dataclass(frozen=True)
class Dense:
    """Plain feed-forward blocks: each is one expert, without a router.

    Parameters
    ----------
    hidden : tuple of int
        The hidden width of each block, at least 1.
    style : {"paper", "modern"}
        As in `Experts`.
    """

    hidden: tuple[int, ...]
    style: Style = "paper"

    def __post_init__(self) -> None:
        _require_style(self.style)
        if not self.hidden or min(self.hidden) < 1:
            raise InvalidInput(f"hidden is {self.hidden}; give one width of at least 1 per block")

    @property
    def depth(self) -> int:
        """The number of blocks L."""
        return len(self.hidden)

    @property
    def always_widths(self) -> tuple[int, ...]:
        """The hidden width of each layer that every token uses: all of it."""
        return self.hidden


@dataclass(frozen=True)
class Classifier:
    """An image classifier: projection, L residual blocks with pre-normalization, head.

    Parameters
    ----------
    inputs, classes : int
        The number of values of an image, and the number of classes.
    width : int
        The model width d.
    blocks : Experts or Dense
        The feed-forward blocks.

    Examples
    --------
    >>> Classifier(64, 10, 32, Experts(48, Schedule((3, 1)))).blocks.depth
    2
    """

    inputs: int
    classes: int
    width: int
    blocks: Experts | Dense

    def __post_init__(self) -> None:
        _require_positive(self, "inputs", "classes", "width")


@dataclass(frozen=True)
class LanguageModel:
    """A decoder: embedding, L blocks of causal attention and feed-forward, head tied to embedding.

    Attention has rotary positions (arXiv 2104.09864) and no biases.

    Parameters
    ----------
    vocabulary : int
        The number of tokens.
    context : int
        The length T of the training sequences.
    width : int
        The model width d.
    heads : int
        The attention heads. 0 means no attention, as in the source: each token is then predicted
        only from the one before it.
    blocks : Experts or Dense
        The feed-forward blocks.
    key_value_heads : int, optional
        The heads of keys and values, each shared by `heads` / `key_value_heads` heads of queries
        (arXiv 2305.13245); as many as `heads` where it is None.
    query_key_norm : bool
        Whether all queries of a token, and all its keys, are normalized (RMSNorm) before they are
        rotated, as in OLMoE (arXiv 2409.02060).
    documents : {"joined", "separate"}
        Whether attention sees all earlier tokens of a window, or only those of the same document. A
        document begins with the end of the one before it, the largest id, as its first input.
    """

    vocabulary: int
    context: int
    width: int
    heads: int
    blocks: Experts | Dense
    key_value_heads: int | None = None
    query_key_norm: bool = False
    documents: Documents = "joined"

    def __post_init__(self) -> None:
        _require_positive(self, "vocabulary", "context", "width")
        # Rotary positions rotate pairs of values.
        if self.heads < 0 or (self.heads > 0 and self.width % (2 * self.heads)):
            raise InvalidInput(
                f"heads is {self.heads}; it must be 0, or divide the width, {self.width}, into"
                " parts of even size"
            )
        of_heads = self.key_value_heads
        if of_heads is not None and (of_heads < 1 or not self.heads or self.heads % of_heads):
            raise InvalidInput(
                f"key_value_heads is {of_heads}; it must divide the heads, {self.heads}"
            )

    @property
    def key_value_width(self) -> int:
        """The width of all keys of a token, and of all values; 0 without attention."""
        if not self.heads:
            return 0
        return self.width // self.heads * (self.key_value_heads or self.heads)


Specification = Classifier | LanguageModel


@dataclass(frozen=True)
class LanguageScale:
    """The sizes of a language-model proxy; `experts` is the sum over its layers."""

    depth: int
    width: int
    heads: int
    hidden: int
    experts: int


# 91,232, 511,168 and 1,333,536 parameters with the byte tokenizer's vocabulary of 257; the source's
# networks have 85 K to 1.4 M.
LANGUAGE_SCALES: dict[str, LanguageScale] = {
    "tiny": LanguageScale(depth=4, width=32, heads=2, hidden=64, experts=16),
    "small": LanguageScale(depth=6, width=64, heads=4, hidden=128, experts=24),
    "medium": LanguageScale(depth=8, width=96, heads=4, hidden=164, experts=32),
}


def _require_style(style: str) -> None:
    if style not in MATRICES:
        raise InvalidInput(f"style is {style!r}; choose from {', '.join(MATRICES)}")


def _require_positive(holder: object, *names: str) -> None:
    for name in names:
        if getattr(holder, name) < 1:
            raise InvalidInput(f"{name} is {getattr(holder, name)}; it must be at least 1")
