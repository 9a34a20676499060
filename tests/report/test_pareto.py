import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation, Text

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.figure import BLUE, ORANGE, save_figure
from dynamoe_search.report.pareto import pareto_sentences, pareto_table, plot_pareto
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.statistics.pareto import OBJECTIVES, make_pareto_table
from tests.report.shown import shown

BOTH = ["loss", "active_flops"]


def candidate(
    name: str, losses: list[float], flops: float, pattern: str = "", feasible: bool = True
) -> list[dict[str, object]]:
    schedule, _, settings = name.partition(" ")
    return [
        {
            "candidate": name,
            "schedule": schedule,
            "settings": settings,
            "pattern": pattern,
            "group": "dense" if name.startswith("dense") else "searched",
            "seed": seed,
            "state": "complete",
            "validation_loss": loss,
            "flops_per_token": flops,
            "utilization_entropy": 0.9 - loss / 10,
            "gradient_noise": 10.0 * loss if name != "1-1" else math.inf,
            "feasible": feasible,
        }
        for seed, loss in enumerate(losses)
    ]


RUNS = pd.DataFrame(
    candidate("4-2", [1.00, 1.02], 50_000.0)
    + candidate("3-3", [1.03, 1.01], 50_000.0, "uniform")
    + candidate("2-4", [2.00, 2.01], 60_000.0, "ascending")
    + candidate("1-1", [1.50, 1.51], 40_000.0)
    + candidate("5-1", [0.50, 0.51], 30_000.0, feasible=False)
)
TABLE = make_pareto_table(RUNS, BOTH)


def rendered(table: pd.DataFrame, objectives: list[str], rows: int) -> str:
    return shown(pareto_table(table, objectives, rows))


def test_sentences_tell_the_front_from_what_may_be_on_it() -> None:
    loss, low, high = TABLE.loc[0, ["loss", "loss_low", "loss_high"]]
    other = TABLE.set_index("candidate").loc["1-1", "loss"]
    assert pareto_sentences(TABLE, BOTH) == [
        "2 of 4 candidates are on the Pareto front of validation loss and active compute, 1 more"
        " may be, within noise.",
        f"Least expected validation loss: 4-2, {loss:.4f} nats (95 % interval {low:.4f} to"
        f" {high:.4f}), active compute 50,000.",
        f"Least expected active compute: 1-1, 40,000 FLOPs per token, validation loss {other:.4f}.",
        "Named schedules that may be on the front: uniform.",
        "Named schedules that are not on it, by more than noise: ascending.",
        "1 of 5 candidates miss a constraint and are left out.",
    ]


def test_unknown_noise_rules_nobody_out() -> None:
    once = make_pareto_table(RUNS[RUNS["seed"] == 0], BOTH)
    text = "\n".join(pareto_sentences(once, BOTH))
    assert "The noise of validation loss and active compute is unknown" in text
    assert "that may be on the front: uniform and ascending" in text
    assert "interval" not in text
    assert "± ?" in rendered(once, BOTH, 5)


def test_nothing_feasible() -> None:
    none = make_pareto_table(RUNS.assign(feasible=False), BOTH)
    assert pareto_sentences(none, BOTH) == ["None of the 5 candidates meets the constraints."]
    assert len(plot_pareto(none, BOTH).axes) == 1


def test_more_is_better_for_some() -> None:
    objectives = ["utilization_entropy", "gradient_noise"]
    text = "\n".join(pareto_sentences(make_pareto_table(RUNS, objectives), objectives))
    assert "Most expected utilization entropy: 4-2, 0.7990 of ln N" in text
    assert "Least expected gradient noise scale: 4-2, 10.10 samples" in text


def test_the_table_shows_the_first_rows_and_the_named_ones() -> None:
    table = pareto_table(TABLE, BOTH, rows=1)
    assert len(table.rows) == 3
    text = rendered(TABLE, BOTH, rows=5)
    table_lines = text.split("● on the front")[0].splitlines()
    rows = {line.split()[1]: line for line in table_lines if line.startswith((" ●", " ≈"))}
    assert set(rows) == {"4-2", "1-1", "3-3"}
    for name, rest in (("3-3", "50,000 uniform ██ 2"), ("4-2", "50,000 █▄ 2")):
        row = TABLE[TABLE["candidate"] == name].iloc[0]
        width = max(row["loss_high"] - row["loss"], row["loss"] - row["loss_low"])
        assert f"{name} {row['loss']:.4f} ± {width:.4f} {rest}" in " ".join(rows[name].split())
    # No interval where there is no noise.
    assert "50,000 " in rows["4-2"]
    assert rows["4-2"].count("±") == 1
    assert "✗" in text


