"""What is asked: black boxes of every kind, as one `BlackBox`.

In: a callable, a torch module or the name of a model, and planes (N, 3, H, W) in [0, 1].
Out: checked scores (N, K), the names and boxes of the outputs, and targets that are made of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
