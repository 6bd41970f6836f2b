"""One estimator for each fill, from the masks that were dealt to it, and the mean of their maps.

An effect is about what takes the place of the pixels, so scores under two fills are two samples:
neither their means nor their spreads are one. Each fill has sums of its own. Nothing is held twice,
as each mask is in the sums of its fill alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.estimators.effect import Effect, Estimator
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Masks


class EstimatorsByFill:
    """Streams masks and scores to the estimator of the fill that they show."""

    def __init__(self, estimators: Sequence[Estimator]) -> None:
        """One for each of the F fills, fresh."""
        self._estimators = estimators

    def add(
        self, masks: Masks, scores: Tensor, plan: MaskPlan, fills: NDArray[np.uint8], family: str
    ) -> None:
        """Add a batch; see `Estimator.add`.

        Args:
            masks: N masks of one family.
            scores: (N, T) float64 scores of the masked images.
            plan: what the masks were rendered from.
            fills: (N,) of the masks, below F.
            family: name of the family.
        """
        if len(self._estimators) == 1:
            self._estimators[0].add(masks, scores, plan, family)
            return
        for fill, estimator in enumerate(self._estimators):
            rows = np.flatnonzero(fills == fill)
            if len(rows):
                estimator.add(masks.pick(rows), scores[rows.tolist()], plan[rows], family)

    def close_round(self) -> None:
        """End the round of all."""
        for estimator in self._estimators:
            estimator.close_round()

    def estimate(self) -> tuple[Effect, ...]:
        """The map of each fill."""
        return tuple(estimator.estimate() for estimator in self._estimators)


def average(effects: Sequence[Effect]) -> Effect:
    """The mean of maps under several fills, and its standard error; of one map that map.

    What leaving out a group changes is averaged group by group, as if the group were left out under
    all fills at once. Masks that were dealt have nothing to do with those of another fill, so what
    they change together is nothing on average, and the squares of the fills' errors add up. Windows
    that are asked about under all fills are in one group, and err together.

    Args:
        effects: F of them, of the same targets and size.
    """
    if len(effects) == 1:
        return effects[0]
    groups = [len(one.deviations) for one in effects]
    known = min(groups) > 1  # a fill that has no error leaves the mean without one
    deviations = torch.stack([_fill_up(one, max(groups)) for one in effects]) if known else None
    first = effects[0]
    return Effect(
        saliency=torch.stack([one.saliency.double() for one in effects]).mean(0).float(),
        sampled=torch.stack([one.sampled for one in effects]).all(0),
        deviations=first.deviations[:0] if deviations is None else deviations.mean(0),
        settled=torch.stack([one.settled for one in effects]).all(0) if known else first.settled,
        signed=first.signed,
    )


def _fill_up(effect: Effect, groups: int) -> Tensor:
    """Deviations with groups that change nothing: with few masks a fill has one group less."""
    lacking = groups - len(effect.deviations)
    return torch.nn.functional.pad(effect.deviations, (0, 0) * 3 + (0, lacking))
