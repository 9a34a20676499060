import re
from pathlib import Path

import pytest

from dynamoe_search.budgets import active_experts, parameter_count
from dynamoe_search.data import embedded_digits, embedded_topics
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.plan import DataShape, make_plan
from dynamoe_search.plan.pool import family_pool
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.schedules import PATTERNS_AND_UNIFORM
from dynamoe_search.specification import LanguageModel
from tests.conftest import edit

DIGITS = embedded_digits(seed=0)


def test_every_candidate_has_the_same_parameters(small_study: Path) -> None:
    edit(small_study, ("experts = 12", "parameters = 4000"))
    plan = make_plan(read_study_file(small_study), DIGITS)
    assert list(plan.baselines) == list(PATTERNS_AND_UNIFORM)
    counts = {parameter_count(plan.network_with(s)).total for s in plan.baselines.values()}
    assert counts == {plan.solution.parameters}
    assert plan.solution.parameters + plan.solution.residual == 4000
    assert plan.network.blocks.schedule == plan.baselines["uniform"].schedule


def test_a_location_in_the_family_is_the_baseline(small_study: Path) -> None:
    plan = make_plan(read_study_file(small_study), DIGITS)
    for pattern, candidate in plan.baselines.items():
        assert plan.candidate(plan.family.locate(pattern, plan.depth).parameters, {}) == candidate


def test_seeds_differ_by_block_stage_and_study_only(small_study: Path) -> None:
    edit(small_study, ("seeds = 1", "seeds = 4"))
    plan = make_plan(read_study_file(small_study), DIGITS)
    edit(small_study, ("seed = 3", "seed = 4"))
    other = make_plan(read_study_file(small_study), DIGITS)
    blocks = [plan.seeds(0), plan.seeds(1), other.seeds(0), other.seeds(1)]
    blocks += [plan.confirmation_seeds(0), plan.confirmation_seeds(1)]
    assert [len(block) for block in blocks] == [4] * 6
    assert len({seed for block in blocks for seed in block}) == 24
    assert plan.seeds(1) == blocks[1]
    # Blocks of another size divide the same seeds otherwise.
    edit(small_study, ("seed = 4", "seed = 3"), ("seeds = 4", "seeds = 2"))
    halves = make_plan(read_study_file(small_study), DIGITS)
    assert halves.seeds(0) + halves.seeds(1) == blocks[0]
    assert halves.confirmation_seeds(2) + halves.confirmation_seeds(3) == blocks[5]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("parameters = 100", r"budget\.parameters: .* smallest possible is [\d,]+"),
        ("parameters = 100000\nmaximum = 3", r"budget\.parameters: .* the largest: [\d,]+;"),
        ("experts = 3", r"budget\.experts: 4 layers of at least 1 experts need"),
        ("experts = 12\nmaximum = 2", r"budget\.experts: 4 layers of at most 2"),
        ("experts = 18\nstep = 4", r"budget\.experts: .*: the nearest that fit are 16 and 20"),
    ],
)
def test_impossible_budgets_are_explained(small_study: Path, budget: str, message: str) -> None:
    edit(small_study, ("experts = 12", budget))
    with pytest.raises(InvalidInput, match=message):
        make_plan(read_study_file(small_study), DIGITS)


@pytest.mark.parametrize("family", ["blend", "mixture", "spline", "free"])
@pytest.mark.parametrize(
    "budget", ["experts = 24\nstep = 2", 'regime = "paper"\nminimum = 1\nmaximum = 9\nstep = 2']
)
def test_every_layer_has_a_multiple_of_the_step(
    small_study: Path, family: str, budget: str
) -> None:
    if family == "free" and "paper" in budget:
        pytest.skip("the family free needs a total")
    edit(small_study, ("experts = 12", budget), ('"blend"', f'"{family}"'))
    plan = make_plan(read_study_file(small_study), DIGITS)
    pool = family_pool(plan, 60)
    assert len(pool) > 20
    assert {count % 2 for candidate in pool for count in candidate.schedule} == {0}
    if plan.solution is not None:
        assert {candidate.schedule.total for candidate in pool} == {24}
        location = plan.family.locate("descending", plan.depth)
        assert plan.candidate(location.parameters, {}) == plan.baselines["descending"]


def test_in_the_paper_regime_patterns_span_the_range_and_nothing_is_equal(
    small_study: Path,
) -> None:
    edit(small_study, ("experts = 12", 'regime = "paper"\nminimum = 2\nmaximum = 8'))
    plan = make_plan(read_study_file(small_study), DIGITS)
    assert plan.solution is None
    assert str(plan.baselines["descending"]) == "8-6-4-2"
    assert str(plan.baselines["inverted_pyramid"]) == "8-4-4-8"
    assert str(plan.baselines["uniform"]) == "5-5-5-5"
    counts = {parameter_count(plan.network_with(s)).total for s in plan.baselines.values()}
    assert len(counts) > 1
    location = plan.family.locate("descending", plan.depth)
    assert plan.candidate(location.parameters, {}) == plan.baselines["descending"]


