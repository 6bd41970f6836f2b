"""LIME (Ribeiro et al., KDD 2016): one linear model of all superpixels, near the whole image.

After `lime_image` of the `lime` package: superpixels are kept or hidden by the toss of a coin, and

    min over b, c of  sum_i w_i (f_i - b - x_i c)^2 + ridge |c|^2

is solved, x_i being the bits of sample i (1 = kept). Samples near the whole image, the first of
them, count more: w = sqrt(exp(-d^2 / kernel_width^2)), d the cosine distance of x_i to all ones,
1 - sqrt(kept / S) with `kept` of S superpixels kept. The map is c, at each pixel of the superpixel.

What differs from the package:

- Hidden superpixels show the `baseline`, grey unless told otherwise. The package's default is the
  mean colour of each; as an array (H, W, 3) of such colours it can be given as the baseline.
- The image is segmented as the black box sees it, and at 224 x 224 pixels at most.
- The coins are tossed with this library's random numbers.

The package's selection of features does nothing with its defaults: of up to 100000 features it
takes those of the highest weights, which is all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.attention import Attention
from iassa.jackknife import GroupedProducts, Lattice
from iassa.loop import Method, Setting
from iassa.masks import MaskPlan, SegmentPlan, draw_segments
from iassa.rendering import Masks
from iassa.saliency import Effect, Estimator
from iassa.segmentation import ALGORITHMS, Segmentations, segment_once

__all__ = ["Lime", "LocalRegression"]

KEEP_PROBABILITY = 0.5


@dataclass(frozen=True, kw_only=True)
class Lime(Method):
    """LIME for images, with the defaults of the `lime` package.

    Attributes:
        round_calls: masks drawn at a time, after which `iterate` yields a map.
        segmentation: 'quickshift', the package's, or 'slic'. Of an image of a few dozen pixels a
            side quickshift makes one segment.
        num_segments: about how many segments SLIC is to make; quickshift finds its own number.
        kernel_width: of the weight of a sample, in cosine distances.
        ridge: penalty on the coefficients, in samples of weight 1.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "lime"

    round_calls: int = 256
    segmentation: str = "quickshift"
    num_segments: int = 100
    kernel_width: float = 0.25
    ridge: float = 1.0

    def __post_init__(self) -> None:
        """Refuse hyperparameters that make no sense."""
        super().__post_init__()
        known = " or ".join(map(repr, ALGORITHMS))
        self._require("round_calls", 16 <= self.round_calls <= 100_000, "from 16 to 100000")
        self._require("segmentation", self.segmentation in ALGORITHMS, known)
        # Sums over each group of masks are squares of it: 65 MB at 500.
        self._require("num_segments", 2 <= self.num_segments <= 500, "from 2 to 500")
        self._require("kernel_width", self.kernel_width > 0, "above 0")
        self._require("ridge", self.ridge > 0, "above 0")

    def plan(
        self, k: int, region: NDArray[np.bool_] | None, setting: Setting
    ) -> dict[str, MaskPlan]:
        """Subsets of superpixels of round k; see `Method.plan`."""
        assert setting.segmentations is not None
        keep = (KEEP_PROBABILITY, KEEP_PROBABILITY)
        number = setting.segmentations.num_segments
        rng = setting.rng(k, 0)
        return {"segment": draw_segments(self.round_calls, number, np.zeros(1, int), keep, rng)}

    def segmentations(self, image: Tensor) -> Segmentations:
        """One segmentation."""
        return segment_once(image, self.segmentation, self.num_segments)

    def estimator(
        self,
        reference: Tensor,
        size: tuple[int, int],
        attention: Attention | None,
        segmentations: Segmentations | None,
    ) -> Estimator:
        """Weighted ridge regression on the bits."""
        assert segmentations is not None
        return LocalRegression(reference, segmentations, self.kernel_width, self.ridge)


