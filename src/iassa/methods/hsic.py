"""HSIC attribution (Novello et al., NeurIPS 2022): how much the score depends on each cell.

The image is cut into a grid of cells, each kept or hidden by the bit of a quasi-random point, and
the map is the Hilbert-Schmidt independence criterion between a cell's bit and the score: 0 if they
are independent. `estimators/dependence.py` has the formula, the kernels and the width.

What differs from the authors' package, xplique:

- The sequence is scrambled, so that seeds differ. (The paper draws a Latin hypercube.)
- The sum is divided by N^2 instead of N, so that it does not grow with the calls.
- The kernel of the scores is never there as a whole: memory does not grow with its square.
- The map of cells is enlarged with a bilinear filter; the package's is bicubic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from iassa.checks import Within
from iassa.estimators.dependence import Dependence
from iassa.estimators.effect import Estimator
from iassa.explanations.evidence import Feedback
from iassa.masks.cells import draw_halves
from iassa.masks.grids import fit_grid
from iassa.masks.plans import MaskPlan
from iassa.methods.engine.loop import MOST_CELLS, Method, Setting


@dataclass(frozen=True, kw_only=True)
class Hsic(Method):
    """HSIC of the cells of a grid; the literature has 8 x 8 cells and 500 calls.

    Each round has twice as many masks as the one before, since a map looks at all pairs of masks.

    The criterion has no score unit and no sign: a cell that speaks against the target is as high as
    one that speaks for it. A score that stands for nearly nothing, of median 0, says little: the
    width of its kernel is that median.

    Attributes:
        round_calls: masks of the first round, after which `iterate` yields a map.
        grid_size: cells per side of a square image.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "hsic"

    round_calls: Annotated[int, Within(16, 100_000)] = 256
    grid_size: Annotated[int, Within(2, 16)] = 8

    @property
    def measures(self) -> str:
        """The criterion."""
        return "dependence"

    def __post_init__(self) -> None:
        """Refuse hyperparameters that do not go together."""
        super().__post_init__()
        self._require_room(self.round_calls, self.grid_size**2)

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """The next masks of the sequence; see `Method.plan`."""
        most = MOST_CELLS // self.grid_size**2
        counts = [min(most, self.round_calls << round_) for round_ in range(k + 1)]
        grid = fit_grid(self.grid_size, setting.photo_size)
        return {"cells": draw_halves(sum(counts[:-1]), counts[-1], grid, setting.rng(0))}

    def estimator(self, setting: Setting) -> Estimator:
        """HSIC."""
        grid = fit_grid(self.grid_size, setting.photo_size)
        return Dependence(setting.reference, setting.size, grid)
