"""What others give is read within limits, and answered with one line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.untrusted import DEEPEST, LARGEST_TEXT, excess_of, parse_json, read_text, shown

leaves = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text() | st.floats()
contents = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(contents)
def test_what_is_usual_is_read_as_json_reads_it(content: object) -> None:
    text = json.dumps(content)
    assert excess_of(content) is None
    assert json.dumps(parse_json(text, "it")) == text


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_of_64_bits_are_the_largest(sign: int) -> None:
    assert excess_of({"x": sign * (2**63 - 1)}) is None
    assert excess_of({"x": [0, {"y": sign * 2**63 + sign}]}) == (
        ("x", "1", "y"),
        "an integer of more than 64 bits",
    )


def test_nesting_has_a_limit() -> None:
    content: object = 1
    for _ in range(DEEPEST):
        content = [content]
    assert excess_of(content) is None
    keys, problem = excess_of({"x": content}) or ((), "")
    assert keys == ("x", *"0" * (DEEPEST - 1))
    assert problem == "is nested more than 32 deep"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is not valid JSON"),
        ("1" * 5000, "it is not valid JSON: Exceeds the limit"),
        ('{"x": 1e400, "y": 18446744073709551616}', "it: y: an integer of more than 64 bits"),
        ("[" * 100_000, "it is nested too deep"),
        ('"' + "x" * LARGEST_TEXT + '"', "it is longer than 1 MB"),
    ],
)
def test_other_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        parse_json(text, "it")
    assert "\n" not in str(raised.value)


def test_a_text_is_read_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"x" * LARGEST_TEXT)
    assert read_text(path) == "x" * LARGEST_TEXT
    path.write_bytes(b"x" * (LARGEST_TEXT + 1))
    with pytest.raises(InvalidInput, match="larger than 1 MB"):
        read_text(path)
    path.write_bytes("\ufeffä\r\n".encode())
    assert read_text(path) == "ä\r\n"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"ab\xc3"])
def test_what_is_no_text_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"text is not UTF-8 \('utf-8' codec .*save it as UTF-8"):
        read_text(path)


@pytest.mark.parametrize("name", ["absent", ".", "x" * 5000])
def test_what_cannot_be_opened_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read") as raised:
        read_text(tmp_path / name)
    assert len(str(raised.value)) < 1000


@given(st.text())
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    assert shown(text).isprintable()
    assert text.isprintable() == (shown(text) == text)


def test_what_is_shown_is_short() -> None:
    assert shown("x" * 400) == "x" * 400
    assert shown("x" * 10**6) == "x" * 400 + "..."
