"""Data: images and text as tensors, from Python packages or from files.

Each name is imported on first use; the stub `__init__.pyi` lists them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
