"""All formats: what each is called, who reads it, and what it cannot have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.formats import arguments, block_configs, huggingface, snippets
from dynamoe_search.interop.formats.layers import Experts
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.untrusted import shown

Write = Callable[[ModelConfig, int], str]
"""From a model and its expert-parallel degree to text."""

Read = Callable[[str, str], Experts]
"""From a text, and what it is called in messages, to experts per layer."""


@dataclass(frozen=True)
class Format:
    """A way to write experts per layer.

    Parameters
    ----------
    about : str
        What it is.
    constraint : str
        What it cannot have; empty where it can have every schedule.
    write : callable
    read : callable
    places : bool
        Whether it can make a layer dense that has experts in the config.
    warnings : tuple of str
        Sentences that a user of the text must know.
    """

    about: str
    constraint: str
    write: Write
    read: Read
    places: bool = True
    warnings: tuple[str, ...] = ()


_HF_WARNING = (
    "transformers 5.24 reads per_layer_config, but hardly any of its model classes builds layers of"
    " unequal experts yet: most fail with AmbiguousGlobalPerLayerAttributeError"
    " (github.com/huggingface/transformers/issues/45332)."
)

FORMATS: dict[str, Format] = {
    "hf": Format(
        "config.json with per_layer_config, of transformers 5.24",
        "no further dense layer; the config must have the keys; attention has no experts",
        huggingface.write_per_layer_config,
        huggingface.read_per_layer_config,
        places=False,
        warnings=(_HF_WARNING,),
    ),
    "puzzletron": Format(
        "config.json with block_configs, nested, of Puzzletron (Model-Optimizer)",
        "every mixer is attention",
        block_configs.write_puzzletron,
        block_configs.read_puzzletron,
    ),
    "nemotron": Format(
        "config.json with flat block_configs, as Nemotron-H-Puzzle has in vLLM and TensorRT-LLM",
        "no mixture of attention heads",
        block_configs.write_nemotron,
        block_configs.read_nemotron,
        warnings=(
            "Only Nemotron-H models are built from flat block_configs; widths other than those of"
            " its blocks stay as the config has them.",
        ),
    ),
    "megatron-deepspeed": Format(
        "arguments of Megatron-DeepSpeed: --num-experts with a number per layer",
        "one k, 1 or 2; no layer of 1 expert",
        arguments.write_megatron_deepspeed,
        arguments.read_megatron_deepspeed,
        warnings=(
            "Megatron-DeepSpeed compares the list with the layers of one pipeline stage: it works"
            " without pipeline parallelism.",
        ),
    ),
    "deepspeed": Format(
        "Python: DeepSpeed's MoE of each layer",
        "k is 1 or 2",
        snippets.write_deepspeed,
        snippets.read_deepspeed,
    ),
    "olmo-core": Format(
        "Python: block_overrides of OLMo-core's TransformerConfig",
        "",
        snippets.write_olmo_core,
        snippets.read_olmo_core,
    ),
    "torchtitan": Format(
        "Python: the moe of each layer of torchtitan's Decoder.Config",
        "",
        snippets.write_torchtitan,
        snippets.read_torchtitan,
    ),
    "mola": Format(
        "arguments of MoLA: --number_experts and --top_k",
        "no dense layer",
        arguments.write_mola,
        arguments.read_mola,
    ),
    "ltp-megatron": Format(
        "arguments of ltp-megatron-lm: --moe-router-topk-layer-wise",
        "one number of experts",
        arguments.write_ltp_megatron,
        arguments.read_megatron,
    ),
    "megatron": Format(
        "arguments of Megatron-LM: --moe-layer-freq",
        "one number of experts and one k: which layers are dense is all that it can have",
        arguments.write_megatron,
        arguments.read_megatron,
    ),
}


def format_of(name: str) -> Format:
    """The format of a name.

    Raises
    ------
    InvalidInput
        For an unknown name.
    """
    if name not in FORMATS:
        raise InvalidInput(f"unknown format {shown(name)!r}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]