class LocalRegression:
    """Weighted ridge regression of the scores on the bits of superpixels, streamed.

    Kept are the sums of its normal equations over each group of masks, never the masks. In them
    h = 1 - x stands for the bits and f(I) - f for the scores: the coefficients are the same, the
    intercept takes up the rest, and the whole image is the origin, where both are 0.

    The standard error is about what the same number of masks would give, drawn anew: the ridge
    shrinks the coefficients a little, less with more masks, and that is no part of it.
    """

    def __init__(
        self,
        reference: Tensor,
        segmentations: Segmentations,
        kernel_width: float,
        ridge: float,
    ) -> None:
        """Start empty sums.

        Args:
            reference: (T,) float64 scores f(I) of the whole image, on the device of the masks.
            segmentations: one segmentation into S segments.
            kernel_width: of a sample's weight, in cosine distances.
            ridge: penalty on the coefficients.
        """
        self._reference = reference
        self._labels = segmentations.labels[0]
        self._kernel_width = kernel_width
        self._lattice = Lattice.over(
            (self._labels.shape[0], self._labels.shape[1]), reference.device
        )
        columns = 1 + segmentations.num_segments  # z = (1, h)
        # sum of w z (z, f(I) - f)^T over each group; no group has the whole image or the penalty
        self._sums = GroupedProducts((columns, columns + len(reference)), reference)
        self._always = reference.new_zeros((columns, columns + len(reference)))
        self._always.diagonal()[0] = 1  # the whole image, z = (1, 0)
        self._always.diagonal()[1:] = ridge
        self._count = 0

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch; see `saliency.Estimator.add`. The bits are all that matters of the masks."""
        assert isinstance(plan, SegmentPlan), "LIME is about superpixels"
        hidden = 1 - torch.tensor(plan.bits).to(scores)
        distance = 1 - (1 - hidden.mean(1)).sqrt()
        weight = (-(distance.square()) / self._kernel_width**2).exp().sqrt()
        design = torch.cat([torch.ones_like(hidden[:, :1]), hidden], dim=1)
        known = torch.cat([design, self._reference - scores], dim=1)
        self._sums.add(weight[:, None] * design, known)
        self._count += len(scores)

    def close_round(self) -> None:
        """Nothing to do: the sums of all rounds are one."""

    def estimate(self) -> Effect:
        """The coefficient of each pixel's superpixel: 0, error infinite, if it was never hidden."""
        groups = self._sums.sums()[: self._count]
        together = self._always + groups.sum(0)
        coefficients = self._solve(together)  # (T, S)
        deviations = coefficients.new_zeros((len(groups), *coefficients.shape))
        for group, deviation in zip(groups, deviations, strict=True):
            deviation += self._solve(together - group) - coefficients
        # A regression bends to the masks it has: without a group it moves 1 / (1 - h) times as far
        # as that group's noise is worth, h the parameters to a mask, and what it leaves of the
        # noise of all is 1 - h in the square. The jackknife is too large by the root of their
        # product (MacKinnon and White, J. Econometrics, 1985: HC3 against HC2).
        columns = len(together)
        parameters = torch.linalg.solve(together[:, :columns], groups.sum(0)[:, :columns]).trace()
        deviations *= (1 - parameters / max(1, self._count)).clamp(min=0).sqrt()
        hidden_in = (groups[:, 0, 1 : len(together)] > 0).sum(0)  # groups, (S,)
        labels, at_lattice = self._labels.long(), self._lattice.of(self._labels).long()
        sampled = hidden_in > 0
        return Effect(
            saliency=torch.where(sampled, coefficients, 0.0)[:, labels].float(),
            sampled=sampled[labels],
            deviations=deviations[:, :, at_lattice],
            settled=(hidden_in > 1)[at_lattice],
            signed=True,
        )

    def _solve(self, sums: Tensor) -> Tensor:
        """Coefficients (T, S) from the sums of w z (z, f(I) - f)^T."""
        columns = len(sums)
        solution: Tensor = torch.linalg.solve(sums[:, :columns], sums[:, columns:])
        return solution[1:].T
