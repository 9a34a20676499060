"""The training runs of a study as a tidy table."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import WITH_RESULTS, Run, RunResult, Start, are_feasible
from dynamoe_search.log.state import Progress
from dynamoe_search.measure.quantities import MEASURED
from dynamoe_search.plan.allotment import experts_spent
from dynamoe_search.plan.baselines import baselines_of_study, groups_of, names_of
from dynamoe_search.plan.candidate import Candidate, parse_candidate
from dynamoe_search.plan.confirmation import Confirmation
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.schedules import NONE
from dynamoe_search.statistics.comparison import compare_with_reference
from dynamoe_search.statistics.sequential import compare_until_decided

_RESULTS = (
    *("validation_loss", "validation_accuracy", "validation_perplexity"),
    *("validation_bits_per_byte", "active_experts", "utilization_entropy", "total_parameters"),
    *("active_parameters", "flops_per_token", "training_flops", "samples"),
    *("gradient_squared_norm", *MEASURED),
)
_TEST = ("test_loss", "test_accuracy", "test_perplexity", "test_bits_per_byte")
TABLES = ("gradients", "utilization", "load", "representation")
_PARTS = ("deciding", "training", "evaluation", "measuring")
_SECONDS = tuple(f"{part}_{kind}" for part in _PARTS for kind in ("seconds", "cpu_seconds"))
RESULT_COLUMNS = ("fraction", *_RESULTS, *_TEST, *_SECONDS)
"""The columns of `runs_table` that are results or costs, each a number."""
_NO_RUN = Run(0, Start("search", "", 0, 0, (0,), "", ""), 0.0)  # gives an empty table its columns


def runs_table(runs: Iterable[Run], study_file: StudyFile) -> pd.DataFrame:
    """A row per seed of each attempt at a training run; `Study.training_runs` has the columns.

    Parameters
    ----------
    runs : iterable of Run
        Of one stage.
    study_file : StudyFile
    """
    runs = list(runs)
    parsed = {text: parse_candidate(text) for text in {run.start.candidate for run in runs}}
    candidates = {text: one for text, one in parsed.items() if isinstance(one, Candidate)}
    baselines = baselines_of(candidates.values(), study_file)
    names, groups = names_of(baselines), groups_of(baselines)
    rows = []
    for run in runs or [_NO_RUN]:
        text = run.start.candidate
        candidate = candidates.get(text)
        about = {
            "candidate": text,
            "run": run.number,
            "schedule": str(candidate.schedule) if candidate else text,
            **_active(candidate, study_file),
            "settings": candidate.settings_text if candidate else "",
            "pattern": names.get(text, ""),
            "group": groups.get(text, "searched") if candidate else "dense",
        }
        rows += [about | columns for columns in _columns(run, study_file)]
    table = pd.DataFrame(rows)[: len(rows) if runs else 0]
    return table.astype({"block": "Int64", "seed": "Int64"})


def _active(candidate: Candidate | None, study_file: StudyFile) -> dict[str, str]:
    """The column of the active schedule, where it is searched."""
    if study_file.search.active_family == NONE:
        return {}
    active = None if candidate is None else candidate.active
    return {"active_schedule": "" if active is None else str(active)}


def measurement_table(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """What was measured in detail, of all complete training runs.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives it.
    kind : {"gradients", "utilization", "load", "representation"}
        ``gradients`` over the training, by `dynamoe_search.measure.measurements.gradients_now`; the
        others of the trained network on the validation split, by `utilization_table`, `load_table`
        and `rank_table`. A study has them if its section ``search`` asks for them: ``measure =
        ["gradients", "utilization", "representation"]``.

    Returns
    -------
    DataFrame
        ``candidate``, ``run``, ``block``, ``seed`` and the columns of that table; empty where
        nothing was measured.

    Raises
    ------
    InvalidInput
        For another kind.
    """
    if kind not in TABLES:
        raise InvalidInput(f"there are no measurements {kind!r}; choose from {', '.join(TABLES)}")
    key = ["candidate", "run", "block", "seed"]
    complete = runs[runs["state"] == "complete"]
    return pd.DataFrame(
        [
            {**dict(zip(key, of, strict=True)), **row}
            for *of, rows in complete[[*key, kind]].itertuples(index=False)
            for row in rows or []
        ]
    )


def confirmation_table(runs: pd.DataFrame, confirmation: Confirmation) -> pd.DataFrame:
    """The contenders of a confirmation against its reference.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives those of the confirmation.
    confirmation : Confirmation

    Returns
    -------
    DataFrame
        As `dynamoe_search.compare_with_reference` gives it, with ``name`` and ``group``.

    Raises
    ------
    InvalidInput
        Where there is nothing to compare yet.
    """
    results = paired_results(runs)
    trained = set(results.loc[results["loss"].notna(), "candidate"])
    if confirmation.reference not in trained or len(trained) < 2:
        raise InvalidInput(
            "the confirmation has nothing to compare yet: the reference and another candidate must"
            " be trained; go on with: dynamoe-search confirm"
        )
    table = compare_with_reference(results, confirmation.reference, confirmation.margin)
    return _with_names(table, confirmation)


def decided_table(progress: Progress, confirmation: Confirmation) -> pd.DataFrame:
    """The contenders of a confirmation that ends when all is decided, against its reference.

    It follows from the results in the order of their blocks, and not from the order in which they
    came in.

    Parameters
    ----------
    progress : Progress
        Of the confirmation.
    confirmation : Confirmation
        Its `looks` are not None.

    Returns
    -------
    DataFrame
        As `dynamoe_search.statistics.compare_until_decided` gives it, with ``name`` and ``group``.

    Raises
    ------
    InvalidInput
        Where the reference is the only candidate.
    """
    assert confirmation.looks is not None
    others = [name for name in confirmation.names if name != confirmation.reference]
    if not others:
        raise InvalidInput(f"only {confirmation.title} is confirmed: there is nothing to compare")
    table = compare_until_decided(
        _ended_losses(progress, confirmation.seeds_per_block),
        confirmation.reference,
        others,
        confirmation.margin,
        confirmation.looks,
    )
    return _with_names(table, confirmation)


def _ended_losses(progress: Progress, seeds_per_block: int) -> pd.DataFrame:
    """The test loss of each seed whose run has ended; NaN where it has no result."""
    rows = []
    for candidate, block in progress.done:
        missing = (RunResult(),) * seeds_per_block
        results = progress.results.get(candidate, {}).get(block, missing)
        rows += [
            (candidate, block * seeds_per_block + place, result.value("test_loss"))
            for place, result in enumerate(results)
        ]
    return pd.DataFrame(rows, columns=["candidate", "place", "loss"])


def _with_names(table: pd.DataFrame, confirmation: Confirmation) -> pd.DataFrame:
    groups = {one.candidate: one.group for one in confirmation.contenders}
    table.insert(1, "name", table["candidate"].map(confirmation.names))
    table.insert(2, "group", table["candidate"].map(groups))
    return table


def paired_results(runs: pd.DataFrame) -> pd.DataFrame:
    """The one run that counts per candidate and seed, for `compare_with_reference`.

    Parameters
    ----------
    runs : DataFrame
        As `Study.training_runs` gives those of a confirmation.

    Returns
    -------
    DataFrame
        ``candidate``, ``seed`` and ``loss``: the test loss, NaN where no attempt is complete.
    """
    in_order = runs.sort_values("run").assign(complete=runs["state"] == "complete")
    last = in_order.sort_values("complete", kind="stable").drop_duplicates(
        ["candidate", "seed"], keep="last"
    )
    return last.rename(columns={"test_loss": "loss"})[["candidate", "seed", "loss"]]


def baselines_of(candidates: Iterable[Candidate], study_file: StudyFile) -> dict[str, Candidate]:
    """The study's baselines by name; a candidate of their expert width shows how many experts."""
    own = study_file.own_settings()
    for candidate in candidates:
        if dict(candidate.settings).get("hidden") == own.get("hidden"):
            total = None
            if study_file.budget.regime != "paper":
                total = experts_spent(candidate.schedule, study_file)
            return baselines_of_study(study_file, total)
    return {}


