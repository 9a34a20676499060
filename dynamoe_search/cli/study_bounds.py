"""``bounds --study``: what was measured, beside what it had to be and could have been."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dynamoe_search.cli.console import console, save_plot, say, write_file, write_table

if TYPE_CHECKING:
    from dynamoe_search.bounds.machine import Machine

_LEADERS = 5


def bounds_of_study(
    study: Path,
    data_directory: Path | None,
    storage: str | None,
    name: str | None,
    machine: Machine | None,
    csv: Path | None,
    json: Path | None,
    plot: Path | None,
) -> None:
    """Print, and write, where the leaders and the named schedules of a study lie."""
    from dynamoe_search.bounds.budget import budget_extremes, compare_schedules
    from dynamoe_search.bounds.measured import measured_bounds
    from dynamoe_search.decision.leaderboard import make_leaderboard
    from dynamoe_search.plan.candidate import parse_candidate
    from dynamoe_search.report import bounds as report
    from dynamoe_search.report.between_bounds import (
        measured_bounds_table,
        measured_sentences,
        plot_measured_bounds,
    )
    from dynamoe_search.run.networks import expert_budget, load_plan
    from dynamoe_search.run.results import load_runs

    plan = load_plan(study, data_directory, storage, name)
    runs = load_runs(study, storage, name)
    if plan.study.training.precision != "float32":
        machine = None  # whose peak is that of float32
    board = make_leaderboard(runs)
    shown = board[(board["rank"] <= _LEADERS) | (board["pattern"] != "")]
    candidates = (shown["schedule"] + " " + shown["settings"]).str.rstrip()
    names = dict(zip(candidates, shown["pattern"], strict=True))
    networks = {
        candidate: plan.network_with(parse_candidate(candidate)) for candidate in candidates
    }
    table = measured_bounds(runs, networks, machine)
    sentences = measured_sentences(table)
    budget = expert_budget(plan)
    if budget is not None:
        compared = {names[one] or one: budget.named(str(one)) for one in candidates}
        scores, extremes = compare_schedules(budget, compared), budget_extremes(budget)
        say("\n".join(["What no schedule of the budget can beat:", ""]))
        say("\n".join(report.bounds_sentences(budget, scores, extremes)))
        say("")
    say("\n".join(["What was measured:", "", *sentences]))
    console.print(measured_bounds_table(table, names))
    if csv is not None:
        write_table(table, csv, "csv")
        say(f"wrote {csv}")
    if json is not None:
        write_file(json, lambda: table.to_json(json, orient="records", indent=2))
        say(f"wrote {json}")
    if plot is not None:
        save_plot(plot_measured_bounds(table, names), plot)
