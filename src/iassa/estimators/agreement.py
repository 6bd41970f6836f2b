"""How far the maps of two fills agree, beside what their errors alone would do to them.

Spearman's rank correlation r of two maps, over the pixels of the jackknife's lattice: fills change
the size of effects, an order has none. With u and v the ranks of the maps, standardised to length
1, r = u v. Leaving out a group of masks under both fills moves them by u_g and v_g, so that with
k = (G - 1) / G

    V = k sum_g ((u + u_g)(v + v_g) - r)^2    W = k^2 sum_gh (u_g v_h)^2    SE^2 = max(V - W, V / 2)

V is the jackknife's variance. It counts twice what the errors of both maps do together (Efron and
Stein, Annals of Statistics, 1981), which is W and at most half of it. The interval is taken on
Fisher's scale, atanh r.

Two estimates of one map differ by their errors, so r would not be 1 if the fills agreed. Errors
once more, sqrt(k) sum_g s_g d_g with signs s that are balanced over g, are added to a map. If its
ranks then correlate by a with those from before, then the map has the share 2 - 1 / a^2 of its
variance from what is so, and the rest from its errors. The root of the product of both maps' shares
is what is left of a correlation of 1 (Spearman, Am. J. Psychology, 1904); more is left of it where
errors go together, as those of windows do. Where the interval ends below, the maps disagree beyond
their errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iassa.estimators.effect import Effect
from iassa.image import resize
from iassa.metrics.similarity import correlate, standardise_ranks, standardise_rows

NORMAL = 1.96  # standard errors to either side: 95 %


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
        u, v = (_rank(one, t, groups if known else 0, settled) for one in (first, second))
        found.append(_agree(u, v))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Ranks:
    """Standardised ranks of a map at P pixels.

    Attributes:
        whole: (P,).
        moves: (G, P) what leaving out each group changes; of no group, where that is not known.
        share: of the variance of the map that is not its errors'.
    """

    whole: NDArray[np.float64]
    moves: NDArray[np.float64]
    share: float = 0.0


def _rank(effect: Effect, t: int, groups: int, settled: NDArray[np.bool_]) -> _Ranks:
    """Those of the map of target t, where settled."""
    saliency = resize(effect.saliency[t : t + 1].double(), (settled.shape[0], settled.shape[1]))
    values = saliency[0].cpu().numpy()[settled]
    whole = standardise_ranks(values)
    deviations = effect.deviations[:groups, t].cpu().numpy()
    # Scores that are too small for a map have no error.
    if groups == 0 or not whole.any() or not np.isfinite(deviations).all():
        return _Ranks(whole, np.zeros((0, len(whole))))
    # Less their mean, which is what fewer masks change, whichever they are.
    deviations = deviations[:, settled] - deviations[:, settled].mean(0)
    moves = standardise_rows(values + deviations) - whole
    errors = math.sqrt((groups - 1) / groups) * _balanced_signs(groups) @ deviations
    again = float((standardise_rows(values + errors) @ whole).mean())
    return _Ranks(whole, moves, max(0.0, 2 - again**-2) if again > 0 else 0.0)


def _balanced_signs(groups: int) -> NDArray[np.float64]:
    """Rows of signs (R, G): columns sum to 0, and so do the products of any two (Hadamard's)."""
    signs = np.ones((1, 1))
    while len(signs) <= groups:
        signs = np.block([[signs, signs], [signs, -signs]])
    return signs[:, 1 : groups + 1]


def _agree(first: _Ranks, second: _Ranks) -> RankAgreement:
    u, v = first.whole, second.whole
    if not u.any() or not v.any():
        return RankAgreement(None)
    r = correlate(u, v)
    groups = min(len(first.moves), len(second.moves))
    if groups < 2:
        return RankAgreement(r)
    k = (groups - 1) / groups
    products = first.moves @ second.moves.T
    moved = first.moves @ v + second.moves @ u + products.diagonal()
    both = k * float(np.square(moved).sum())
    variance = max(both - k**2 * float(np.square(products).sum()), both / 2)
    return RankAgreement(r, _interval(r, variance), math.sqrt(first.share * second.share))


def _interval(r: float, variance: float) -> tuple[float, float]:
    """Of a correlation, by Fisher's transformation."""
    if variance == 0 or abs(r) == 1:
        return r, r
    reach = NORMAL * math.sqrt(variance) / (1 - r * r)
    return math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)
