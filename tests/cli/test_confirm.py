"""``confirm``, after a search whose results are made up."""

import signal
from contextlib import suppress
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.events import Event
from dynamoe_search.log.storage import open_log
from dynamoe_search.plan.confirmation import plan_confirmation
from dynamoe_search.study import Study
from tests.cli.calls import dynamoe_search, error_of, output_of
from tests.conftest import edit
from tests.processes import Command, wait_for
from tests.processes import output_of as output_of_process
from tests.report import made_up


@pytest.fixture
def searched(small_study: Path) -> Path:
    """The folder of a study that was searched, and can be confirmed in seconds."""
    edit(small_study, ("runs = 14", "runs = 8"), ("epochs = 2", "epochs = 1"))
    made_up.search(small_study)
    return small_study.parent


@pytest.mark.slow
def test_a_search_is_confirmed(searched: Path) -> None:
    plot = searched / "c.png"
    options = ("--seeds", 2, "--margin", 0.02, "--plot", plot)
    said = output_of("confirm", searched, *options, "--workers", 2)
    assert "candidates from 2 fresh seeds, measured on the test split of digits" in said
    assert "each is compared with descending (5-4-2-1), the search's best" in said
    assert "A difference within 0.02 nats does not matter." in said
    assert "Reference: " in said
    assert plot.read_bytes().startswith(b"\x89PNG")
    table = pd.read_parquet(searched / "confirmation.parquet")
    expected, confirmation = Study(searched).confirmation()
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    assert len(table) >= 8  # the named schedules and the dense networks, but for the reference
    assert set(table["verdict"]) <= {"better", "worse", "equivalent", "undecided"}
    assert confirmation.margin == 0.02
    assert len(pd.read_csv(searched / "confirmation.csv")) == len(table)
    # What was fixed before the results were seen cannot be changed afterwards.
    assert "a margin must not be chosen after" in error_of("confirm", searched, "--margin", 0.1)


@pytest.mark.slow
def test_an_interrupted_confirmation_goes_on(searched: Path, command: Command) -> None:
    process = command("confirm", searched, "--seeds", 3, "--workers", 1)
    wait_for(lambda: "running" in states(searched))
    process.send_signal(signal.SIGTERM)  # which stops the current run, too
    assert "Interrupted; the same command goes on." in output_of_process(process, status=130)
    begun = states(searched)
    assert set(begun) <= {"complete", "interrupted"}
    assert "Reference: " in output_of("confirm", searched, "--workers", 2)
    assert states(searched)[: len(begun)] == begun
    done = Study(searched).training_runs("confirmation")
    done = done[done["state"] == "complete"]
    _, confirmation = Study(searched).confirmation()
    keys = zip(done["candidate"], done["block"], strict=True)
    assert sorted(keys) == sorted(product(confirmation.names, range(3)))


@pytest.mark.slow
def test_until_all_is_decided_and_on_after_a_kill(searched: Path, command: Command) -> None:
    options = ("--until", "decided", "--most-seeds", 8, "--margin", 2)
    process = command("confirm", searched, *options, "--workers", 2)
    wait_for(lambda: states(searched).count("complete") >= 5)
    process.kill()
    process.wait()
    begun = Study(searched).training_runs("confirmation")
    # The same command goes on, and so does one that leaves out what is fixed.
    said = output_of("confirm", searched, "--workers", 2)
    assert "up to 8 fresh seeds, each until a look (after every 4) decides it" in said
    assert "Over all looks, " in said
    runs = Study(searched).training_runs("confirmation")
    done = runs[runs["state"] == "complete"]
    assert not done.duplicated(["candidate", "block"]).any()
    kept = begun[begun["state"] == "complete"].set_index("run")["test_loss"]
    assert done.set_index("run")["test_loss"][kept.index].tolist() == kept.tolist()
    table, confirmation = Study(searched).confirmation()
    assert (confirmation.until, confirmation.seeds) == ("decided", (8,))
    trained = done["candidate"].value_counts()
    for row in table.itertuples():
        # A free worker may begin one more block before a look is complete.
        assert row.looked_at <= trained[row.candidate] <= row.looked_at + 1
        assert row.looked_at == 8 or not row.is_open
    assert (table["looked_at"] == 4).any()
    assert output_of("confirm", searched, *options, "--workers", 1).endswith(said[-200:])
    assert Study(searched).training_runs("confirmation").equals(runs)


def states(folder: Path) -> list[str]:
    with suppress(InvalidInput):
        return Study(folder).training_runs("confirmation")["state"].tolist()
    return []


def test_a_confirmation_without_results_fails(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = plan_confirmation(None, Study(searched).plan, ["5-4-2-1"], {}, 2, None)
    with open_log(Study(searched).storage, create=False) as log:
        log.append(Event("confirmation", found.dump()))
    confirmed = "dynamoe_search.run.session.run_confirmation"
    monkeypatch.setattr(confirmed, lambda *arguments: "finished")
    error = error_of("confirm", searched, status=1)
    assert "the confirmation has nothing to compare yet" in error
    monkeypatch.setattr(confirmed, lambda *arguments: "interrupted")
    assert dynamoe_search("confirm", searched).status == 130


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", 1), "Invalid value for '--seeds'"),
        (("--most-seeds", 64), "--most-seeds is for a confirmation that ends when all is decided"),
        (("--until", "decided", "--seeds", 8), "give --most-seeds"),
        (("--until", "decided", "--most-seeds", 3), "--most-seeds is 3; give 4"),
        (("--margin", 0), "--margin is 0; give the loss that does not matter, above 0"),
        (("--device", "nowhere"), "--device nowhere cannot be used"),
        (("--name", "other"), "holds no results of other yet"),
    ],
)
def test_options_that_cannot_be(finished: Path, options: tuple[object], message: str) -> None:
    assert message in error_of("confirm", finished, *options)


def test_there_must_be_something_to_confirm(small_study: Path) -> None:
    assert "holds no results yet" in error_of("confirm", small_study)
    made_up.begin(small_study)
    assert "no training run of this study is complete yet" in error_of("confirm", small_study)
