"""The command ``analyze``: what goes on in a network that a study has trained."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynamoe_search.cli.console import (
    DataDirectory,
    Device,
    Name,
    Storage,
    StudyArgument,
    console,
    open_study,
    save_plot,
    say,
    write_table,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import user_path

if TYPE_CHECKING:
    from dynamoe_search.measure.network import NetworkAnalysis
    from dynamoe_search.models import Model
    from dynamoe_search.run.networks import TrainedNetwork
    from dynamoe_search.study import Study
    from dynamoe_search.training.settings import CurvePoint, Precision


def analyze(
    study: StudyArgument,
    run: Annotated[
        int | None, typer.Option(min=0, help="The network of this run; the leader's without it.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="The first network of this schedule, such as 8-6-4-2 (or '8-6-4-2 k=2')."
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(min=1, help="Train it again, and measure it at each N-th point of its curve."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write all tables and plots to this folder.")
    ] = None,
    data_dir: DataDirectory = None,
    device: Device = "cpu",
    storage: Storage = None,
    name: Name = None,
) -> None:
    """Look into one network of a study: its experts, its gradients, its representations.

    How evenly each layer uses its experts and what they say about classes or tokens; how noisy the
    gradient is, by layer and group of parameters; how varied the tokens are that enter each layer.
    A network that was not kept (search.keep_models) is trained again from its seed, which gives the
    same network, and then kept. It is one network: others of its schedule differ from it.

    Example: `dynamoe-search analyze studies/digits --schedule 6-6-5-4-4-3-2-2 --out analysis`
    """
    from dynamoe_search.measure.network import analyze_network
    from dynamoe_search.report.network import network_sentences, network_tables
    from dynamoe_search.report.terminal import print_table

    if run is not None and schedule is not None:
        raise InvalidInput("--run and --schedule are both given; give one of them")
    follow = None if every is None else _Follower(every)
    with console.status("reading the log") as status:
        opened = open_study(study, storage, name, data_dir)
        if follow is not None:
            follow.begin(opened)
        network = opened.network(
            schedule,
            run,
            device=device,
            on_start=lambda number, candidate: status.update(
                f"training the network of run {number}, {candidate}, again"
            ),
            on_evaluation=follow,
        )
        status.update("measuring")
        precision = network.plan.study.training.precision
        found = analyze_network(network.model, network.data, network.seed, precision)
    say("\n".join([*_which(network), *network_sentences(found)]))
    for table in network_tables(found):
        print_table(console, table)
    if follow is not None:
        say(f"Following it took {follow.seconds:.1f} s beside training.")
    if out is not None:
        _write(found, follow, user_path(out), network.candidate)


def _which(network: TrainedNetwork) -> list[str]:
    sentences = [
        f"Run {network.run}: {network.candidate}, block {network.block} (seed"
        f" {network.seed}), validation loss {network.recorded_loss:.4f}. One network; others of its"
        " schedule differ from it."
    ]
    again = network.loss_again
    if again is not None and again != network.recorded_loss:
        sentences.append(
            f"Trained again its loss is {again:.4f}: this machine, its versions or the study's"
            " settings differ from those of that run, so this network is similar, not the same."
        )
    return sentences


class _Follower:
    """Measures a network while it is trained."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.seen, self.seconds = 0, 0.0
        self.gradients: list[Any] = []
        self.history: Any = None
        self.data: Any = None
        self.precision: Precision = "float32"

    def begin(self, study: Study) -> None:
        """Load what it measures on."""
        from dynamoe_search.measure.recorder import TrainingRecorder
        from dynamoe_search.measure.routing_counts import count_routings
        from dynamoe_search.measure.utilization_tables import utilization_table

        self.data, self.precision = study.data, study.file.training.precision
        split, precision = self.data.validation, self.precision
        self.history = TrainingRecorder(
            lambda model: utilization_table(count_routings(model, split, precision=precision)),
            self.every,
        )

    def __call__(self, point: CurvePoint, model: Model) -> None:
        import time

        from dynamoe_search.measure.measurements import gradients_now

        start = time.perf_counter()
        self.history([point], model)
        self.seen += 1
        if self.seen % self.every == 0 or point.fraction == 1:
            moment = gradients_now(model, self.data.train, point.fraction, 0, self.precision)
            self.gradients.append(moment)
        self.seconds += time.perf_counter() - start


def _write(found: NetworkAnalysis, follow: _Follower | None, folder: Path, candidate: str) -> None:
    import pandas as pd

    from dynamoe_search.report.gradient_noise import plot_gradient_groups
    from dynamoe_search.report.representation import plot_representation
    from dynamoe_search.report.utilization import plot_load, plot_utilization

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be made: {error}") from error
    tables = {
        field.name: getattr(found, field.name)
        for field in fields(found)
        if isinstance(getattr(found, field.name), pd.DataFrame)
    }
    plots = {
        "load": plot_load(found.load),
        "representation": plot_representation(found.ranks, found.likeness),
    }
    if follow is not None:
        tables["utilization_history"] = follow.history.table
        tables["gradient_history"] = pd.concat(follow.gradients, ignore_index=True)
        plots["utilization_history"] = plot_utilization(follow.history.table)
        course = tables["gradient_history"].assign(candidate=candidate)
        with suppress(InvalidInput):  # where all of it is noise, there is nothing to draw
            plots["gradient_history"] = plot_gradient_groups(course, candidate)
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv")
    say(f"wrote {len(tables)} tables to {folder}: {', '.join(tables)}")
    for name, figure in plots.items():
        save_plot(figure, folder / f"{name}.png")
