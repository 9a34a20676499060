import re
from pathlib import Path

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.log.runs import finished, started
from dynamoe_search.log.state import State
from dynamoe_search.log.storage import open_log
from dynamoe_search.report.html.page import SECTIONS, make_report
from dynamoe_search.search.policy import SearchPolicy
from dynamoe_search.study import Study
from tests.conftest import edit
from tests.fixtures import Server
from tests.report import made_up
from tests.report.html.conftest import WithLadder
from tests.report.html.pages import anchors, parsed, section, text_of


def assert_stands_alone(html: str) -> None:
    """Well-formed, no id twice, every reference within the page, nothing to run or to fetch."""
    page = parsed(html)
    ids = [e.attrib["id"] for e in page.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids))
    assert "http:" not in html
    assert "https:" not in html
    assert not {e.tag for e in page.iter()} & {"script", "link", "img", "iframe", "object", "base"}
    for element in page.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on"), name
            if name in ("href", "src"):
                assert value.startswith("data:image/png;base64,") or value.removeprefix("#") in ids
            for reference in re.findall(r"url\(([^)]*)\)", value):
                assert reference[1:] in ids, reference
    assert "@import" not in html
    assert "url(" not in (page.find("head/style").text or "")


@pytest.mark.slow
def test_a_rich_study_has_every_section(rich: str) -> None:
    assert_stands_alone(rich)
    assert anchors(rich) == [one for one in SECTIONS if one not in ("pareto", "failures")]
    for anchor in ("decision", *anchors(rich)):
        figures = list(section(rich, anchor).iter("figure"))
        if anchor not in ("asked", "reproduction"):
            assert figures, anchor
        for figure in figures:
            (svg,) = figure.iter("svg")
            assert svg.attrib["role"] == "img"
            assert svg.attrib["aria-label"] == text_of(figure.find("figcaption"))


@pytest.mark.slow
def test_what_the_sections_say(rich: str) -> None:
    def says(anchor: str, *texts: str) -> None:
        found = text_of(section(rich, anchor))
        for text in texts:
            assert text in found, (anchor, text)

    says("asked", "digits: 4 layers share 12 experts; every candidate has", "Sought: validation")
    says("asked", "Training runs: 40 complete.")
    says("decision", "Take descending (5-4-2-1) for now: it may", "the best of 81 candidates")
    says("ladder", "Reference: uniform, at 3 scales", "pyramid")
    says("confirmation", "Reference:", "Holm", "dense, total parameters")
    says("schedules", "Confirmed on the test split: dense, active parameters", "descending")
    says("history", "From run", "Regret is measured against the best of this study")
    says("landscape", "To the right, the first layers", "One training run scatters by")
    says("importance", "drawn again 20 times", "pure chance")
    says("utilization", "Measuring took")
    says("gradients", "a noise scale of")
    says("bounds", "Measured active experts K")
    says("fidelity", "None of the 40 training runs was pruned")
    says("reproduction", "dynamoe-search run study.toml", "--seeds 4 --margin 0.01 study.toml")
    says("reproduction", "0123456789abcdef", 'sampler = "random"', "torch")


@pytest.mark.slow
def test_a_page_is_the_same_each_time(rich: str, rich_study: Path) -> None:
    assert make_report(WithLadder(rich_study)) == rich


