"""A page can be read by everyone: with a keyboard, by ear, in the dark, on a phone, on paper."""

import html as escapes
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.report.html.pages import anchors, parsed

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TEMPLATES = Path(__file__).parents[3] / "dynamoe_search" / "report" / "templates"


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


def opened(browser: str, folder: Path, *options: str) -> str:
    """What a browser shows of a page, as HTML; it reports no mistake."""
    shown = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu"),
            *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND"),
            f"--user-data-dir={folder / 'profile'}",
            *("--window-size=1300,1000", "--virtual-time-budget=5000", *options),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    assert "CONSOLE" not in shown.stderr
    return shown.stdout


@pytest.mark.slow
def test_it_can_be_read_without_seeing_it(rich: str) -> None:
    page = parsed(rich)
    assert page.get("lang") == "en"
    levels = [int(e.tag[1]) for e in page.iter() if re.fullmatch(r"h\d", e.tag)]
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
    assert all(next(iter(one)).tag == "summary" for one in page.iter("details"))


@pytest.mark.slow
def test_all_that_scrolls_can_be_reached_by_keyboard(rich: str) -> None:
    page = parsed(rich)
    scrolled = [e for e in page.iter() if e.get("class") == "scroll" or e.tag == "pre"]
    assert len(scrolled) > 10
    assert {e.get("tabindex") for e in scrolled} == {"0"}
    first = next(page.iter("a"))
    assert (first.get("class"), first.get("href")) == ("skip", "#decision")


@pytest.mark.slow
def test_the_list_of_contents_has_what_is_there(rich: str) -> None:
    links = [e.attrib["href"].removeprefix("#") for e in parsed(rich).findall(".//nav//a")]
    assert links == anchors(rich)


def colors() -> list[dict[str, str]]:
    """The colors of the page: in the light, in the dark, and on paper."""
    css = (TEMPLATES / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in blocks]


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2, from 1 to 21."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_known() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # just too little


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_color_of_text_has_enough_contrast(place: int) -> None:
    of_page = colors()[place]
    assert len(colors()) == 3
    for text in ("ink", "quiet", "link", "blue", "orange", "green"):
        for ground in ("paper", "shade"):
            assert contrast(of_page[text], of_page[ground]) >= 4.5, (text, ground)


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it(rich: str, tmp_path: Path, browser: str, width: int) -> None:
    # In a frame, since windows cannot be as narrow as a phone.
    frame = tmp_path / "frame.html"
    unfolded = rich.replace("<details>", '<details open="">')
    frame.write_text(
        f'<!DOCTYPE html><title>?</title><iframe style="width:{width}px;height:900px;border:0"'
        f' srcdoc="{escapes.escape(unfolded)}" onload="const page = this.contentDocument;'
        " document.title = [page.documentElement.scrollWidth,"
        " ...[...page.querySelectorAll('section p, h1, h2, dd')].map((e) => e.scrollWidth)]"
        '.join()"></iframe>',
        encoding="utf-8",
    )
    shown = opened(browser, tmp_path, "--dump-dom", frame.as_uri())
    widths = re.search(r"<title>([\d,]+)</title>", shown)
    assert widths is not None
    assert max(map(int, widths[1].split(","))) <= width


@pytest.mark.slow
def test_a_link_unfolds_what_it_leads_to(rich: str, tmp_path: Path, browser: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(rich, encoding="utf-8")
    shown = opened(browser, tmp_path, "--dump-dom", f"{page.as_uri()}#history")
    assert shown.count("<details open") == 1
    after = shown.partition("<details open")[2]
    assert after.index('id="history"') < after.index("</details>")


@pytest.mark.slow
def test_print_shows_what_is_folded(rich: str, tmp_path: Path, browser: str) -> None:
    page, paper = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(rich, encoding="utf-8")
    opened(browser, tmp_path, f"--print-to-pdf={paper}", page.as_uri())
    # What is not folded fills less than two pages.
    assert len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) > 4
