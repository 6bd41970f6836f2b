"""Oracles that several tests share: estimators on stored masks, in NumPy, all masks at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.estimators.effect import Effect, Estimator
from iassa.image import resize
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import DenseMasks

Array = NDArray[np.float64]
GROUPS = 32  # masks are dealt to them in turn
SIDE = 28  # of the lattice, at most


@dataclass
class Family:
    """Stored masks of one family in one round, and their scores."""

    masks: Array  # (N, H, W)
    scores: Array  # (N, T)
    keep: Array  # (N,)
    confined: bool = False  # to a region

    def __getitem__(self, which: slice | NDArray[np.bool_]) -> Family:
        return Family(self.masks[which], self.scores[which], self.keep[which], self.confined)


Round = dict[str, Family]
Rounds = Sequence[Round]


@dataclass(frozen=True, eq=False)
class StoredPlan(MaskPlan):
    """All that an estimator asks of a plan: the keep probabilities, and whether it is confined."""

    confined: bool = False  # type: ignore[misc]

    def reach(self, size: tuple[int, int]) -> float:
        return 1.0


def stored_family(
    num_masks: int,
    seed: int,
    size: tuple[int, int],
    *,
    num_targets: int = 2,
    constant: bool = False,
) -> Family:
    """Noise around the keep probability, and scores that are linear in it, with noise."""
    rng = np.random.default_rng(seed)
    keep = np.full(num_masks, 0.4) if constant else rng.uniform(0.1, 0.9, num_masks)
    keep = keep.astype(np.float32).astype(np.float64)
    masks = np.clip(rng.random((num_masks, *size)) + keep[:, None, None] - 0.5, 0, 1)
    masks = masks.astype(np.float32).astype(np.float64)
    effects = np.random.default_rng(99).normal(size=(num_targets, *size))
    scores = np.einsum("thw,nhw->nt", effects, masks) + 3 * keep[:, None] ** 2
    return Family(masks, scores + rng.normal(size=scores.shape), keep)


def smooth_family(num_masks: int, seed: int, size: tuple[int, int], weights: Array) -> Family:
    """Smooth masks, and scores linear in them under weights (T, H, W)."""
    rng = np.random.default_rng(seed)
    keep = rng.uniform(0.2, 0.8, num_masks).astype(np.float32).astype(np.float64)
    coarse = torch.from_numpy(rng.random((num_masks, 6, 8)) < keep[:, None, None]).float()
    masks = resize(coarse, size).double().numpy()
    return Family(masks, np.einsum("thw,nhw->nt", weights, masks), keep)


def feed(estimator: Estimator, family: Family, name: str, batch_size: int) -> None:
    for start in range(0, len(family.masks), batch_size):
        batch = family[start : start + batch_size]
        estimator.add(
            DenseMasks(torch.from_numpy(batch.masks).float()),
            torch.from_numpy(batch.scores),
            StoredPlan(batch.keep.astype(np.float32), batch.confined),
            name,
        )


def run(
    estimator: Estimator, rounds: Rounds, batch_size: int, *, interleave: bool = False
) -> Effect:
    for families in rounds:
        if interleave:
            for start in range(0, max(len(f.masks) for f in families.values()), batch_size):
                for name, family in families.items():
                    feed(estimator, family[start : start + batch_size], name, batch_size)
        else:
            for name, family in families.items():
                feed(estimator, family, name, batch_size)
        estimator.close_round()
    return estimator.estimate()


def reference(num_targets: int, value: float = 0.0) -> torch.Tensor:
    return torch.full((num_targets,), value, dtype=torch.float64)


def design(keep: Array) -> Array:
    return np.stack([np.ones_like(keep), keep, keep**2], axis=1)


def residual(keep: Array, values: Array) -> Array:
    return values - design(keep) @ np.linalg.lstsq(design(keep), values, rcond=1e-9)[0]


def sets(rounds: Rounds) -> list[list[Family]]:
    """The families whose scores are standardised together, in the order of their first ones."""
    found: dict[tuple[int, bool], list[Family]] = {}
    for k, families in enumerate(rounds):
        for family in families.values():
            found.setdefault((k, family.confined), []).append(family)
    return list(found.values())


def residuals(rounds: Rounds) -> tuple[list[tuple[Array, Array, Array]], Array]:
    """What z leaves of masks (N, H W) and standardised scores (N, T), for each family.

    Sets that z explains wholly are left out, a set being what a round has of confined families, or
    of others. Third are the sums of squares of the masks as they were, (H W). Also the unit (T,):
    the mean spread of the sets whose scores moved, weighed by their degrees of freedom.
    """
    parts: list[tuple[Array, Array, Array]] = []
    first = np.zeros(next(iter(rounds[0].values())).scores.shape[1])
    total, weight = first.copy(), first.copy()
    for chosen in sets(rounds):
        left, freedom = [], 0
        for family in chosen:
            if len(family.keep) == 0:
                continue
            flat = family.masks.reshape(len(family.keep), -1)
            scores = residual(family.keep, family.scores)
            scores[:, np.ptp(family.scores, axis=0) == 0] = 0
            left.append((residual(family.keep, flat), scores, (flat**2).sum(0)))
            freedom += len(flat) - int(np.linalg.matrix_rank(design(family.keep), tol=1e-6))
        if freedom <= 0:
            continue
        spread = np.sqrt(sum((scores**2).sum(0) for _, scores, _ in left) / freedom)
        first = np.where(first > 0, first, spread)
        moved = (spread > 0) & (spread >= 0.01 * first)
        total += np.where(moved, freedom * spread, 0)
        weight += np.where(moved, freedom, 0)
        spread = np.maximum(spread, 0.01 * first)
        spread = np.where(spread > 0, spread, 1)
        parts += [(masks, scores / spread, squares) for masks, scores, squares in left]
    return parts, total / np.maximum(weight, 1)


def debiased(rounds: Rounds) -> Array:
    """The docstring of `DebiasedEffect`, with least squares on all masks at once; NaN unsampled."""
    size = next(iter(rounds[0].values())).masks.shape[1:]
    parts, unit = residuals(rounds)
    for masks, _, squares in parts:
        # A mask that varies so little there counts as constant: its sums are mostly rounding.
        masks[:, (masks**2).sum(0) <= 1e-5 * squares] = 0
    numerator = sum(scores.T @ masks for masks, scores, _ in parts)
    denominator = sum((masks**2).sum(0) for masks, _, _ in parts)
    if not parts:
        return np.full((len(unit), *size), np.nan)
    denominator = np.where(denominator > 1e-12, denominator, np.nan)
    slope: Array = unit[:, None] * numerator / denominator
    return slope.reshape(-1, *size)


def one_family(families: Sequence[Family]) -> Family:
    """The masks of several, one after the other."""
    return Family(
        np.concatenate([family.masks for family in families]),
        np.concatenate([family.scores for family in families]),
        np.concatenate([family.keep for family in families]),
    )


def coverage_mean(rounds: Rounds) -> Array:
    """Eq. 5 on all masks at once; NaN where none keeps the pixel."""
    families = [family for one in rounds for family in one.values()]
    masks = np.concatenate([family.masks for family in families])
    scores = np.concatenate([family.scores for family in families])
    coverage = masks.sum(0)
    mean: Array = np.einsum("nt,nhw->thw", scores, masks) / np.where(coverage > 0, coverage, np.nan)
    return mean


def kept_without(rounds: Rounds, group: int) -> list[Round]:
    """The rounds without a group: every 32nd mask of each family in each round, from the group."""
    return [
        {name: f[np.arange(len(f.keep)) % GROUPS != group] for name, f in families.items()}
        for families in rounds
    ]


def lattice_axis(length: int) -> list[int]:
    """The pixels at the centres of equal parts."""
    parts = min(SIDE, length)
    return [int((i + 0.5) * length / parts) for i in range(parts)]


def at_lattice(planes: Array) -> Array:
    """Values of planes (..., H, W) at the lattice."""
    rows, columns = lattice_axis(planes.shape[-2]), lattice_axis(planes.shape[-1])
    return planes[..., rows, :][..., columns]