def _columns(run: Run, study_file: StudyFile) -> list[dict[str, Any]]:
    """The columns about the run itself, for each seed."""
    seeds = run.start.seeds
    results = run.results if run.state in WITH_RESULTS else (RunResult(),) * len(seeds)
    return [
        _of_seed(run, seed, result, study_file) for seed, result in zip(seeds, results, strict=True)
    ]


def _of_seed(run: Run, seed: int, result: RunResult, study_file: StudyFile) -> dict[str, Any]:
    start = run.start
    constraints = study_file.search.constraint_list
    known = run.state in WITH_RESULTS
    return {
        "block": start.block,
        "seed": seed,
        "state": run.state,
        "message": run.message,
        "fraction": result.fraction if known else float("nan"),
        **{name: result.value(name) if known else float("nan") for name in (*_RESULTS, *_TEST)},
        "feasible": run.state == "complete" and are_feasible([result], constraints),
        **{name: result.seconds.get(name, float("nan")) for name in _SECONDS},
        "curve": [vars(point) for point in result.curve] if known else None,
        "mean_active": list(result.mean_active) or None,
        "layer_entropy": list(result.layer_entropy) or None,
        **{name: result.tables.get(name) for name in TABLES},
        "started": datetime.fromtimestamp(run.started),
        "finished": None if run.finished is None else datetime.fromtimestamp(run.finished),
        "worker": start.worker,
        "data": result.data,
        "commit": result.commit,
        **{f"version_{package}": number for package, number in result.versions.items()},
        **{f"parameter_{name}": value for name, value in (start.parameters or {}).items()},
    }
