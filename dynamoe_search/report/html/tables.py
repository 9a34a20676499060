"""Tables as HTML, by the template that the report uses."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from dynamoe_search.report.table import Table


@cache
def environment() -> Environment:
    """The templates of the report."""
    return Environment(
        loader=PackageLoader("dynamoe_search.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def table_html(table: Table) -> str:
    """A table as a piece of HTML that needs no style sheet.

    Parameters
    ----------
    table : Table

    Examples
    --------
    >>> from dynamoe_search.report.table import Column
    >>> table = Table([Column("schedule", is_name=True)], [["3-1"]])
    >>> '<th scope="row" style="text-align: left">3-1</th>' in table_html(table)
    True
    """
    return environment().get_template("table.html").render(table=table)
