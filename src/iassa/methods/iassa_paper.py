"""IASSA as published (Vasu and Long, WACV 2020): sliding windows that shrink onto the region.

Where the paper is silent or contradicts itself: Eq. 6 has (1 - beta), as its authors' code; a
window is kept for the next iteration if the part that it *hides* touches the region; E[M] N of
Eq. 5 is counted per pixel, over the windows of all iterations so far; one softmax, over rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within
from iassa.estimators.attention import Attention, spatial_attention
from iassa.estimators.coverage_mean import CoverageMean
from iassa.estimators.effect import Effect, Estimator, adjust, highest_activated_region
from iassa.explanations.evidence import Feedback
from iassa.masks.plans import MaskPlan
from iassa.masks.windows import plan_windows, select_windows, sliding_windows
from iassa.methods.engine.loop import Method, Setting
from iassa.models.features import SOURCES, FeatureExtractor, extract, is_source

# A window that is scored or not moves the mean score of all other pixels: they err together, and an
# error that is itself known to no more than 13 %, as from 32 groups, is too small for all at once.
GROUPS = 64


@dataclass(frozen=True, kw_only=True)
class IassaPaper(Method):
    """The paper's sampler, estimator and attention, with its settings.

    On a square image the first iteration takes 1089 calls; a second one needs more than that. After
    an iteration all of its windows are scored: nothing is left to sample, the map is exact for
    those lattices and its standard error 0. It is above 0 where calls end within an iteration. A
    tolerance is therefore met after the first one, whatever it is: ask for iterations by calls.

    Attributes:
        window: edge of the hidden box at first, in pixels of an image whose short side is 224.
        stride: of the windows at first, likewise.
        window_step: what an iteration takes off the window.
        stride_step: what an iteration takes off the stride.
        max_rounds: K, the most iterations.
        beta: weight of the map against its attended self, Eq. 6.
        threshold: T of Eq. 8, as a share of the map's range.
        features: source of the features of Eq. 9: a name in `FEATURES`, 'none', an extractor, or a
            reference to one, as in 'FILE.onnx:tensor_a,tensor_b'; see `open_features`.
        positions: positions per side that attention is taken over.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "iassa-paper"

    window: Annotated[float, Within(1, 1000)] = 45.0
    stride: Annotated[float, Within(0, 1000, above=True)] = 8.0
    window_step: Annotated[float, Within(0, 1000)] = 1.5
    stride_step: Annotated[float, Within(0, 1000)] = 0.2
    max_rounds: Annotated[int, Within(1, 1_000_000)] = 25
    beta: Annotated[float, Within(0, 1)] = 0.5
    threshold: Annotated[float, Within(0, 1, below=True)] = 0.3
    features: str | FeatureExtractor = "efficientnet-lite0"
    positions: Annotated[int, Within(1, 224)] = 56

    def __post_init__(self) -> None:
        """Refuse hyperparameters that do not go together."""
        super().__post_init__()
        self._require("stride", self.stride <= self.window, "at most the window")
        self._require("features", is_source(self.features), SOURCES)

    @property
    def measures(self) -> str:
        """Eq. 5 is a mean score."""
        return "mean score"

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """Windows of iteration k that touch the region; see `Method.plan`."""
        unit = min(setting.size) / 224
        window = max(1, round((self.window - k * self.window_step) * unit))
        stride = min(float(window), max(1.0, (self.stride - k * self.stride_step) * unit))
        if k >= self.max_rounds:
            return {}
        windows = sliding_windows(setting.size, window, stride)
        if feedback.region is not None:
            windows = select_windows(windows, feedback.region)  # Eq. 7
        if len(windows) == 0:
            return {}
        return {"window": plan_windows(windows, setting.size, setting.rng(k))}

    def estimator(self, setting: Setting) -> Estimator:
        """Eq. 5 as printed."""
        return CoverageMean(setting.reference, setting.size, GROUPS)

    def attention(self, image: Tensor) -> Attention | None:
        """Eq. 9-10 as printed: raw products, no temperature."""
        if self.beta == 1:
            return None
        levels = extract(self.features, image, self.positions**2)
        if not levels:
            return None
        positions = (self.positions, self.positions)
        return spatial_attention(levels, positions, temperature=1.0, normalise=False)

    def adjust(self, effect: Effect, attention: Attention | None) -> Effect:
        """S' of Eq. 6."""
        return effect if attention is None else adjust(effect, attention, self.beta)

    def region(self, adjusted: Tensor) -> NDArray[np.bool_] | None:
        """HAR(S') of Eq. 8; a flat map has an empty one, which ends the run."""
        return highest_activated_region(adjusted, self.threshold).cpu().numpy()
