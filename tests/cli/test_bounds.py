"""``bounds``, of a budget alone."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dynamoe_search.bounds.layers import QUANTITIES
from dynamoe_search.cli.bounds import read_router
from dynamoe_search.specification import Percentile, Relative, Threshold, TopK, TopP
from tests.cli.calls import error_of, output_of


@pytest.mark.slow
def test_the_answer_comes_first_and_everything_can_be_written(tmp_path: Path) -> None:
    files = {form: tmp_path / f"bounds.{form}" for form in ("json", "csv", "png")}
    shown = output_of(
        *("bounds", "--layers", 12, "--experts", 96, "--width", 512, "--hidden", 2048),
        *("--router", "top_p:0.7", "--compare", "descending,pyramid,uniform"),
        *("--json", files["json"], "--csv", files["csv"], "--plot", files["png"]),
    )
    lines = shown.splitlines()
    assert lines[0].startswith("12 layers of width 512 share 96 experts")
    assert lines[1].startswith("With top_p (p = 0.7) a token can be routed in at most 2^95.6 ways")
    assert "most ways" in shown
    record = json.loads(files["json"].read_text())
    assert record["budget"]["router"]["p"] == 0.7
    assert record["sentences"][1] == lines[1]
    assert record["machine"] is None
    assert set(record["extremes"]) == set(QUANTITIES)
    table = pd.read_csv(files["csv"])
    assert [row["schedule"] for row in record["schedules"]] == table["schedule"].tolist()
    assert table["name"].tolist()[:3] == ["descending", "pyramid", "uniform"]
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_a_schedule_brings_its_own_budget() -> None:
    shown = output_of("bounds", "--schedule", "8-6-4-2", "--schedule", "5-5-5-5", "--compare", "")
    assert shown.startswith("4 layers of width 512 share 20 experts")
    assert "8-6-4-2 by 1.99 bits (3.97 times fewer); 5-5-5-5 by nothing" in shown


def test_times_family_and_laws_on_request(tmp_path: Path) -> None:
    shown = output_of(
        *("bounds", "--schedule", "8-6-4-2", "--tokens", 16, "--family", "blend"),
        *("--trained-tokens", 1e9),
        *("--peak-flops", 1e11, "--bandwidth", 1.5e10, "--json", tmp_path / "b.json"),
    )
    assert "schedules found in the blend family" in shown
    assert "With 100 GFLOP/s and 15 Gbyte/s" in shown
    record = json.loads((tmp_path / "b.json").read_text())
    assert record["machine"] == {"peak_flops": 1e11, "bandwidth": 1.5e10}
    assert (
        record["family"]["log2_configurations"]["max"]
        <= record["extremes"]["log2_configurations"]["most"]
    )
    laws = record["extrapolated"]
    names = ["clark", "krajewski", "ludziejewski", "abnar", "ling", "marin", "marin", "sldbench"]
    assert [law["law"] for law in laws] == names
    assert {law["label"] for law in laws} == {"extrapolated"}
    assert record["schedules"][0]["decoding_seconds"] == pytest.approx(4 * 16787456 / 1.5e10)


@pytest.mark.parametrize(
    ("text", "router"),
    [
        ("percentile", Percentile()),
        ("percentile:0.2", Percentile(tau=0.2)),
        ("top_k:3", TopK(k=3)),
        ("top_p:0.6", TopP(p=0.6)),
        ("top_p:p=0.6,target=1.5", TopP(p=0.6, target=1.5)),
        ("relative:tau=0.3,temperature=2", Relative(tau=0.3, temperature=2)),
        ("threshold:2.5", Threshold(target=2.5)),
    ],
)
def test_routers_are_read(text: str, router: object) -> None:
    assert read_router(text) == router


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--router", "topk:2"), "unknown router 'topk'"),
        (("--router", "top_k:two"), "'two' in the router 'top_k:two' is no constant"),
        (("--router", "top_k:2.5"), "k is a whole number"),
        (("--router", "top_k:name=2"), "top_k has k, temperature, noise"),
        (("--router", "top_p:1.5"), "p is 1.5"),
        (("--compare", "decending"), "'decending' is neither"),
        (("--compare", ","), "nothing to compare"),
        (("--schedule", "4-4", "--layers", "3"), "has 2 layers; the budget has 3"),
        (("--schedule", "4-4", "--experts", "9"), "4-4 is outside the budget"),
        (("--family", "spiral"), "unknown family 'spiral'"),
        (("--peak-flops", "1e9"), "give --peak-flops and --bandwidth"),
        (("--peak-flops", "1e9", "--bandwidth", "1e9", "--measure"), "not both"),
        (("--layers", "9", "--experts", "8"), "at least 9"),
        (("--trained-tokens", "-5"), "tokens is -5"),
        (("--json", "no/such/folder.json"), "cannot be written"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], message: str) -> None:
    assert message in error_of("bounds", *arguments)
