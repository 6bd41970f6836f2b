"""Black boxes whose right map is known, and the scenes that they look at.

In: the number of a scene or a photograph, and masked images of it.
Out: image files, the scores of ten black boxes, and the right map of each: docs/synthetic.md.
"""

from iassa.benchmark.synthetic.boxes import BOXES, REGIONS, KnownBox
from iassa.benchmark.synthetic.model import SyntheticModel, read_regions, right_map
from iassa.benchmark.synthetic.scenes import Scene, draw_scene, place_on_photograph

__all__ = [
    "BOXES",
    "REGIONS",
    "KnownBox",
    "Scene",
    "SyntheticModel",
    "draw_scene",
    "place_on_photograph",
    "read_regions",
    "right_map",
]
