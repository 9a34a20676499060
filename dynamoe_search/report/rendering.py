"""Pages and pieces of them, from the templates."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from dynamoe_search.report.table import Table
from dynamoe_search.report.wording import bullets, paragraph


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dynamoe_search.report"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"paragraph": paragraph, "bullets": bullets}
    return environment


def render(template: str, **content: Any) -> str:
    """A template, filled in; what is no text, as the name of a file may be, is escaped."""
    text = _environment().get_template(template).render(content)
    return text.encode(errors="backslashreplace").decode()


def table_html(table: Table) -> str:
    """A table as a piece of HTML that needs no style sheet.

    Examples
    --------
    >>> from dynamoe_search.report.table import Column
    >>> table = Table([Column("schedule", is_name=True)], [["3-1"]])
    >>> '<th scope="row" style="text-align: left">3-1</th>' in table_html(table)
    True
    """
    return render("table.html", table=table)
