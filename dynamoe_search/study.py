"""`Study`: a study file and its log, and all that can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamoe_search.decision.decision import Decision
from dynamoe_search.decision.leaderboard import rank_candidates
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import shell_word, user_path, writing
from dynamoe_search.log.runs import Stage
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import open_log, options_of, storage_of, the_only_study
from dynamoe_search.log.table import confirmation_table, decided_table, runs_table
from dynamoe_search.plan.confirmation import Confirmation, Until, loss_alone
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.reader import FILE_NAME, read_study_file, study_path, write_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.untrusted import shown

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.storages import BaseStorage

    from dynamoe_search.data import ImageData, TextData
    from dynamoe_search.decision.posterior import Posterior
    from dynamoe_search.models import Model
    from dynamoe_search.run.networks import TrainedNetwork
    from dynamoe_search.run.progress import Snapshot
    from dynamoe_search.run.session import Ending, Resources, Session
    from dynamoe_search.search.chooser import Chooser
    from dynamoe_search.trackers import Callback
    from dynamoe_search.training.settings import CurvePoint

# What trains or loads data needs torch, which takes seconds to import: it is imported where it is
# used, so that a leaderboard does not wait for it.


class Study:
    """A study: its file, and the log of its training runs.

    Parameters
    ----------
    path : Path or str
        The study file, or the folder of a ``study.toml``.
    storage : str, optional
        The address of the log: ``sqlite:///FILE``, ``jsonl:///FILE`` or
        ``postgresql://USER@HOST/DATABASE``; ``study.db`` beside the study file where it is None.
    name : str, optional
        The study's name in the log: several studies can share one. With a name, networks and
        tables go to a folder of that name. A study file that is not called ``study.toml`` gives its
        study its own name.
    data_directory : Path or str, optional
        Where data files are; see `dynamoe_search.load_data`.

    Raises
    ------
    InvalidInput
        Where there is no such file, or the address is none. Methods that read raise it where the
        study has not begun, or has no complete training run yet.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> study = Study.create(
    ...     folder.name,
    ...     model={"depth": 4, "width": 8, "hidden": 8},
    ...     budget={"experts": 12},
    ...     training={"epochs": 1},
    ...     search={"runs": 2, "blocks": 1},
    ... )
    >>> study.run(workers=1, progress=False)
    'finished'
    >>> study.leaderboard()["seeds"].tolist()
    [4, 4]
    """

    def __init__(
        self,
        path: Path | str,
        storage: str | None = None,
        name: str | None = None,
        data_directory: Path | str | None = None,
    ) -> None:
        self.path: Path | None = study_path(path)
        home = self.path.parent
        if name is None and self.path.name != FILE_NAME:
            name = self.path.stem  # so that two study files in one folder have two logs
        self.storage = storage_of(home, storage, name)
        self.folder = home if name is None else home / name
        self.title = shown(home.resolve().name) if name is None else name
        self._begin(data_directory)

    @classmethod
    def create(
        cls,
        folder: Path | str,
        definition: Mapping[str, Any] | None = None,
        *,
        storage: str | None = None,
        name: str | None = None,
        data_directory: Path | str | None = None,
        **sections: Any,
    ) -> Study:
        """Write a study file, and give its study.

        Parameters
        ----------
        folder : Path or str
            Made where it does not exist; the file is its ``study.toml``.
        definition : mapping, optional
            What the study file says: keys and sections, as in TOML. Sections can be given as
            keywords, too: ``model={"depth": 8, "width": 32, "hidden": 64}``.
        storage, name, data_directory
            As for `Study`.

        Raises
        ------
        InvalidInput
            For a mistake in the definition, or where the folder has another study file.
        """
        folder = user_path(folder)
        storage_of(folder, storage, name)  # else a folder would be left behind
        write_study_file(folder, {**(definition or {}), **sections})
        return cls(folder, storage, name, data_directory)

    @classmethod
    def at(
        cls, storage: str, name: str | None = None, data_directory: Path | str | None = None
    ) -> Study:
        """A study that was begun elsewhere, from its log alone; `work` helps with it.

        Parameters
        ----------
        storage : str
            The address of the log.
        name : str, optional
            The study's name there; the only one where it is None.
        data_directory : Path or str, optional
            Where data files are on this machine.
        """
        study = cls.__new__(cls)
        study.storage = (
            the_only_study(storage) if name is None else storage_of(Path(), storage, name)
        )
        study.path, study.title = None, study.storage.name
        study.folder = Path(study.title)
        study._begin(data_directory)
        study._read()
        return study

    def _begin(self, data_directory: Path | str | None) -> None:
        self.data_directory = None if data_directory is None else user_path(data_directory)
        self._state = State()
        self._tables: dict[str, pd.DataFrame] = {}
        self._data: tuple[object, ImageData | TextData] | None = None
        self._chooser: Chooser | None = None

    @property
    def file(self) -> StudyFile:
        """The study file as the study was begun; as it stands in the folder before that."""
        try:
            return self._read_file()
        except InvalidInput:
            if self.path is None:
                raise
            return read_study_file(self.path)

    @property
    def data(self) -> ImageData | TextData:
        """The data that the study file names."""
        study_file = self.file
        asked = study_file.data, study_file.model.context
        if self._data is None or self._data[0] != asked:
            from dynamoe_search.run.worker import load_study_data

            self._data = asked, load_study_data(study_file, self.data_directory)
        return self._data[1]

    @property
    def plan(self) -> Plan:
        """What follows from the study file and the data before any training.

        A study that has begun keeps all that it takes in its log; before that, the data are loaded.
        """
        study_file = self.file
        return make_plan(study_file, self._state.shape or self.data)

    @property
    def changes(self) -> list[str]:
        """Sentences on how the study file was changed, and on what of the log is damaged."""
        state = self._read()
        return [
            *(
                f"The study file was changed after {change['after_runs']} training runs"
                f" ({'; '.join(change['changes'])}): results from before and after are pooled."
                for change in state.changes
            ),
            *(
                f"{name} of {self.storage} is damaged, or was written by another version: it is"
                " left out."
                for name in state.damaged
            ),
        ]

    @property
    def arguments(self) -> str:
        """What names this study to a command: its file, and what names its log if it is elsewhere.

        ``STUDY`` stands for a study file that is not on this machine.
        """
        home = Path() if self.path is None else self.path.parent
        word = shell_word("STUDY" if self.path is None else self.path)
        return " ".join([word, *options_of(self.storage, home, self.folder)])

    @property
    def position(self) -> int:
        """The position of the last event in the log: it grows whenever something happens."""
        return self._read().position

    def training_runs(self, stage: Stage = "search") -> pd.DataFrame:
        """A row for each seed of each attempt at a training run.

        Parameters
        ----------
        stage : {"search", "confirmation"}

        Returns
        -------
        DataFrame
            ``candidate`` (``schedule``, ``active_schedule`` where it is searched, and the
            ``settings`` that were searched next to them, such as ``k=2``), ``run`` (its number),
            ``pattern`` (the candidate's name, if it has one), ``group`` (pattern, uniform, preset,
            dense or searched), ``block``, ``seed``, ``state``
            (complete, pruned, running, died, interrupted, superseded, diverged, out of memory,
            error), ``message``, ``fraction`` (of the training that was done), the results
            (`dynamoe_search.log.runs.RunResult` describes them; NaN where there is none),
            ``feasible`` (whether the study's constraints are met), the wall and CPU seconds of its
            parts (``deciding``, ``training``, ``evaluation``, ``measuring``), ``curve`` (a list of
            points), ``mean_active`` and ``layer_entropy`` (lists, one value per layer), tables of
            measurements (see `dynamoe_search.measurement_table`), ``started``, ``finished``,
            ``worker``, ``data`` (the fingerprint), ``commit``, the versions, and the parameters
            that Optuna proposed, each in a column ``parameter_...``.
        """
        study_file, runs = self._read_file(), self._state.stages[stage].runs
        if stage == "confirmation":
            study_file = loss_alone(study_file)
        return self._kept(stage, lambda: runs_table(runs, study_file))

    def leaderboard(self) -> pd.DataFrame:
        """The candidates by rank; with several objectives, those on the front come first.

        See `dynamoe_search.make_leaderboard` and `dynamoe_search.make_pareto_table`.
        """
        # The runs are read last, so that the table is kept only until something newer is read.
        objectives, runs = self._read_file().search.objectives, self.training_runs()
        return self._kept("leaderboard", lambda: rank_candidates(runs, objectives))

    def posterior(self) -> Posterior:
        """What the training runs tell of all candidates of the family, tried or not.

        See `dynamoe_search.decision.posterior.fit_posterior`.

        Raises
        ------
        InvalidInput
            Where fewer than two losses are known.
        """
        found = self._posterior()
        if found is None:
            raise InvalidInput("fewer than two losses are known, so nothing can be compared yet")
        return found

    def _posterior(self) -> Posterior | None:
        """None where fewer than two losses are known."""
        from dynamoe_search.search.chooser import Chooser

        progress = self._read().search
        if self._chooser is None or self._chooser.plan.study != self.file:
            self._chooser = Chooser(self.plan)
        return self._chooser.posterior(progress)

    def decision(self) -> Decision:
        """Which candidate to take, and how sure that is.

        Its sentences say which candidate to take; its expected regret, with a 95 % bound, against
        all candidates of the family, tried or not; and which named patterns are within the margin
        of the study file. With several objectives they say which candidates no other beats.
        """
        board, objectives = self.leaderboard(), self._read_file().search.objectives
        if objectives != ("loss",):
            from dynamoe_search.report.pareto import pareto_sentences

            sentences = [*pareto_sentences(board, objectives), *self.changes]
            equals = board.loc[board["on_front"], "candidate"]
            best = str(board["candidate"].iloc[0])
            others = tuple(equals[equals != best])
            return Decision(best, others, tuple(sentences), headline=sentences[0])
        from dynamoe_search.report.decision import decide_in_words, too_little_to_decide

        posterior, progress = self._posterior(), self._state.search
        if posterior is None:
            return too_little_to_decide(board, self.changes)
        minutes = progress.seconds / 60 / max(1, progress.finished)
        return decide_in_words(posterior, self.plan, board, minutes, self.changes)

    def confirmation(self) -> tuple[pd.DataFrame, Confirmation]:
        """What the confirmation has found, and what is confirmed.

        Returns
        -------
        DataFrame
            A row per candidate but the reference, as `dynamoe_search.compare_with_reference` gives
            it, with ``name`` and ``group``; of a confirmation until all is decided as
            `dynamoe_search.statistics.compare_until_decided` gives it.
        Confirmation

        Raises
        ------
        InvalidInput
            Where no confirmation has begun, or it has nothing to compare yet.
        """
        runs, confirmation = self.training_runs("confirmation"), self._state.confirmation
        if confirmation is None:
            self._state.refuse_damage(self.storage)
            raise InvalidInput(
                f"{self.storage} has no confirmation yet; begin with: dynamoe-search confirm"
                f" {self.arguments}"
            )
        if confirmation.until == "decided":
            return decided_table(self._state.stages["confirmation"], confirmation), confirmation
        return confirmation_table(runs, confirmation), confirmation

    def ladder(self) -> pd.DataFrame:
        """The training runs of the ladder so far, at all scales; see `train_ladder`.

        Returns
        -------
        DataFrame
            A row per scale, candidate and seed: ``scale`` (from 1), ``label`` (what the candidate
            is called over all scales: a baseline's name, or the finalist at the study's own size),
            ``group``, ``candidate`` (at this scale), ``seed`` (the same at each scale), ``loss``
            (in nats, on the test split), ``training_flops``, ``total_parameters``,
            ``active_parameters`` and ``samples``. `dynamoe_search.statistics.compare_scales` and
            `dynamoe_search.statistics.fit_ladder` take it.

        Raises
        ------
        InvalidInput
            Where no ladder has begun, or no training run of it is complete.
        """
        from dynamoe_search.log.ladder import ladder_table

        found = ladder_table(self.storage, self.folder)
        if found.empty:
            raise InvalidInput(
                f"{self.title} has no ladder with results yet; begin with: dynamoe-search ladder"
                f" {self.arguments}"
            )
        return found

    def network(
        self,
        candidate: str | None = None,
        run: int | None = None,
        seed: int | None = None,
        device: str = "cpu",
        on_start: Callable[[int, str], None] = lambda run, candidate: None,
        on_evaluation: Callable[[CurvePoint, Model], None] | None = None,
    ) -> TrainedNetwork:
        """A network of the search: the one that was kept, or the same, trained again and kept.

        Parameters
        ----------
        candidate : str, optional
            A schedule such as ``8-6-4-2``, with its settings where these are searched; its first
            block is taken. The leader where neither this nor `run` is given.
        run : int, optional
            The number of a training run.
        seed : int, optional
            One of the run's seeds; the first where it is None.
        device : str
            The torch device.
        on_start : callable
            Told the run and the candidate before it is trained again.
        on_evaluation : callable, optional
            Called with each point of the learning curve and the network; then it is trained again
            in any case.

        Raises
        ------
        InvalidInput
            Where there is no such run, or it is not complete.
        """
        from dynamoe_search.run.session import network_of_study

        session = self._session(device=device)
        return network_of_study(session, candidate, run, seed, on_start, on_evaluation)

    def report(self, out: Path | str | None = None, *, progress: bool = True) -> Path:
        """Write all that is known of the study to one HTML file that needs no other.

        Parameters
        ----------
        out : Path or str, optional
            The file; ``report.html`` in the study's folder where it is None.
        progress : bool
            Whether to show which section is being made.

        Returns
        -------
        Path
            The file that was written.
        """
        from dynamoe_search.report.html.page import make_report

        path = self.folder / "report.html" if out is None else user_path(out)
        html = make_report(self, progress)
        with writing(path, make_folder=True) as beside:
            beside.write_text(html, encoding="utf-8")
        return path

    def to_optuna(self, storage: BaseStorage | None = None) -> optuna.Study:
        """The search as a study of Optuna, for its plots and its dashboard.

        A trial per candidate, whose value is the mean over its seeds; see
        `dynamoe_search.search.optuna_study.optuna_study`. It is in memory, or in a given storage.
        """
        from dynamoe_search.search.optuna_study import optuna_study

        study_file = self._read_file()
        return optuna_study(self._state.search, study_file, self.title, storage)

    def importance(self, repetitions: int = 20, seed: int = 0) -> pd.DataFrame:
        """What the loss depends on; see `dynamoe_search.search.importance.parameter_importance`."""
        from dynamoe_search.search.importance import parameter_importance

        return parameter_importance(self._read().search, self.plan, repetitions, seed)

    def run(
        self,
        workers: int | None = None,
        device: str = "cpu",
        *,
        allow_changes: bool = False,
        resources: Resources | None = None,
        progress: bool | Callable[[Snapshot], None] = True,
        on_start: Callable[[Plan], None] = lambda plan: None,
        callbacks: Sequence[Callback] = (),
    ) -> Ending:
        """Begin the search, or go on with it, until a limit of the study file is reached.

        Interrupt it (SIGINT, or the stop button of a notebook) once to end it after the current
        runs, twice to end it at once. Nothing that is recorded is lost; the same call goes on.

        Parameters
        ----------
        workers : int, optional
            Processes, each of one thread, at least 1; one per core where it is None.
        device : str
            The torch device to train on.
        allow_changes : bool
            Whether to go on though the study file has changed.
        resources : Resources, optional
            In place of `workers` and `device`: with Ray, or another grace.
        progress : bool or callable
            Whether to show progress; or what is told it a few times a second.
        on_start : callable
            Called with the plan before the first run.
        callbacks : sequence of callable
            Told of each training run that has ended, also in earlier sessions, and of the decision:
            such as `dynamoe_search.trackers.MlflowTracker`, or a function of
            `dynamoe_search.trackers.RunEnded` and `dynamoe_search.trackers.Decided`. They are
            called in threads of their own. One that raises is told nothing more in this session,
            and a warning is logged.

        Returns
        -------
        {"decided", "finished", "exhausted", "interrupted"}
            Decided: the bound on the regret is below the margin. Finished: at a limit. Exhausted:
            every candidate that is proposed has had all its blocks.

        Raises
        ------
        InvalidInput
            For a mistake in the study file, or one that differs from the study that was begun.
        RunFailed
            Where another command runs this study, the log cannot be written, or runs fail one after
            another.
        """
        from dynamoe_search.run.session import run_search
        from dynamoe_search.trackers.telling import telling

        if self.path is None:
            raise InvalidInput("a study without its file can be helped, not run: call work()")
        study_file = read_study_file(self.path)
        self._check_folder()
        beside = telling(self, callbacks, "search")
        with self._shown(workers, device, resources, progress, beside) as session:
            return run_search(session, study_file, allow_changes, on_start)

    def confirm(
        self,
        seeds: int | None = None,
        margin: float | None = None,
        workers: int | None = None,
        device: str = "cpu",
        *,
        until: Until | None = None,
        most_seeds: int | None = None,
        resources: Resources | None = None,
        progress: bool | Callable[[Snapshot], None] = True,
        on_start: Callable[[Plan, Confirmation], None] = lambda plan, confirmation: None,
        callbacks: Sequence[Callback] = (),
    ) -> Ending:
        """Confirm what the search has found, or go on with that.

        The finalists of the search, the named patterns, uniform, and two dense baselines (as many
        total, and as many active, parameters as uniform) are trained on the same fresh blocks, and
        measured on the test split, which the search never looks at. The first call fixes who they
        are.

        Parameters
        ----------
        seeds : int, optional
            From how many fresh seeds each is trained, at least 2, in whole blocks; 8 where it is
            None. It can be raised later.
        margin : float, optional
            The difference of losses, in nats, that does not matter: that of the study file where it
            is None. The first call fixes it.
        workers, device, resources, progress
            As for `run`.
        until : {"seeds", "decided"}, optional
            With "decided" the results are looked at again and again, and a candidate that is shown
            to be better, worse or equivalent is trained no further; error rates hold over all
            looks. The first call fixes it: "seeds" where it is None.
        most_seeds : int, optional
            Of a confirmation until all is decided, in place of `seeds`: 64 where it is None. It can
            be raised at any time.
        on_start : callable
            Called with the plan and what is confirmed before the first run.
        callbacks : sequence of callable
            As for `run`.
        """
        from dynamoe_search.run.session import run_confirmation
        from dynamoe_search.trackers.telling import telling

        self._check_folder()
        beside = telling(self, callbacks, "confirmation")
        with self._shown(workers, device, resources, progress, beside) as session:
            return run_confirmation(session, seeds, margin, until, most_seeds, on_start)

    def train_ladder(
        self,
        scales: int = 3,
        growth: float = 2**0.5,
        seeds: int | None = None,
        workers: int | None = None,
        device: str = "cpu",
        *,
        finalists: int = 3,
        baselines: Sequence[str] | None = None,
        resources: Resources | None = None,
        progress: bool | Callable[[Snapshot], None] = True,
        on_scale: Callable[[int, Plan, Confirmation], None] = lambda scale, plan, found: None,
    ) -> Ending:
        """Train the study's best and its baselines at several sizes, or go on with that.

        Each scale is a study of its own, in the folder ``ladder/scale-N`` of this one, and grows by
        the rules of `dynamoe_search.plan.ladder`. All candidates are trained from the same fresh
        seeds at each scale, and measured on the test split. `ladder` gives the results.

        Parameters
        ----------
        scales : int
            At least 3; scale 1 has the study's own size. It can be raised later.
        growth : float
            The factor of width, hidden width and depth from one scale to the next: with the square
            root of 2 a scale has about 2.8 times the parameters, and 8 times the training FLOPs.
            Below 1 each scale is smaller.
        seeds : int, optional
            From how many fresh seeds each is trained, at least 2, in whole blocks; 8 where it is
            None. It can be raised later.
        finalists : int
            How many of the study's best. The first call fixes it, as it does `baselines`.
        baselines : sequence of str, optional
            Names of baselines next to uniform; all named patterns where it is None.
        workers, device, resources, progress
            As for `run`.
        on_scale : callable
            Called with the scale, its plan, and what is trained, before its first run.
        """
        from dynamoe_search.run.ladder import train_ladder

        self._check_folder()
        with self._shown(workers, device, resources, progress) as session:
            return train_ladder(session, scales, growth, seeds, finalists, baselines, on_scale)

    def work(
        self,
        workers: int | None = None,
        device: str = "cpu",
        *,
        resources: Resources | None = None,
        progress: bool | Callable[[Snapshot], None] = True,
        on_start: Callable[[Plan], None] = lambda plan: None,
    ) -> Ending:
        """Help with a study that another command runs, or with its confirmation; see `run`."""
        from dynamoe_search.run.session import help_along

        if self.file.search.keep_models:
            self._check_folder()
        with self._shown(workers, device, resources, progress) as session:
            return help_along(session, on_start)

    def _check_folder(self) -> None:
        """`InvalidInput` where what is trained could not be written."""
        is_file = self.folder.exists() and not self.folder.is_dir()
        if is_file or self.folder.absolute() == self.storage.file:
            raise InvalidInput(
                f"{self.folder} is a file, and tables and networks of the study would go to a"
                " folder of that name; choose another with --name"
            )

    def _session(
        self,
        workers: int | None = None,
        device: str = "cpu",
        resources: Resources | None = None,
        on_progress: Callable[[Snapshot], None] = lambda snapshot: None,
        beside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Session:
        from dynamoe_search.run.session import Resources, Session

        resources = resources or Resources(workers, device)
        directory = self.data_directory
        return Session(self.storage, self.folder, directory, resources, on_progress, beside)

    @contextmanager
    def _shown(
        self,
        workers: int | None,
        device: str,
        resources: Resources | None,
        progress: bool | Callable[[Snapshot], None],
        beside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Iterator[Session]:
        """A session whose progress is shown."""
        from dynamoe_search.report.terminal import showing

        with showing(progress) as on_progress:
            yield self._session(workers, device, resources, on_progress, beside)

    def _read(self) -> State:
        """The study as its log is now; `InvalidInput` where it has not begun."""
        before = self._state.position
        with open_log(self.storage, create=False) as log:
            catch_up(log, self._state)
        if self._state.position != before:
            self._tables.clear()
        return self._state

    def _kept(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """A table of the study as it was last read, made once."""
        if name not in self._tables:
            self._tables[name] = make()
        return self._tables[name].copy()

    def _read_file(self) -> StudyFile:
        """The study file that the log has."""
        study_file = self._read().study_file
        if study_file is None:
            self._state.refuse_damage(self.storage)
            raise InvalidInput(f"{self.storage} does not hold {self.title} yet; run it first")
        return study_file

    def __repr__(self) -> str:
        return f"Study({str(self.path or self.storage)!r})"

    def _repr_html_(self) -> str:
        from dynamoe_search.report.leaderboard import leaderboard_html

        title = f"<h4>Study {escape(self.title)}</h4>"
        try:
            shown = self.decision()._repr_html_() + leaderboard_html(self.leaderboard(), rows=5)
        except InvalidInput as error:
            shown = f"<p>{escape(str(error))}</p>"
        return title + shown
