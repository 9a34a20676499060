"""Output whose reader is gone."""

import io
import os

from dynamoe_search.report.console import GoingOnConsole


def test_a_closed_pipe_silences_a_console_and_does_not_end_the_program() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        console = GoingOnConsole(file=stream)
        console.print("read")
        assert os.read(reader, 100) == b"read\n"
        os.close(reader)
        for _ in range(2):
            console.print("not read" * 10_000)
        stream.write("what others write" * 10_000)  # which is flushed at the end


def test_what_is_no_pipe_is_silenced_too() -> None:
    console = GoingOnConsole(file=io.StringIO())
    console.on_broken_pipe()
    console.print("nothing")
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
