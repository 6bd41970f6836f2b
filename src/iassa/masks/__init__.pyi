from .baselines import FILLS, read_baseline
from .grids import draw_grids, draw_segments, fit_grid
from .level_sets import draw_level_sets
from .plans import GridPlan, MaskPlan, SegmentPlan, WindowPlan
from .rendering import Canvas
from .superpixels import Segmentations, segment
from .windows import plan_windows, sliding_windows

__all__ = [
    "FILLS",
    "Canvas",
    "GridPlan",
    "MaskPlan",
    "SegmentPlan",
    "Segmentations",
    "WindowPlan",
    "draw_grids",
    "draw_level_sets",
    "draw_segments",
    "fit_grid",
    "plan_windows",
    "read_baseline",
    "segment",
    "sliding_windows",
]
