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

from iassa.image import resize
from iassa.masks.superpixels import Segmentations, segment
from iassa.methods import Iassa
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
        planes = attention.features.T.reshape(-1, *attention.size)
        looks = resize(planes, (image.shape[1], image.shape[2])).flatten(1).T.cpu().numpy()
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


METHODS = {
    "iassa": Iassa(),
    "merged": MergedSegments(),
    "merged-far": MergedSegments(nearness=0.3),
    "mixed": MergedSegments(compactness=(10.0,), flat=(5.0, 20.0)),
}


if __name__ == "__main__":
    sys.exit(run_tuning(tuning_options(__doc__).parse_args(), METHODS))
