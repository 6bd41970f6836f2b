"""The regression of LIME: one linear model of all superpixels, near the whole image."""

from __future__ import annotations

import torch
from torch import Tensor

from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import GroupedProducts, Lattice
from iassa.masks.plans import MaskPlan, SegmentPlan
from iassa.masks.rendering import Masks
from iassa.masks.superpixels import Segmentations


class LocalRegression:
    """Weighted ridge regression of the scores on the bits of superpixels, streamed.

    Kept are the sums of its normal equations over each group of masks, never the masks. In them
    h = 1 - x stands for the bits and f(I) - f for the scores: the coefficients are the same, the
    intercept takes up the rest, and the whole image is the origin, where both are 0.

    The standard error is about what the same number of masks would give, drawn anew: the ridge
    shrinks the coefficients a little, less with more masks; the error does not cover that.
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
        """Add a batch; see `effect.Estimator.add`. The bits are all that matters of the masks."""
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
