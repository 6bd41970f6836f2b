"""The columns of a report: each metric's heading, its direction, what it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iassa.benchmark.protocol import GAIN_FILLS

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


# The mean over fills first, which no fill decides and no form of a map wins alone. Then as in the
# paper's Table 1, and insertion - deletion.
MAIN: tuple[Metric, ...] = (
    Metric(
        "gain",
        "SRG",
        "symmetric relevance gain, the mean over its fills: mean score while salient pixels are "
        "hidden last, minus first",
        per_pixel=False,
    ),
    Metric(
        "average_precision",
        "AP",
        "average precision of the map's pixels against the annotation",
        per_pixel=False,
    ),
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
    *(
        Metric(f"gain_{fill}", f"SRG {fill}", f"SRG with the fill {fill}", per_pixel=False)
        for fill in GAIN_FILLS
    ),
    Metric(
        "relevance_mass",
        "mass",
        "share of the positive saliency that lies on the annotation",
        per_pixel=False,
    ),
    Metric(
        "relevance_rank",
        "rank accuracy",
        "share of the K most salient pixels that are annotated, of K annotated ones",
        per_pixel=False,
    ),
    Metric("best_f1", "best F1", "F1 at the threshold that is best for this map"),
    Metric("best_iou", "best IoU", "IoU at the threshold that is best for this map"),
    Metric("precision", "precision", "share of the region that is annotated"),
    Metric("recall", "recall", "share of the annotation that is in the region"),
    Metric("pointing_tolerant", "near pointing", "as pointing, or within the tolerance of it"),
    Metric("sparsity", "sparsity", "how few pixels hold the map, true or not", per_pixel=False),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in (*MAIN, *FURTHER)}