def test_a_study_that_has_only_begun(small_study: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no results yet"):
        make_report(Study(small_study))
    html = make_report(made_up.begin(small_study))
    assert_stands_alone(html)
    assert anchors(html) == ["asked", "reproduction"]
    assert "Training runs: none yet." in text_of(section(html, "asked"))
    assert "runs = 14" in text_of(section(html, "reproduction"))


@pytest.mark.slow
def test_a_confirmation_until_all_is_decided(small_study: Path) -> None:
    made_up.search(small_study)
    made_up.confirm(small_study, seeds=None, most_seeds=8)
    html = make_report(Study(small_study))
    found = text_of(section(html, "confirmation"))
    assert "decided with 4 seeds" in found
    assert "Over all looks, " in found
    commands = text_of(section(html, "reproduction"))
    assert "confirm --until decided --most-seeds 8 --margin 0.01" in commands


@pytest.mark.slow
def test_a_study_of_three_runs(small_study: Path) -> None:
    made_up.search(small_study, most=3)
    html = make_report(Study(small_study))
    assert_stands_alone(html)
    assert anchors(html) == ["asked", "schedules", "history", "bounds", "fidelity", "reproduction"]
    assert "unknown, as nothing was trained twice" not in text_of(section(html, "asked"))
    assert section(html, "history").find(".//figure") is not None


@pytest.mark.slow
def test_several_objectives(small_study: Path) -> None:
    edit(
        small_study, ('family = "blend"', 'family = "blend"\nobjectives = ["loss", "active_flops"]')
    )
    made_up.search(small_study)
    html = make_report(Study(small_study))
    assert_stands_alone(html)
    assert section(html, "decision").find("figure") is not None
    assert section(html, "pareto").find(".//table") is not None
    assert "Regret is left out" in text_of(section(html, "history"))
    assert "on the Pareto front of" in text_of(section(html, "decision").find("h1"))


def test_everything_is_escaped(small_study: Path) -> None:
    name = "<script>alert(1)<b>&"
    small_study.write_text(f'# <b>bold</b> & "quoted"\n{small_study.read_text()}')
    made_up.search(small_study, most=1, name=name)
    html = make_report(Study(small_study, name=name))
    assert_stands_alone(html)
    assert parsed(html).find("body/header/p/b").text == name
    assert "<script" not in html
    assert '# <b>bold</b> & "quoted"' in text_of(section(html, "reproduction"))


@pytest.mark.slow
def test_a_changed_file_is_told(small_study: Path) -> None:
    made_up.search(small_study, most=1)
    edit(small_study, ("learning_rate = 5e-3", "learning_rate = 4e-3"))
    found = text_of(section(make_report(Study(small_study)), "reproduction"))
    assert "The study file has changed since the study was begun" in found


@pytest.mark.slow
def test_commands_name_the_log_and_the_study(
    small_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def commands(study: Study) -> str:
        return text_of(section(make_report(study), "reproduction"))

    made_up.search(small_study, most=1, name="my study")
    assert "dynamoe-search run study.toml --name 'my study'" in commands(
        Study(small_study, name="my study")
    )
    beside = f"jsonl:///{small_study.parent / 'log.jsonl'}"
    made_up.begin(small_study, storage=beside)
    found = commands(Study(small_study, storage=beside))
    assert "dynamoe-search run study.toml --storage jsonl:///log.jsonl " in found
    assert "The study file is not on this machine" in commands(Study.at(beside))
    elsewhere = f"jsonl:///{tmp_path_factory.mktemp('elsewhere') / 'log.jsonl'}"
    made_up.begin(small_study, storage=elsewhere)
    found = commands(Study(small_study, storage=elsewhere))
    assert "The log is elsewhere: set DYNAMOE_STORAGE to its address first." in found
    assert "--storage" not in found


@pytest.mark.slow
def test_no_path_of_the_machine_is_in_it(rich: str, rich_study: Path, small_study: Path) -> None:
    assert str(rich_study.parent) not in rich
    study = made_up.begin(small_study)
    with open_log(study.storage, create=False) as log:
        start = SearchPolicy(study.plan).ask(State(), worker="", session="")
        assert start is not None
        message = f"{small_study.parent}/images.npz and {Path.home()}/more cannot be read"
        log.append(started(start), finished(start, "error", message=message))
    html = make_report(Study(small_study))
    assert "images.npz and ~/more cannot be read" in text_of(section(html, "decision"))
    assert "images.npz and ~/more cannot be read" in text_of(section(html, "failures"))
    assert str(small_study.parent) not in html


@pytest.mark.slow
def test_the_address_of_a_server_is_shown_without_its_secrets(
    small_study: Path, server: Server
) -> None:
    address = server.new_database()
    secret = address.replace("postgres@", "postgres:h0nest@") + "?application_name=h1dden"
    made_up.search(small_study, most=1, name="digits", storage=secret)
    html = make_report(Study(small_study, secret, "digits"))
    assert "h0nest" not in html
    assert "h1dden" not in html
    found = text_of(section(html, "reproduction"))
    shown = address.replace("postgres@", "")
    assert f"dynamoe-search run study.toml --storage {shown} --name digits" in found
    assert "shown without user and password" in found
