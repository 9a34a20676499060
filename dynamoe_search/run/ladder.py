"""Train a ladder: each scale is a study in a folder of its own, whose candidates are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.ladder import scale_folder, scale_storage
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import Storage, open_log
from dynamoe_search.plan.confirmation import SEEDS, Confirmation, loss_alone
from dynamoe_search.plan.ladder import REFERENCE, contenders_of, labels_to_compare, scale_of_study
from dynamoe_search.plan.plan import DataShape, Plan, make_plan
from dynamoe_search.plan.reader import FILE_NAME, read_study_file, write_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.session import Ending, Session, candidates_in_order, read_study, run_scale
from dynamoe_search.statistics.ladder import LEAST_SCALES


def train_ladder(
    session: Session,
    scales: int,
    growth: float,
    seeds: int | None,
    finalists: int | None,
    baselines: Sequence[str] | None,
    on_scale: Callable[[int, Plan, Confirmation], None],
) -> Ending:
    """Begin a ladder, or go on with it; see `Study.train_ladder`.

    Scale 1 fixes what is compared, when it begins. All files are written before any training run,
    so that a size that cannot be is refused at once.
    """
    if scales < LEAST_SCALES:
        raise InvalidInput(f"scales is {scales}; a ladder has at least {LEAST_SCALES}")
    if seeds is not None and seeds < 2:
        raise InvalidInput(f"seeds is {seeds}; it must be at least 2, to see how results vary")
    with open_log(session.storage, create=False) as log:
        state, study_file, data = read_study(session, log)
    study_file = loss_alone(study_file)
    plan = make_plan(study_file, data)
    begun = _begun(scale_storage(session.storage, session.folder, 1))
    if begun is None:
        in_order = candidates_in_order(state.search, plan)
        finalists = 3 if finalists is None else finalists
        labels = labels_to_compare(plan, in_order, finalists, baselines)
    elif finalists is not None or baselines is not None:
        raise InvalidInput(
            "the ladder has begun, and what it compares must not be chosen after results were seen:"
            " leave out --finalists and --baseline"
        )
    else:
        labels = tuple(label for one in begun.contenders for label in one.baselines)
        seeds = seeds or begun.seeds[-1]
    shape = DataShape.of(data)
    files = [_write(session, study_file, scale, growth, shape) for scale in range(1, scales + 1)]
    for scale, of_scale in enumerate(files, start=1):
        plan_of_scale = make_plan(of_scale, data)
        contenders = contenders_of(labels, plan, plan_of_scale)
        reference = next(one.candidate for one in contenders if REFERENCE in one.baselines)
        settings = of_scale.definition()
        del settings["search"]
        margin, in_block = study_file.search.margin, of_scale.training.seeds
        confirmation = Confirmation(
            reference, contenders, margin, (seeds or SEEDS,), settings, "seeds", in_block
        )

        def say(plan: Plan, found: Confirmation, scale: int = scale) -> None:
            on_scale(scale, plan, found)

        own = replace(
            session,
            storage=scale_storage(session.storage, session.folder, scale),
            folder=scale_folder(session.folder, scale),
        )
        ending = run_scale(own, of_scale, data, confirmation, say)
        if ending == "interrupted":
            return ending
    return "finished"


def _begun(storage: Storage) -> Confirmation | None:
    """What scale 1 compares; None where it has not begun."""
    state = State()
    try:
        with open_log(storage, create=False) as log:
            catch_up(log, state)
    except InvalidInput:
        return None
    state.refuse_damage(storage)
    return state.confirmation


def _write(
    session: Session, study_file: StudyFile, scale: int, growth: float, shape: DataShape
) -> StudyFile:
    content, of_scale = scale_of_study(study_file, scale, growth, shape)
    folder = scale_folder(session.folder, scale)
    path = folder / FILE_NAME
    if path.exists() and read_study_file(path) != of_scale:
        raise InvalidInput(
            f"{path} is of a ladder with another growth, or of the study before it was changed:"
            f" give the --growth of that ladder, or move {folder.parent} away to begin another"
        )
    write_study_file(folder, content)
    return of_scale
