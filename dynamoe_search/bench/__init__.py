"""Tabular benchmarks: every schedule of a small space, trained beforehand, for instant look-up.

The stub `__init__.pyi` lists the public names. Each is loaded when it is first used.

Examples
--------
>>> from dynamoe_search import bench
>>> "digits-4x12" in bench.names()
True
>>> table = bench.load("digits-4x12")
>>> len(table.schedules), len(table.ask("6-3-2-1").losses)
(165, 32)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
