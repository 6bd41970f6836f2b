"""What is hidden: masks as plans, rendered a batch at a time.

In: the size of an image, its superpixels, the region and the map of the last round, a generator.
Out: masks (N, H, W) in which 1 keeps a pixel, and the fill that shows where they hide one.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
