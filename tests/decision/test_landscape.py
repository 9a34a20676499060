import numpy as np
import pandas as pd
import pytest

from dynamoe_search.decision.landscape import (
    Landscape,
    fit_landscape,
    place_on_map,
    relative_counts,
    shares_on_map,
)
from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import (
    Schedule,
    enumerate_schedules,
    pattern_schedule,
    pattern_shape,
)

SCHEDULES = np.array([s.counts for s in enumerate_schedules(16, 4)])


def runs_of(counts: np.ndarray, losses: np.ndarray) -> pd.DataFrame:
    """Complete training runs; losses of shape (candidates, seeds)."""
    rows = [
        {
            "candidate": str(Schedule(tuple(schedule))),
            "schedule": str(Schedule(tuple(schedule))),
            "pattern": "",
            "seed": seed,
            "state": "complete",
            "feasible": True,
            "validation_loss": loss,
        }
        for schedule, own in zip(counts.tolist(), losses, strict=True)
        for seed, loss in enumerate(own)
    ]
    return pd.DataFrame(rows)


def smooth(noise: float, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """60 schedules, whose loss is a bowl over the map, trained three times each."""
    generator = np.random.default_rng(seed)
    counts = generator.permutation(SCHEDULES)[:60]
    places = place_on_map(counts)
    truth = 1 + 0.1 * places[:, 0] + 0.08 * places[:, 1] ** 2
    losses = truth[:, None] + noise * generator.standard_normal((60, 3))
    return runs_of(counts, losses), truth


@pytest.mark.parametrize("depth", [3, 4, 7, 8])
def test_places_are_a_least_squares_fit(depth: int) -> None:
    generator = np.random.default_rng(depth)
    counts = generator.integers(1, 9, size=(20, depth))
    shapes = [pattern_shape(name, depth) for name in ("descending", "pyramid")]
    design = np.stack([np.ones(depth), *shapes], axis=1)
    fit, *_ = np.linalg.lstsq(design, relative_counts(counts).T, rcond=None)
    assert place_on_map(counts) == pytest.approx(fit[1:].T)
    # Schedules of twice the experts lie at the same place.
    assert place_on_map(2 * counts) == pytest.approx(place_on_map(counts))


def test_the_named_schedules_lie_where_their_names_say() -> None:
    names = ("descending", "ascending", "pyramid", "inverted_pyramid", "uniform")
    counts = [pattern_schedule(name, 8, 160).counts for name in names]
    places = dict(zip(names, place_on_map(counts).tolist(), strict=True))
    for name, place in {
        "descending": [0.6, 0],
        "ascending": [-0.6, 0],
        "uniform": [0, 0],
    }.items():
        assert places[name] == pytest.approx(place, abs=0.02)
    assert places["pyramid"] == pytest.approx([0, 0.6], abs=0.1)
    assert places["inverted_pyramid"] == pytest.approx([0, -0.6], abs=0.1)


def test_shares_are_those_of_what_is_left_when_the_map_is_taken_away() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 9, size=(50, 6))
    relative = relative_counts(counts)
    left = relative.copy()
    for pattern, share in zip(("descending", "pyramid"), shares_on_map(counts), strict=True):
        shape = pattern_shape(pattern, 6)
        shape = (shape - shape.mean()) / np.linalg.norm(shape - shape.mean())
        before = left.var(axis=0).sum()
        left = left - np.outer(left @ shape, shape)
        gone = before - left.var(axis=0).sum()
        assert share == pytest.approx(gone / relative.var(axis=0).sum())
    # Of three layers nothing is left.
    assert sum(shares_on_map([s.counts for s in enumerate_schedules(9, 3)])) == pytest.approx(1)


def test_no_map_of_two_layers() -> None:
    with pytest.raises(InvalidInput, match="2 layers all lie on one line"):
        place_on_map([[3, 1], [2, 2], [1, 3]])


