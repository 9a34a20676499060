"""Tables as a terminal shows them."""

import io

from rich.console import Console

from dynamoe_search.report.table import Table
from dynamoe_search.report.terminal import print_table


def shown(table: Table, width: int = 200) -> str:
    """A table in a terminal of that width, without colors."""
    terminal: dict = {"force_terminal": True, "color_system": None}
    console = Console(file=io.StringIO(), width=width, **terminal)
    print_table(console, table)
    return console.file.getvalue()  # type: ignore[attr-defined]
