"""How the loss depends on active experts, where it is known, and for models of ours."""

import copy
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dynamoe_search.errors import InvalidInput, RunFailed
from dynamoe_search.interop.active_choice import choose_active
from dynamoe_search.interop.held_out import HeldOut
from dynamoe_search.interop.sensitivity import measure_sensitivity, schedule_losses
from dynamoe_search.models import DecoderModel
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Experts, LanguageModel, TopK, TopP
from tests.interop.toys import AdditiveModel

COSTS = [[0.9, 0.5, 0.4, 0.39], [0.55, 0.5, 0.5, 0.6], [1.5, 0.8, 0.5, 0.4]]


def documents(*first: int, length: int = 6) -> tuple[np.ndarray, ...]:
    """Documents that begin with a token; all others are 0, the target."""
    return tuple(np.array([token] + [0] * (length - 1)) for token in first)


def parts(context: int = 8) -> HeldOut:
    return HeldOut(documents(1, 2, 3), documents(2, 3, 1, 1), context)


def sensitivity(model: torch.nn.Module, **options: object) -> pd.DataFrame:
    return measure_sensitivity(model, parts(), flops_per_expert=[10, 10, 10], **options)


def test_the_difference_of_each_layer_is_its_own_and_paired() -> None:
    table = sensitivity(AdditiveModel(COSTS, active=2))
    assert len(table) == 3 * 4
    base = sum(row[1] for row in COSTS)
    for row in table.itertuples():
        change = COSTS[row.layer][row.active - 1] - COSTS[row.layer][1]
        each = np.array([1, 2, 3]) * change  # the first token scales a document's loss
        assert row.difference == pytest.approx(each.mean(), abs=1e-6)
        assert row.standard_error == pytest.approx(each.std(ddof=1) / 3**0.5, abs=1e-6)
        assert row.loss == pytest.approx(2 * base + each.mean(), abs=1e-6)
        assert (row.trained, row.flops, row.documents) == (row.active == 2, 10 * row.active, 3)


@pytest.mark.parametrize("mean", [1, 4 / 3, 2, 3, 4])
def test_the_choice_is_the_best_of_all_schedules_and_the_prediction_is_the_loss(
    mean: float,
) -> None:
    model = AdditiveModel(COSTS, active=2)
    choice = choose_active(sensitivity(model), mean)
    losses = {
        counts: sum(row[k - 1] for row, k in zip(COSTS, counts, strict=True))
        for counts in product(range(1, 5), repeat=3)
        if sum(counts) <= round(3 * mean)
    }
    least = min(losses.values())
    assert losses[choice.chosen.counts] == pytest.approx(least)
    assert choice.flops["chosen"] <= choice.flops["even"] == 10 * round(3 * mean)
    assert choice.predicted["chosen"] == pytest.approx(2 * (least - losses_of(2)), abs=1e-6)
    measured = schedule_losses(model, parts(), choice.schedules)
    assert measured["chosen"].tolist() == pytest.approx([least * token for token in (2, 3, 1, 1)])


def losses_of(active: int) -> float:
    return sum(row[active - 1] for row in COSTS)


def test_layers_that_interact_are_measured_as_they_are() -> None:
    model = AdditiveModel(COSTS, active=2, interaction=0.1)
    measured = schedule_losses(model, parts(), {"a": (1, 2, 4), "b": Schedule((1, 2, 4))})
    expected = COSTS[0][0] + COSTS[1][1] + COSTS[2][3] + 0.4
    assert measured["a"].tolist() == pytest.approx([expected * token for token in (2, 3, 1, 1)])
    assert measured["a"].equals(measured["b"])
    assert model.calls == 1


@pytest.mark.parametrize("batch", [1, 2, 3, 50])
@pytest.mark.parametrize("context", [1, 3, 20])
def test_windows_cover_each_token_once_whatever_their_size(context: int, batch: int) -> None:
    torch.manual_seed(0)
    experts = Experts(8, Schedule((4, 4)), TopK(2))
    model = DecoderModel(LanguageModel(16, 20, 8, 2, experts))
    rng = np.random.default_rng(0)
    texts = tuple(rng.integers(0, 16, length) for length in (21, 2, 14, 9))
    held = HeldOut(texts[:2], texts, context)
    found = schedule_losses(model, held, {"all": (2, 2)}, batch=batch)["all"]
    for text, loss in zip(texts, found, strict=True):
        single = []
        for start in range(0, len(text) - 1, context):
            window = torch.from_numpy(text[start : start + context + 1])
            logits = model(window[None, :-1])[0]
            single += torch.nn.functional.cross_entropy(
                logits, window[1:], reduction="none"
            ).tolist()
        assert loss == pytest.approx(np.mean(single), rel=1e-5)


