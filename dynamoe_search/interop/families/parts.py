"""The parts of decoder layers, counted from a config: mixers of tokens, and feed-forward blocks.

A mixer gives a `LayerConfig` that has nothing else. A feed-forward block gives the fields of
`LayerConfig` that it fills.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from dynamoe_search.interop.keys import Keys
from dynamoe_search.interop.model_config import LayerConfig

FeedForward = Mapping[str, int]
"""Fields of `LayerConfig`, by their names."""


def head_width(keys: Keys) -> int:
    """The width of a head: ``head_dim``, or without it the width of the model over the heads."""
    found = keys.optional("head_dim") if "head_dim" in (*keys.values, *keys.defaults) else None
    if found is not None:
        return found
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    if heads > width:
        raise keys.refuse("num_attention_heads", f"at most hidden_size, {width}")
    return width // heads


def key_value_heads(keys: Keys) -> int:
    """The heads of keys and values; those of queries where they are not given."""
    heads = keys.whole("num_attention_heads")
    groups = keys.optional("num_key_value_heads")
    groups = heads if groups is None else groups
    if heads % groups:
        raise keys.refuse("num_key_value_heads", f"a divisor of the {heads} attention heads")
    return groups


def attention(
    keys: Keys,
    *,
    bias: bool = False,
    output_bias: bool = False,
    norms: int = 0,
    sinks: bool = False,
    window: int | None = None,
) -> LayerConfig:
    """Attention whose heads share keys and values in groups.

    Parameters
    ----------
    keys : Keys
        Of the layer.
    bias, output_bias : bool
        Whether the products for queries, keys and values, and the one for the output, have a bias.
    norms : int
        The parameters of the norms of queries and keys.
    sinks : bool
        Whether each head has a logit of its own that takes attention from all tokens.
    window : int or None
        The longest context.
    """
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    groups, head = key_value_heads(keys), head_width(keys)
    products = 2 * width * head * (heads + groups)
    biases = bias * head * (heads + 2 * groups) + output_bias * width
    parameters = products + biases + norms + sinks * heads
    score = 4 * heads * head
    return LayerConfig(
        "attention",
        parameters,
        parameters,
        products,
        norm_parameters=0,
        score_flops=score,
        decoding_score_flops=score,
        cache_elements=2 * groups * head,
        window=window,
    )


def latent_attention(keys: Keys) -> LayerConfig:
    """DeepSeek's attention (MLA), which keeps one short vector per token for all heads.

    It is trained with full keys and values, and decoded with the products of keys and values moved
    to queries and outputs, so that nothing but the short vectors is read (DeepSeek-V2, arXiv
    2405.04434, section 2.1.2).
    """
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    bias = keys.flag("attention_bias")
    short, turned = keys.whole("kv_lora_rank"), keys.whole("qk_rope_head_dim")
    plain, value = keys.whole("qk_nope_head_dim"), keys.whole("v_head_dim")
    queries, rank = heads * (plain + turned), keys.optional("q_lora_rank")
    products = width * queries if rank is None else rank * (width + queries)
    more = 0 if rank is None else rank + bias * rank  # the norm, and the bias
    products += width * (short + turned) + short * heads * (plain + value) + heads * value * width
    more += bias * (short + turned) + short + bias * width
    return LayerConfig(
        "latent attention",
        products + more,
        products + more,
        products,
        norm_parameters=0,
        score_flops=2 * heads * (plain + turned + value),
        decoding_score_flops=2 * heads * (2 * short + turned),
        cache_elements=short + turned,
    )


def mamba(keys: Keys) -> LayerConfig:
    """A Mamba mixer as in Jamba: with norms of its time step and of its two projections.

    Its scan goes element by element, so it has no products.
    """
    width = keys.whole("hidden_size")
    inner, state = keys.whole("mamba_expand") * width, keys.whole("mamba_d_state")
    kernel = keys.whole("mamba_d_conv")
    rank = -(-width // 16)
    if keys.value("mamba_dt_rank") != "auto":
        rank = keys.whole("mamba_dt_rank")
    products = width * 2 * inner + inner * kernel + inner * (rank + 2 * state)
    products += rank * inner + inner * width
    biases = keys.flag("mamba_conv_bias") * inner + inner
    biases += keys.flag("mamba_proj_bias") * (2 * inner + width)
    parameters = products + biases + inner * state + inner + rank + 2 * state
    return LayerConfig(
        "mamba",
        parameters,
        parameters,
        products,
        norm_parameters=0,
        state_elements=inner * (state + kernel),
    )


def mamba2(keys: Keys) -> LayerConfig:
    """A Mamba-2 mixer as in Nemotron-H. Its scan is not counted among the products."""
    width, heads = keys.whole("hidden_size"), keys.whole("mamba_num_heads")
    inner = heads * keys.whole("mamba_head_dim")
    state, kernel = keys.whole("ssm_state_size"), keys.whole("conv_kernel")
    mixed = inner + 2 * keys.whole("n_groups") * state
    bias = keys.flag("use_bias")
    products = width * (inner + mixed + heads) + mixed * kernel + inner * width
    biases = bias * (inner + mixed + heads + width) + keys.flag("use_conv_bias") * mixed
    parameters = products + biases + 3 * heads + inner
    return LayerConfig(
        "mamba",
        parameters,
        parameters,
        products,
        norm_parameters=0,
        state_elements=inner * state + mixed * kernel,
    )


def attention_of_experts(keys: Keys, experts: int, active: int) -> LayerConfig:
    """JetMoE's mixture of attention heads: experts of queries and outputs share keys and values."""
    width, groups = keys.whole("hidden_size"), keys.whole("num_key_value_heads")
    head = keys.whole("kv_channels")
    one, shared, router = 2 * width * groups * head, 2 * width * groups * head, width * experts
    score = 4 * active * groups * head
    return LayerConfig(
        "mixture of attention heads",
        mixer_parameters=shared + router + experts * one + width,
        mixer_active=shared + router + active * one + width,
        mixer_products=shared + router + active * one,
        norm_parameters=0,
        score_flops=score,
        decoding_score_flops=score,
        cache_elements=2 * groups * head,
    )


