"""Features of a new domain: the embedded network, trained on its images without labels.

In: a folder of images, of which some may have masks, and what may change from view to view.
Out: an ONNX file that `features=` reads, and whether it tells places apart better than before.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
