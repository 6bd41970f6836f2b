"""How far the maps of two fills agree, beside what their errors alone would do to them.

Spearman's rank correlation r of two maps, over the pixels of the jackknife's lattice. Fills change
the size of effects, an order has none. Its interval is the jackknife's: r is taken again without
each group of masks, left out under both fills, on Fisher's scale z = atanh r,

    SE_z^2 = (G - 1) / G sum_g (z_(g) - z)^2        tanh(z - 1.96 SE_z) to tanh(z + 1.96 SE_z)

Two estimates of one map differ by their errors, so r would not be 1 if the fills agreed. With u and
v the ranks of the two maps, standardised to length 1, and u_(g) and v_(g) those without a group,

    e_u^2 = (G - 1) / G sum_g |u_(g) - u|^2    c = (G - 1) / G sum_g (u_(g) - u)(v_(g) - v)
    expected = sqrt((1 - e_u^2) (1 - e_v^2)) + c

is what is left of a correlation of 1 (Spearman's attenuation, Am. J. Psychology, 1904, with errors
that may go together). Where the interval ends below that, the maps disagree beyond their errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.estimators.effect import Effect
from iassa.image import resize
from iassa.metrics.similarity import correlate, standardise_ranks

NORMAL = 1.96  # standard errors to either side: 95 %
NEARLY_ONE = 1 - 1e-12  # atanh of 1 is infinite


@dataclass(frozen=True)
class RankAgreement:
    """Of two maps.

    Attributes:
        correlation: in [-1, 1]; None of a flat map.
        interval: of 95 %; None where errors are not known.
        expected: what errors alone would leave of a correlation of 1; None where they are not
            known.
    """

    correlation: float | None
    interval: tuple[float, float] | None = None
    expected: float | None = None


def rank_agreement(first: Effect, second: Effect) -> tuple[RankAgreement, ...]:
    """Of the maps of each target under two fills.

    Args:
        first: T maps.
        second: of the same targets and size.
    """
    groups = min(len(first.deviations), len(second.deviations))
    settled = (first.settled & second.settled).cpu().numpy()
    known = groups > 1 and bool(settled.any())
    if not known:
        settled = np.ones(first.saliency.shape[-2:], np.bool_)
    found = []
    for t in range(len(first.saliency)):
        u, v = (_ranks(one, t, groups if known else 0, settled) for one in (first, second))
        found.append(_agree(u, v))
    return tuple(found)


def _ranks(effect: Effect, t: int, groups: int, settled: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Standardised ranks of the map of target t, and of those without each group, (1 + G, P)."""
    shape = (settled.shape[0], settled.shape[1])
    whole = resize(effect.saliency[t : t + 1].double(), shape)
    maps = torch.cat([whole, whole + effect.deviations[:groups, t]] if groups else [whole])
    rows = maps.cpu().numpy()[:, settled]
    if not np.isfinite(rows).all():  # scores that are too small for a map have no error
        rows = rows[:1]
    return np.stack([standardise_ranks(row) for row in rows])


def _agree(first: NDArray[np.float64], second: NDArray[np.float64]) -> RankAgreement:
    """Of the standardised ranks (1 + G, P) of two maps, or of these alone, (1, P)."""
    if not first[0].any() or not second[0].any():
        return RankAgreement(None)
    correlation = correlate(first[0], second[0])
    groups = min(len(first), len(second)) - 1
    if groups < 2:
        return RankAgreement(correlation)
    share = (groups - 1) / groups
    z = _fisher(correlation)
    moved = [_fisher(correlate(*pair)) - z for pair in zip(first[1:], second[1:], strict=True)]
    error = NORMAL * math.sqrt(share * math.fsum(one**2 for one in moved))
    u, v = first[1:] - first[0], second[1:] - second[0]
    of_u, of_v, of_both = (share * float((a * b).sum()) for a, b in ((u, u), (v, v), (u, v)))
    left = math.sqrt(max(0.0, 1 - of_u) * max(0.0, 1 - of_v)) + of_both
    return RankAgreement(
        correlation=correlation,
        interval=(math.tanh(z - error), math.tanh(z + error)),
        expected=min(1.0, max(-1.0, left)),
    )


def _fisher(correlation: float) -> float:
    return math.atanh(max(-NEARLY_ONE, min(NEARLY_ONE, correlation)))
