"""How the tests read a page."""

from xml.etree import ElementTree


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)


def text_of(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def section(html: str, anchor: str) -> ElementTree.Element:
    (found,) = (e for e in parsed(html).iter("section") if e.get("id") == anchor)
    return found


def anchors(html: str) -> list[str]:
    """Those of the evidence, in order."""
    return [e.attrib["id"] for e in parsed(html).findall(".//details/section")]
