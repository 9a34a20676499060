"""A study file for a small proxy of the same kind as a real model, and what was scaled in it.

Kept are k, the shared experts, N, the hidden width of an expert over the model width, the heads of
queries for one of keys and values, gates and their normalization, and dense layers that come first.
The depth is the number of layers with experts, or a divisor of it. Width and training are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.interop.spread import expert_groups
from dynamoe_search.untrusted import shown

FEWEST_LAYERS, MOST_LAYERS, USUAL_LAYERS = 4, 12, (8, 4)
CONTEXT, BATCH = 64, 8  # tokens of a window; windows per step: many small steps learn soonest
LEARNING_RATE, RATE_WIDTH = 1e-2, 32  # of small decoders; wider ones do not stand as high a rate
EVALUATIONS = 1  # at the end alone: many small experts take long to evaluate

Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Proxy:
    """A study of a small model.

    Parameters
    ----------
    sections : dict of str to dict
        The study file: keys and values of each section.
    comments : dict of str to str
        What was kept, or scaled by how much, by key, such as ``model.width``.
    missing : tuple of str
        What the model has and the proxy does not, in sentences.
    """

    sections: Sections
    comments: dict[str, str]
    missing: tuple[str, ...]

    def text(self, head: Sequence[str]) -> str:
        """The study file as TOML, with comments; `head` comes first, a comment per sentence."""
        lines = [f"# {sentence}" for sentence in (*head, *self.missing)]
        for name, keys in self.sections.items():
            lines += ["", f"[{name}]"]
            for key, value in keys.items():
                comment = self.comments.get(f"{name}.{key}")
                line = tomli_w.dumps({key: value}).strip()
                lines.append(f"{line}  # {comment}" if comment else line)
        return "\n".join(lines) + "\n"


def proxy_depths(config: ModelConfig) -> list[int]:
    """The depths that a proxy may have, the deepest first: divisors of the model's, from 4 to 12.

    A model of fewer layers has its own alone. Where there is no such divisor, 8 and 4.

    Raises
    ------
    InvalidInput
        Where the model has no layer with experts.
    """
    layers = len(config.moe_layers)
    if not layers:
        raise InvalidInput(f"the config of {config.family} has no layer with experts")
    if layers < FEWEST_LAYERS:
        return [layers]
    within = range(MOST_LAYERS, FEWEST_LAYERS - 1, -1)
    return [one for one in within if layers % one == 0] or [*USUAL_LAYERS]


def proxy_heads(config: ModelConfig) -> tuple[int, int]:
    """The heads of queries, and those of keys and values, in the model's ratio: few, at least 4."""
    ratio = max(1, round(config.heads / max(1, config.key_value_heads)))
    shared_by = max(1, -(-4 // ratio))
    return ratio * shared_by, shared_by


def proxy_widths(config: ModelConfig) -> list[int]:
    """The widths that a proxy may have: multiples of two heads, from about 16 to 256."""
    unit = 2 * proxy_heads(config)[0]
    wanted = (16, 24, 32, 48, 64, 96, 128, 192, 256)
    return sorted({max(1, round(width / unit)) * unit for width in wanted})


def make_proxy(config: ModelConfig, data: str, depth: int, width: int) -> Proxy:
    """The study of a proxy of a given size, without what its training may cost.

    Parameters
    ----------
    config : ModelConfig
    data : str
        The name of the data, as a study file has it.
    depth, width : int
        Of `proxy_depths` and `proxy_widths`.
    """
    first = config.layers[config.moe_layers[0]]
    experts = round(config.expert_total / len(config.moe_layers))
    active = min(experts, first.active)
    sections: Sections = {
        "data": {"name": data},
        "model": {"depth": depth, "width": width, "style": "modern", "context": CONTEXT},
        "budget": {"experts": experts * depth, "minimum": active},
        "router": {
            "name": "top_k",
            "k": active,
            "gates": config.router,
            "renormalize": config.renormalize,
        },
        "balance": {"name": "bias" if config.router == "sigmoid" else "switch"},
        "training": {
            "batch": BATCH,
            "learning_rate": _learning_rate(width),
            "evaluations": EVALUATIONS,
        },
    }
    comments = {
        "model.depth": _depth_comment(len(config.moe_layers), depth),
        "model.width": f"of {config.width:,}: 1 in {config.width / width:.3g}",
        "model.style": "RMSNorm, and gated experts",
        "budget.experts": f"{experts} per layer, as in the model",
        "budget.minimum": "as many as a token uses, so that active parameters stay equal, too",
        "router.k": "as in the model",
        "router.gates": "as in the model",
        "balance.name": "as DeepSeek-V3" if config.router == "sigmoid" else "an auxiliary loss",
        "training.learning_rate": "of a small decoder, not of the model",
    }
    _add_hidden(config, width, sections, comments)
    _add_heads(config, sections, comments)
    _add_dense_first(config, width, sections, comments)
    return Proxy(sections, comments, tuple(_missing(config)))


def _learning_rate(width: int) -> float:
    """The highest rate: up to a width all the same, then falling with its square root."""
    return float(f"{LEARNING_RATE * min(1.0, (RATE_WIDTH / width) ** 0.5):.2g}")


def _depth_comment(layers: int, depth: int) -> str:
    if layers == depth:
        return "as in the model"
    if layers % depth == 0:
        return f"of {layers} layers with experts: 1 in {layers // depth}"
    return (
        f"of {layers} layers with experts; {layers} has no divisor from {FEWEST_LAYERS} to"
        f" {MOST_LAYERS}"
    )


def _add_hidden(
    config: ModelConfig, width: int, sections: Sections, comments: dict[str, str]
) -> None:
    first = config.layers[config.moe_layers[0]]
    granularity = first.expert_hidden / config.width
    hidden = max(1, round(granularity * width))
    sections["model"]["hidden"] = hidden
    comments["model.hidden"] = (
        f"{hidden / width:.3g} times the width; in the model {first.expert_hidden:,},"
        f" {granularity:.3g} times"
    )
    if config.shared_experts:
        sections["model"]["shared"] = config.shared_experts
        comments["model.shared"] = "as in the model"


def _add_heads(config: ModelConfig, sections: Sections, comments: dict[str, str]) -> None:
    model = sections["model"]
    if not config.heads:
        return
    model["heads"], model["key_value_heads"] = proxy_heads(config)
    comments["model.heads"] = f"of {config.heads}"
    comments["model.key_value_heads"] = f"of {config.key_value_heads}"
    if config.query_key_norm:
        model["query_key_norm"] = True


def _add_dense_first(
    config: ModelConfig, width: int, sections: Sections, comments: dict[str, str]
) -> None:
    number, layers = config.moe_layers[0], len(config.moe_layers)
    blocks = [layer for layer in config.layers[:number] if layer.dense_hidden]
    if not blocks:
        return
    scaled = max(1, round(len(blocks) * sections["model"]["depth"] / layers))
    ratio = blocks[0].dense_hidden / config.width
    sections["model"] |= {"dense_first": scaled, "dense_hidden": max(1, round(ratio * width))}
    comments["model.dense_first"] = f"of {len(blocks)} before {layers} with experts"
    comments["model.dense_hidden"] = f"{ratio:.3g} times the width, as in the model"


def _missing(config: ModelConfig) -> list[str]:
    """What the proxy cannot have, in sentences."""
    keys = config.config
    mixers = {layer.mixer for layer in config.layers}
    first, last = config.moe_layers[0], config.moe_layers[-1]
    later_dense = last + 1 - first - len(config.moe_layers)
    counts = {config.layers[place].experts for place in config.moe_layers}
    used = {config.layers[place].active for place in config.moe_layers}
    facts = {
        "Latent attention (MLA) has no counterpart; the proxy has plain attention.": "latent"
        " attention" in mixers,
        "Mamba layers have no counterpart; every layer of the proxy has attention.": "mamba"
        in mixers,
        "The model's mixture of attention heads has no counterpart; the proxy has plain"
        " attention.": "mixture of attention heads" in mixers,
        "Queries and keys are normalized per head in the model, over all heads in the"
        " proxy.": config.query_key_norm and config.family != "olmoe",
        "Groups of experts (n_group) have no counterpart.": expert_groups(config)[0] > 1,
        "The factor on the output of routed experts (routed_scaling_factor) has no"
        " counterpart.": keys.get("routed_scaling_factor", 1) not in (1, 1.0, None),
        "The gate of shared experts has no counterpart.": config.family == "qwen2_moe",
        "Biases have no counterpart.": bool(keys.get("attention_bias"))
        or config.family in ("gpt_oss", "qwen2_moe"),
        "Windows of attention have no counterpart.": any(layer.window for layer in config.layers),
        "Embedding and head are two matrices in the model, one in the"
        " proxy.": config.head_parameters > 0,
        f"{later_dense} dense layers between those with experts are left out.": later_dense > 0,
        "Layers have different numbers of experts in the model; the proxy has their mean.": len(
            counts
        )
        > 1,
        "Layers have different k in the model; the proxy has that of the first.": len(used) > 1,
    }
    return [fact for fact, holds in facts.items() if holds]


def head_of(config: ModelConfig, minutes: float) -> list[str]:
    """The first comments of a study file."""
    return [
        f"A proxy of {shown(config.family)}, {config.total_parameters:,} parameters: made by"
        f" dynamoe-search init for {minutes:g} minutes.",
        "A comment beside a key says what the model has. See docs/proxies.md.",
    ]
