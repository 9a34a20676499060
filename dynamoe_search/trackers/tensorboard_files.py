"""Training runs and decisions as event files of TensorBoard."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing, user_path
from dynamoe_search.trackers.happenings import Decided, RunEnded

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_LONGEST_NAME = 100  # of a folder: a file system takes 255 bytes
_FOR_A_FOLDER = re.compile(r"[^\w.=,-]+")


class TensorBoardTracker:
    """Writes what happens in a study to event files, in a folder of the study.

    Each seed of a training run is a run of TensorBoard: scalars of the learning curve over the
    samples seen (``curve/loss``, ``curve/accuracy``, ``curve/flops``), what it found and cost
    (``result/...``), its hyperparameters (the candidate and the study's settings), and its state as
    text. The decision is a run, too: scalars over the number of training runs, and the decision in
    words. A file is written whole or not at all, and once.

    Parameters
    ----------
    folder : Path or str
        Where the study's folder goes; made where it does not exist. Show it with ``tensorboard
        --logdir FOLDER``.

    Raises
    ------
    InvalidInput
        Where TensorBoard is not installed.
    """

    title = "The tracker tensorboard"

    def __init__(self, folder: Path | str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InvalidInput(
                f"TensorBoard cannot be imported ({error}): pip install"
                " 'dynamoe-search[tensorboard]'"
            ) from error
        self._writer_in: Callable[[str], SummaryWriter] = SummaryWriter
        self._folder = user_path(folder)

    def __call__(self, event: RunEnded | Decided) -> None:
        """Write what has happened, where the folder does not have it."""
        study = self._folder / f"{_for_a_folder(event.study.name)}-{event.study.identity}"
        if isinstance(event, Decided):
            # A file for each number of runs, in their order; TensorBoard joins those of a folder.
            self._write(study / event.stage / "decision", f"{event.runs:08d}", event)
            return
        row = event.row
        label = _for_a_folder(str(row.get("pattern") or row["candidate"]))
        run = study / event.stage / f"run {row['run']:04d} {label}" / f"seed {row['seed']}"
        self._write(run, "run", event)

    def _write(self, folder: Path, name: str, event: RunEnded | Decided) -> None:
        path = folder / f"events.out.tfevents.{name}"
        if path.exists():
            return
        with tempfile.TemporaryDirectory() as beside:
            with self._writer_in(beside) as writer:
                if isinstance(event, Decided):
                    _add_decision(writer, event)
                else:
                    _add_run(writer, event)
            # Event files are sequences of records: one after the other they are one.
            content = b"".join(file.read_bytes() for file in sorted(Path(beside).iterdir()))
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content)


def _add_run(writer: SummaryWriter, event: RunEnded) -> None:
    for samples, at, found in event.curve:
        for name, value in found.items():
            writer.add_scalar(f"curve/{name}", value, samples, at)
    text = "\n\n".join(f"{name}: {value}" for name, value in event.tags.items())
    writer.add_text("about", text, event.steps, event.ended)
    # Of lists and the like, the text.
    parameters = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in event.parameters.items()
    }
    results = {f"result/{name}": value for name, value in event.results.items()}
    writer.add_hparams(parameters, results, run_name=".", global_step=event.steps)


def _add_decision(writer: SummaryWriter, event: Decided) -> None:
    found = event.found
    for name, value in found.numbers.items():
        writer.add_scalar(f"decision/{name}", value, event.runs, event.at)
    text = "\n\n".join([f"candidate: {found.candidate}", *found.sentences])
    writer.add_text("decision", text, event.runs, event.at)


def _for_a_folder(name: str) -> str:
    return _FOR_A_FOLDER.sub("_", name)[:_LONGEST_NAME]
