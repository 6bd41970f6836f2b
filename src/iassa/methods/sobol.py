"""Sobol attribution (Fel et al., NeurIPS 2021, 'Look at the Variance!'): shares of the variance.

The image is cut into a grid of d cells. Each cell is kept to a degree in [0, 1], drawn from a
quasi-random sequence, and the map is the total-order Sobol index of each cell, by Jansen's
estimator: the share of the score's variance in which the cell has a part, alone or with others. A
design of d + 2 calls asks about each cell once; see `estimators/total_order.py`.

What differs from the authors' package, xplique:

- The sequence is scrambled, so that seeds differ.
- The variance is that of all scores; see there.
- The map of cells is enlarged with a bilinear filter; the package's is bicubic.
- Any budget is used to its end. Where the calls cut a design short, the cells that were asked
  about count. A budget below one design, d + 2 masks, goes to the largest grid that has one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from iassa.checks import Within
from iassa.estimators.effect import Estimator
from iassa.estimators.total_order import TotalOrder
from iassa.explanations.evidence import Feedback
from iassa.explanations.explanation import Explanation
from iassa.masks.cells import draw_designs
from iassa.masks.grids import fit_grid
from iassa.masks.plans import MaskPlan
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.case import Case
from iassa.methods.engine.loop import Method, Setting

MORE = 2  # masks of a design, beside one for each cell


@dataclass(frozen=True, kw_only=True)
class Sobol(Method):
    """Total-order Sobol indices of the cells of a grid.

    The literature's 32 designs of 8 x 8 cells are 2112 masks. Calls decide how many designs there
    are. With fewer than d + 2 masks the run has a smaller `grid_size`, which its record tells; a
    run that extends it keeps that grid.

    An index has no score unit and no sign: a cell that speaks against the target is as high as one
    that speaks for it.

    Attributes:
        round_designs: drawn at a time, after which `iterate` yields a map.
        grid_size: cells per side of a square image.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "sobol"

    round_designs: Annotated[int, Within(1, 64)] = 4
    grid_size: Annotated[int, Within(2, 16)] = 8

    @property
    def measures(self) -> str:
        """The index."""
        return "share of the variance"

    def run(self, case: Case, budget: Budget) -> Iterator[Explanation]:
        """With the largest grid up to `grid_size` that the calls can ask about once."""
        size = self.grid_size
        if case.evidence is None:
            designs = len(case.fills)  # at least one for each
            while size > 2 and designs * self._design(size, case.photo_size) > budget.left:
                size -= 1
        fitting = dataclasses.replace(self, grid_size=size)
        return Method.run(fitting, case, budget)

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """The next designs of the sequence; see `Method.plan`."""
        first = k * self.round_designs
        grid = fit_grid(self.grid_size, setting.photo_size)
        order = self._order(setting)
        return {"design": draw_designs(first, self.round_designs, grid, order, setting.rng(0))}

    def estimator(self, setting: Setting) -> Estimator:
        """Jansen's."""
        grid = fit_grid(self.grid_size, setting.photo_size)
        return TotalOrder(setting.reference, setting.size, grid, self._order(setting))

    def _design(self, grid_size: int, photo_size: tuple[int, int]) -> int:
        """Masks of a design."""
        return math.prod(fit_grid(grid_size, photo_size)) + MORE

    def _order(self, setting: Setting) -> NDArray[np.integer]:
        """Of the cells in a design: where calls end inside of one, they have gone to any cells."""
        cells = math.prod(fit_grid(self.grid_size, setting.photo_size))
        return setting.rng(1).permutation(cells)
