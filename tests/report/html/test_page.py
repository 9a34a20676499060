import html as escapes
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.html.page import SECTIONS, make_report
from dynamoe_search.study import Study
from tests.conftest import SMALL_STUDY, edit
from tests.fixtures import Server
from tests.report import made_up

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def rich_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with all that a search for a low loss can have."""
    path = tmp_path_factory.mktemp("rich") / "study.toml"
    path.write_text(SMALL_STUDY.replace("runs = 14", "runs = 40"))
    made_up.search(path, measured=True)
    made_up.confirm(path)
    return path


@pytest.fixture(scope="module")
def rich(rich_study: Path) -> str:
    return make_report(Study(rich_study))


def left_out(html: str) -> set[str]:
    """The anchors of the sections that say why they are left out."""
    return {
        found.attrib["id"]
        for found in parsed(html).iter("section")
        if "Left out:" in text_of(found)
    }


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)


def text_of(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def section(html: str, anchor: str) -> ElementTree.Element:
    (found,) = (e for e in parsed(html).iter("section") if e.get("id") == anchor)
    return found


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
    assert left_out(rich) == {"pareto"}
    sections = [e.attrib["id"] for e in parsed(rich).iter("section")]
    assert sections == list(SECTIONS)
    for anchor in set(SECTIONS) - {"pareto"}:
        found = section(rich, anchor)
        figures = list(found.iter("figure"))
        if anchor not in ("asked", "answer", "reproduction"):
            assert figures, anchor
        for figure in figures:
            (svg,) = figure.iter("svg")
            assert svg.attrib["role"] == "img"
            assert svg.attrib["aria-label"] == text_of(figure.find("figcaption"))


@pytest.mark.slow
def test_what_the_sections_say(rich: str, rich_study: Path) -> None:
    def says(anchor: str, *texts: str) -> None:
        found = text_of(section(rich, anchor))
        for text in texts:
            assert text in found, (anchor, text)

    says("asked", "digits: 4 layers share 12 experts; every candidate has", "Sought: validation")
    says("asked", "Training runs: 40 complete.")
    says("answer", "Take descending (5-4-2-1): its", "worse than the best of 81 candidates of the")
    says("confirmation", "Reference:", "Holm", "dense, total parameters")
    says("schedules", "Confirmed on the test split: dense, active parameters", "descending")
    says("pareto", "Left out: the study has one objective; name several in objectives")
    says("history", "From run", "Regret is measured against the best of this study")
    says("landscape", "To the right, the first layers", "One training run scatters by")
    says("importance", "drawn again 20 times", "pure chance")
    says("utilization", "Measuring took")
    says("gradients", "a noise scale of")
    says("bounds", "Measured active experts K")
    says("fidelity", "None of the 40 training runs was pruned")
    says("reproduction", f"dynamoe-search run {rich_study}", "--seeds 4 --margin 0.01")
    says("reproduction", "0123456789abcdef", 'sampler = "random"', "torch")


@pytest.mark.slow
def test_a_page_is_the_same_each_time(rich: str, rich_study: Path) -> None:
    assert make_report(Study(rich_study)) == rich


@pytest.mark.slow
def test_it_can_be_read_without_seeing_it(rich: str) -> None:
    page = parsed(rich)
    assert page.get("lang") == "en"
    levels = [int(e.tag[1]) for e in page.iter() if e.tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for table in page.iter("table"):
        assert {e.get("scope") for e in table.findall("thead/tr/th")} == {"col"}
        for row in table.findall("tbody/tr"):
            assert [e.get("scope") for e in row.findall("th")].count("row") >= 1
    for picture in page.iter("svg"):
        assert picture.attrib["role"] == "img"
        assert picture.attrib["aria-label"]
    links = {e.attrib["href"].removeprefix("#") for e in page.iter("a")}
    assert links == {e.attrib["id"] for e in page.iter("section")}


def test_a_study_that_has_only_begun(small_study: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no results yet"):
        make_report(Study(small_study))
    html = make_report(made_up.begin(small_study))
    assert_stands_alone(html)
    assert left_out(html) == set(SECTIONS) - {"asked", "reproduction"}
    assert "Training runs: none yet." in text_of(section(html, "asked"))
    assert "runs = 14" in text_of(section(html, "reproduction"))
    assert "no training run of this study is complete yet" in text_of(section(html, "answer"))
    assert "begin with: dynamoe-search confirm" in text_of(section(html, "confirmation"))


@pytest.mark.slow
def test_of_a_single_loss_the_answer_says_no_more(small_study: Path) -> None:
    made_up.search(small_study, most=1)
    answer = text_of(section(make_report(Study(small_study)), "answer"))
    assert "the only one that is known. Train more before you decide." in answer
    assert "Left out:" not in answer


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
    for anchor, reason in {
        "landscape": "needs at least 8 candidates",
        "importance": "takes at least 15 candidates",
        "gradients": 'measure = ["gradients"]',
        "utilization": 'measure = ["utilization"]',
        "representations": 'measure = ["representation"]',
        "confirmation": "dynamoe-search confirm",
    }.items():
        found = text_of(section(html, anchor))
        assert "Left out:" in found
        assert reason in found
    assert "unknown, as nothing was trained twice" not in text_of(section(html, "asked"))
    assert section(html, "history").find("figure") is not None


@pytest.mark.slow
def test_several_objectives(small_study: Path) -> None:
    edit(
        small_study, ('family = "blend"', 'family = "blend"\nobjectives = ["loss", "active_flops"]')
    )
    made_up.search(small_study)
    html = make_report(Study(small_study))
    assert_stands_alone(html)
    assert "pareto" not in left_out(html)
    assert section(html, "pareto").find("figure") is not None
    assert "Regret is left out" in text_of(section(html, "history"))
    assert "on the Pareto front of" in text_of(section(html, "answer"))


def test_everything_is_escaped(small_study: Path) -> None:
    name = "<script>alert(1)<b>&"
    small_study.write_text(f'# <b>bold</b> & "quoted"\n{small_study.read_text()}')
    made_up.search(small_study, most=1, name=name)
    html = make_report(Study(small_study, name=name))
    assert_stands_alone(html)
    assert parsed(html).find("body/header/h1").text == name
    assert "<script" not in html
    assert '# <b>bold</b> & "quoted"' in text_of(section(html, "reproduction"))


@pytest.mark.slow
def test_a_changed_file_is_told(small_study: Path) -> None:
    made_up.search(small_study, most=1)
    edit(small_study, ("learning_rate = 5e-3", "learning_rate = 4e-3"))
    found = text_of(section(make_report(Study(small_study)), "reproduction"))
    assert "The study file has changed since the study was begun" in found


@pytest.mark.slow
def test_commands_name_the_log_and_the_study(small_study: Path) -> None:
    def commands(study: Study) -> str:
        return text_of(section(make_report(study), "reproduction"))

    made_up.search(small_study, most=1, name="my study")
    assert f"dynamoe-search run {small_study} --name 'my study'" in commands(
        Study(small_study, name="my study")
    )
    address = f"jsonl:///{small_study.parent / 'log.jsonl'}"
    elsewhere = Study(small_study, storage=address)
    made_up.begin(small_study, storage=address)
    assert f"dynamoe-search run {small_study} --storage {address} " in f"{commands(elsewhere)} "
    from_the_log = Study.at(address)
    assert "The study file is not on this machine" in commands(from_the_log)


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
    assert f"dynamoe-search run {small_study} --storage {shown} --name digits" in found
    assert "shown without user and password" in found


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it(rich: str, tmp_path: Path, width: int) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    # In a frame, since windows cannot be as narrow as a phone.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<!DOCTYPE html><title>?</title><iframe style="width:{width}px;height:900px;border:0"'
        f' srcdoc="{escapes.escape(rich)}" onload="const page = this.contentDocument;'
        " document.title = [page.documentElement.scrollWidth,"
        " ...[...page.querySelectorAll('section > p, h2')].map((e) => e.scrollWidth)].join()\">"
        "</iframe>",
        encoding="utf-8",
    )
    shown = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"),
            f"--user-data-dir={tmp_path / 'profile'}",
            *("--window-size=1300,1000", "--virtual-time-budget=5000", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    assert "CONSOLE" not in shown.stderr
    widths = re.search(r"<title>([\d,]+)</title>", shown.stdout)
    assert widths is not None
    assert max(map(int, widths[1].split(","))) <= width
