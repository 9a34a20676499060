"""`Study`: its file, its log, and what can be asked of them. Most results are made up."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from dynamoe_search import Study
from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.reader import read_study_file
from tests.conftest import SMALL_STUDY, edit
from tests.report import made_up

DEFINITION: dict[str, Any] = {
    "seed": 3,
    "model": {"depth": 4, "width": 8, "hidden": 8},
    "budget": {"experts": 12},
    "training": {"epochs": 1, "seeds": 1},
    "search": {"runs": 2, "blocks": 1},
}
TWO_OBJECTIVES = (
    '"blend"',
    '"blend"\nobjectives = ["loss", "active_flops"]\nconstraints = ["active_experts <= 2"]',
)


def folder_of(tmp_path_factory: pytest.TempPathFactory, *changes: tuple[str, str]) -> Path:
    """The folder of a finished study; descending schedules are the best."""
    path = tmp_path_factory.mktemp("finished") / "study.toml"
    path.write_text(SMALL_STUDY)
    edit(path, *changes)
    made_up.search(path)
    return path.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory)


@pytest.fixture(scope="module")
def two_objectives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory, TWO_OBJECTIVES)


# Created.


def test_a_definition_is_written_as_a_study_file(tmp_path: Path) -> None:
    study = Study.create(tmp_path / "new" / "digits", DEFINITION)
    assert study.path == tmp_path / "new" / "digits" / "study.toml"
    assert study.title == "digits"
    study_file = read_study_file(study.path)
    assert study_file == study.file
    assert (study_file.seed, study_file.model.depth, study_file.budget.experts) == (3, 4, 12)
    assert (study_file.training.epochs, study_file.search.runs) == (1, 2)


def test_keywords_are_sections_and_go_before_the_definition(tmp_path: Path) -> None:
    first = Study.create(tmp_path / "a", **DEFINITION)
    assert first.file == Study.create(tmp_path / "b", DEFINITION).file
    other = Study.create(tmp_path / "c", DEFINITION, seed=4, search={"minutes": 5})
    assert (other.file.seed, other.file.model) == (4, first.file.model)
    assert (other.file.search.runs, other.file.search.minutes) == (None, 5)


@pytest.mark.parametrize(
    ("sections", "mistake"),
    [
        ({"model": {"depth": 0, "width": 8, "hidden": 8}}, r"model\.depth: .*equal to 1, got 0"),
        ({"model": {"dept": 4}}, r"model\.dept: unknown key; did you mean depth\?"),
        ({"search": {"runs": 2, "sampler": "randon"}}, r"search\.sampler: .*'random'.*'randon'"),
        ({"search": {}}, "search: give at least one limit"),
        ({"modle": {}}, r"modle: unknown key; did you mean model\?"),
        ({"training": {"epochs": "2"}}, r"training\.epochs: .*integer, got '2'"),
        ({"training": {"seeds": 0}}, "training: seeds is 0; it must be at least 1"),
    ],
)
def test_mistakes_are_told_by_file_and_key_with_what_was_expected(
    tmp_path: Path, sections: dict[str, Any], mistake: str
) -> None:
    with pytest.raises(InvalidInput, match=rf"study\.toml:\d+: {mistake}"):
        Study.create(tmp_path / "new", DEFINITION, **sections)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("value", [None, object(), {1: 2}])
def test_what_toml_cannot_say_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(InvalidInput, match=r"study\.toml cannot be written as TOML"):
        Study.create(tmp_path, DEFINITION, budget=value)


def test_the_same_definition_again_is_the_same_study_and_another_is_refused(tmp_path: Path) -> None:
    first = Study.create(tmp_path, DEFINITION)
    assert first.path is not None
    written = first.path.read_bytes() + b"# as edited by hand\n"
    first.path.write_bytes(written)
    again = Study.create(tmp_path, dict(reversed(DEFINITION.items())))
    assert again.file == first.file
    with pytest.raises(InvalidInput, match=r"study\.toml exists and says something else"):
        Study.create(tmp_path, DEFINITION, seed=4)
    assert first.path.read_bytes() == written


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"study\.toml cannot be written"):
        Study.create(tmp_path / "file", DEFINITION)


def test_a_study_is_named_by_its_file_or_folder(small_study: Path) -> None:
    for path in (small_study, small_study.parent, str(small_study)):
        study = Study(path)
        assert (study.path, study.folder) == (small_study, small_study.parent)
        assert study.storage.file == small_study.parent / "study.db"
    named = Study(small_study, name="other")
    assert (named.title, named.folder) == ("other", small_study.parent / "other")
    with pytest.raises(InvalidInput, match="does not exist; name a study file or a folder"):
        Study(small_study.parent / "nothing")
    with pytest.raises(InvalidInput, match="is no address of a log; give sqlite"):
        Study(small_study, storage="mysql://nowhere/x")


# Its file, plan and data.


def test_the_file_is_that_of_the_folder_until_the_study_begins(small_study: Path) -> None:
    study = Study(small_study)
    assert study.file.budget.experts == study.plan.baselines["uniform"].schedule.total == 12
    edit(small_study, ("experts = 12", "experts = 16"))
    assert study.file.budget.experts == study.plan.baselines["uniform"].schedule.total == 16
    made_up.begin(small_study)
    begun = study.file
    edit(small_study, ("experts = 16", "experts = 20"))
    assert study.file == begun
    assert study.plan.baselines["uniform"].schedule.total == 16
    small_study.write_text("no TOML")
    assert study.file == begun


def test_the_data_are_those_of_the_file(small_study: Path) -> None:
    study = Study(small_study)
    before = study.data.fingerprint
    assert study.data is study.data
    edit(small_study, ('name = "digits"', 'name = "digits"\nseed = 1'))
    assert study.data.fingerprint == Study(small_study).data.fingerprint != before


def test_changes_are_told(small_study: Path) -> None:
    edit(small_study, ("runs = 14", "runs = 1"), ("epochs = 2", "epochs = 1"))
    made_up.search(small_study)
    study = Study(small_study)
    assert study.changes == []
    before = study.position
    edit(small_study, ("5e-3", "4e-3"))
    with pytest.raises(InvalidInput, match=r"training\.learning_rate: was 0\.005, is 0\.004"):
        study.run(workers=1, progress=False)
    assert study.position == before
    assert study.run(workers=1, progress=False, allow_changes=True) == "finished"
    (change,) = study.changes
    assert "after 1 training runs (training.learning_rate: was 0.005, is 0.004)" in change
    assert study.position == before + 1
    assert change in str(study.decision())


# What it has found.


def test_training_runs_and_leaderboard_of_one_objective(finished: Path) -> None:
    study = Study(finished)
    runs, board = study.training_runs(), study.leaderboard()
    assert len(runs) == 14
    assert runs["run"].tolist() == list(range(14))
    assert runs.columns[0] == board.columns[0] == "candidate"
    assert study.training_runs("confirmation").empty
    means = runs.groupby("candidate")["validation_loss"].mean()
    recorded = dict(zip(board["candidate"], board["mean_loss"], strict=True))
    assert recorded == pytest.approx(dict(means))
    assert board["seeds"].sum() == 14
    assert board["rank"].tolist() == list(range(1, len(board) + 1))


@pytest.mark.slow
def test_the_decision_is_that_of_the_posterior(finished: Path) -> None:
    study = Study(finished)
    decision, posterior = study.decision(), study.posterior()
    table, within = posterior.table(), posterior.within(0.01)
    assert decision.candidate == posterior.best == table.loc[table["tried"], "loss"].idxmin()
    assert (decision.margin, decision.bound) == (0.01, posterior.bound())
    assert decision.expected_regret == posterior.regret().mean()
    surely = set(within.index[(within >= 0.95) & table["tried"]])
    assert set(decision.indistinguishable) == surely - {decision.candidate}
    assert set(decision.within) <= surely & {str(one) for one in study.plan.baselines.values()}
    assert decision.decided == (decision.bound <= 0.01) == (decision.further_runs == 0)
    assert decision.candidate in str(decision)


@pytest.mark.slow
def test_the_posterior_knows_all_losses_and_all_of_the_family(finished: Path) -> None:
    study = Study(finished)
    table, means = study.posterior().table(), study.leaderboard().set_index("candidate")
    assert set(table.index[table["tried"]]) == set(means.index)
    found = table.loc[means.index, "loss"]
    assert np.corrcoef(found, means["mean_loss"])[0, 1] > 0.99
    assert not table["tried"].all()
    assert study.posterior().family_size == len(table)  # all of such a small family


def test_with_several_objectives_the_front_decides(two_objectives: Path) -> None:
    study = Study(two_objectives)
    board, decision = study.leaderboard(), study.decision()
    points = board.set_index("candidate")[["loss", "active_flops"]]
    front = {
        name
        for name, point in points.iterrows()
        if not ((points <= point).all(axis=1) & (points < point).any(axis=1)).any()
    }
    assert 1 < len(front) < len(points)
    assert set(board.loc[board["on_front"], "candidate"]) == front
    assert board["on_front"].is_monotonic_decreasing
    assert {decision.candidate, *decision.indistinguishable} == front
    assert decision.candidate not in decision.indistinguishable


@pytest.mark.parametrize("table", ["training_runs", "leaderboard"])
def test_tables_are_copies(finished: Path, two_objectives: Path, table: str) -> None:
    for folder in (finished, two_objectives):
        study = Study(folder)
        first: pd.DataFrame = getattr(study, table)()
        before = first.copy()
        first["candidate"] = "none"
        first["another"] = 1
        pd.testing.assert_frame_equal(getattr(study, table)(), before)


def test_tables_are_as_new_as_the_log(small_study: Path) -> None:
    made_up.search(small_study, most=3)
    study = Study(small_study)
    assert study.leaderboard()["seeds"].sum() == 3
    made_up.search(small_study, most=2)
    assert len(study.training_runs()) == study.leaderboard()["seeds"].sum() == 5


def test_a_run_that_ends_while_the_table_is_made_is_in_the_next(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up.search(small_study, most=3)
    study, read = Study(small_study), Study.training_runs

    def read_before_another_ends(self: Study, stage: Any = "search") -> pd.DataFrame:
        runs = read(self, stage)
        made_up.search(small_study, most=1)
        return runs

    with monkeypatch.context() as patched:
        patched.setattr(Study, "training_runs", read_before_another_ends)
        assert study.leaderboard()["seeds"].sum() == 3
    assert study.leaderboard()["seeds"].sum() == 4


@pytest.mark.slow
def test_a_search_without_a_complete_run_has_no_leaders(small_study: Path) -> None:
    study = made_up.begin(small_study)
    assert study.training_runs().empty
    for ask in (study.leaderboard, study.decision, study.network):
        with pytest.raises(InvalidInput, match="no training run of this study is complete yet"):
            ask()


ASKED: list[Callable[[Study], object]] = [
    Study.training_runs,
    Study.leaderboard,
    Study.decision,
    Study.confirmation,
    Study.network,
    Study.report,
    Study.to_optuna,
    Study.importance,
    Study.confirm,
    Study.work,
    lambda study: study.changes,
    lambda study: study.position,
]


@pytest.mark.parametrize("ask", ASKED)
def test_before_it_has_begun_nothing_is_known(
    small_study: Path, ask: Callable[[Study], object]
) -> None:
    with pytest.raises(InvalidInput, match="holds no results yet; begin with: dynamoe-search run"):
        ask(Study(small_study))
    assert list(small_study.parent.iterdir()) == [small_study]


def test_no_confirmation_yet(finished: Path) -> None:
    with pytest.raises(InvalidInput, match="no confirmation yet; begin with: dynamoe-search conf"):
        Study(finished).confirmation()


# Shown.


@pytest.mark.slow
def test_how_it_is_shown(small_study: Path) -> None:
    study = Study(small_study, name="a < b")
    assert repr(study) == f"Study({str(small_study)!r})"
    before = study._repr_html_()
    assert "a &lt; b" in before
    assert "holds no results of a &lt; b yet" in before
    made_up.search(small_study, name="a < b")
    after = study._repr_html_()
    assert "a &lt; b" in after
    assert "a < b" not in after
    assert study.decision().candidate in after
    assert after.count("<table") == 1


@pytest.mark.slow
def test_a_report_is_written_beside_the_file_or_where_asked(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")
    study = Study(folder)
    path = study.report()
    assert path == folder / "report.html"
    assert study.decision().candidate in path.read_text()
    out = tmp_path / "new" / "page.html"
    assert study.report(str(out)) == out
    assert out.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file/report.html", "folder"])
def test_a_report_that_cannot_be_written(finished: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match=f"{place} cannot be written"):
        Study(finished).report(tmp_path / place)


def test_as_a_study_of_optuna(finished: Path, two_objectives: Path) -> None:
    study = Study(finished)
    found, runs = study.to_optuna(), study.training_runs()
    means = runs.groupby("candidate")["validation_loss"].mean()
    values = {trial.user_attrs["candidate"]: trial.value for trial in found.trials}
    assert values == pytest.approx(dict(means))
    assert found.study_name == study.title
    storage = optuna.storages.InMemoryStorage()
    study.to_optuna(storage)
    assert optuna.load_study(study_name=study.title, storage=storage).best_value == found.best_value
    several = Study(two_objectives).to_optuna()
    assert [direction.name for direction in several.directions] == ["MINIMIZE", "MINIMIZE"]
    assert np.shape([trial.values for trial in several.trials])[1] == 2


# From its log alone.


def test_a_study_from_its_log_alone(finished: Path) -> None:
    storage = f"sqlite:///{finished / 'study.db'}"
    study = Study.at(storage)
    assert study.path is None
    assert (study.title, study.file) == ("study", Study(finished).file)
    assert repr(study) == f"Study({str(finished / 'study.db')!r})"
    pd.testing.assert_frame_equal(study.leaderboard(), Study(finished).leaderboard())
    with pytest.raises(InvalidInput, match=r"without its file can be helped, not run: call work"):
        study.run()


def test_a_log_of_several_studies_needs_a_name(small_study: Path) -> None:
    storage = f"sqlite:///{small_study.parent / 'study.db'}"
    with pytest.raises(InvalidInput, match="holds no study; begin one with"):
        Study.at(storage)
    with pytest.raises(InvalidInput, match="holds no results of a yet"):
        Study.at(storage, "a")
    assert not small_study.with_name("study.db").exists()
    for name in ("a", "b"):
        made_up.begin(small_study, name)
    with pytest.raises(InvalidInput, match="holds a, b; choose one with --name"):
        Study.at(storage)
    assert Study.at(storage, "b").title == "b"
    with pytest.raises(InvalidInput, match=r"no results of c yet; .*there are: a, b"):
        Study.at(storage, "c")


# Run.


@pytest.mark.slow
def test_progress_is_told_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study.create(tmp_path, DEFINITION)
    plans = []
    assert study.run(workers=1, progress=True, on_start=plans.append) == "finished"
    (plan,) = plans
    assert plan.baselines == study.plan.baselines
    first = capsys.readouterr().out.splitlines()[0]
    assert first.strip().startswith("0%  0 runs  first runs on 1 workers")
    assert len(study.training_runs()) == 2
    fractions: list[float] = []
    ending = study.run(workers=1, progress=lambda snapshot: fractions.append(snapshot.fraction))
    assert (ending, fractions) == ("finished", [1.0])
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_run_of_several_seeds_has_a_row_for_each(tmp_path: Path) -> None:
    study = Study.create(tmp_path, DEFINITION, training={"epochs": 1, "seeds": 3})
    assert study.run(workers=1, progress=False) == "finished"
    runs, board = study.training_runs(), study.leaderboard()
    assert runs["run"].tolist() == [0, 0, 0, 1, 1, 1]
    assert runs["seed"].tolist() == list(study.plan.seeds(0)) * 2
    assert runs.groupby("candidate")["validation_loss"].nunique().tolist() == [3, 3]
    assert board["seeds"].tolist() == [3, 3]
    parts = [name for name in runs if name.endswith("_seconds")]
    assert (runs.groupby("run")[parts].nunique() == 1).all(axis=None)
    # Optuna has the mean of the seeds.
    means = runs.groupby("candidate")["validation_loss"].mean()
    values = {t.user_attrs["candidate"]: t.value for t in study.to_optuna().trials}
    assert values == pytest.approx(dict(means))


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_at_least_one_worker(small_study: Path, workers: int) -> None:
    with pytest.raises(InvalidInput, match=f"workers is {workers}; it must be at least 1"):
        Study(small_study).run(workers, progress=False)
    assert not small_study.with_name("study.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [0, 1, -3])
def test_a_confirmation_has_at_least_two_seeds(finished: Path, seeds: int) -> None:
    with pytest.raises(InvalidInput, match=f"seeds is {seeds}; it must be at least 2"):
        Study(finished).confirm(seeds, workers=1, progress=False)
