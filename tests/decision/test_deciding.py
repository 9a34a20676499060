"""The benchmark of deciding: landscapes are as they say, and peers are used as they should be."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.fft import dct

from benchmarks.deciding import Outcome, curves_of, outcome_of
from benchmarks.deciding_tables import Curves, bounds_table, peers_table, pooled, runs_needed
from benchmarks.landscapes import (
    LANDSCAPES,
    SEEDS,
    Landscape,
    Space,
    coordinates,
    make_problem,
)
from benchmarks.peers import PEERS, Wilcoxon
from benchmarks.resumable import Task, read_results, run_rest
from benchmarks.simulation import History, Recommendation, Run, best_mean, simulate
from dynamoe_search import bench
from dynamoe_search.schedules import Schedule

SMALL = Space("free", 4, 12)
BLEND = Space("blend", 6, 18)


def names(space: Space) -> list[str]:
    return [str(Schedule(tuple(row))) for row in space.pool.tolist()]


@pytest.mark.slow
def test_coordinates_are_cosine_coefficients() -> None:
    counts = BLEND.pool
    logs = np.log(counts / counts.mean(axis=1, keepdims=True))
    expected = dct(logs, norm="ortho", axis=1)[:, 1:7]
    np.testing.assert_allclose(coordinates(counts), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["bowl", "slope", "bumps"])
@pytest.mark.parametrize("rough", [0.0, 0.5])
def test_the_median_is_the_gap_above_the_best(kind: str, rough: float) -> None:
    landscape = Landscape(BLEND, kind, gap=0.01, noise=0.01, rough=rough)  # type: ignore[arg-type]
    for repetition in range(3):
        problem = make_problem(landscape, repetition)
        regrets = [problem.regret(name) for name in names(BLEND)]
        assert min(regrets) < 1e-12
        assert np.median(regrets) == pytest.approx(0.01)


def test_the_rough_part_is_normal_and_independent_of_the_smooth() -> None:
    smooth = Landscape(BLEND, "bowl", gap=1.0, noise=0.0)
    without = make_problem(smooth, 0).surface(BLEND.pool)
    whole = make_problem(replace(smooth, rough=100.0), 0).surface(BLEND.pool)  # nearly all rough
    assert stats.shapiro(whole[:2000:4]).pvalue > 0.01
    assert abs(stats.spearmanr(without, whole).statistic) < 4 / math.sqrt(len(whole))


def test_without_a_gap_all_are_equal() -> None:
    problem = make_problem(Landscape(SMALL, "bowl", gap=0.0, noise=0.01), 0)
    assert {problem.regret(name) for name in names(SMALL)} == {0.0}


@pytest.mark.parametrize("degrees", [math.inf, 5.0])
def test_differences_scatter_by_the_noise_and_losses_by_the_seeds_too(degrees: float) -> None:
    landscape = Landscape(SMALL, "slope", gap=0.01, noise=0.02, seeds=0.05, degrees=degrees)
    problem = make_problem(landscape, 1)
    one, other = (
        np.concatenate([problem.losses(name, block) for block in range(500)])
        for name in ("3-3-3-3", "6-3-2-1")
    )
    assert len(one) == 500 * SEEDS
    difference = problem.regret("3-3-3-3") - problem.regret("6-3-2-1")
    assert (one - other).mean() == pytest.approx(difference, abs=4 * 0.02 / math.sqrt(len(one)))
    assert (one - other).std() == pytest.approx(0.02, rel=0.08)
    assert one.var() == pytest.approx(0.05**2 + 0.02**2 / 2, rel=0.15)
    assert problem.losses("3-3-3-3", 7) == make_problem(landscape, 1).losses("3-3-3-3", 7)
    assert problem.losses("3-3-3-3", 7) != make_problem(landscape, 2).losses("3-3-3-3", 7)


def test_unequal_noise_differs_between_candidates_and_keeps_its_mean_square() -> None:
    landscape = Landscape(BLEND, "slope", gap=0.01, noise=0.02, seeds=0.0, unequal=0.5)
    problem = make_problem(landscape, 0)
    sizes = [
        np.concatenate([problem.losses(name, block) for block in range(4)]).std(ddof=1)
        for name in names(BLEND)[:800]
    ]
    assert np.square(sizes).mean() == pytest.approx(0.02**2 / 2, rel=0.2)
    assert np.log(sizes).std() == pytest.approx(math.hypot(0.5, 1 / math.sqrt(2 * 15)), rel=0.15)


def test_the_table_has_the_means_and_the_noise_of_its_benchmark() -> None:
    landscape = LANDSCAPES["digits table, 4 layers"]
    problem, table = make_problem(landscape, 0), bench.load("digits-4x12")
    regrets = [problem.regret(name) for name in names(landscape.space)]
    assert min(regrets) == 0
    assert np.median(regrets) == pytest.approx(landscape.gap, abs=5e-5)
    recorded = table.losses.mean(axis=1).loc[names(landscape.space)]
    assert stats.spearmanr(regrets, recorded).statistic > 0.999  # shrinking keeps the order
    losses = np.array([problem.losses(name, 0) for name in names(landscape.space)])
    rest = losses - losses.mean(axis=1, keepdims=True) - losses.mean(axis=0) + losses.mean()
    measured = math.sqrt((rest**2).sum() / (164 * (SEEDS - 1)))
    own = table.losses.to_numpy()
    left = own - own.mean(axis=1, keepdims=True) - own.mean(axis=0) + own.mean()
    assert measured == pytest.approx(math.sqrt((left**2).sum() / (164 * 31)), rel=0.1)
    assert measured * math.sqrt(2) == pytest.approx(landscape.noise, rel=0.1)


def test_every_published_landscape_is_within_the_issue() -> None:
    for name, landscape in LANDSCAPES.items():
        if landscape.kind != "table":
            assert 0.003 <= landscape.gap <= 0.014, name
            assert 0.003 <= landscape.noise <= 0.03, name
        assert 4 <= landscape.space.depth <= 24


class AlwaysTheSame:
    """Trains one candidate, and takes it with a bound that shrinks."""

    def propose(self, history: History) -> str:
        return "3-3-3-3"

    def recommend(self, history: History) -> Recommendation:
        return Recommendation("3-3-3-3", 1 / len(history))


def test_a_candidate_gets_its_next_block_and_the_true_regret_is_noted() -> None:
    problem = make_problem(Landscape(SMALL, "bowl", gap=0.01, noise=0.01), 0)
    regrets, bounds = simulate(problem, AlwaysTheSame(), 3)
    assert regrets == [round(problem.regret("3-3-3-3"), 7)] * 3
    assert bounds == [1.0, 0.5, round(1 / 3, 7)]


def test_the_best_mean_is_over_a_candidates_blocks() -> None:
    history = [Run("a", 0, (1.0, 2.0)), Run("b", 0, (1.4, 1.4)), Run("a", 1, (1.0, 1.0))]
    assert best_mean(history[:2]).candidate == "b"
    assert best_mean(history).candidate == "a"


@pytest.mark.parametrize("peer", ["random", "TPE"])
@pytest.mark.parametrize("space", [SMALL, BLEND], ids=["free", "blend"])
def test_a_sampler_of_optuna_proposes_schedules_of_the_space(peer: str, space: Space) -> None:
    problem = make_problem(Landscape(space, "bowl", gap=0.01, noise=0.0, seeds=0.0), 3)
    method = PEERS[peer](space, 0, 30)
    history: list[Run] = []
    for _ in range(30):
        candidate = method.propose(history)
        schedule = Schedule.parse(candidate)
        assert (schedule.total, schedule.depth) == (space.total, space.depth)
        assert min(schedule) >= space.minimum
        history.append(Run(candidate, 0, problem.losses(candidate, 0)))
    # Without noise, its best mean is the best that it saw.
    best = min(problem.regret(run.candidate) for run in history)
    assert problem.regret(method.recommend(history).candidate) == best


@pytest.mark.slow
def test_wilcoxon_trains_a_candidate_on_up_to_four_blocks_and_gives_bad_ones_up() -> None:
    problem = make_problem(Landscape(BLEND, "bowl", gap=0.05, noise=0.005), 0)
    method = Wilcoxon(BLEND, 0)
    history: list[Run] = []
    for _ in range(60):
        candidate = method.propose(history)
        block = sum(run.candidate == candidate for run in history)
        history.append(Run(candidate, block, problem.losses(candidate, block)))
    order = list(dict.fromkeys(run.candidate for run in history))
    number = [sum(run.candidate == name for run in history) for name in order]
    assert number[0] == 4  # there is nothing to compare it with
    assert max(number) == 4
    assert sum(one < 4 for one in number[:-1]) > len(number) / 2
    taken = method.recommend(history).candidate
    assert number[order.index(taken)] == 4


def test_wilcoxon_goes_on_where_all_candidates_of_a_small_space_are_known() -> None:
    space = Space("free", 3, 4)
    problem = make_problem(Landscape(space, "bowl", gap=0.05, noise=0.005), 0)
    regrets, _ = simulate(problem, Wilcoxon(space, 0), 30)
    assert len(space.pool) == 3
    assert regrets[-1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["GP", "SMAC3", "qLogNEI"])
def test_the_other_peers_find_the_best_where_there_is_no_noise(peer: str) -> None:
    if peer != "GP":
        pytest.importorskip({"SMAC3": "smac", "qLogNEI": "botorch"}[peer])
    problem = make_problem(Landscape(SMALL, "bowl", gap=0.05, noise=1e-6, seeds=0.0), 0)
    regrets, bounds = simulate(problem, PEERS[peer](SMALL, 0, 40), 40)
    assert set(bounds) == {None}
    assert regrets[-1] < 0.01


def test_the_runs_that_a_peer_needs_are_those_after_which_it_stays_as_good() -> None:
    falling, jumping = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 5.0, 1.0, 1.0])
    assert runs_needed(2.0, [falling]) == 3
    assert runs_needed(2.0, [jumping]) == 3
    assert runs_needed(5.0, [falling, jumping]) == 1
    assert runs_needed(0.5, [falling, jumping]) == math.inf


def test_landscapes_are_pooled_over_their_gaps() -> None:
    few, many = np.full((2, 9), 0.003), np.full((5, 9), 0.004)
    one = Curves("one", {"posterior": few, "TPE": many}, few)
    other = Curves("other", {"posterior": 2 * many, "TPE": few}, many)
    found = pooled([one, other], [0.003, 0.008])
    assert found.regrets["posterior"].shape == found.regrets["TPE"].shape == (2, 9)
    np.testing.assert_allclose(found.regrets["posterior"], 0.01)
    np.testing.assert_allclose(found.regrets["TPE"], 0.01 * (0.004 / 0.003 + 0.003 / 0.008) / 2)


def made_up(method: str, repetition: int, regret: float, bound: float | None) -> Outcome:
    curve = [regret / run for run in range(1, 100)]
    bounds = [None if bound is None else bound / run for run in range(1, 100)]
    return Outcome("bowl, 8 layers", method, repetition, curve, bounds, 1.0)


def test_tables_compare_ours_with_the_best_peer_at_three_times_the_runs() -> None:
    outcomes = [
        outcome
        for repetition in range(4)
        for outcome in (
            made_up("random", repetition, 0.09, None),
            made_up("TPE", repetition, 0.06, None),
            made_up("posterior", repetition, 0.02, 0.06 if repetition else 0.019),
        )
    ]
    (curves,) = curves_of(outcomes)
    assert isinstance(curves, Curves)
    line = peers_table([curves]).splitlines()[2]
    # 0.02 / 11 equals TPE's 0.06 / 33: as good with a third of the runs.
    assert "(TPE)" in line
    assert "| 0.00 ± 0.00 | 3.0 (3.0 to 3.0) |" in line
    of_bounds = bounds_table([curves], (11,)).splitlines()[2].split(" | ")
    assert of_bounds[1].startswith("75.0")  # one bound of four is too small
    assert of_bounds[3] == "100"  # all get below the margin


def test_peers_are_compared_where_they_have_three_times_the_runs() -> None:
    short = {"posterior": np.full((2, 33), 0.003), "TPE": np.full((2, 40), 0.004)}
    rows = peers_table([Curves("short", short, np.empty((0, 0)))]).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["11"]
    alone = Curves("alone", {"posterior": np.full((2, 99), 0.003)}, np.empty((0, 0)))
    assert len(peers_table([alone]).splitlines()) == 2  # the header


@pytest.mark.slow
def test_a_second_call_goes_on_where_the_first_was(tmp_path: Path) -> None:
    path = tmp_path / "deciding.jsonl"
    work = partial(outcome_of, "slope, 4 layers", "random", runs=5)

    def run(repetitions: int) -> list[Task]:
        tasks = [(repetition,) for repetition in range(repetitions)]
        done = [task[2:] for task in read_results(path, Outcome)]
        run_rest(path, work, tasks, done, 1, 10.0)
        return sorted(read_results(path, Outcome))  # one may end before another

    assert run(2) == [("slope, 4 layers", "random", repetition) for repetition in range(2)]
    first = path.read_text()
    path.write_text(first + '{"landscape": "slo')
    assert len(run(3)) == 3
    assert path.read_text().startswith(first)
    outcome = read_results(path, Outcome)["slope, 4 layers", "random", 2]
    assert outcome.regrets == outcome_of("slope, 4 layers", "random", 2, 5).regrets
