"""One formula in the place of four: a Gaussian process over cells, against the default `iassa`.

    python benchmarks/gaussian_process.py --run DIR --images DIR --annotations FILE
    python benchmarks/gaussian_process.py --run DIR
    iassa report DIR --reference iassa

The scores of the masks, freed of the keep probability, are X~ w + noise with w ~ N(0, s^2 K), where

    K(a, b) = exp(-|a - b|^2 / (2 length^2)) exp((cos(phi_a, phi_b) - 1) / likeness)

is the attention as a covariance. Length, likeness, the noise and s are those of the highest
marginal likelihood on a grid. The map is the posterior mean, its error the posterior deviation. It
has no slope per pixel, no attention afterwards and no level sets. `gp` draws three rounds of four
within the region of its map, as `iassa` does; `gp-anywhere` draws all of them anywhere.

The first command takes photographs of MS-COCO, the second the scenes whose right map is known.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import iassa
from iassa.estimators.attention import Attention
from iassa.estimators.debiased_effect import design, invert_design
from iassa.estimators.effect import Effect
from iassa.estimators.jackknife import Lattice, deviate
from iassa.estimators.kernel_regression import Prior
from iassa.image import resize
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Masks
from iassa.methods.engine.loop import Setting
from tuning_run import run_tuning, tuning_options

CELLS = (28, 28)
LENGTHS = (1 / 28, 1 / 14, 1 / 7, 2 / 7)  # of a side
LIKENESSES = (0.1, 0.3, 1.0)
NOISES = tuple(10.0**k for k in range(-3, 3))  # over the mean variance that the prior explains


class GaussianProcess:
    """Keeps all masks, as the posterior hangs on all of them; see the module."""

    def __init__(self, setting: Setting) -> None:
        """Start empty."""
        self._reference, self._size = setting.reference, setting.size
        self._lattice = Lattice.over(setting.size, setting.reference.device)
        self._priors = [
            Prior(CELLS, length, likeness).covariance(setting.attention)
            for length, likeness in itertools.product(LENGTHS, LIKENESSES)
        ]
        self._open: dict[tuple[bool, str], list[tuple[Tensor, Tensor]]] = {}
        self._cells: list[Tensor] = []
        self._scores: list[Tensor] = []

    def add(self, masks: Masks, scores: Tensor, plan: MaskPlan, family: str) -> None:
        """Add a batch to the open round."""
        sample = masks.at(self._lattice.rows, self._lattice.columns).double()
        cells = torch.nn.functional.adaptive_avg_pool2d(sample, CELLS).flatten(1)
        known = torch.cat([scores, design(torch.tensor(plan.keep_probability).to(scores))], dim=1)
        self._open.setdefault((plan.confined, family), []).append((cells, known))

    def close_round(self) -> None:
        """Free cells and scores of the keep probability, family by family."""
        T = len(self._reference)
        for batches in self._open.values():
            x, known = (torch.cat(part) for part in zip(*batches, strict=True))
            f, z = known[:, :T] - known[0, :T], known[:, T:]
            to_design = invert_design(z.T @ z)[0] @ z.T
            self._cells.append(x - z @ (to_design @ x))
            self._scores.append(f - z @ (to_design @ f))
        self._open.clear()

    def estimate(self) -> Effect:
        """Posterior mean and deviation by the prior and the noise of the highest likelihood."""
        x, f = torch.cat(self._cells), torch.cat(self._scores)
        likeliest = (self._best_noise(x, f, prior) for prior in self._priors)
        _, prior, noise = max(likeliest, key=lambda one: one[0])
        across = x @ prior
        factor = torch.linalg.cholesky(across @ x.T + noise * torch.eye(len(x)).to(x))
        solved = torch.cholesky_solve(f, factor)
        mean = across.T @ solved  # (C, T)
        scale = (f * solved).sum(0) / len(f)  # s^2, (T,)
        known = (across * torch.cholesky_solve(across, factor)).sum(0)
        left = (prior.diagonal() - known).clamp(min=0)
        error = (left[:, None] * scale).sqrt().T.view(-1, *CELLS)
        maps = resize(mean.T.reshape(-1, *CELLS), self._size)
        deviations, settled = deviate(resize(error, self._lattice.size))
        everywhere = torch.ones(self._size, dtype=torch.bool)
        return Effect(maps.float(), everywhere, deviations, settled, signed=True)

    def _best_noise(self, x: Tensor, f: Tensor, prior: Tensor) -> tuple[float, Tensor, float]:
        """Log marginal likelihood, s^2 profiled out; the prior; the noise over s^2."""
        values, vectors = torch.linalg.eigh(x @ prior @ x.T)
        values, turned = values.clamp(min=0), (vectors.T @ f).square()
        unit = float(values.mean())
        found = []
        for share in NOISES:
            variances = values + share * unit
            scale = (turned / variances[:, None]).mean(0).clamp(min=1e-300)
            evidence = -0.5 * len(f) * scale.log().sum() - 0.5 * f.shape[1] * variances.log().sum()
            found.append((float(evidence), prior, share * unit))
        return max(found, key=lambda one: one[0])


@dataclass(frozen=True, kw_only=True)
class GaussianProcessMap(iassa.methods.Iassa):
    """The masks of `iassa` without level sets, read by the Gaussian process alone."""

    name: ClassVar[str] = "gaussian-process"

    level_share: float = 0.0

    def estimator(self, setting: Setting) -> GaussianProcess:
        """The posterior."""
        return GaussianProcess(setting)

    def adjust(self, effect: Effect, attention: Attention | None) -> Effect:
        """Nothing: the attention is in the prior."""
        del attention
        return effect


METHODS: Mapping[str, iassa.methods.Iassa] = {
    "iassa": iassa.methods.Iassa(),
    "gp": GaussianProcessMap(),
    "gp-anywhere": GaussianProcessMap(explore_every=1),
}


if __name__ == "__main__":
    sys.exit(run_tuning(tuning_options(__doc__).parse_args(), METHODS))
