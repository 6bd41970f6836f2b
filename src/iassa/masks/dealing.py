"""Which fill each mask shows, where there are several: masks are dealt to them like cards.

Every family of masks in every round is dealt evenly, as is any beginning of it, which is what a
budget that ends early leaves. In each block of F masks, F fills in a random order stand once each:
turns would go along with whatever else takes turns among masks. The numbers come from the seed, the
round and the place of the family in it, so they need not be stored.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from iassa.masks.plans import MaskPlan

# Stands in the place of a round in the generator's key, as `NOISE_STREAM` does.
FILL_STREAM = 2**32 - 2


def serve(plans: Mapping[str, MaskPlan], num_fills: int) -> dict[str, MaskPlan]:
    """Plans of a round for several fills.

    Masks that are drawn without replacement are all asked about in the end, under each fill: each
    of them stands once for every fill, in a row.

    Args:
        plans: by family.
        num_fills: F.
    """
    return {
        family: plan if plan.population is None or num_fills == 1 else plan.repeat(num_fills)
        for family, plan in plans.items()
    }


def deal(plan: MaskPlan, num_fills: int, seed: int, k: int, place: int) -> NDArray[np.uint8]:
    """Numbers of the fills that the masks of a plan show.

    Args:
        plan: N masks; see `MaskPlan.together`.
        num_fills: F.
        seed: of the run.
        k: number of the round, from 0.
        place: of the family among those of the round, from 0.

    Returns:
        (N,) below F. Those of a plan's beginning are the beginning of those of the plan.

    Example:
        >>> from iassa.masks.grids import draw_grids
        >>> grids = draw_grids(6, (2, 3), (0.5, 0.5), np.random.default_rng(0))
        >>> deal(grids, 2, seed=0, k=0, place=0).reshape(3, 2).sum(1).tolist()
        [1, 1, 1]
    """
    if num_fills == 1:
        return np.zeros(len(plan), np.uint8)
    rng = np.random.default_rng((seed, FILL_STREAM, k, place))
    designs = -(-len(plan) // plan.together)
    order = rng.random((-(-designs // num_fills), num_fills)).argsort(axis=1)
    return np.repeat(order.ravel(), plan.together)[: len(plan)].astype(np.uint8)