def test_named_candidates_of_several_settings_are_shown_once() -> None:
    runs = pd.DataFrame(
        candidate("3-3 k=1", [1.0], 1.0, "uniform")
        + candidate("3-3 k=2", [2.0], 2.0, "uniform")
        + candidate("dense 96-95", [3.0], 3.0)
    )
    table = make_pareto_table(runs, BOTH)
    assert len(pareto_table(table, BOTH, rows=0).rows) == 1
    assert len(pareto_table(table, BOTH, rows=3).rows) == 3
    labels = [t.get_text() for t in plot_pareto(table, BOTH).axes[0].texts]
    assert labels == ["uniform k=1"]


def test_infinite_values_are_written_and_counted() -> None:
    objectives = ["loss", "gradient_noise"]
    table = make_pareto_table(RUNS, objectives)
    assert "infinite" in rendered(table, objectives, 5)
    axes = plot_pareto(table, objectives).axes[0]
    assert axes.get_xlabel().endswith("(1 infinite, not shown)")
    drawn = np.concatenate([c.get_offsets() for c in axes.collections if hasattr(c, "get_sizes")])
    assert len(drawn) == 4


@pytest.mark.parametrize("objectives", [BOTH, ["loss", "utilization_entropy"], BOTH[::-1]])
def test_the_steps_bound_what_can_be_had(objectives: list[str]) -> None:
    """At each x the line is the best y among candidates at least as good in x."""
    generator = np.random.default_rng(0)
    runs = pd.DataFrame(
        row
        for number, flops in enumerate(generator.uniform(1e4, 2e4, size=30))
        for row in candidate(f"{number + 1}-1", [1e4 / flops + generator.normal(0, 0.1)], flops)
    )
    runs["utilization_entropy"] = generator.uniform(size=30)
    table = make_pareto_table(runs, objectives)
    y, x = objectives
    line = plot_pareto(table, objectives).axes[0].lines[0]
    is_post = line.get_drawstyle() == "steps-post"
    heights = line.get_ydata()[:-1] if is_post else line.get_ydata()[1:]
    middles = (line.get_xdata()[:-1] + line.get_xdata()[1:]) / 2
    assert len(middles) > 2
    for middle, height in zip(middles, heights, strict=True):
        reached = table[x] <= middle if OBJECTIVES[x].minimize else table[x] >= middle
        attained = table.loc[reached, y]
        assert height == (attained.min() if OBJECTIVES[y].minimize else attained.max())


def test_what_is_drawn_how(tmp_path) -> None:
    figure = plot_pareto(TABLE, BOTH)
    save_figure(figure, tmp_path / "pareto.png")
    assert (tmp_path / "pareto.png").stat().st_size > 10_000
    axes = figure.axes[0]
    points = [c for c in axes.collections if hasattr(c, "get_sizes")]
    infeasible, dominated, maybe, front = points
    assert [len(p.get_offsets()) for p in points] == [1, 1, 1, 2]
    assert infeasible.get_offsets()[0].tolist() == pytest.approx([30_000.0, 0.505], abs=0.01)
    assert (dominated.get_facecolor()[0] == 1).all()
    assert maybe.get_alpha() < 1
    rgb = [tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)) for color in (ORANGE, BLUE)]
    assert dominated.get_edgecolor()[0, :3].tolist() == pytest.approx(rgb[0])
    assert front.get_facecolor()[0, :3].tolist() == pytest.approx(rgb[1])
    assert "2 of 4 candidates" in figure.get_suptitle()
    assert axes.get_xlabel() == "active compute (FLOPs per token), less is better"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "on the front",
        "may be on it, within noise",
        "dominated",
        "misses a constraint",
        "named",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 4])
def test_labels_do_not_overlap(count: int) -> None:
    """Named schedules lie close together, as they do at equal budgets."""
    generator = np.random.default_rng(1)
    runs = pd.DataFrame(
        row
        for number, pattern in enumerate([*PATTERNS_AND_UNIFORM, *[""] * 40])
        for row in candidate(
            f"{number + 2}-1",
            list(1 + generator.normal(0, 0.1 if pattern else 0.5, size=2) ** 2),
            generator.normal(5e4, 2e3 if pattern else 1e4),
            pattern,
        )
    )
    runs["utilization_entropy"] = generator.uniform(0.5, 1, size=len(runs))
    objectives = list(OBJECTIVES)[:count]
    figure = plot_pareto(make_pareto_table(runs, objectives), objectives)
    figure.draw_without_rendering()
    assert len(figure.axes) == count * (count - 1) // 2
    for axes in figure.axes:
        labels = [text for text in axes.texts if isinstance(text, Annotation)]
        assert sorted(label.get_text() for label in labels) == sorted(PATTERNS_AND_UNIFORM)
        boxes = [Text.get_window_extent(label) for label in labels]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
        inside = axes.get_window_extent()
        assert all(inside.x0 - 1 <= box.x0 and box.x1 <= inside.x1 + 1 for box in boxes)


def test_one_objective_has_no_front_to_plot() -> None:
    with pytest.raises(InvalidInput, match="two objectives or more"):
        plot_pareto(make_pareto_table(RUNS, ["loss"]), ["loss"])
