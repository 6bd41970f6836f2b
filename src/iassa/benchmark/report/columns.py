"""The columns of a report: each metric's heading, its direction, what it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "FURTHER",
    "LEVELS",
    "MAIN",
    "METRICS",
    "REPORTED",
    "REPORTED_COLUMNS",
    "SCALES",
    "UNITS",
    "Level",
    "Metric",
]

Level = Literal["image", "pixel"]
LEVELS: tuple[Level, ...] = ("image", "pixel")
SCALES: dict[Level, float] = {"image": 1.0, "pixel": 1e5}  # the paper's unit of the pixel level
UNITS: dict[Level, str] = {"image": "", "pixel": "10⁻⁵ for each activated pixel"}


@dataclass(frozen=True)
class Metric:
    """A metric as a reader sees it.

    Attributes:
        name: in `Snapshot.metrics`.
        heading: of its column.
        about: what it measures, half a sentence.
        lower_is_better: whether a smaller value is the better one.
        per_pixel: whether it is reported at the pixel level too.
    """

    name: str
    heading: str
    about: str
    lower_is_better: bool = False
    per_pixel: bool = True

    @property
    def title(self) -> str:
        """The heading with an arrow to where better values are."""
        return f"{self.heading} {'↓' if self.lower_is_better else '↑'}"


# As in the paper's Table 1, and insertion - deletion, which one map cannot win by its form alone.
MAIN: tuple[Metric, ...] = (
    Metric(
        "deletion", "deletion", "mean score while salient pixels turn grey", lower_is_better=True
    ),
    Metric("insertion", "insertion", "mean score while salient pixels appear in a blurred image"),
    Metric("insertion_minus_deletion", "I \N{MINUS SIGN} D", "insertion minus deletion"),
    Metric("f1", "F1", "overlap of the region at the fixed threshold with the annotation"),
    Metric("iou", "IoU", "intersection over union of the same region and the annotation"),
    Metric("pointing", "pointing", "share of maps whose maximum lies on the annotation"),
)
FURTHER: tuple[Metric, ...] = (
    Metric("best_f1", "best F1", "F1 at the threshold that is best for this map"),
    Metric("best_iou", "best IoU", "IoU at the threshold that is best for this map"),
    Metric("precision", "precision", "share of the region that is annotated"),
    Metric("recall", "recall", "share of the annotation that is in the region"),
    Metric("pointing_tolerant", "near pointing", "as pointing, or within the tolerance of it"),
    Metric("sparsity", "sparsity", "how few pixels hold the map, true or not", per_pixel=False),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in (*MAIN, *FURTHER)}

# The numbers of the paper, in a table of their own and never among measured ones. Vasu and Long:
# Iterative and Adaptive Sampling with Spatial Attention for Black-Box Model Explanations, WACV
# 2020, Table 1: MS-COCO, ResNet-50. They picked the best iteration by its overlap with the
# annotation, so no run without that choice compares with it.
REPORTED_COLUMNS = ("deletion", "insertion", "f1", "iou", "pointing")
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
