"""How the loss of a trained model depends on the active experts of each layer.

One layer at a time uses k' of its experts, the others as many as they did, and the loss of each
held-out document is compared with that of the model as it is. What is measured layer by layer adds
up to the loss of a whole active schedule only as far as layers do not interact; so
`schedule_losses` measures the schedules that are chosen by it, on other documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dynamoe_search.data.text import TextData
from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.interop.adjustable import AdjustableModel, adjustable, expert_flops
from dynamoe_search.interop.held_out import Document, HeldOut, held_out_documents
from dynamoe_search.interop.measured_losses import AS_IT_IS, Losses, read_losses, write_losses

if TYPE_CHECKING:
    from dynamoe_search.schedules import Schedule

BATCH = 8
"""Windows that are read at once."""

_Window = tuple[int, int, int]  # the document, and where its inputs begin and end

Progress = Callable[[int, int], None]


def measure_sensitivity(
    model: nn.Module,
    data: HeldOut | TextData,
    counts: Sequence[int] | None = None,
    *,
    path: Path | str | None = None,
    batch: int = BATCH,
    flops_per_expert: Sequence[int] | None = None,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """How the loss changes where one layer alone uses another number of experts.

    The model's weights and state stay as they are, and it is in evaluation mode only meanwhile.

    Parameters
    ----------
    model : Module
        As `dynamoe_search.interop.adjustable.adjustable` takes it.
    data : HeldOut or TextData
        The documents for measuring are used; those of `TextData` are its validation split, as
        `held_out_documents` has them. A document's loss is the mean over its tokens, in nats.
    counts : sequence of int, optional
        The numbers of experts to measure; by default 1 to twice what the layer uses. Each layer has
        those that it can use, and its own.
    path : path, optional
        A file of CSV that gets the losses of all documents, written whole after each measurement.
        Where it is there already, what it has is not measured again.
    batch : int
        Windows of `data.context` tokens that are read at once; more need more memory.
    flops_per_expert : sequence of int, optional
        The FLOPs of a token in one expert of each layer with experts; by default the model's own.
    on_progress : callable, optional
        Called with the measurements done and all of them, before each one.

    Returns
    -------
    DataFrame
        One row per layer and number of experts: ``layer``; ``active``; ``trained`` (whether it is
        the layer's own number); ``flops`` of a token in these experts; ``documents``; ``loss``;
        ``difference`` to the model as it is, paired by document, and its ``standard_error``. Where
        the loss of any document is not finite, the last three are NaN.

    Raises
    ------
    InvalidInput
        As `adjustable` and `HeldOut`, if no layer can use any of the counts, a token is outside the
        vocabulary, or the file is of another model or other documents.
    RunFailed
        If the model's own loss is not finite.

    Examples
    --------
    >>> import dynamoe_search as ds
    >>> experts = ds.Experts(8, ds.Schedule((4, 4)), ds.TopK(2))
    >>> model = ds.DecoderModel(ds.LanguageModel(257, 128, 8, 2, experts))
    >>> parts = held_out_documents(ds.load_data("topics"), documents=2, tokens=32)
    >>> table = measure_sensitivity(model, parts, counts=[1, 2, 4])
    >>> table[["layer", "active", "trained", "flops"]].values.tolist()[:3]
    [[0, 1, False, 256], [0, 2, True, 512], [0, 4, False, 1024]]
    """
    subject, parts = adjustable(model), _parts(data)
    flops = expert_flops(model) if flops_per_expert is None else tuple(flops_per_expert)
    if len(flops) != len(subject.layers) or min(flops) < 1:
        raise InvalidInput(
            f"flops_per_expert are {flops}; expected a number of at least 1 for each of the"
            f" {len(subject.layers)} layers with experts"
        )
    wanted = _wanted(subject, counts)
    _check_tokens(subject, parts)
    with _evaluating(model):
        losses = _measured(subject, parts, wanted, batch, path, on_progress)
    base = losses[AS_IT_IS]
    rows = []
    for layer, numbers, of_one in zip(subject.layers, wanted, flops, strict=True):
        for active in numbers:
            own = active == layer.active
            values = base if own else losses[layer.layer, active]
            mean, error = _paired(values, base)
            rows.append(
                {
                    "layer": layer.layer,
                    "active": active,
                    "trained": own,
                    "flops": active * of_one,
                    "documents": len(base),
                    "loss": base.mean() + mean,
                    "difference": mean,
                    "standard_error": error,
                }
            )
    return pd.DataFrame(rows)


def schedule_losses(
    model: nn.Module,
    data: HeldOut | TextData,
    schedules: Mapping[str, Schedule | Sequence[int]],
    *,
    batch: int = BATCH,
    on_progress: Progress | None = None,
) -> pd.DataFrame:
    """The loss of each document for comparing, under whole active schedules.

    Parameters
    ----------
    model, data, batch, on_progress
        As for `measure_sensitivity`; here the documents for comparing are used.
    schedules : mapping of str to Schedule or sequence of int
        The active experts of each layer with experts, by a name.

    Returns
    -------
    DataFrame
        One row per document and one column per name. Schedules that are equal are measured once.

    Raises
    ------
    InvalidInput
        As `measure_sensitivity`, or if a schedule does not fit the model.
    """
    subject, parts = adjustable(model), _parts(data)
    _check_tokens(subject, parts)
    found: dict[tuple[int, ...], NDArray[np.float64]] = {}
    with _evaluating(model):
        for done, (name, schedule) in enumerate(schedules.items()):
            counts = tuple(schedule)
            if len(counts) != len(subject.layers):
                raise InvalidInput(
                    f"{name} has {len(counts)} layers; the model has {len(subject.layers)} with"
                    " experts"
                )
            if on_progress is not None:
                on_progress(done, len(schedules))
            if counts not in found:
                found[counts] = _losses(subject, parts.comparing, parts.context, counts, batch)
    return pd.DataFrame({name: found[tuple(schedule)] for name, schedule in schedules.items()})


def _parts(data: HeldOut | TextData) -> HeldOut:
    return held_out_documents(data) if isinstance(data, TextData) else data


def _check_tokens(subject: AdjustableModel, parts: HeldOut) -> None:
    if parts.largest_token >= subject.vocabulary:
        raise InvalidInput(
            f"the text has the token {parts.largest_token}, but the model's vocabulary has"
            f" {subject.vocabulary}; encode the text with the model's own tokenizer"
        )


def _wanted(subject: AdjustableModel, counts: Sequence[int] | None) -> list[list[int]]:
    """The numbers of experts of each layer: those that it can use, and its own."""
    wanted = [
        sorted(
            {layer.active, *range(1, 2 * layer.active + 1)} & {layer.active, *layer.possible}
            if counts is None
            else {layer.active} | (set(counts) & set(layer.possible))
        )
        for layer in subject.layers
    ]
    if all(len(numbers) < 2 for numbers in wanted):
        raise InvalidInput(
            "no layer can use another number of experts than its own"
            if counts is None
            else f"no layer can use any of {', '.join(map(str, counts))} active experts instead"
        )
    return wanted


def _measured(
    subject: AdjustableModel,
    parts: HeldOut,
    wanted: Sequence[Sequence[int]],
    batch: int,
    path: Path | str | None,
    on_progress: Progress | None,
) -> Losses:
    """The losses of the model as it is, and of every layer and number of experts."""
    own = subject.active
    keys = [
        (place, active)
        for place, numbers in enumerate(wanted)
        for active in numbers
        if active != own[place]
    ]

    def losses(counts: Sequence[int], done: int) -> NDArray[np.float64]:
        if on_progress is not None:
            on_progress(done, len(keys) + 1)
        return _losses(subject, parts.measuring, parts.context, counts, batch)

    base = losses(own, 0)
    if not np.isfinite(base).all():
        raise RunFailed(
            f"the loss of the model as it is is not finite in {(~np.isfinite(base)).sum()} of"
            f" {len(base)} documents; look for weights that are not finite, or choose another type"
            " of numbers"
        )
    found = {AS_IT_IS: base} if path is None else read_losses(Path(path), base)
    for done, (place, active) in enumerate(keys, start=1):
        key = subject.layers[place].layer, active
        if key not in found:
            found[key] = losses((*own[:place], active, *own[place + 1 :]), done)
            if path is not None:
                write_losses(Path(path), found)
    return found


def _paired(values: NDArray[np.float64], base: NDArray[np.float64]) -> tuple[float, float]:
    """The mean difference and its standard error; NaN where a loss is not finite."""
    if not np.isfinite(values).all():
        return math.nan, math.nan
    difference = values - base
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients; then each module gets back the mode that it had."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in before:
            module.training = training


def _losses(
    subject: AdjustableModel,
    documents: Sequence[Document],
    context: int,
    counts: Sequence[int],
    batch: int,
) -> NDArray[np.float64]:
    """The mean loss of the tokens of each document, in nats; shape (documents,)."""
    sums = np.zeros(len(documents))
    with subject.using(counts):
        for windows in _batches(documents, context, batch):
            tokens, real = _padded(documents, windows)
            of_windows = _window_losses(subject, tokens, real)
            np.add.at(sums, [document for document, _, _ in windows], of_windows)
    predictions = [len(document) - 1 for document in documents]
    return np.asarray(sums / np.array(predictions), dtype=np.float64)


def _batches(
    documents: Sequence[Document], context: int, batch: int
) -> Iterator[Sequence[_Window]]:
    """Windows that cover every prediction once, those of like length together."""
    windows = [
        (place, start, min(start + context, len(document) - 1))
        for place, document in enumerate(documents)
        for start in range(0, len(document) - 1, context)
    ]
    windows.sort(key=lambda window: window[1] - window[2])
    for start in range(0, len(windows), batch):
        yield windows[start : start + batch]


def _padded(documents: Sequence[Document], windows: Sequence[_Window]) -> tuple[Tensor, Tensor]:
    """Inputs and the last target of windows, shape (B, T + 1); and which of T targets are real.

    Shorter windows are filled up at their end, which no token before sees.
    """
    longest = max(end - start for _, start, end in windows)
    tokens = torch.zeros(len(windows), longest + 1, dtype=torch.int64)
    real = torch.zeros(len(windows), longest, dtype=torch.bool)
    for row, (place, start, end) in enumerate(windows):
        part = documents[place][start : end + 1].astype(np.int64)
        tokens[row, : len(part)] = torch.from_numpy(part)
        real[row, : len(part) - 1] = True
    return tokens, real


def _window_losses(subject: AdjustableModel, tokens: Tensor, real: Tensor) -> NDArray[np.float64]:
    """The sum of the losses of each window, shape (B,)."""
    logits = subject.logits(tokens[:, :-1].to(subject.device))
    targets, real = tokens[:, 1:].to(logits.device), real.to(logits.device)
    sums = []
    for of_window, wanted, kept in zip(logits, targets, real, strict=True):
        # One by one: in float32 the logits of a large vocabulary are the most memory of all.
        each = nn.functional.cross_entropy(of_window.float(), wanted, reduction="none")
        sums.append(each[kept].sum(dtype=torch.float64))
    return np.asarray(torch.stack(sums).cpu(), dtype=np.float64)
