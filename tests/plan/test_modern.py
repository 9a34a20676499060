"""Studies of the modern style: the network, its counts, and what the plan says of it."""

from pathlib import Path

from dynamoe_search.bounds.budget import compare_schedules
from dynamoe_search.bounds.layers import schedule_bounds
from dynamoe_search.budgets import active_experts, flops_per_token, parameter_count
from dynamoe_search.data import embedded_digits
from dynamoe_search.models import build_model
from dynamoe_search.plan.candidate import DenseBaseline
from dynamoe_search.plan.expert_budget import expert_budget
from dynamoe_search.plan.plan import DataShape, make_plan
from dynamoe_search.plan.reader import read_study_file
from dynamoe_search.report.plan import plan_sentences
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Dense, Experts, TopK
from tests.conftest import edit

DIGITS = embedded_digits(seed=0)
MODERN = (
    "hidden = 8\n",
    'hidden = 8\nstyle = "modern"\nshared = 2\ndense_first = 1\n',
)


def test_a_modern_network_is_built_as_the_study_file_says(small_study: Path) -> None:
    edit(
        small_study,
        MODERN,
        ("experts = 12", 'experts = 12\nminimum = 2\nregime = "compute"\nactive = 2'),
    )
    plan = make_plan(read_study_file(small_study), DIGITS)
    assert plan.depth == 4
    assert plan.network.blocks.style == "modern"
    assert plan.solution is not None
    for candidate in plan.baselines.values():
        network = plan.network_with(candidate)
        assert network.blocks.schedule.counts == (0, *candidate.schedule)
        assert [layer.expected for layer in active_experts(network.blocks)] == [0, 2, 2, 2, 2]
        assert parameter_count(network).total == plan.solution.parameters
        # All layers take the same products of experts, with the shared ones: (2 + 2) 8 3 d.
        routers = 8 * 12
        blocks = flops_per_token(network).expected / 2 - 8 * (64 + 10) - routers
        assert blocks == 5 * (2 + 2) * 8 * 3 * 8
    budget = expert_budget(plan)
    assert budget is not None
    bounds = schedule_bounds(
        Experts(8, Schedule((3, 3, 3, 3)), TopK(2), shared=2, style="modern"), width=8
    )
    row = compare_schedules(budget, {"uniform": budget.named("uniform")}).iloc[0]
    assert row["flops_expected"] == bounds["flops_expected"]
    assert plan_sentences(plan)[-1] == (
        "With RMSNorm and SwiGLU, 2 shared experts per layer, 1 dense block of hidden width 32"
        " before the layers of experts."
    )


def test_a_modern_decoder_and_the_experts_that_its_parameters_buy(small_study: Path) -> None:
    edit(
        small_study,
        MODERN,
        ('"digits"', '"topics"\ndocuments = "separate"'),
        ("width = 8", "width = 16\nkey_value_heads = 2\nquery_key_norm = true"),
        ("experts = 12", "parameters = 30_000"),
    )
    plan = make_plan(read_study_file(small_study), DataShape(vocabulary=257, context=128))
    assert plan.solution is not None
    expert = 16 * (3 * 8 + 1)
    assert 0 <= plan.solution.residual < expert
    (model,) = [build_model(plan.network_with(plan.baselines["wave"]))]
    assert sum(p.numel() for p in model.parameters()) == plan.solution.parameters
    assert model.attentions[0].key_norm.weight.shape == (1, 8)
    assert model.specification.documents == "separate"
    assert plan_sentences(plan)[-1].startswith(
        "With RMSNorm and SwiGLU, 2 heads of keys and values, normalized queries and keys,"
        " attention within documents, 2"
    )


def test_expert_widths_of_equal_parameters_in_the_modern_style(small_study: Path) -> None:
    """3 h + 1 is 160 or 40: four times as many experts, at the same width of the dense block."""
    edit(
        small_study,
        ("hidden = 8\n", 'hidden = 53\nstyle = "modern"\ndense_first = 1\n'),
        ("runs = 14", "runs = 14\nalso.hidden = [53, 13]"),
    )
    plan = make_plan(read_study_file(small_study), DIGITS)
    assert plan.totals == {53: 12, 13: 48}
    networks = [
        plan.network_with(plan.candidate(plan.family.locate("wave", 4).parameters, settings))
        for settings in ({"hidden": 53}, {"hidden": 13})
    ]
    assert len({parameter_count(network).total for network in networks}) == 1


def test_a_dense_baseline_has_the_style_of_the_others(small_study: Path) -> None:
    edit(small_study, MODERN)
    plan = make_plan(read_study_file(small_study), DIGITS)
    assert plan.network_with(DenseBaseline((8,) * 5)).blocks == Dense((8,) * 5, "modern")
