"""``per_layer_config``: read back by `read_config`, and by the public library's own classes."""

import json

import pytest

from dynamoe_search.interop.export import export_schedule, import_schedule
from dynamoe_search.interop.reading import read_config
from dynamoe_search.schedules import Schedule
from tests.interop.configs import CONFIGS, config_of

PROFILE, ACTIVE = Schedule((3, 2, 1)), Schedule((1, 2, 1))


@pytest.mark.parametrize("family", CONFIGS)
def test_what_is_written_is_read_back(family: str) -> None:
    config = read_config(config_of(family))
    written = export_schedule(PROFILE, config, "hf", ACTIVE, expert_parallel=2)
    model = written.model
    assert import_schedule(written.text, "hf") == (model.schedule, model.active_schedule)
    again = read_config(json.loads(written.text))
    assert again.total_parameters == model.total_parameters == config.total_parameters
    assert [n == 0 for n in model.schedule] == [n == 0 for n in config.schedule]
    assert len({n for n in model.schedule if n}) > 1
    # A second export replaces what the first one said.
    back = export_schedule(config.schedule, again, "hf", config.active_schedule)
    assert import_schedule(back.text, "hf") == (config.schedule, config.active_schedule)


@pytest.mark.slow
@pytest.mark.parametrize("family", CONFIGS)
def test_the_public_library_reads_it(family: str) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.24")
    config = read_config(config_of(family))
    written = export_schedule(PROFILE, config, "hf", ACTIVE, expert_parallel=2)
    theirs = transformers.AutoConfig.for_model(**json.loads(written.text))
    experts, active = next(iter(json.loads(written.text)["per_layer_config"].values()))
    layers = [theirs.per_layer_config[place] for place in range(config.depth)]
    found = [
        (getattr(layer, experts), getattr(layer, active)) if n else (0, 0)
        for layer, n in zip(layers, config.schedule, strict=True)
    ]
    assert [n for n, _ in found] == list(written.model.schedule)
    assert [k for _, k in found] == list(written.model.active_schedule)
    # What the library saves is read back, too: it leaves out what is equal to the config.
    assert import_schedule(json.dumps(theirs.to_dict(), default=str), "hf") == (
        written.model.schedule,
        written.model.active_schedule,
    )


@pytest.mark.slow
def test_the_warning_is_true() -> None:
    """A model class that ignores unequal experts says so itself, when it is built."""
    transformers = pytest.importorskip("transformers", minversion="5.24")
    import torch

    config = read_config(config_of("mixtral"))
    written = export_schedule(PROFILE, config, "hf")
    theirs = transformers.AutoConfig.for_model(**json.loads(written.text))
    assert "AmbiguousGlobalPerLayerAttributeError" in written.warnings[0]
    with torch.device("meta"), pytest.raises(RuntimeError) as refused:
        transformers.AutoModelForCausalLM.from_config(theirs)
    assert type(refused.value).__name__ == "AmbiguousGlobalPerLayerAttributeError"
