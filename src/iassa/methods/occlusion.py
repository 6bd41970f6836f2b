"""Occlusion with a sliding window (Zeiler and Fergus, ECCV 2014): hide a box, see what it costs.

With f(I) the score of the whole image and f_i that with window i hidden, a pixel's effect is the
mean over the windows that hide it,

    S(x) = sum_i (f(I) - f_i) (1 - M_i(x)) / sum_i (1 - M_i(x))

as captum and xaitk-saliency have it, the latter also the defaults: windows of 50 pixels, every 20.
Here all windows that reach into the image are among them, 169 of a square one, so that pixels at
the border are hidden as often as the others; xaitk takes 144, captum those that lie inside. xaitk
then divides the map by its largest value; here it stays in score units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from iassa.checks import Within
from iassa.estimators.effect import Estimator
from iassa.estimators.occlusion import OcclusionMean
from iassa.explanations.evidence import Feedback
from iassa.masks.plans import MaskPlan
from iassa.masks.windows import plan_windows, sliding_windows
from iassa.methods.engine.loop import Method, Setting


@dataclass(frozen=True, kw_only=True)
class Occlusion(Method):
    """Every window once, in random order: a budget that ends early has seen all sides.

    On a square image there are 169 windows. When all are scored the run ends: nothing is left to
    sample, the map is exact for that lattice of windows, its standard error 0, and other seeds give
    the same.

    Attributes:
        round_calls: windows in a round, after which `iterate` yields a map.
        window: edge of the hidden box, in pixels of an image whose short side is 224.
        stride: of the windows, likewise.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "sliding-window"

    round_calls: Annotated[int, Within(16, 100_000)] = 64
    window: Annotated[float, Within(1, 1000)] = 50.0
    stride: Annotated[float, Within(0, 1000, above=True)] = 20.0

    def __post_init__(self) -> None:
        """Refuse hyperparameters that do not go together."""
        super().__post_init__()
        self._require("stride", self.stride <= self.window, "at most the window")

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """The next windows of the one random order; see `Method.plan`."""
        order = plan_windows(self._windows(setting.size), setting.size, setting.rng(0))
        chosen = order[k * self.round_calls : (k + 1) * self.round_calls]
        return {"window": chosen} if len(chosen) else {}

    def estimator(self, setting: Setting) -> Estimator:
        """The mean over the windows that hide a pixel."""
        return OcclusionMean(setting.reference, setting.size, self._windows(setting.size))

    def _windows(self, size: tuple[int, int]) -> NDArray[np.int32]:
        """All windows, (N, 4)."""
        unit = min(size) / 224
        window = max(1, round(self.window * unit))
        stride = min(float(window), max(1.0, self.stride * unit))
        return sliding_windows(size, window, stride)