def test_our_own_decoder_is_measured_as_one_that_has_other_routers() -> None:
    def model(*active: int) -> DecoderModel:
        routers = tuple(TopK(k) for k in active)
        return DecoderModel(LanguageModel(4, 8, 8, 2, Experts(8, Schedule((4, 4)), routers)))

    table = measure_sensitivity(model(1, 2), parts(), counts=[3])
    assert table[["layer", "active"]].values.tolist() == [[0, 1], [0, 3], [1, 2], [1, 3]]
    assert table["flops"].tolist() == [2 * 2 * 8 * 8 * k for k in (1, 3, 2, 3)]
    other = schedule_losses(model(3, 2), HeldOut(*[parts().measuring] * 2, 8), {"own": (3, 2)})
    assert table["loss"][1] == pytest.approx(other["own"].mean())


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = AdditiveModel(COSTS, active=2).train(training)
    model.layers[1].train(not training)
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    sensitivity(model)  # the dropout would change the losses in training mode
    assert [module.training for module in model.modules()] == modes
    assert [layer.router.top_k for layer in model.layers] == [2, 2, 2]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_an_error_leaves_it_as_it_was_too() -> None:
    model = AdditiveModel(copy.deepcopy(COSTS), active=2).train()
    model.costs[1] = []
    with pytest.raises(IndexError):
        sensitivity(model)
    assert model.training
    assert [layer.router.top_k for layer in model.layers] == [2, 2, 2]


class Interrupted(Exception):
    """As a user would interrupt it."""


def test_what_was_measured_is_kept_and_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"

    def interrupt(done: int, total: int) -> None:
        assert total == 10
        if done == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        sensitivity(AdditiveModel(COSTS, active=2), path=path, on_progress=interrupt)
    again = AdditiveModel(COSTS, active=2)
    table = sensitivity(again, path=path)
    assert again.calls == 1 + 10 - 4  # the model as it is shows that the file is about it
    pd.testing.assert_frame_equal(table, sensitivity(AdditiveModel(COSTS, active=2)))
    pd.testing.assert_frame_equal(table, sensitivity(again, path=path))
    assert again.calls == 1 + 10 - 4 + 1
    kept = pd.read_csv(path)
    assert list(kept) == ["layer", "active", "document", "loss"]
    assert len(kept) == 10 * 3


def test_a_file_of_another_model_or_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    sensitivity(AdditiveModel(COSTS, active=2), path=path, counts=[1])
    changed = [[0.9, 0.6], *COSTS[1:]]
    with pytest.raises(InvalidInput, match="another model"):
        sensitivity(AdditiveModel(changed, active=2), path=path)
    other = HeldOut(documents(1, 2), documents(1, 2), 8)
    with pytest.raises(InvalidInput, match="other documents"):
        measure_sensitivity(
            AdditiveModel(COSTS, active=2), other, flops_per_expert=[1, 1, 1], path=path
        )
    path.write_text("layer,active\n1,2\n")
    with pytest.raises(InvalidInput, match="no table of losses"):
        sensitivity(AdditiveModel(COSTS, active=2), path=path)
    with pytest.raises(InvalidInput, match="cannot be written"):
        sensitivity(AdditiveModel(COSTS, active=2), path=tmp_path / "none" / "losses.csv")


def test_a_loss_that_is_not_finite_is_never_chosen() -> None:
    costs = copy.deepcopy(COSTS)
    costs[2][3] = float("nan")
    table = sensitivity(AdditiveModel(costs, active=2))
    bad = (table["layer"] == 2) & (table["active"] == 4)
    assert table.loc[bad, ["loss", "difference", "standard_error"]].isna().all(axis=None)
    assert table.loc[~bad, "difference"].notna().all()
    assert choose_active(table, mean=4).chosen[2] == 3
    costs[0][1] = float("inf")
    with pytest.raises(RunFailed, match="not finite in 3 of 3 documents"):
        sensitivity(AdditiveModel(costs, active=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"counts": [9]}, "no layer can use any of 9"),
        ({"flops_per_expert": [1, 2]}, "each of the 3 layers"),
        ({"data": HeldOut(documents(1, 7), documents(1, 2), 8)}, "has the token 7"),
    ],
)
def test_bad_input_is_refused(options: dict, message: str) -> None:
    given = {"data": parts(), "flops_per_expert": [1, 1, 1], **options}
    with pytest.raises(InvalidInput, match=message):
        measure_sensitivity(AdditiveModel(COSTS, active=2), **given)


def test_a_schedule_of_another_depth_and_other_models_are_refused() -> None:
    with pytest.raises(InvalidInput, match="a has 2 layers; the model has 3"):
        schedule_losses(AdditiveModel(COSTS, active=2), parts(), {"a": (1, 2)})
    blocks = Experts(8, Schedule((4, 4)), (TopK(1), TopP()))
    with pytest.raises(InvalidInput, match="layer 1 has 1 networks and the router 'top_p'"):
        schedule_losses(DecoderModel(LanguageModel(4, 8, 8, 2, blocks)), parts(), {})
