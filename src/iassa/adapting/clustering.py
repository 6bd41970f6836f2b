"""Pseudo-labels: k-means on whitened features of positions, as DeepCluster has it.

Caron, Bojanowski, Joulin, Douze, *Deep Clustering for Unsupervised Learning of Visual Features*,
2018, section 4: features are reduced by PCA, whitened and scaled to length 1. A cluster that is
empty gets the centre of a random cluster that is not, a little moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

SAMPLE = 20_000  # positions that k-means is run on
DIRECTIONS = 64  # that are kept of the features
SLIGHTLY = 1e-2  # moved, of length 1


@dataclass(frozen=True, eq=False)
class Whitening:
    """A linear map to coordinates without correlation, of variance 1.

    Attributes:
        mean: (C,) of the features.
        directions: (C, D), of which each has length 1 / its standard deviation.
    """

    mean: Tensor
    directions: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(..., D) of length 1, of features (..., C)."""
        return normalize((features - self.mean) @ self.directions, dim=-1)


def fit_whitening(features: Tensor, most: int = DIRECTIONS) -> Whitening:
    """The whitening of features (P, C) in at most so many principal directions.

    Directions in which the features hardly vary, next to the first, are left out.
    """
    rows = features.double()
    mean = rows.mean(0)
    away = rows - mean
    values, vectors = torch.linalg.eigh(away.T @ away / len(rows))  # ascending
    values, vectors = values.flip(0)[:most], vectors.flip(1)[:, :most]
    large = values > 1e-6 * values[0]
    directions = vectors[:, large] / values[large].sqrt()
    return Whitening(mean.to(features), directions.to(features))


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of the positions of some images.

    Attributes:
        labels: (N, h, w) int64, the cluster of each position.
        centres: (K, C), the means of the features themselves, of length 1: what views are compared
            with. Whitened ones are for k-means alone.
        weights: (K,) of each cluster, such that all count alike.
    """

    labels: Tensor
    centres: Tensor
    weights: Tensor


def find_clusters(features: Tensor, number: int, generator: torch.Generator) -> Clusters:
    """The clusters of positions.

    Args:
        features: (N, C, h, w), of length 1 at every position.
        number: of the clusters, K.
        generator: of all that is drawn.
    """
    rows = features.permute(0, 2, 3, 1)
    flat = rows.flatten(0, 2)
    sample = flat[torch.randperm(len(flat), generator=generator)[:SAMPLE]]
    whiten = fit_whitening(sample)
    centres = cluster(whiten(sample), number, generator)
    labels = torch.stack([assign(whiten(one.flatten(0, 1)), centres) for one in rows])
    means = centres_of(flat, labels.flatten(), number)
    counts = torch.bincount(labels.flatten(), minlength=number)
    weights = labels.numel() / (number * counts.clamp(min=1))
    return Clusters(labels.reshape(rows.shape[:3]), normalize(means, dim=1), weights)


def assign(points: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre (P,) int64 of each point (P, D)."""
    products = points @ centres.T
    return (products - centres.square().sum(1) / 2).argmax(1)


def cluster(
    points: Tensor, number: int, generator: torch.Generator, iterations: int = 20
) -> Tensor:
    """Centres of k-means.

    Args:
        points: (P, D).
        number: of the clusters, K; at most P.
        generator: draws the first centres, and what fills an empty cluster.
        iterations: of Lloyd's algorithm; it ends before where no label changes.

    Returns:
        (K, D); each is the mean of the points that were assigned to it last.
    """
    centres = _first_centres(points, number, generator)
    labels = assign(points, centres)
    for _ in range(iterations):
        centres = _fill_empty(centres_of(points, labels, number), labels, generator)
        before, labels = labels, assign(points, centres)
        if torch.equal(before, labels):
            break
    return centres


def centres_of(points: Tensor, labels: Tensor, number: int) -> Tensor:
    """Means (K, D) of the points (P, D) of each label (P,); 0 for a label that none has."""
    sums = points.new_zeros(number, points.shape[1]).index_add_(0, labels, points)
    return sums / torch.bincount(labels, minlength=number).clamp(min=1)[:, None].to(sums)


def _first_centres(points: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Points drawn by their distance from others: k-means++ (Arthur and Vassilvitskii, 2007)."""
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [first]
    nearest = (points - points[first]).square().sum(1)
    for _ in range(number - 1):
        # Rounding may leave something below 0, and nothing at all where all points are the same.
        chances = nearest.clamp(min=1e-12)
        chosen.append(int(torch.multinomial(chances, 1, generator=generator)))
        nearest = nearest.minimum((points - points[chosen[-1]]).square().sum(1))
    return points[chosen].clone()


def _fill_empty(centres: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Give each cluster without points the centre of one that has some, a little moved.

    The next assignment shares out the points of that one between both.
    """
    counts = torch.bincount(labels, minlength=len(centres))
    taken = counts.nonzero()[:, 0]
    for empty in (counts == 0).nonzero()[:, 0].tolist():
        one = taken[torch.randint(len(taken), (1,), generator=generator)]
        step = torch.randn(centres.shape[1], generator=generator) * SLIGHTLY
        centres[empty] = centres[one[0]] + step
    return centres
