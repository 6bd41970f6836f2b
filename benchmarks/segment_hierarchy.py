r"""Superpixels merged by the features of attention, in the place of flat ones, in `iassa`.

    python benchmarks/segment_hierarchy.py --images DIR --annotations FILE \
        --min-score 0.15 --limit 14
    iassa report benchmarks/results/hierarchy --reference iassa

Each hierarchy begins with 256 SLIC superpixels and merges those that look alike to a network and
are near, by Ward's method. It is cut where `iassa` has segmentations of its own: at 16, 32, 64 and
128 segments. So the segments of one cut are unions of those of the next. `merged-near` minds the
distance three times as much. Only the even half of the images is explained. 500 calls each.
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

from coco_run import coco_options, data_is_there, messages, run_with_bar
from iassa.benchmark import Contestant, Protocol
from iassa.errors import IassaError
from iassa.image import resize
from iassa.masks.superpixels import Segmentations, segment
from iassa.methods import Iassa

CALLS = 500
LEAVES = 256  # superpixels that are merged


@dataclass(frozen=True, kw_only=True)
class MergedSegments(Iassa):
    """`iassa` with hierarchies of segments.

    Attributes:
        nearness: weight of the distance of two superpixels, in sides of the image, against that of
            their features, which have length 1.
    """

    name: ClassVar[str] = "iassa-with-hierarchy"

    nearness: float = 1.0

    def segmentations(self, image: Tensor) -> Segmentations:
        """One hierarchy for each compactness, cut at each count."""
        attention = self.attention(image)
        assert attention is not None, "there is no hierarchy without features"
        planes = attention.features.T.reshape(-1, *attention.size)
        looks = resize(planes, (image.shape[1], image.shape[2])).flatten(1).T.cpu().numpy()
        leaves = segment(image, (LEAVES,), self.compactness).labels.cpu().numpy()
        trees = [merge(labels, looks, self.nearness, self.segment_counts) for labels in leaves]
        labels = np.stack([tree[n] for n in range(len(self.segment_counts)) for tree in trees])
        wanted = tuple(n for n in self.segment_counts for _ in trees)
        most = 1 + int(labels.max())
        return Segmentations(torch.from_numpy(labels).to(image.device), most, wanted)


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
    "merged-near": MergedSegments(nearness=3.0),
}


def main() -> int:
    """Run the three of them; `iassa report` shows what came of it.

    Returns:
        Exit status: 0 when done or without data, 2 for what cannot be used or done.
    """
    options = coco_options(__doc__ or "", "hierarchy").parse_args()
    if not data_is_there(options):
        return 0
    contestants = [Contestant(label, method, (CALLS,)) for label, method in METHODS.items()]
    protocol = Protocol(gain_steps=14, pixels_per_step=3584)
    try:
        messages.print(f"{run_with_bar(options, contestants, protocol, half='even')}")
    except IassaError as error:
        messages.print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
