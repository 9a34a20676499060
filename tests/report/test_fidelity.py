import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.fidelity import fidelity_sentences, fidelity_table, plot_fidelity
from dynamoe_search.report.figure import save_figure
from dynamoe_search.statistics.fidelity import compute_saved, rank_correlations
from tests.report.shown import shown


def training(
    candidate: int, seed: int, losses: list[float], state: str = "complete"
) -> dict[str, object]:
    """Losses at 10 %, 30 % and 100 % of the training."""
    curve = [
        {"fraction": fraction, "samples": 0, "loss": loss, "accuracy": 0.5}
        for fraction, loss in zip((0.1, 0.3, 1.0), losses, strict=False)
    ]
    return {
        "candidate": f"schedule {candidate}",
        "run": candidate,
        "block": 0,
        "seed": seed,
        "state": state,
        "fraction": curve[-1]["fraction"],
        "curve": curve,
        "validation_loss": losses[-1] if state == "complete" else float("nan"),
        "training_flops": 100.0 * curve[-1]["fraction"],
    }


def agreeing(candidates: int, seeds: int = 1) -> pd.DataFrame:
    """Every look, and every seed, gives the same order."""
    return pd.DataFrame(
        training(number, seed, [3.0 + number, 2.0 + number, 1.0 + number + 0.1 * seed])
        for number in range(candidates)
        for seed in range(seeds)
    )


def scrambled(candidates: int, seeds: int = 1) -> pd.DataFrame:
    """Full runs agree, early looks are mere chance."""
    early = np.random.default_rng(2).permutation(candidates * seeds)
    runs = agreeing(candidates, seeds)
    for curve, loss in zip(runs["curve"], early, strict=True):
        curve[0]["loss"] = curve[1]["loss"] = 10.0 + float(loss)
    return runs


PRUNED = pd.DataFrame(
    [training(number, 0, [9.0 + number, 8.0], state="pruned") for number in (100, 101)]
    + [training(102, 0, [12.0], state="pruned")]
)


def with_pruned(runs: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([runs, PRUNED], ignore_index=True)


def test_what_was_saved_is_said() -> None:
    runs = with_pruned(agreeing(7))
    savings = compute_saved(runs)
    assert (savings.spent, savings.saved) == pytest.approx((770, 230))
    assert fidelity_sentences(runs)[0] == (
        "Pruning ended 3 of 10 training runs early and saved 23 % of the training compute."
    )
    assert fidelity_sentences(agreeing(7))[0] == "None of the 7 training runs was pruned."


def test_the_rungs_where_runs_were_pruned_are_spoken_of() -> None:
    runs = pd.concat([agreeing(12), PRUNED.iloc[:2]], ignore_index=True)
    row = rank_correlations(runs).iloc[1]
    text = "\n".join(fidelity_sentences(runs))
    assert "At 10 % of the training" not in text
    assert (
        "At 30 % of the training the order of candidates agrees with the final one by"
        f" tau = 1.00 (95 % {row['tau_low']:.2f} to {row['tau_high']:.2f}, 12 candidates)."
    ) in text
    assert "At 10 % of the training" in "\n".join(fidelity_sentences(agreeing(12)))


def test_survivors_are_called_so() -> None:
    assert fidelity_sentences(with_pruned(agreeing(9)))[-1].startswith("Only what survived pruning")
    assert not any("survived" in sentence for sentence in fidelity_sentences(agreeing(9)))


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        (agreeing(4), "is unknown: too few candidates were trained in full."),
        (scrambled(12), "Nothing shows that a look at 10 % of the training can be trusted"),
        (agreeing(12), "it puts 100 % of pairs of candidates into their final order. How much of"),
        (
            agreeing(12, 2),
            "is statistically indistinguishable from the 1.00 of a full training run.",
        ),
    ],
)
def test_trust_is_claimed_only_as_far_as_intervals_allow(runs: pd.DataFrame, verdict: str) -> None:
    assert verdict in fidelity_sentences(runs)[-1]


@pytest.mark.parametrize(
    ("candidates", "scatter", "verdict"),
    [
        (40, 10.0, "which is less than the 1.00 of a full training run."),
        (12, 1.5, "which is statistically indistinguishable from the 1.00 of a full training run."),
    ],
)
def test_an_early_look_is_worse_only_where_intervals_lie_apart(
    candidates: int, scatter: float, verdict: str
) -> None:
    """Early on the order of neighbors is scrambled, that of distant ones is not."""
    runs = agreeing(candidates, 2)
    generator = np.random.default_rng(0)
    for curve in runs["curve"]:
        curve[0]["loss"] += generator.normal(0, scatter)
    row = rank_correlations(runs).iloc[0]
    assert 0 < row["early_seed_tau"] < row["seed_low"]
    sentence = fidelity_sentences(runs)[-1]
    assert sentence.startswith("A look at 10 % of the training is better than chance")
    assert sentence.endswith(verdict)


def test_no_curves_no_claims() -> None:
    runs = agreeing(7).assign(curve=None)
    assert fidelity_sentences(runs)[1:] == [
        "No complete training run reported its loss before its end."
    ]
    with pytest.raises(InvalidInput, match="cannot be judged yet"):
        plot_fidelity(runs)


def test_the_table_has_a_row_a_rung() -> None:
    correlations = rank_correlations(agreeing(12, 2))
    text = shown(fidelity_table(correlations))
    assert len(fidelity_table(correlations).rows) == 2
    assert f"{correlations['tau_low'][0]:.2f} to {correlations['tau_high'][0]:.2f}" in text
    assert "12 candidates" in text
    few = shown(fidelity_table(rank_correlations(agreeing(4))))
    assert "?" in few
    assert "nan" not in few


def test_the_plot_shows_every_training(tmp_path) -> None:
    runs = with_pruned(agreeing(7, 2))
    figure = plot_fidelity(runs)
    agreement, curves = figure.axes
    lines = [c for c in curves.collections if isinstance(c, LineCollection)]
    assert [len(line.get_segments()) for line in lines] == [14, 3]
    ends = [c for c in curves.collections if not isinstance(c, LineCollection)]
    assert [end.get_offsets()[:, 0].max() for end in ends] == [100, 30]
    assert "Pruning ended 3 of 10 training runs early" in curves.get_title()
    drawn = agreement.lines[0].get_xydata()
    assert drawn[:, 0].tolist() == pytest.approx([10, 30])
    assert drawn[:, 1].tolist() == rank_correlations(runs)["tau"].tolist()
    ceiling = next(line for line in agreement.lines if line.get_linestyle() == "--")
    assert set(ceiling.get_ydata()) == {rank_correlations(runs)["seed_tau"][0]}
    save_figure(figure, tmp_path / "fidelity.png")
    assert (tmp_path / "fidelity.png").stat().st_size > 10_000


def test_the_plot_without_pruned_or_repeated_runs() -> None:
    agreement, curves = plot_fidelity(agreeing(3)).axes
    assert curves.get_title() == "None of the 3 training runs was pruned"
    assert "interval unknown" in agreement.get_title()
    assert not any(line.get_linestyle() == "--" for line in agreement.lines)
