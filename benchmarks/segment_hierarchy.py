"""Superpixels merged by the features of attention, in the place of flat ones, in `iassa`.

    python benchmarks/segment_hierarchy.py --run DIR --images DIR --annotations FILE
    python benchmarks/segment_hierarchy.py --run DIR --images DIR
    python benchmarks/segment_hierarchy.py --run DIR
    iassa report DIR --reference iassa

Each hierarchy begins with 256 SLIC superpixels and merges those that look alike to a network and
are near, by Ward's method. It is cut where `iassa` has segmentations of its own: at 16, 32, 64 and
128 segments. So the segments of one cut are unions of those of the next. `merged-far` minds the
distance a third as much, `mixed` has one hierarchy beside two flat segmentations of each count.
The three commands take different images: see `tuning_run`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from torch import Tensor

from iassa.explanations.evidence import Feedback
from iassa.image import resize
from iassa.masks.grids import draw_keep_probability
from iassa.masks.plans import MaskPlan, SegmentPlan
from iassa.masks.superpixels import Segmentations, segment
from iassa.methods import Iassa
from iassa.methods.engine.loop import Setting
from tuning_run import run_tuning, tuning_options

LEAVES = 256  # superpixels that are merged


@dataclass(frozen=True, kw_only=True)
class MergedSegments(Iassa):
    """`iassa` with hierarchies of segments.

    Attributes:
        flat: compactness of flat segmentations beside those of the hierarchies.
        nearness: weight of the distance of two superpixels, in sides of the image, against that of
            their features, which have length 1.
    """

    name: ClassVar[str] = "iassa-with-hierarchy"

    flat: tuple[float, ...] = ()
    nearness: float = 1.0

    def segmentations(self, image: Tensor) -> Segmentations:
        """One hierarchy for each compactness, cut at each count; then the flat ones."""
        attention = self.attention(image)
        assert attention is not None, "there is no hierarchy without features"
        planes = resize(attention.planes, (image.shape[1], image.shape[2]))
        looks = planes.flatten(1).T.cpu().numpy()
        leaves = segment(image, (LEAVES,), self.compactness).labels.cpu().numpy()
        trees = [merge(labels, looks, self.nearness, self.segment_counts) for labels in leaves]
        labels = np.stack([tree[n] for n in range(len(self.segment_counts)) for tree in trees])
        wanted = tuple(n for n in self.segment_counts for _ in trees)
        merged = torch.from_numpy(labels).to(image.device)
        if self.flat:
            plain = segment(image, self.segment_counts, self.flat)
            merged, wanted = torch.cat([merged, plain.labels]), wanted + plain.wanted
        return Segmentations(merged, 1 + int(merged.max()), wanted)


def merge(
    labels: NDArray[np.int32], looks: NDArray[np.float32], nearness: float, counts: tuple[int, ...]
) -> list[NDArray[np.int32]]:
    """Labels (H, W) of superpixels, merged to each of the counts; looks are (H * W, C)."""
    _, flat = np.unique(labels.ravel(), return_inverse=True)
    sizes = np.bincount(flat)[:, None]
    places = np.indices(labels.shape).reshape(2, -1).T / np.array(labels.shape)
    seen = np.concatenate([looks, nearness * places], axis=1, dtype=np.float64)
    means = np.stack([np.bincount(flat, column) for column in seen.T], axis=1) / sizes
    tree = linkage(means, "ward")
    counts = tuple(min(count, len(means)) for count in counts)
    cuts = cut_tree(tree, counts)
    return [cut[flat].reshape(labels.shape).astype(np.int32) for cut in cuts.T]


@dataclass(frozen=True, kw_only=True)
class LevelSegments(Iassa):
    """`iassa` whose level sets consist of whole superpixels.

    Attributes:
        level_counts: the segmentations that they are taken from.
    """

    name: ClassVar[str] = "iassa-with-level-segments"

    level_counts: tuple[int, ...] = (64, 128)

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """As in `iassa`, with other level sets."""
        plans = super().plan(k, feedback, setting)
        if "level" in plans:
            assert feedback.ranks is not None, "level sets are of ranks"
            plans["level"] = self._draw(len(plans["level"]), feedback.ranks, setting, k)
        return plans

    def _draw(
        self, number: int, ranks: NDArray[np.float32], setting: Setting, k: int
    ) -> SegmentPlan:
        """The segments whose mean rank, with noise, is highest, up to the share of each mask."""
        segmentations, rng = setting.segmentations, setting.rng(k, 1)
        assert segmentations is not None, "iassa has some"
        chosen = rng.choice(segmentations.of(self.level_counts), number).astype(np.uint8)
        share = draw_keep_probability(number, self.level_shown, rng)
        noise = rng.standard_normal((number, segmentations.num_segments))
        planes = resize(torch.from_numpy(ranks), setting.size).flatten(1).numpy()
        bits = np.zeros(noise.shape, np.bool_)
        for n, place in enumerate(chosen):
            labels = segmentations.labels[place].flatten().cpu().numpy()
            sizes = np.bincount(labels, minlength=noise.shape[1])
            sums = np.bincount(labels, planes[n % len(planes)], noise.shape[1])
            heights = sums / sizes.clip(1) + self.level_shuffle * noise[n]
            order = np.argsort(np.where(sizes > 0, -heights, np.inf))
            shown = sizes[order].cumsum() - sizes[order] / 2 <= share[n] * len(labels)
            bits[n, order[shown]] = True
            share[n] = sizes[bits[n]].sum() / len(labels)
        return SegmentPlan(share, bits, chosen, None)


METHODS = {
    "iassa": Iassa(),
    "merged": MergedSegments(),
    "merged-far": MergedSegments(nearness=0.3),
    "level-segments": LevelSegments(),
    "mixed": MergedSegments(compactness=(10.0,), flat=(5.0, 20.0)),
}


if __name__ == "__main__":
    sys.exit(run_tuning(tuning_options(__doc__).parse_args(), METHODS))
