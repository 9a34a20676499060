"""Search how many experts each layer of a Mixture-of-Experts network should get.

The public names are listed in the stub `__init__.pyi`; each is loaded when it is first used, so
that looking at a schedule does not wait for torch.

Examples
--------
>>> import dynamoe_search as ds
>>> str(ds.pattern_schedule("descending", depth=4, total=20))
'8-6-4-2'
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
