"""How large a proxy a time allows: by rates that are given, and by steps that are measured."""

import pytest

from dynamoe_search.data import TextData, load_data
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.reading import read_config
from dynamoe_search.plan.plan import Plan
from dynamoe_search.plan.proxy import BATCH, CONTEXT, EVALUATIONS
from dynamoe_search.run import sizing
from dynamoe_search.run.sizing import RUNS, TOKENS_PER_PARAMETER, Rate, size_proxy
from tests.interop.few_layers import config_of

CONFIG = read_config({**config_of("mixtral"), "num_hidden_layers": 8})
EVALUATION = 0.5  # seconds


@pytest.fixture(scope="module")
def text() -> TextData:
    data = load_data("topics", context=CONTEXT)
    assert isinstance(data, TextData)
    return data


@pytest.fixture
def rate(monkeypatch: pytest.MonkeyPatch) -> float:
    """A machine of 1e9 FLOPs of one seed per second."""

    def measured(plan: Plan, data: TextData) -> Rate:
        flops = sizing._flops_of_step(plan)
        return Rate(flops / 1e9, EVALUATION, flops)

    monkeypatch.setattr(sizing, "_measured", measured)
    return 1e9


def test_the_time_is_kept_and_used(rate: float, text: TextData) -> None:
    sizes = []
    for minutes in (6.0, 120.0, 3000.0):
        found = size_proxy(CONFIG, "topics", text, minutes, workers=2)
        training, search = found.proxy.sections["training"], found.proxy.sections["search"]
        assert search == {"runs": RUNS, "minutes": minutes}
        assert 0.6 * minutes < found.minutes(workers=2) <= 0.7 * minutes
        expected = found.seconds - EVALUATIONS * EVALUATION
        assert training["flops"] / rate == pytest.approx(expected, rel=0.01)
        assert found.tokens % (BATCH * CONTEXT) == 0
        model = found.proxy.sections["model"]
        sizes.append((model["depth"], model["width"]))
        if minutes > 6:
            assert found.tokens >= 0.99 * TOKENS_PER_PARAMETER * found.parameters
    assert sizes == [(4, 16), (8, 16), (8, 32)]


def test_too_little_time_is_refused(rate: float, text: TextData) -> None:
    with pytest.raises(
        InvalidInput, match=r"0\.5 minutes are too few: 40 training runs of 20 steps"
    ):
        size_proxy(CONFIG, "topics", text, 0.5, workers=1)
