"""The studies that test claims: which there are, and their tables of training runs.

A folder holds a study for each data set, or scale of language, and regime. The claim about gradient
variance needs no regime: one network is trained with two routings, so parameters are equal whatever
the regime, and K is held equal, as in `compute`, since a larger K alone would average over more
experts. In place of regimes it is tested with two schedules, uniform and descending, of each study
of images in the regime `compute`. Studies whose layers may be dense test claims about these.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import pandas as pd

from dynamoe_search.claims.source import Unit
from dynamoe_search.claims.verdicts import LOOKS
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing
from dynamoe_search.plan.reader import FILE_NAME, read_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.specification import LANGUAGE_SCALES

_SCHEDULES = ("uniform", "descending")  # of the claim about routing
_REGIMES = ("paper", "parameters", "compute")
_ABOUT = ("about", "data", "condition")  # the fields of a unit
_KEYS = ("candidate", "baseline", "place", *_ABOUT)  # the first columns of a table
_NEEDED = (*_KEYS, "seed", "seconds", "study", "data_fingerprint", "commit", "made_with")
_DIGITS = 16  # of a study file's digest


@dataclass(frozen=True)
class ClaimTable:
    """What a unit is: the study it belongs to, and the file of its training runs.

    Parameters
    ----------
    unit : Unit
    folder : Path
        The study's.
    study : StudyFile
    """

    unit: Unit
    folder: Path
    study: StudyFile

    @property
    def path(self) -> Path:
        """The file of its training runs."""
        name = "runs"
        if self.unit.about == "routing":
            name = f"routing-{self.unit.condition}"
        return self.folder / f"{name}.parquet"

    @property
    def digest(self) -> str:
        """What tells whether the study file was changed in what decides results."""
        definition = json.dumps(self.study.definition(), sort_keys=True)
        return sha256(definition.encode()).hexdigest()[:_DIGITS]


def claim_tables(folder: Path) -> list[ClaimTable]:
    """The units of a folder of studies: by data, by scale, then by how much is held equal.

    Parameters
    ----------
    folder : Path
        It has a folder for each study.

    Raises
    ------
    InvalidInput
        Where there is no study, a study file has a mistake, two studies are of the same unit, a
        seed block does not fit between two looks, or a language model has no scale: the source's
        claims about language are by scale.
    """
    paths = sorted(folder.glob(f"*/{FILE_NAME}"))
    if not paths:
        raise InvalidInput(f"{folder} has no folder with a {FILE_NAME}; name one that has")
    studies = sorted(((read_study_file(path), path) for path in paths), key=_order)
    tables: list[ClaimTable] = []
    for study, path in studies:
        tables += [ClaimTable(unit, path.parent, study) for unit in _units(study, path)]
    by_unit: dict[Unit, Path] = {}
    for table in tables:
        other = by_unit.setdefault(table.unit, table.folder)
        if other != table.folder:
            raise InvalidInput(
                f"{other} and {table.folder} are both of {table.unit.data} in the regime"
                f" {table.unit.condition}; keep one of them"
            )
    return tables


def _order(of: tuple[StudyFile, Path]) -> tuple[bool, str, int, int]:
    study = of[0]
    scale = -1 if study.model.scale is None else list(LANGUAGE_SCALES).index(study.model.scale)
    regime = _REGIMES.index(study.budget.regime)
    return study.budget.minimum == 0, study.data.name, scale, regime


def _units(study: StudyFile, path: Path) -> list[Unit]:
    data, regime = study.data.name, study.budget.regime
    if LOOKS.every % study.training.seeds:
        raise InvalidInput(
            f"{path}: training.seeds is {study.training.seeds}; claims are looked at after every"
            f" {LOOKS.every} seeds, in whole blocks: give training.seeds = {LOOKS.every}"
        )
    if study.budget.minimum == 0:
        return [Unit("placement", data, regime)]
    if study.data.is_text:
        if study.model.scale is None:
            raise InvalidInput(
                f"{path}: model.scale is missing; the source's claims about language are by scale"
            )
        return [Unit(study.model.scale, data, regime)]
    routings = _SCHEDULES if regime == "compute" else ()
    return [
        Unit("images", data, regime),
        *(Unit("routing", data, schedule) for schedule in routings),
    ]


def load_runs(table: ClaimTable) -> pd.DataFrame | None:
    """The training runs of a unit, from the file beside its study; None where there is none yet.

    Returns
    -------
    DataFrame or None
        A row per baseline and seed whose run has ended, as `dynamoe_search.claims.verdicts.judge`
        takes them, with the ``seed``, the processor's ``seconds``, what the networks cost, the
        digest of the ``study`` file, the ``data_fingerprint``, the ``commit`` and the versions
        that it was ``made_with``.

    Raises
    ------
    InvalidInput
        Where the file is damaged, of another unit, or of another study file.
    """
    if not table.path.is_file():
        return None
    mend = "put back the file that was made, or delete it and add --run"
    try:
        with table.path.open("rb") as file:
            runs = pd.read_parquet(file)
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise InvalidInput(f"{table.path} is no parquet file that can be read; {mend}") from error
    if missing := [name for name in _NEEDED if name not in runs]:
        raise InvalidInput(f"{table.path} has no column {missing[0]!r}; {mend}")
    found = {Unit(*row) for row in runs[list(_ABOUT)].itertuples(index=False)}
    if found != {table.unit}:
        raise InvalidInput(f"{table.path} is not of {asdict(table.unit)}; {mend}")
    if set(runs["study"]) != {table.digest}:
        raise InvalidInput(
            f"{table.folder / FILE_NAME} was changed after the runs of {table.path.name}: put it"
            " back, or delete that table to begin again"
        )
    return runs


def add_runs(table: ClaimTable, rows: pd.DataFrame) -> None:
    """Add training runs to the file of a unit."""
    rows = rows.assign(study=table.digest, **asdict(table.unit))
    rows = rows[[*_KEYS, *rows.columns.drop(list(_KEYS))]]
    kept = load_runs(table)
    whole = rows if kept is None else pd.concat([kept, rows], ignore_index=True)
    with replacing(table.path) as beside:
        beside.write_bytes(whole.to_parquet(index=False, compression="zstd"))
