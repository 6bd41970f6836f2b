"""What the paper reports, to stand beside measured numbers and never among them.

Vasu and Long: Iterative and Adaptive Sampling with Spatial Attention for Black-Box Model
Explanations, WACV 2020, Table 1: MS-COCO, ResNet-50. Its best iteration was picked by the overlap
with the annotation, so it cannot be compared with a run that knows no annotation.
"""

from __future__ import annotations

from iassa.benchmark.report.columns import Level

__all__ = ["COLUMNS", "REPORTED"]

COLUMNS = ("deletion", "insertion", "f1", "iou", "pointing")
# Digits as printed; the pixel level in units of 1e-5.
REPORTED: dict[Level, dict[str, tuple[str, ...]]] = {
    "image": {
        "LIME": ("0.900967", "0.99", "0.15390", "0.09745", "0.16461"),
        "RISE": ("0.1847", "1.0", "0.13837", "0.13653", "0.25"),
        "IASSA": ("0.18803", "1.0", "0.23658", "0.15153", "0.4216"),
    },
    "pixel": {
        "LIME": ("10.8526", "10.96158", "1.71177", "1.08447", "0.43671"),
        "RISE": ("5.5423", "28.8669", "4.26672", "2.69240", "8.95937"),
        "IASSA": ("5.50534", "35.33639", "10.5960", "6.9282", "17.79331"),
    },
}
