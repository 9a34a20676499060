"""The page of a model's routing."""

from pathlib import Path

import pytest

from dynamoe_search import write_routing_report
from dynamoe_search.errors import InvalidInput
from dynamoe_search.report.html.routing import make_routing_report
from tests.report.html.test_page import assert_stands_alone, parsed, section, text_of
from tests.report.test_routing import PAIRS, seen


def test_a_page_of_a_model() -> None:
    html = make_routing_report(seen(PAIRS, (), PAIRS), "gpt & <co>")
    assert_stands_alone(html)
    assert [one.text for one in parsed(html).iter("h1")] == ["gpt & <co>"]
    assert len(list(section(html, "use").iter("figure"))) == 1
    assert "1 and 2" in text_of(section(html, "pairs"))
    assert "moe/expert_utilization_p25" in text_of(section(html, "metrics"))


def test_without_pairs() -> None:
    page = parsed(make_routing_report(seen([[0], [1]])))
    assert [one.get("id") for one in page.iter("section")] == ["use", "metrics"]


def test_it_is_written(tmp_path: Path) -> None:
    path = write_routing_report(seen([[0], [1]]), tmp_path / "routing.html", "a model")
    assert "<h1>a model</h1>" in path.read_text(encoding="utf-8")
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_routing_report(seen([[0], [1]]), tmp_path / "none" / "routing.html")
