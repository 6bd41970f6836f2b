"""How good a map is: by what the black box says, or by what a person has outlined.

- `causal`: insertion and deletion curves (Petsiuk et al., 2018), which need the black box alone;
- `overlap`: IoU, precision, recall and F1 of the region against an annotation;
- `pointing_game`: whether the maximum of the map lies on the annotation (Zhang et al., 2016).

Each is a pure function of one map. Values are for one image; means are taken elsewhere.
"""

from iassa.metrics.causal import Curve, causal_curve, deletion, insertion
from iassa.metrics.overlap import (
    BestF1,
    Overlap,
    best_f1,
    measure_overlap,
    overlap_at,
    threshold_region,
)
from iassa.metrics.pointing_game import Pointing, pointing_game

__all__ = [
    "BestF1",
    "Curve",
    "Overlap",
    "Pointing",
    "best_f1",
    "causal_curve",
    "deletion",
    "insertion",
    "measure_overlap",
    "overlap_at",
    "pointing_game",
    "threshold_region",
]
