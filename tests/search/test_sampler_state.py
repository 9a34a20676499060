import os
import pickle
from pathlib import Path

import optuna
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.search.sampler_state import check_sampler_state


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.path),)


def trials_of_cmaes() -> list[optuna.trial.FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=1))
    study.optimize(
        lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1), n_trials=20
    )
    return study.get_trials()


def test_the_state_of_cma_es_is_let_through() -> None:
    trials = trials_of_cmaes()
    assert any(key.startswith("cma:optimizer") for t in trials for key in t.system_attrs)
    check_sampler_state(trials)


@pytest.mark.parametrize("pieces", [1, 3])
def test_anything_else_is_refused_before_it_runs(tmp_path: Path, pieces: int) -> None:
    trials = trials_of_cmaes()
    harm = pickle.dumps(Harm(tmp_path / "harmed")).hex()
    size = -(-len(harm) // pieces)
    trials[-1].system_attrs.clear()
    for piece in range(pieces):
        trials[-1].system_attrs[f"cma:optimizer:{piece}"] = harm[piece * size : (piece + 1) * size]
    with pytest.raises(InvalidInput, match=r"trial 19 holds a state .* asks for posix\.mkdir"):
        check_sampler_state(trials)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("text", ["", "zz", "80"])
def test_broken_state_is_refused(text: str) -> None:
    trials = trials_of_cmaes()
    trials[-1].system_attrs["cma:optimizer:0"] = text
    with pytest.raises(InvalidInput, match="is none"):
        check_sampler_state(trials)
