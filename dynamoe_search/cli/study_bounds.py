"""``bounds --study``: what was measured, between its lower and upper bounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dynamoe_search.cli.console import console, save_plot, say, write_table, write_text

if TYPE_CHECKING:
    from dynamoe_search.bounds.machine import Machine
    from dynamoe_search.study import Study

_LEADERS = 5


def bounds_of_study(
    study: Study,
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
    from dynamoe_search.plan.expert_budget import expert_budget, most_configurations
    from dynamoe_search.report import bounds as report
    from dynamoe_search.report.measured_bounds import (
        measured_bounds_table,
        measured_sentences,
        plot_measured_bounds,
    )
    from dynamoe_search.report.terminal import print_table

    plan, runs = study.plan, study.training_runs()
    if plan.study.training.precision != "float32":
        machine = None  # whose peak is that of float32
    board = make_leaderboard(runs)
    shown = board[(board["rank"] <= _LEADERS) | (board["pattern"] != "")]
    names = dict(zip(shown["candidate"], shown["pattern"], strict=True))
    networks = {candidate: plan.network_with(parse_candidate(candidate)) for candidate in names}
    table = measured_bounds(runs, networks, machine)
    sentences = measured_sentences(table)
    budget = expert_budget(plan)
    if budget is not None:
        compared = {names[one] or one: budget.named(str(one)) for one in names}
        scores, extremes = compare_schedules(budget, compared), budget_extremes(budget)
        say("\n".join(["What no schedule of the budget can beat:", ""]))
        say("\n".join(report.bounds_sentences(budget, scores, extremes)))
        say("")
    if (pair := most_configurations(plan)) is not None:
        say("\n".join(["What no schedules of the budget can beat:", ""]))
        say(report.pair_sentence(pair, plan.baselines["uniform"]))
        say("")
    say("\n".join(["What was measured:", "", *sentences]))
    print_table(console, measured_bounds_table(table, names))
    if csv is not None:
        write_table(table, csv, "csv")
        say(f"wrote {csv}")
    if json is not None:
        write_text(json, table.to_json(orient="records", indent=2))
        say(f"wrote {json}")
    if plot is not None:
        save_plot(plot_measured_bounds(table, names), plot)
