"""The studies that test the source's claims: which there are, their runs, and their tables.

A folder holds a study for each data set, or scale of language, and regime. Their confirmations are
what the claims are judged by. The claim about gradient variance needs no regime: one network is
trained with two routings, so parameters are equal whatever the regime, and K is held equal, as in
`compute`, since a larger K alone would average over more experts. In place of regimes it is tested
with two schedules, uniform and descending, of each study of images in the regime `compute`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynamoe_search.claims.source import (
    DENSE_ACTIVE,
    DENSE_TOTAL,
    DYNAMIC,
    FIXED,
    Unit,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.files import replacing
from dynamoe_search.measure.routing_variance import gradient_variance
from dynamoe_search.plan.confirmation import Confirmation
from dynamoe_search.plan.plan import make_plan
from dynamoe_search.plan.reader import FILE_NAME, read_study_file
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.result import commit, versions
from dynamoe_search.run.worker import load_study_data
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.specification import LANGUAGE_SCALES, TopK, TopP

SCHEDULES = ("uniform", "descending")  # of the claim about routing
GRADIENT_SAMPLES = 256
_SEEDS_AT_ONCE = 2  # what is lost where measuring is interrupted
_REGIMES = ("paper", "parameters", "compute")
_EVERY = 2  # gradients are measured at each second point of the curve
_DYNAMIC, _FIXED = TopP(), TopK()  # of the same temperature, without noise
_ROUTINGS = {"dynamic": (DYNAMIC, _DYNAMIC.name), "fixed": (FIXED, _FIXED.name)}
_BASELINES = (*PATTERNS_AND_UNIFORM, DENSE_ACTIVE, DENSE_TOTAL)
_ABOUT = ("about", "data", "condition")  # the fields of a unit
_KEYS = ("candidate", "baseline", "block", *_ABOUT)  # the first columns of a table
_NEEDED = (
    *(*_KEYS, "seed", "ended", "looks"),
    *("data_fingerprint", "commit"),
)


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


def claim_tables(folder: Path) -> list[ClaimTable]:
    """The units of a folder of studies: by data, by scale, then by how much is held equal.

    Parameters
    ----------
    folder : Path
        It has a folder for each study.

    Raises
    ------
    InvalidInput
        Where there is no study, a study file has a mistake or trains several seeds at once, two
        studies are of the same unit, or a language model has no scale: the source's claims about
        language are by scale.
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


def _order(of: tuple[StudyFile, Path]) -> tuple[str, int, int]:
    study = of[0]
    scale = -1 if study.model.scale is None else list(LANGUAGE_SCALES).index(study.model.scale)
    return study.data.name, scale, _REGIMES.index(study.budget.regime)


def _units(study: StudyFile, path: Path) -> list[Unit]:
    data, regime = study.data.name, study.budget.regime
    if study.training.seeds != 1:
        raise InvalidInput(
            f"{path}: training.seeds is {study.training.seeds}; claims are judged on one seed per"
            " block: give training.seeds = 1"
        )
    if study.data.is_text:
        if study.model.scale is None:
            raise InvalidInput(
                f"{path}: model.scale is missing; the source's claims about language are by scale"
            )
        return [Unit(study.model.scale, data, regime)]
    routings = SCHEDULES if regime == "compute" else ()
    return [
        Unit("images", data, regime),
        *(Unit("routing", data, schedule) for schedule in routings),
    ]


