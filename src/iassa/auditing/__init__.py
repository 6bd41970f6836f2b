"""Which images does the model judge by the wrong thing? Many images at once, and what to look at.

In: a folder of images, a black box, and masks or outlines of the objects where there are some.
Out: how much of each map is off the object, what hiding it does to the score, and a page of that.
"""

from iassa.auditing.off_object import OffObject, off_object

__all__ = [
    "OffObject",
    "off_object",
]
