"""Which images does the model judge by the wrong thing? Many images at once, and what to look at.

In: a folder of images, a black box, and masks or outlines of the objects where there are some.
Out: how much of each map is off the object, what hiding it does to the score, and a page of that.
"""

from iassa.auditing.hiding import HiddenScores, score_hidden
from iassa.auditing.off_object import OffObject, off_object
from iassa.auditing.places import SharedPlace, find_shared_places, measure_places
from iassa.auditing.report import Audit, AuditedImage, ClassSummary
from iassa.auditing.run import Following, audit

__all__ = [
    "Audit",
    "AuditedImage",
    "ClassSummary",
    "Following",
    "HiddenScores",
    "OffObject",
    "SharedPlace",
    "audit",
    "find_shared_places",
    "measure_places",
    "off_object",
    "score_hidden",
]