def load_runs(table: ClaimTable) -> pd.DataFrame | None:
    """The training runs of a unit, from the file beside its study; None where there is none yet.

    Returns
    -------
    DataFrame or None
        As `dynamoe_search.claims.verdicts.judge` takes them, with ``seed``, ``state``, what
        the networks cost, the ``data_fingerprint``, the ``commit`` and the versions.

    Raises
    ------
    InvalidInput
        Where the file is damaged, or of another unit.
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
    return runs


def is_complete(runs: pd.DataFrame | None, seeds: int) -> bool:
    """Whether all training runs have ended, from at least this many seeds."""
    if runs is None or not runs["ended"].all():
        return False
    return bool(runs.groupby("baseline")["block"].nunique().min() >= seeds)


def export_runs(table: ClaimTable, runs: pd.DataFrame, confirmation: Confirmation) -> None:
    """Write the training runs of a study's confirmation beside it.

    One row per baseline and planned seed, ended or not. A kept table with more ended runs, which
    came from elsewhere, is not replaced.
    """
    ended = ~runs["state"].isin(["running", "died", "interrupted"])
    by_run = runs[ended].set_index(["candidate", "block"]).to_dict("index")
    rows: list[dict[str, Any]] = []
    for contender in confirmation.contenders:
        for baseline in [name for name in _BASELINES if name in contender.baselines]:
            for block in range(confirmation.seeds[-1]):
                run = by_run.get((contender.candidate, block), {})
                keys = {"candidate": contender.candidate, "baseline": baseline, "block": block}
                state = run.get("state", "to come")
                rows.append({**keys, "state": state, "ended": bool(run), **_kept(run)})
    found, kept = pd.DataFrame(rows), load_runs(table)
    if kept is None or kept["ended"].sum() <= found["ended"].sum():
        _write(table, found.assign(looks=len(confirmation.seeds)))


_MEASURED = (
    *("test_loss", "test_accuracy", "active_experts", "total_parameters", "flops_per_token"),
    *("samples", "training_flops", "training_seconds"),
)


def _kept(run: dict[str, Any]) -> dict[str, Any]:
    complete = run.get("state") == "complete"
    curve = run["curve"] if complete else []
    losses = [point["loss"] for point in curve]
    return {
        "seed": run.get("seed"),
        **{name: run[name] if complete else np.nan for name in _MEASURED},
        "curve_loss": float(np.mean(losses)) if losses else np.nan,
        "curve_fraction": [point["fraction"] for point in curve],
        "curve_validation_loss": losses,
        "data_fingerprint": run["data"] if complete else None,
        "commit": run["commit"] if complete else None,
        **{key: value for key, value in run.items() if key.startswith("version_")},
    }


def measure_routings(
    table: ClaimTable,
    seeds: int,
    data_directory: Path | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Train one network with either routing, measure its gradients, and write that.

    Seeds that were written before are not trained again.

    Parameters
    ----------
    table : ClaimTable
        Of a unit about routing.
    seeds : int
        How many. Two are trained together, and written together.
    data_directory : Path, optional
        As in `dynamoe_search.data.load_data`.
    on_progress : callable
        Told the seeds that are done.

    Raises
    ------
    InvalidInput, RunFailed
        As `dynamoe_search.gradient_variance`, and where earlier seeds had other data.
    """
    data = load_study_data(table.study, data_directory)
    plan = make_plan(table.study, data)
    network = plan.network_with(plan.baselines[table.unit.condition])
    kept = load_runs(table)
    if kept is not None:
        kept = kept[kept["ended"]].drop(columns="looks")
        if set(kept["data_fingerprint"]) - {data.fingerprint}:
            raise InvalidInput(f"{table.path} was made from other data; delete it to begin again")
    done = 0 if kept is None else int(kept["block"].max()) + 1
    for first in range(done, seeds, _SEEDS_AT_ONCE):
        on_progress(first)
        blocks = range(first, first + _SEEDS_AT_ONCE)
        by_seed = {plan.confirmation_seeds(block)[0]: block for block in blocks}
        found = gradient_variance(
            network,
            data,
            table.study.training,
            _DYNAMIC,
            _FIXED,
            table.study.active,
            list(by_seed),
            samples=GRADIENT_SAMPLES,
            every=_EVERY,
        )
        rows = _routing_rows(found.seeds, by_seed).assign(
            asked=seeds,
            data_fingerprint=data.fingerprint,
            commit=commit(),
            **{f"version_{package}": number for package, number in versions().items()},
        )
        kept = rows if kept is None else pd.concat([kept, rows], ignore_index=True)
        to_come = pd.DataFrame(
            [
                {"candidate": candidate, "baseline": baseline, "block": block, "ended": False}
                for baseline, candidate in _ROUTINGS.values()
                for block in range(first + _SEEDS_AT_ONCE, seeds)
            ]
        )
        # How often seeds were asked for, as results may have been looked at in between.
        looks = kept["asked"].nunique()
        _write(table, pd.concat([kept, to_come], ignore_index=True).assign(looks=looks))


def _routing_rows(measured: pd.DataFrame, by_seed: dict[int, int]) -> pd.DataFrame:
    """A row for each routing and seed, empty where the training run diverged."""
    whole = measured[measured["group"] == "network"].set_index(["routing", "seed"])
    index = pd.MultiIndex.from_product([_ROUTINGS, by_seed], names=["routing", "seed"])
    columns = ["trace", "squared_norm", "noise_scale", "loss", "mean_active", "parameters"]
    rows = whole[columns].reindex(index).reset_index()
    for name in ("trace", "noise_scale"):
        usable = rows[name].where((rows[name] > 0) & (rows[name] < np.inf))
        rows[f"log_{name}"] = np.log(usable)
    names = rows.pop("routing")
    rows["baseline"] = names.map(lambda routing: _ROUTINGS[routing][0])
    rows["candidate"] = names.map(lambda routing: _ROUTINGS[routing][1])
    rows["block"] = rows["seed"].map(by_seed)
    return rows.assign(ended=True)


def _write(table: ClaimTable, runs: pd.DataFrame) -> None:
    whole = runs.assign(**asdict(table.unit))
    whole = whole[[*_KEYS, *whole.columns.drop(list(_KEYS))]]
    with replacing(table.path) as beside:
        beside.write_bytes(whole.to_parquet(index=False, compression="zstd"))