NO_MIXER = LayerConfig("none", 0, 0, 0, norm_parameters=0)
"""Of a layer that only has a feed-forward block."""


def dense(keys: Keys, name: str, *, matrices: Literal[2, 3] = 3, bias: bool = False) -> FeedForward:
    """A plain feed-forward block, whose hidden width is the key `name`."""
    width, hidden = keys.whole("hidden_size"), keys.whole(name)
    products, biases = matrices * width * hidden, bias * ((matrices - 1) * hidden + width)
    return {
        "dense_hidden": hidden,
        "dense_parameters": products + biases,
        "always_products": products,
    }


def experts(
    keys: Keys,
    names: tuple[str, str, str],
    *,
    matrices: Literal[2, 3] = 3,
    bias: bool = False,
    shared: int = 0,
    shared_gate: bool = False,
    shared_bias: bool = False,
    latent: int | None = None,
) -> FeedForward:
    """Routed experts with their router, and experts that every token uses.

    Parameters
    ----------
    keys : Keys
        Of the layer.
    names : tuple of str
        The keys of N, of k and of the hidden width of an expert.
    matrices : {2, 3}
        Of an expert.
    bias : bool
        Whether experts and router have biases.
    shared : int
        The hidden width of all shared experts together.
    shared_gate : bool
        Whether a gate of their own scales them.
    shared_bias : bool
        Whether what every token uses has biases.
    latent : int or None
        The width in which the experts work; then two more products, of every token, lead into it
        and out of it. None is the width of the model.
    """
    width, total, hidden = keys.whole("hidden_size"), keys.whole(names[0]), keys.whole(names[2])
    active = keys.whole(names[1])
    if active > total:
        raise keys.refuse(names[1], f"at most the number of experts, {total}")
    inside = width if latent is None else latent
    products = matrices * inside * hidden
    always = matrices * width * shared + shared_gate * width
    always += 0 if latent is None else 2 * width * latent
    biases = (matrices - 1) * shared + width * (shared > 0)
    biases += 0 if latent is None else latent + width
    return {
        "experts": total,
        "active": active,
        "expert_hidden": hidden,
        "expert_parameters": products + bias * ((matrices - 1) * hidden + inside),
        "expert_products": products,
        "router_parameters": (width + bias) * total,
        "router_parameters_per_expert": width + bias,
        "shared_hidden": shared,
        "shared_parameters": always + shared_bias * biases,
        "always_products": always,
    }
