"""Intervals, tests and rankings of measured results. No torch and no scikit-learn.

Each name is loaded when it is first used; the stub `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
