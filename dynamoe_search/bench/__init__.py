"""Tabular benchmarks: every schedule of a small space, trained beforehand and asked at once.

Examples
--------
>>> from dynamoe_search import bench
>>> bench.names()
('digits-4x12',)
>>> table = bench.load("digits-4x12")
>>> len(table.schedules), len(table.ask("6-3-2-1").losses)
(165, 5)
"""

from dynamoe_search.bench.distinction import Distinction, tell_apart
from dynamoe_search.bench.files import TABLES, load, names, write_bench
from dynamoe_search.bench.table import COLUMNS, Answer, Bench

__all__ = [
    "COLUMNS",
    "TABLES",
    "Answer",
    "Bench",
    "Distinction",
    "load",
    "names",
    "tell_apart",
    "write_bench",
]
