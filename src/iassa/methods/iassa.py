"""IASSA: iterative and adaptive sampling with spatial attention, as we recommend it.

The loop (`engine.loop`) is the paper's. What differs from `iassa-paper`: masks that hide many
places at once, grids and superpixels, in the place of single windows; the debiased effect, and with
it a kernel regression on the masks, in the place of Eq. 5; attention over normalised features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iassa.estimators.attention import Attention, spatial_attention
from iassa.estimators.debiased_effect import DebiasedEffect
from iassa.estimators.effect import Effect, Estimator, adjust, highest_activated_region
from iassa.estimators.kernel_regression import EffectWithKernelRegression
from iassa.estimators.saturation import informative_range
from iassa.explanations.evidence import Feedback
from iassa.masks.grids import draw_grids, draw_segments, fit_grid
from iassa.masks.level_sets import draw_level_sets, rank_cells
from iassa.masks.plans import MaskPlan
from iassa.masks.superpixels import Segmentations, segment
from iassa.methods.engine.loop import Method, Setting
from iassa.models.features import SOURCES, FeatureExtractor, is_source, open_features

__all__ = ["Iassa"]


@dataclass(frozen=True, kw_only=True)
class Iassa(Method):
    """Rounds of masks, each but the first drawn by the last map, with finer masks.

    A round has a fixed number of masks, whatever the budget, so that a longer run begins as a
    shorter one does. Some masks of all rounds but the first hide places where the last map is high,
    others are level sets of that map (`level_sets`): one kind finds outlines, the other tells how
    much the score owes to what the map has in order.

    Attributes:
        round_calls: masks in a round.
        max_rounds: rounds at most; None for as many as the budget allows.
        grid_sizes: cells per side of a square image, by round; the last for all later ones.
        segment_share: share of the masks that are subsets of superpixels; the others are grids.
        segment_counts: superpixels of the segmentations of the first round.
        fine_segment_counts: those of them that later rounds use.
        compactness: SLIC's, one segmentation for each count and each of these.
        keep_probability: smallest and largest chance that a cell or segment is kept; each mask has
            its own, stratified over the range.
        adapt_keep_probability: whether grids and superpixels of all rounds but the first use only
            the part of that range in which the scores of the first moved; for models that are
            saturated, sure of the whole image whatever little is hidden, or lost as soon as a
            little is.
        level_share: share of the masks of all rounds but the first that show the level sets of the
            last map; the others hide places within its region. More of it inserts better and
            localises less.
        level_cells: cells per side of a square image that a level set consists of.
        level_shown: smallest and largest share of the image that a level set is.
        level_shuffle: standard deviation of the smooth noise on the map's ranks, which are 0 to 1,
            before it is cut.
        beta: weight of the map against its attended self, Eq. 6; 1 is no attention. Less of it
            localises better and deletes worse.
        threshold: share of the range of the map's positive part above which the region lies, Eq. 8.
        features: source of the features of Eq. 9: a name in `FEATURES`, 'none', an extractor, or a
            reference to one, as in 'FILE.onnx:tensor_a,tensor_b'; see `open_features`.
        positions: positions per side that attention is taken over.
        temperature: of its softmax.
        kernel_share: share of a kernel regression on the masks in the effect; 0 is none. More of it
            deletes better and localises less.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "iassa"

    round_calls: int = 256
    max_rounds: int | None = None
    grid_sizes: tuple[int, ...] = (7, 12, 16)
    segment_share: float = 0.5
    segment_counts: tuple[int, ...] = (16, 32, 64, 128)
    fine_segment_counts: tuple[int, ...] = (64, 128)
    compactness: tuple[float, ...] = (5.0, 10.0, 20.0)
    keep_probability: tuple[float, float] = (0.1, 0.9)
    adapt_keep_probability: bool = False
    level_share: float = 0.5
    level_cells: int = 28
    level_shown: tuple[float, float] = (0.05, 0.85)
    level_shuffle: float = 0.25
    beta: float = 0.3
    threshold: float = 0.2
    features: str | FeatureExtractor = "efficientnet-lite0"
    positions: int = 56
    temperature: float = 0.1
    kernel_share: float = 0.3

    def __post_init__(self) -> None:
        """Refuse hyperparameters that make no sense."""
        super().__post_init__()
        low, high = self.keep_probability
        fine = set(self.fine_segment_counts)
        self._require("round_calls", 16 <= self.round_calls <= 100_000, "from 16 to 100000")
        self._require("max_rounds", self.max_rounds is None or self.max_rounds >= 1, "1 or more")
        self._require("grid_sizes", _all_within(self.grid_sizes, 2, 224), "from 2 to 224")
        self._require("segment_share", 0 <= self.segment_share <= 1, "in [0, 1]")
        self._require("segment_counts", _all_within(self.segment_counts, 2, 10_000), "2 to 10000")
        self._require(
            "fine_segment_counts",
            bool(fine) and fine <= set(self.segment_counts),
            "among the counts",
        )
        self._require("compactness", min(self.compactness, default=0) > 0, "above 0")
        number = len(self.segment_counts) * len(self.compactness)
        self._require("compactness", number <= 255, "few enough for 255 segmentations in all")
        self._require("features", is_source(self.features), SOURCES)
        self._require("keep_probability", 0 < low <= high < 1, "0 < low <= high < 1")
        self._require("level_share", 0 <= self.level_share <= 1, "in [0, 1]")
        self._require("level_cells", 2 <= self.level_cells <= 112, "from 2 to 112")
        least, most = self.level_shown
        self._require("level_shown", 0 < least <= most < 1, "0 < low <= high < 1")
        self._require("level_shuffle", 0 <= self.level_shuffle <= 100, "from 0 to 100")
        self._require("beta", 0 <= self.beta <= 1, "in [0, 1]")
        self._require("threshold", 0 <= self.threshold < 1, "in [0, 1)")
        self._require("positions", 1 <= self.positions <= 224, "from 1 to 224")
        self._require("kernel_share", 0 <= self.kernel_share <= 1, "in [0, 1]")
        self._require("temperature", self.temperature > 0, "above 0")

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """Grids, superpixels and level sets of round k; see `Method.plan`."""
        if self.max_rounds is not None and k >= self.max_rounds:
            return {}
        ranks, region = feedback.ranks, feedback.region  # none in the first round
        num_level_sets = 0 if ranks is None else round(self.level_share * self.round_calls)
        num_segment_masks = round(self.segment_share * (self.round_calls - num_level_sets))
        num_grid_masks = self.round_calls - num_level_sets - num_segment_masks
        keep_probability = feedback.keep_probability or self.keep_probability
        plans: dict[str, MaskPlan] = {}
        if num_grid_masks:
            cells = self.grid_sizes[min(k, len(self.grid_sizes) - 1)]
            plans["grid"] = draw_grids(
                num_grid_masks,
                fit_grid(cells, setting.photo_size),
                keep_probability,
                setting.rng(k, 0),
                region,
            )
        if num_segment_masks and setting.segmentations is not None:
            counts = self.segment_counts if region is None else self.fine_segment_counts
            plans["segment"] = draw_segments(
                num_segment_masks,
                setting.segmentations.num_segments,
                setting.segmentations.of(counts),
                keep_probability,
                setting.rng(k, 1),
                region,
            )
        if num_level_sets and ranks is not None:
            plans["level"] = draw_level_sets(
                num_level_sets, ranks, self.level_shown, self.level_shuffle, setting.rng(k, 2)
            )
        return plans

    def choose_keep_probability(
        self, scores: NDArray[np.float64], keep_probability: NDArray[np.float32]
    ) -> tuple[float, float] | None:
        """The quarters of the range in which the scores move, if they are to be found."""
        if not self.adapt_keep_probability:
            return None
        return informative_range(scores, keep_probability, self.keep_probability)

    def estimator(self, setting: Setting) -> Estimator:
        """The debiased effect, with kernel regression if wanted."""
        reference, size = setting.reference, setting.size
        if self.kernel_share == 0:
            return DebiasedEffect(reference, size)
        return EffectWithKernelRegression(reference, size, setting.attention, self.kernel_share)

    def segmentations(self, image: Tensor) -> Segmentations | None:
        """SLIC, once for each count and compactness."""
        if self.segment_share == 0:
            return None
        return segment(image, self.segment_counts, self.compactness)

    def attention(self, image: Tensor) -> Attention | None:
        """Features of the image, normalised level by level (Eq. 9)."""
        if self.beta == 1 and self.kernel_share == 0:
            return None
        extractor = open_features(self.features, image.device)
        if extractor is None:
            return None
        positions = (self.positions, self.positions)
        return spatial_attention(extractor(image), positions, temperature=self.temperature)

    def adjust(self, effect: Effect, attention: Attention | None) -> Effect:
        """S' of Eq. 6."""
        if attention is None or self.beta == 1:
            return effect
        return adjust(effect, attention, self.beta)

    def rank(self, adjusted: Tensor, photo_size: tuple[int, int]) -> NDArray[np.float32] | None:
        """Ranks of the cells of the maps, signed as they are, for the level sets."""
        if self.level_share == 0:
            return None
        return rank_cells(adjusted, fit_grid(self.level_cells, photo_size))

    def region(self, adjusted: Tensor) -> NDArray[np.bool_] | None:
        """HAR(S') of Eq. 8, of the positive part, as 0 is no effect; everywhere if it is flat."""
        positive = adjusted.clamp(min=0)
        region = highest_activated_region(positive, self.threshold).cpu().numpy()
        return region if region.any() else None


def _all_within(numbers: tuple[int, ...], low: int, high: int) -> bool:
    return bool(numbers) and min(numbers) >= low and max(numbers) <= high
