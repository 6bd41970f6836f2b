"""iassa: which parts of an image a model relies on, found from the model's scores alone.

In: an image, a black box, a target, and how many calls a map may cost.
Out: a map for each target, with its standard error. The loop is `iassa.methods.engine.loop`.

`__init__.pyi` lists the names. Each is imported when it is first used, so that `import iassa` does
not wait for torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
