"""Whether features tell what belongs together, judged without labels on images held out.

Two positions of one superpixel should have features that are more alike, by cosine, than two of
different superpixels. The area under the ROC curve says how often they are: 0.5 is chance. Pairs
are compared with pairs of the same offset only, since whatever is near is alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from iassa.adapting.network import Levels
from iassa.adapting.pictures import JUDGED, Pictures
from iassa.benchmark.report.statistics import MIN_IMAGES, Bootstrap, Estimate, Verdict, judge
from iassa.errors import counted
from iassa.estimators.attention import fuse
from iassa.image import resize
from iassa.masks.superpixels import segment
from iassa.models.efficientnet_lite0 import INPUT_SIZE

SEGMENTS = 32  # of an image
COMPACTNESS = 10.0
# (rows, columns) between the two positions of a pair, of 56 x 56.
OFFSETS = (
    *((0, 3), (3, 0), (2, 2), (2, -2)),
    *((0, 6), (6, 0), (4, 4), (4, -4)),
    *((0, 12), (12, 0), (8, 8), (8, -8)),
)


@dataclass(frozen=True)
class Judgement:
    """Areas under the ROC curve before and after, over the images that were held out.

    Attributes:
        what: is told apart: 'superpixels', or 'objects' from their background.
        before: mean of the embedded features.
        after: mean of the adapted ones.
        difference: after minus before, paired by image, with its 95 % interval.
        verdict: 'better' or 'worse' where the interval lies on one side of 0 and there are six
            images or more; else 'not shown'.
    """

    what: str
    before: float
    after: float
    difference: Estimate
    verdict: Verdict

    def __str__(self) -> str:
        """One line."""
        gap = self.difference
        interval = f" [{gap.low:+.4f}, {gap.high:+.4f}]" if gap.num_images > 1 else ""
        few = f", with fewer than {MIN_IMAGES}" if gap.num_images < MIN_IMAGES else ""
        return (
            f"{self.what} told apart: {self.before:.4f} before, {self.after:.4f} after, "
            f"difference {gap.mean:+.4f}{interval} on {counted(gap.num_images, 'held-out image')}: "
            f"{self.verdict}{few}"
        )


def separation(features: Tensor, labels: Tensor) -> float:
    """How often two positions of one label are more alike than two of different labels.

    Args:
        features: (C, h, w), of length 1 at every position.
        labels: (h, w) int.

    Returns:
        The mean over `OFFSETS` of the area under the ROC curve, of all pairs of an offset; NaN
        where no offset has pairs of both kinds.
    """
    areas = []
    height, width = labels.shape
    for down, right in OFFSETS:
        rows = slice(0, height - down), slice(down, height)
        left = slice(max(0, -right), width - max(0, right))
        columns = left, slice(left.start + right, left.stop + right)
        one, other = ((..., rows[k], columns[k]) for k in (0, 1))
        cosines = (features[one] * features[other]).sum(0).flatten().double().numpy()
        same = (labels[one] == labels[other]).flatten().numpy()
        positive, negative = int(same.sum()), int((~same).sum())
        if positive and negative:
            above = rankdata(cosines)[same].sum() - positive * (positive + 1) / 2
            areas.append(above / (positive * negative))
    return float(np.mean(areas)) if areas else float("nan")


def describe_images(levels: Levels, planes: Tensor) -> list[Tensor]:
    """The features (C, 56, 56) that attention compares, of uint8 planes (N, 3, H, W)."""
    device = next(levels.parameters()).device
    found = []
    with torch.inference_mode():
        for one in planes:
            seen = resize(one.to(device).float()[None] / 255, INPUT_SIZE)
            found.append(fuse(levels(seen), JUDGED)[0].cpu())
    return found


def judge_features(before: Levels, after: Levels, pictures: Pictures) -> list[Judgement]:
    """Compare two networks on the images that were held out.

    Returns:
        One judgement of superpixels, unless no image has two, and one of objects if some image has
        a mask.
    """
    described = [describe_images(levels, pictures.held_out) for levels in (before, after)]
    superpixels = [_superpixels(one) for one in pictures.held_out]
    kinds = {"superpixels": superpixels, "objects": pictures.marked}
    found = []
    for what, labelled in kinds.items():
        areas = np.array([_separations(one, labelled) for one in described])  # (2, M)
        areas = areas[:, np.isfinite(areas).all(0)]
        if areas.size:
            gaps = (areas[1] - areas[0])[:, None]
            (gap,) = Bootstrap().estimate_means(gaps, range(len(gaps)))
            means = areas.mean(1)
            found.append(Judgement(what, float(means[0]), float(means[1]), gap, judge(gap)))
    return found


def _separations(described: Sequence[Tensor], labelled: Sequence[Tensor | None]) -> list[float]:
    pairs = zip(described, labelled, strict=True)
    return [float("nan") if labels is None else separation(one, labels) for one, labels in pairs]


def _superpixels(planes: Tensor) -> Tensor:
    """(56, 56) labels: that of the pixel in the middle of each position."""
    found = segment(planes.float() / 255, (SEGMENTS,), (COMPACTNESS,)).labels[0]
    height, width = found.shape
    rows = (torch.arange(JUDGED[0]) * 2 + 1) * height // (2 * JUDGED[0])
    columns = (torch.arange(JUDGED[1]) * 2 + 1) * width // (2 * JUDGED[1])
    return found[rows[:, None], columns[None, :]]
