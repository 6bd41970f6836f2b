"""What maps found, fed back: a torch network is trained to look elsewhere.

In: a dataset or a batch, and for each image which part counts, as a mask or a region of a map.
Out: images in which the rest tells nothing, losses to add to a user's own, and a network whose
attention can be taught.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
