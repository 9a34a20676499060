"""Proxies of real models: what they keep, and what they say."""

import json
import tomllib

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.reading import read_config
from dynamoe_search.plan.plan import DataShape, make_plan
from dynamoe_search.plan.proxy import (
    Proxy,
    head_of,
    make_proxy,
    proxy_depths,
    proxy_heads,
    proxy_widths,
)
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.specification import LanguageModel, TopK
from tests.interop.few_layers import CONFIGS, config_of
from tests.interop.models import model_of

DEEPSEEK = {
    **{"model_type": "deepseek_v3", "num_hidden_layers": 61, "first_k_dense_replace": 3},
    **{"hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048},
    **{"n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1, "n_group": 8},
}
MIXTRAL = {"model_type": "mixtral"}  # all else as the public library has it, which is 8x7B


def study_of(proxy: Proxy) -> StudyFile:
    text = proxy.text(["A proxy."])
    content = tomllib.loads(text)
    assert content == proxy.sections  # comments change nothing
    content["search"] = {"runs": 1}
    return StudyFile.model_validate_json(json.dumps(content))


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_has_proxies_that_can_be_planned(family: str) -> None:
    config = read_config(config_of(family))
    for width in (proxy_widths(config)[0], proxy_widths(config)[-1]):
        study = study_of(make_proxy(config, "topics", proxy_depths(config)[0], width))
        plan = make_plan(study, DataShape(vocabulary=257, context=64))
        network = plan.network_with(plan.baselines["uniform"])
        assert isinstance(network, LanguageModel)
        assert network.heads * config.key_value_heads == config.heads * (
            network.key_value_heads or 0
        )
        assert isinstance(study.router, TopK)
        first = config.layers[config.moe_layers[0]]
        assert study.router.k == first.active
        assert study.budget.experts == first.experts * study.model.depth
        assert study.model.shared == config.shared_experts
        granularity = first.expert_hidden / config.width
        assert abs(study.model.hidden - granularity * width) <= 0.5


def test_what_is_scaled_is_said() -> None:
    config = read_config(DEEPSEEK)
    proxy = make_proxy(config, "topics", 8, 32)
    model = proxy.sections["model"]
    assert (model["hidden"], model["dense_hidden"], model["dense_first"]) == (9, 82, 1)
    assert (model["heads"], model["key_value_heads"]) == (4, 4)
    assert proxy.sections["budget"] == {"experts": 8 * 256, "minimum": 8}
    text = proxy.text(head_of(config, 30))
    assert text.startswith("# A proxy of deepseek_v3, 671,026,404,352 parameters: made by")
    for line in (
        "depth = 8  # of 58 layers with experts; 58 has no divisor from 4 to 12",
        "width = 32  # of 7,168: 1 in 224",
        "hidden = 9  # 0.281 times the width; in the model 2,048, 0.286 times",
        "dense_first = 1  # of 3 before 58 with experts",
        "# Latent attention (MLA) has no counterpart; the proxy has plain attention.",
        "# Groups of experts (n_group) have no counterpart.",
        'gates = "sigmoid"  # as in the model',
    ):
        assert line in text.splitlines()


def test_what_has_no_counterpart_is_said() -> None:
    def said(family: str) -> str:
        config = read_config(config_of(family))
        return " ".join(make_proxy(config, "topics", 4, 32).missing)

    assert "Mamba" in said("jamba")
    assert "2 dense layers between" not in said("glm4_moe")
    assert "1 dense layers between" in said("qwen3_moe")
    assert "per head in the model" in said("qwen3_moe")
    assert "per head" not in said("olmoe")
    assert "Windows of attention" in said("gpt_oss")
    unequal = make_proxy(model_of([8, 4], [2, 1]), "topics", 2, 16)
    assert "different numbers of experts" in " ".join(unequal.missing)
    assert unequal.sections["budget"]["experts"] == 2 * 6


def test_depths_are_divisors_where_there_are_any() -> None:
    def depths(layers: int) -> list[int]:
        return proxy_depths(model_of([8] * layers, [2] * layers))

    assert [depths(n) for n in (3, 8, 32, 48)] == [[3], [8, 4], [8, 4], [12, 8, 6, 4]]
    assert depths(58) == [8, 4]
    dense = model_of([1, 0], [1, 0])
    with pytest.raises(InvalidInput, match="the config of mixtral has no layer with experts"):
        proxy_depths(type(dense)(**{**vars(dense), "layers": dense.layers[1:]}))


def test_heads_keep_their_ratio() -> None:
    mixtral = read_config(MIXTRAL)
    assert proxy_heads(mixtral) == (4, 1)
    wide = read_config({**MIXTRAL, "num_attention_heads": 96, "num_key_value_heads": 8})
    assert proxy_heads(wide) == (12, 1)
    assert all(width % 24 == 0 for width in proxy_widths(wide))
    assert proxy_widths(mixtral)[0] == 16
    assert proxy_widths(mixtral)[-1] == 256
