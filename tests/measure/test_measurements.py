import json
import math

import numpy as np
import pandas as pd
import pytest

from dynamoe_search.data import embedded_digits
from dynamoe_search.measure.gradients import gradient_noise
from dynamoe_search.measure.measurements import (
    gradient_results,
    gradients_now,
    representation_results,
    utilization_results,
)
from dynamoe_search.measure.quantities import MEASURED, measured_means, with_measured
from dynamoe_search.measure.routing_counts import count_routings
from dynamoe_search.measure.utilization_tables import utilization_table
from dynamoe_search.models import Model, build_model
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Dense, Experts, TopK
from dynamoe_search.statistics.two_way import estimate_means

DIGITS = embedded_digits(seed=0)


def network(*experts: int) -> Model:
    return build_model(Classifier(64, 10, 8, Experts(8, Schedule(experts), TopK(k=1))))


def test_the_noise_of_a_whole_network_is_the_sum_of_its_groups() -> None:
    model = network(3, 1)
    moment = gradients_now(model, DIGITS.train, fraction=0.5, seed=7)
    assert moment["group"].tolist() == ["network", "trunk", "router", "experts"]
    assert (moment["fraction"] == 0.5).all()
    whole, parts = moment.iloc[0], moment.iloc[1:]
    for name in ("parameters", "trace", "squared_norm"):
        assert whole[name] == pytest.approx(parts[name].sum())
    noise = gradient_noise(model, DIGITS.train, 32, 8, seed=7)
    assert whole["trace"] == pytest.approx(noise.trace)
    assert whole["noise_scale"] == pytest.approx(noise.noise_scale)


def test_the_noise_of_a_run_is_a_ratio_of_means() -> None:
    model = network(2, 2)
    moments = pd.concat(
        [gradients_now(model, DIGITS.train, at, seed) for seed, at in [(0, 0.5), (1, 1.0)]]
    )
    found = gradient_results(moments)
    noises = [gradient_noise(model, DIGITS.train, 32, 8, seed) for seed in (0, 1)]
    trace, squared_norm = (
        np.mean([getattr(noise, name) for noise in noises]) for name in ("trace", "squared_norm")
    )
    assert found["gradient_trace"] == pytest.approx(trace)
    assert found["gradient_noise"] == pytest.approx(
        trace / squared_norm if squared_norm > 0 else math.inf
    )
    experts = moments[moments["group"] == "experts"]
    ratio = experts["trace"].mean() / experts["squared_norm"].mean()
    assert found["gradient_noise_experts"] == pytest.approx(ratio if ratio > 0 else math.inf)
    assert len(found["gradients"]) == 8


def test_use_is_summed_or_averaged_over_layers() -> None:
    model = network(4, 2)
    table = utilization_table(count_routings(model, DIGITS.validation))
    found = utilization_results(model, DIGITS.validation)
    assert found["effective_experts"] == pytest.approx(table["effective_experts"].sum())
    assert found["dead_experts"] == table["dead_experts"].sum()
    assert found["gini"] == pytest.approx(table["gini"].mean())
    beyond = table["mutual_information"] - table["chance_information"]
    assert found["information"] == pytest.approx(beyond.mean())
    assert len(found["load"]) == 6
    assert sum(row["share"] for row in found["load"]) == pytest.approx(2)


def test_a_dense_network_has_representations_and_no_use_of_experts() -> None:
    model = build_model(Classifier(64, 10, 8, Dense((8, 8))))
    assert utilization_results(model, DIGITS.validation) == {}
    found = representation_results(model, DIGITS.validation)
    ranks = [row["effective_rank"] for row in found["representation"]]
    assert found["effective_rank"] == pytest.approx(np.mean(ranks))
    assert [found["effective_rank_first"], found["effective_rank_last"]] == ranks
    groups = gradients_now(model, DIGITS.train, 1.0, seed=0)["group"]
    assert "gradient_noise_router" not in gradient_results(
        gradients_now(model, DIGITS.train, 1.0, seed=0)
    )
    assert groups.tolist() == ["network", "trunk", "experts"]


def test_all_of_it_is_json_and_is_known_by_name() -> None:
    model = network(3, 1)
    found = gradient_results(gradients_now(model, DIGITS.train, 1.0, seed=0))
    found |= utilization_results(model, DIGITS.validation)
    found |= representation_results(model, DIGITS.validation)
    text = json.dumps(found)  # in which NaN is equal to itself
    assert json.dumps(json.loads(text)) == text
    assert set(MEASURED) <= set(found)


def test_means_by_candidate_are_those_of_the_two_way_model() -> None:
    runs = pd.DataFrame(
        {
            "candidate": ["a", "a", "a", "b", "c"],
            "seed": [0, 1, 2, 0, 0],
            "state": ["complete"] * 4 + ["died"],
            "gini": [0.1, 0.2, 0.3, 0.5, 0.9],
            "dead_experts": [math.nan] * 5,
        }
    )
    means = measured_means(runs)
    assert means.columns.tolist() == ["candidate", "gini", "gini_low", "gini_high"]
    means = means.set_index("candidate")
    assert means.index.tolist() == ["a", "b"]
    complete = runs[:4]
    expected = estimate_means(complete["gini"], complete["candidate"], complete["seed"])
    assert (means.to_numpy() == expected.to_numpy()).all()
    assert 0.2 < means["gini"]["a"] < means["gini"]["b"] < 0.5
    board = pd.DataFrame({"candidate": ["b", "a"], "gini_low": [0.0, 0.0]})
    joined = with_measured(board, runs)
    assert joined.columns.tolist() == ["candidate", "gini_low", "gini", "gini_high"]
    assert joined["gini"].tolist() == means["gini"].tolist()[::-1]