@pytest.mark.parametrize(
    ("router", "budget"),
    [
        ('name = "top_k"\nk = 2', ""),
        ('name = "top_k"\nk = 1', "active = 2"),
        ('name = "percentile"', "active = 1.5"),
        ('name = "top_p"', "active = 2.1"),
        ('name = "relative"\ntarget = 1.7', ""),
        ('name = "threshold"\ntarget = 2.0', ""),
    ],
)
def test_in_the_compute_regime_every_candidate_has_the_same_active_experts(
    small_study: Path, router: str, budget: str
) -> None:
    edit(
        small_study,
        ("experts = 12", f'regime = "compute"\nexperts = 12\n{budget}'),
        ('name = "top_k"\nk = 1', router),
    )
    plan = make_plan(read_study_file(small_study), DIGITS)
    for candidate in plan.baselines.values():
        network = plan.network_with(candidate)
        assert network.blocks.schedule == candidate.schedule
        active = sum(layer.expected for layer in active_experts(network.blocks))
        assert active == pytest.approx(4 * plan.study.active)


def test_active_experts_that_cannot_be_held_are_refused_before_anything_is_trained(
    small_study: Path,
) -> None:
    edit(small_study, ("experts = 12", 'regime = "compute"\nexperts = 12\nactive = 3.25'))
    with pytest.raises(InvalidInput, match=r"budget\.active: 3.25 active .* the most 3"):
        make_plan(read_study_file(small_study), DIGITS)


def test_presets_and_alpha_lora_are_baselines_of_the_same_total(small_study: Path) -> None:
    edit(
        small_study,
        (
            "blocks = 2",
            'blocks = 2\npresets = ["mola", "pr_moe"]\nalpha_lora = [4.0, 2.0, 2.0, 3.0]',
        ),
    )
    plan = make_plan(read_study_file(small_study), DIGITS)
    assert list(plan.baselines)[7:] == ["mola", "pr_moe", "alpha_lora"]
    assert {candidate.schedule.total for candidate in plan.baselines.values()} == {12}
    assert str(plan.baselines["pr_moe"]) == "2-2-4-4"
    edit(small_study, ("2.0, 2.0, 3.0]", "2.0]"))
    with pytest.raises(InvalidInput, match=r"search\.alpha_lora: 2 scores .* for 4 layers"):
        make_plan(read_study_file(small_study), DIGITS)


def test_only_the_nearest_widths_of_equal_parameters_are_named(small_study: Path) -> None:
    edit(
        small_study,
        ("hidden = 8", "hidden = 472"),  # 945 = 3 3 3 5 7
        ("experts = 12", "experts = 3840"),
        ('"blend"', '"blend"\nalso.hidden = [472, 100]'),
    )
    with pytest.raises(InvalidInput, match="no number of experts of width 100 has") as raised:
        make_plan(read_study_file(small_study), DIGITS)
    (named,) = re.findall(r"nearest widths that have: ([\d, ]+)\.", str(raised.value))
    widths = [int(width) for width in named.split(", ")]
    assert len(widths) == 8
    assert widths == sorted(widths)
    kept = 3840 * 945
    nearer = range(100 - max(abs(width - 100) for width in widths) + 1, 100)
    assert all(kept % (2 * width + 1) for width in set(nearer) - set(widths))
    assert all(kept % (2 * width + 1) == 0 for width in widths)


def test_a_text_makes_a_language_model(small_study: Path) -> None:
    edit(
        small_study,
        ('"digits"', '"topics"'),
        ("depth = 4\nwidth = 8\nhidden = 8", 'scale = "tiny"\nhidden = 48\ncontext = 64'),
    )
    study = read_study_file(small_study)
    plan = make_plan(study, embedded_topics(context=study.model.context))
    assert isinstance(plan.network, LanguageModel)
    assert (plan.network.context, plan.network.heads, plan.network.width) == (64, 2, 32)
    assert plan.network.blocks.hidden == 48


def test_the_shape_of_the_data_gives_the_same_plan(small_study: Path) -> None:
    study_file = read_study_file(small_study)
    assert DataShape.of(DIGITS) == DataShape(inputs=64, classes=10)
    assert make_plan(study_file, DataShape.of(DIGITS)) == make_plan(study_file, DIGITS)
    edit(
        small_study, ('name = "digits"', 'name = "topics"'), ("hidden = 8", "hidden = 8\nheads = 2")
    )
    study_file, topics = read_study_file(small_study), embedded_topics(128)
    assert make_plan(study_file, DataShape.of(topics)) == make_plan(study_file, topics)
