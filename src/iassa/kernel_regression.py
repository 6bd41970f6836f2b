"""Kernel regression of the scores on the masks: all pixels at once, attention as a prior.

Where the effect of a pixel is a slope of its own, here one linear model of all cells of a coarse
grid explains the scores, f~ = X~ w + noise, with a Gaussian prior on w: cells that are near and
look alike are expected to matter alike. It is ridge regression with the prior's covariance

    K(a, b) = exp(-|a - b|^2 / (2 LENGTH^2)) exp((cos(phi_a, phi_b) - 1) / LIKENESS)

and the posterior has a variance. It streams: X~^T X~ and X~^T f~ are sums over masks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iassa.attention import Attention
from iassa.image import resize
from iassa.rendering import Masks
from iassa.saliency import DebiasedEffect, Effect, design, invert_design, standardise

__all__ = ["EffectWithKernelRegression", "KernelRegression", "prior_covariance"]

CELLS = (20, 20)  # with 28 x 28 the algebra takes six times as long
LENGTH = 1 / 7  # of a side
LIKENESS = 0.3
NOISE_SHARE = 0.5  # variance of the noise, that of the scores being 1


def prior_covariance(attention: Attention | None, cells: tuple[int, int]) -> Tensor:
    """K over cells, (P, P) float64 with ones on the diagonal; without attention the place alone."""
    rows, columns = torch.meshgrid(*(torch.arange(n).double() / n for n in cells), indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    covariance = torch.exp(-torch.cdist(place, place).square() / (2 * LENGTH**2))
    if attention is None:
        return covariance
    planes = attention.features.T.reshape(-1, *attention.size).double()
    looks = torch.nn.functional.normalize(resize(planes, cells).flatten(1).T, dim=1)
    return covariance.to(looks.device) * torch.exp((looks @ looks.T - 1) / LIKENESS)


class KernelRegression:
    """Streamed kernel regression; the map is w per cell, interpolated."""

    def __init__(
        self, reference: Tensor, size: tuple[int, int], attention: Attention | None
    ) -> None:
        """Start empty sums; see `saliency.CoverageMean`; attention gives the prior its likeness."""
        self._reference = reference
        self._size = size
        self._covariance = prior_covariance(attention, CELLS).to(reference)
        self._num_cells = CELLS[0] * CELLS[1]
        self._open: dict[str, Tensor] = {}
        self._gram = reference.new_zeros((self._num_cells, self._num_cells))
        self._product = reference.new_zeros((self._num_cells, len(reference)))
        self._count = 0
        self._unit: Tensor | None = None

    def add(self, masks: Masks, scores: Tensor, keep_probability: Tensor, family: str) -> None:
        """Add a batch; see `saliency.Estimator.add`."""
        cells = masks.shrink(CELLS).double().flatten(1)
        known = torch.cat([cells, scores - self._reference, design(keep_probability)], dim=1)
        gram = known.T @ known
        self._open[family] = self._open[family] + gram if family in self._open else gram

    def close_round(self) -> None:
        """Free the round's sums of the keep probability, standardise and add them."""
        P = self._num_cells
        cleaned, freedom, raw = [], 0, self._reference * 0
        for gram in self._open.values():
            inverse, rank = invert_design(gram[-3:, -3:])
            cleaned.append(gram[:-3, :-3] - gram[:-3, -3:] @ inverse @ gram[-3:, :-3])
            raw += gram[P:-3, P:-3].diagonal()
            freedom += int(gram[-3, -3].item()) - rank  # z begins with 1, so this counts the masks
        self._open.clear()
        if not cleaned or freedom <= 0:
            return
        total = torch.stack(cleaned).sum(0)
        squares = total[P:, P:].diagonal()
        # What the regression leaves of a flat score is rounding.
        squares = torch.where(squares > 1e-12 * raw, squares, 0.0)
        spread, self._unit = standardise(squares, freedom, self._unit)
        self._gram += total[:P, :P]
        self._product += torch.where(squares > 0, total[:P, P:] / spread, 0.0)
        self._count += freedom

    def estimate(self) -> Effect:
        """Posterior mean and standard deviation of w, in units of the first round's scores."""
        P = self._num_cells
        if self._count == 0 or self._unit is None:
            zero = self._reference.new_zeros((len(self._reference), *self._size))
            return Effect(zero.float(), torch.full_like(zero, torch.inf).float())
        # The prior is scaled so that what it expects to explain has the scores' variance, 1, and
        # the noise NOISE_SHARE of that.
        scale = self._count / (self._gram * self._covariance).sum().clamp(min=1e-12)
        prior = scale * self._covariance
        explained = self._gram @ prior
        system = explained + NOISE_SHARE * torch.eye(P).to(prior)
        solved = torch.linalg.solve(system, torch.cat([self._product, explained], dim=1))
        mean = prior @ solved[:, : self._product.shape[1]]  # (P, T)
        # The diagonal of prior - prior system^-1 explained.
        variance = prior.diagonal() - (prior * solved[:, self._product.shape[1] :].T).sum(1)
        maps = torch.cat([mean.T * self._unit[:, None], variance.clamp(min=0).sqrt()[None]])
        maps = resize(maps.reshape(-1, *CELLS), self._size)
        error = maps[-1:] * self._unit[:, None, None]
        return Effect(maps[:-1].float(), error.float())


class EffectWithKernelRegression:
    """(1 - share) of the debiased effect and share of a kernel regression scaled to its length.

    The two measure different things, the slope of one pixel and its part in a model of all, so the
    second is scaled; the standard errors are added, as if they always erred together.
    """

    def __init__(
        self, reference: Tensor, size: tuple[int, int], attention: Attention | None, share: float
    ) -> None:
        """Start both; see `KernelRegression`; `share` is in [0, 1]."""
        self._share = share
        self._parts = (
            DebiasedEffect(reference, size),
            KernelRegression(reference, size, attention),
        )

    def add(self, masks: Masks, scores: Tensor, keep_probability: Tensor, family: str) -> None:
        """Add a batch to both; see `saliency.Estimator.add`."""
        for part in self._parts:
            part.add(masks, scores, keep_probability, family)

    def close_round(self) -> None:
        """End the round of both."""
        for part in self._parts:
            part.close_round()

    def estimate(self) -> Effect:
        """Both, weighted."""
        effect, kernel = (part.estimate() for part in self._parts)
        # In float64, as squares of scores of 1e30 are too large for float32.
        own_length, length = (e.saliency.double().flatten(1).norm(dim=1) for e in (effect, kernel))
        scale = torch.where(length > 0, own_length / length, 0.0)[:, None, None].float()
        own, other = 1 - self._share, self._share * scale
        error = torch.where(other > 0, other * kernel.standard_error, 0.0)  # 0 * inf is not 0
        return Effect(
            own * effect.saliency + other * kernel.saliency, own * effect.standard_error + error
        )
