"""A region that is made smaller, one superpixel at its edge after another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Shrinking:
    """A greedy search for a smaller region that still passes.

    It proposes to leave out superpixels at the edge, those of the lowest saliency first. After each
    success it proposes twice as many, after a failure half as many. One that cannot go alone stays.

    Attributes:
        region: (h, w) bool, the smallest that is known to pass.
    """

    def __init__(
        self,
        region: NDArray[np.bool_],
        superpixels: NDArray[np.integer],
        saliency: NDArray[np.floating],
    ) -> None:
        """Begin.

        Args:
            region: (h, w), one that passes.
            superpixels: (h, w) the label of each pixel, from 0.
            saliency: (h, w), higher where pixels are to be kept.
        """
        self.region = region
        self._superpixels = superpixels
        self._saliency = saliency.astype(np.float64)
        self._needed: set[int] = set()
        self._step = 1
        self._proposed: tuple[int, ...] = ()

    def propose(self) -> NDArray[np.bool_] | None:
        """A smaller region to ask about; None once there is none."""
        from scipy.ndimage import binary_erosion  # here: half a second to import

        edge = self.region & ~binary_erosion(self.region)
        labels = [k for k in np.unique(self._superpixels[edge]).tolist() if k not in self._needed]
        inside = self._superpixels[self.region]
        sizes = np.bincount(inside)
        means = np.bincount(inside, self._saliency[self.region]) / sizes.clip(1)
        self._proposed = tuple(sorted(labels, key=lambda k: (means[k], k))[: self._step])
        smaller = self.region & ~np.isin(self._superpixels, self._proposed)
        if smaller.any() and self._proposed:
            return smaller
        if len(self._proposed) < 2:
            return None
        self.tell(passes=False)  # all of it at once would be: a part is not known to be
        return self.propose()

    def tell(self, *, passes: bool) -> None:
        """Whether the region that was proposed last passes."""
        if passes:
            self.region = self.region & ~np.isin(self._superpixels, self._proposed)
            self._step *= 2
            return
        if len(self._proposed) == 1:
            self._needed.update(self._proposed)
        self._step = max(1, len(self._proposed) // 2)
