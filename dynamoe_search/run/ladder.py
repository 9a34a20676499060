"""Train a ladder: each scale is a study in a folder of its own, whose candidates are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.ladder import scale_folder, scale_storage
from dynamoe_search.log.state import State, catch_up
from dynamoe_search.log.storage import Storage, open_log
from dynamoe_search.plan.confirmation import SEEDS, Confirmation, Contender, loss_alone
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
    finalists: int,
    baselines: Sequence[str] | None,
    on_scale: Callable[[int, Plan, Confirmation], None],
) -> Ending:
    """Begin a ladder, or go on with it; see `Study.train_ladder`.

    Scale 1 fixes what is compared, when it begins. All files are written before any training run,
    so that a size that cannot be built is refused at once.
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
        in_order = candidates_in_order(state.search, plan) if finalists else []
        labels = labels_to_compare(plan, in_order, finalists, baselines)
    else:
        labels = tuple(label for one in begun.contenders for label in one.baselines)
        seeds = seeds or begun.seeds[-1]
        if others := [name for name in baselines or () if name not in labels]:
            raise InvalidInput(
                f"the ladder has begun without {others[0]!r}, and what it compares must not be"
                f" chosen after results were seen; it compares {', '.join(labels)}"
            )
    files = _files(session, study_file, scales, growth, DataShape.of(data))
    for scale, of_scale in enumerate(files, start=1):
        own = replace(
            session,
            storage=scale_storage(session.storage, session.folder, scale),
            folder=scale_folder(session.folder, scale),
        )
        contenders = contenders_of(labels, plan, make_plan(of_scale, data))
        margin = study_file.search.margin
        confirmation = _confirmation(of_scale, contenders, seeds or SEEDS, margin)
        ending = run_scale(own, of_scale, data, confirmation, partial(on_scale, scale))
        if ending == "interrupted":
            return ending
    return "finished"


def _confirmation(
    study_file: StudyFile, contenders: tuple[Contender, ...], seeds: int, margin: float
) -> Confirmation:
    """What a scale trains: all contenders from a fixed number of seeds."""
    reference = next(one.candidate for one in contenders if REFERENCE in one.baselines)
    settings = study_file.definition()
    del settings["search"]
    in_block = study_file.training.seeds
    return Confirmation(reference, contenders, margin, (seeds,), settings, seeds_per_block=in_block)


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


def _files(
    session: Session, study_file: StudyFile, scales: int, growth: float, shape: DataShape
) -> list[StudyFile]:
    """The study files of all scales, each written once."""
    found = [scale_of_study(study_file, 1 + place, growth, shape) for place in range(scales)]
    if any(one.model == larger.model for (_, one), (_, larger) in pairwise(found)):
        raise InvalidInput(
            f"growth {growth:g} leaves two scales of one size, as sizes are rounded; give one"
            " farther from 1"
        )
    for scale, (content, of_scale) in enumerate(found, start=1):
        folder = scale_folder(session.folder, scale)
        path = folder / FILE_NAME
        if path.exists() and read_study_file(path) != of_scale:
            raise InvalidInput(
                f"{path} is of a ladder with another growth, or of the study before it was changed:"
                f" give the --growth of that ladder, or move {folder.parent} away to begin another"
            )
        write_study_file(folder, content)
    return [of_scale for _, of_scale in found]
