"""RISE (Petsiuk et al., 2018): the same loop with nothing fed back.

Random grids over the whole image in every round, and Eq. 5, which the paper took over from RISE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from iassa.checks import Within
from iassa.estimators.coverage_mean import CoverageMean
from iassa.estimators.debiased_effect import DebiasedEffect
from iassa.estimators.effect import Estimator
from iassa.explanations.evidence import Feedback
from iassa.masks.grids import draw_grids, fit_grid
from iassa.masks.plans import MaskPlan
from iassa.methods.engine.loop import Method, Setting


@dataclass(frozen=True, kw_only=True)
class Rise(Method):
    """RISE, with the literature's settings.

    Attributes:
        round_calls: masks drawn at a time, after which `iterate` yields a map.
        grid_size: cells per side of a square image.
        keep_probability: chance that a cell is kept.
        debiased: take the slope of the score on the mask instead of Eq. 5: then 0 means no effect.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "rise"

    round_calls: Annotated[int, Within(16, 100_000)] = 256
    grid_size: Annotated[int, Within(2, 224)] = 7
    keep_probability: Annotated[float, Within(0, 1, above=True, below=True)] = 0.5
    debiased: bool = False

    def __post_init__(self) -> None:
        """Refuse hyperparameters that do not go together."""
        super().__post_init__()
        self._require_room(self.round_calls, self.grid_size**2)

    @property
    def measures(self) -> str:
        """Eq. 5 is a mean score, its debiased form an effect."""
        return "effect" if self.debiased else "mean score"

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """Grids of round k, over the whole image; see `Method.plan`."""
        grid = fit_grid(self.grid_size, setting.photo_size)
        keep = (self.keep_probability, self.keep_probability)
        return {"grid": draw_grids(self.round_calls, grid, keep, setting.rng(k, 0))}

    def estimator(self, setting: Setting) -> Estimator:
        """Eq. 5 as printed, or its debiased form."""
        kind = DebiasedEffect if self.debiased else CoverageMean
        return kind(setting.reference, setting.size)
