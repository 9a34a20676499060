"""What models cost, against slow and obvious sums, and against the package's own networks."""

from dataclasses import replace

import pytest

import dynamoe_search as ds
from dynamoe_search.bounds.machine import Machine, decoding_seconds, training_seconds
from dynamoe_search.budgets import flops_per_token, parameter_count
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.costs import (
    Workload,
    decoding_flops,
    least_seconds,
    mean_context,
    model_costs,
    parameter_parts,
    prefill_flops,
    training_flops,
)
from tests.interop.configs import FULL_SIZE, SMALL

MACHINE = Machine(peak_flops=1e12, bandwidth=1e9)


@pytest.mark.parametrize("name", SMALL)
def test_parts_add_up(name: str) -> None:
    model = ds.read_config(SMALL[name])
    totals, active = zip(*parameter_parts(model).values(), strict=True)
    assert sum(totals) == model.total_parameters
    assert sum(active) == model.active_parameters


@pytest.mark.parametrize(("context", "window"), [(1, None), (7, None), (7, 3), (3, 7), (9, 1)])
def test_the_mean_context_of_a_causal_mask(context: int, window: int | None) -> None:
    seen = [min(place + 1, window or context) for place in range(context)]
    assert mean_context(context, window, True) == pytest.approx(sum(seen) / context)


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "olmoe", "jamba"])
def test_prefill_is_the_mean_of_decoding(name: str) -> None:
    """But only the last token of a prompt has logits."""
    model = ds.read_config(SMALL[name])
    head = 2 * model.vocabulary * model.width
    one_by_one = [decoding_flops(model, context) for context in range(1, 11)]
    assert prefill_flops(model, 10) * 10 == pytest.approx(sum(one_by_one) - 9 * head)
    assert training_flops(model, 10) == pytest.approx(3 * sum(one_by_one) / 10)


def test_latent_attention_decodes_from_short_vectors() -> None:
    """Scores with 512 + 64 numbers, values with 512, in each of 128 heads and 61 layers."""
    model = ds.read_config(FULL_SIZE["deepseek-v3"]["config"])
    longer = decoding_flops(model, 1001) - decoding_flops(model, 1000)
    assert longer == 61 * 128 * 2 * (512 + 64 + 512)
    assert model_costs(model, Workload(context=1, batch=1)).cache_bytes == 61 * 576 * 2


def our_own() -> ds.LanguageModel:
    """A modern proxy that is a Mixtral."""
    blocks = ds.Experts(24, ds.Schedule((5, 5, 5)), ds.TopK(k=2), style="modern")
    return ds.LanguageModel(96, 16, 32, 4, blocks, key_value_heads=2)


def test_a_proxy_costs_what_the_real_model_does() -> None:
    model = ds.read_config({**SMALL["mixtral"], "tie_word_embeddings": True})
    assert parameter_count(our_own()).total == model.total_parameters
    # The package counts the masked half of attention, too.
    masked = sum(layer.score_flops for layer in model.layers) * (16 - mean_context(16, None, True))
    ours = flops_per_token(our_own()).expected
    assert training_flops(model, 16) / 3 + masked == pytest.approx(ours)


def test_rooflines_are_those_of_the_package() -> None:
    """In float32, on one rank, for one token, whose cache is not counted there."""
    model = ds.read_config({**SMALL["mixtral"], "tie_word_embeddings": True})
    work = Workload(8, 1, weight_bytes=4, cache_bytes=0, optimizer_bytes=8)
    for machine in (MACHINE, Machine(peak_flops=1e6, bandwidth=1e12)):
        decoding, training = least_seconds(model, work, machine)
        flops = decoding_flops(model, 8)
        assert decoding == decoding_seconds(model.active_parameters, flops, 1, machine)
        of_a_step = training_flops(model, 8) / 3
        expected = training_seconds(model.total_parameters, of_a_step, 8, machine)
        assert training == pytest.approx(expected)


@pytest.mark.parametrize("name", SMALL)
def test_one_token_reads_what_it_uses(name: str) -> None:
    """All that is active, but of an input embedding that is not the head only one row."""
    model = ds.read_config(SMALL[name])
    one, many = (model_costs(model, Workload(batch=batch)) for batch in (1, 10_000))
    assert one.read_parameters == pytest.approx(model.active_parameters_without_embedding)
    looked_up = model.active_parameters - model.active_parameters_without_embedding
    assert many.read_parameters == pytest.approx(model.total_parameters - looked_up)
    assert list(one.distinct_experts) == pytest.approx([layer.active for layer in model.layers])


def test_memory_of_a_rank() -> None:
    model = ds.read_config(FULL_SIZE["mixtral-8x7b"]["config"])
    costs = model_costs(model, Workload(context=100, batch=8, expert_parallel=4))
    routed = 32 * 8 * 3 * 4096 * 14336
    assert costs.rank_parameters == model.total_parameters - routed + routed // 4
    assert costs.rank_weight_bytes == 2 * costs.rank_parameters
    assert costs.rank_optimizer_bytes == 12 * costs.rank_parameters
    a_sequence = 32 * 100 * 2 * 8 * 128 * 2
    assert costs.cache_bytes == 8 * a_sequence
    assert costs.rank_cache_bytes == 2 * a_sequence
    # All ranks together read each routed expert once, and all other weights four times.
    alone = model_costs(model, Workload(context=100, batch=8))
    others = model.total_parameters - routed - model.embedding_parameters
    assert costs.read_parameters == pytest.approx(alone.read_parameters + 3 * others)


def test_windows_and_states_limit_the_cache() -> None:
    model = ds.read_config(FULL_SIZE["gpt-oss-20b"]["config"])
    costs = model_costs(model, Workload(context=1000, batch=1, cache_bytes=1))
    assert costs.cache_bytes == 12 * (1000 + 128) * 2 * 8 * 64
    jamba = ds.read_config(FULL_SIZE["jamba-v0.1"]["config"])
    costs = model_costs(jamba, Workload(context=1000, batch=1, cache_bytes=1))
    assert costs.cache_bytes == 4 * 1000 * 2 * 8 * 128 + 28 * 8192 * (16 + 4)


def test_more_ranks_are_faster_at_equal_work() -> None:
    model = ds.read_config(FULL_SIZE["qwen3-30b-a3b"]["config"])
    work = Workload(batch=256)
    times = [least_seconds(model, replace(work, expert_parallel=n), MACHINE) for n in (1, 8, 64)]
    decoding, training = zip(*times, strict=True)
    assert sorted(decoding, reverse=True) == list(decoding)
    assert sorted(training, reverse=True) == list(training)


def test_mistakes() -> None:
    model = ds.read_config(SMALL["mixtral"])
    with pytest.raises(InvalidInput, match="layer 0 has 5 experts, which 2 ranks cannot share"):
        model_costs(model, Workload(expert_parallel=2))
    with pytest.raises(InvalidInput, match="batch is 0; it must be from 1 to"):
        Workload(batch=0)
    with pytest.raises(InvalidInput, match="weight_bytes is nan"):
        Workload(weight_bytes=float("nan"))
