from xml.etree import ElementTree

from matplotlib.figure import Figure

from dynamoe_search.report.html.svg import draw


def figure() -> Figure:
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot([1, 10], [1, 100], "o-", label="a < b & c")
    axes.set_yscale("log")
    axes.legend()
    return figure


def test_a_picture_stands_alone() -> None:
    picture = draw(figure(), "one", 'what "is" seen')
    svg = ElementTree.fromstring(picture.svg)
    assert svg.tag == "svg"
    assert svg.attrib["aria-label"] == 'what "is" seen'
    assert "http" not in picture.svg
    assert not [e for e in svg.iter() if e.tag in ("metadata", "style")]
    assert "a < b & c" in [e.text for e in svg.iter("text")]
    assert "width" not in svg.attrib
    assert 300 < picture.width < 500


def test_ids_of_two_pictures_differ_and_are_used() -> None:
    pictures = [ElementTree.fromstring(draw(figure(), p, "").svg) for p in ("one", "two")]
    ids = [{e.attrib["id"] for e in p.iter() if "id" in e.attrib} for p in pictures]
    assert ids[0]
    assert not ids[0] & ids[1]
    for picture, own in zip(pictures, ids, strict=True):
        text = ElementTree.tostring(picture, encoding="unicode")
        assert all(f"#{one}" in text for one in own)


def test_black_and_white_are_the_pages() -> None:
    svg = draw(figure(), "one", "").svg
    assert "#000000" not in svg
    assert "#ffffff" not in svg
    assert "stroke: currentColor" in svg
    assert "#1f77b4" in svg