def leave_one_out(landscape: Landscape) -> float:
    """What `predictive_r2` is, by fitting again without each candidate in turn."""
    from sklearn.base import clone

    process, values = landscape.process, landscape.process.y_train_
    places = process.X_train_
    errors, others = [], []
    for index in range(len(values)):
        rest = np.arange(len(values)) != index
        again = clone(process).set_params(
            kernel=process.kernel_, alpha=process.alpha[rest], optimizer=None
        )
        again.fit(places[rest], values[rest])
        errors.append(values[index] - again.predict(places[[index]])[0])
        others.append(values[index] - values[rest].mean())
    return 1 - np.square(errors).sum() / np.square(others).sum()


def test_a_smooth_landscape_is_found() -> None:
    runs, truth = smooth(noise=0.003)
    landscape = fit_landscape(runs, SCHEDULES)
    candidates = landscape.candidates.set_index("candidate").loc[runs["candidate"].unique()]
    assert np.abs(candidates["fitted"] - truth).max() < 0.01
    inside = np.abs(candidates["fitted"] - truth) <= candidates["margin"]
    assert inside.mean() > 0.8
    assert landscape.predictive_r2 > 0.9
    assert landscape.predictive_r2 == pytest.approx(leave_one_out(landscape))
    assert landscape.noise.deviation == pytest.approx(0.003, rel=0.25)
    assert candidates["seeds"].tolist() == [3] * 60
    # Far from all candidates nothing is known.
    _, there = landscape.surface(landscape.candidates[["x", "y"]])
    _, far = landscape.surface([[30.0, 30.0]])
    assert far[0] > 2 * there.max()


@pytest.mark.slow
def test_widths_from_a_sample_of_many_candidates_are_those_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(1)
    truth = 1 + 0.1 * place_on_map(SCHEDULES)[:, 0]
    runs = runs_of(SCHEDULES, truth[:, None] + 0.02 * generator.standard_normal((455, 2)))
    sampled = fit_landscape(runs).candidates
    monkeypatch.setattr("dynamoe_search.decision.landscape._MOST_TO_FIT", 1_000)
    whole = fit_landscape(runs).candidates
    assert np.abs(sampled["fitted"] - whole["fitted"]).max() < 0.5 * whole["margin"].max()
    assert sampled["margin"].mean() == pytest.approx(whole["margin"].mean(), rel=0.3)


def test_mere_noise_predicts_nothing() -> None:
    generator = np.random.default_rng(3)
    runs = runs_of(SCHEDULES[::8], 1 + 0.01 * generator.standard_normal((57, 2)))
    assert fit_landscape(runs, SCHEDULES).predictive_r2 < 0.2


def test_too_few_or_equal_losses_are_refused() -> None:
    runs, _ = smooth(noise=0.01)
    few = runs[runs["candidate"].isin(runs["candidate"].unique()[:7])]
    with pytest.raises(InvalidInput, match=r"at least 8 candidates .* has 7"):
        fit_landscape(few)
    with pytest.raises(InvalidInput, match="same loss"):
        fit_landscape(runs.assign(validation_loss=1.0))


def test_from_one_seed_the_noise_is_fitted() -> None:
    runs, truth = smooth(noise=0.003)
    landscape = fit_landscape(runs[runs["seed"] == 0])
    assert landscape.noise.degrees == 0
    assert landscape.predictive_r2 > 0.5
    assert np.isfinite(landscape.candidates["margin"]).all()
    assert len(truth) == len(landscape.candidates)


def test_one_schedule_is_no_landscape() -> None:
    runs, _ = smooth(noise=0.003)
    with pytest.raises(InvalidInput, match="all candidates have the same schedule"):
        fit_landscape(runs.assign(schedule="4-4-4-4"))


def test_where_only_active_schedules_differ_the_map_is_of_these() -> None:
    runs, _ = smooth(noise=0.003)
    active = runs.assign(
        candidate="4-4-4-4 active=" + runs["candidate"],
        active_schedule=runs["schedule"],
        schedule="4-4-4-4",
    )
    found, same = fit_landscape(active, SCHEDULES), fit_landscape(runs, SCHEDULES)
    assert found.of_active
    assert not same.of_active
    assert found.candidates["fitted"].tolist() == same.candidates["fitted"].tolist()
    assert found.candidates[["x", "y"]].equals(same.candidates[["x", "y"]])
