"""IASSA: iterative and adaptive sampling with spatial attention, as we recommend it.

The loop (`engine.loop`) is the paper's. What differs from `iassa-paper`: subsets of superpixels and
level sets of the map in the place of single windows; the debiased effect, and with it a kernel
regression on the masks, in the place of Eq. 5; attention over normalised features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within
from iassa.estimators.attention import Attention, spatial_attention
from iassa.estimators.debiased_effect import DebiasedEffect
from iassa.estimators.effect import Effect, Estimator, adjust, highest_activated_region
from iassa.estimators.kernel_regression import EffectWithKernelRegression
from iassa.estimators.saturation import informative_range
from iassa.explanations.evidence import Feedback
from iassa.masks.grids import draw_segments, fit_grid
from iassa.masks.level_sets import draw_level_sets, rank_cells
from iassa.masks.plans import MaskPlan
from iassa.masks.superpixels import Segmentations, segment
from iassa.methods.engine.loop import Method, Setting
from iassa.models.features import SOURCES, FeatureExtractor, extract, is_source

Share: TypeAlias = Annotated[float, Within(0, 1)]
# The smallest and the largest share of an image that a mask keeps.
Shares: TypeAlias = Annotated[tuple[float, float], Within(0, 1, above=True, below=True)]


@dataclass(frozen=True, kw_only=True)
class Iassa(Method):
    """Rounds of masks: every fourth hides places anywhere, the others are drawn by the last map.

    A round has a fixed number of masks, whatever the budget, so that a longer run begins as a
    shorter one does. Some masks of the rounds that the map draws hide places where it is high,
    others are level sets of it (`level_sets`): one kind finds outlines, the other measures how the
    score depends on the order of the map. A map that drew all later masks would go on sharpening:
    what it calls low would never be asked about again. As the kinds of rounds keep their shares,
    there is one map that more calls come closer to.

    Attributes:
        round_calls: masks in a round.
        max_rounds: rounds at most; None for as many as the budget allows.
        explore_every: rounds of which one, the first, hides places anywhere.
        segment_counts: superpixels of the segmentations of the rounds that hide places anywhere.
        fine_segment_counts: those of them that the other rounds use.
        compactness: SLIC's, one segmentation for each count and each of these.
        keep_probability: smallest and largest chance that a superpixel is kept; each mask has its
            own, stratified over the range.
        adapt_keep_probability: whether superpixels of all rounds but the first use only the part of
            that range in which the scores of the first moved; for models that are saturated, sure
            of the whole image whatever little is hidden, or lost as soon as a little is.
        level_share: share of the masks that show the level sets of the last map, in the rounds that
            it draws; the others hide places within its region. A larger share inserts better and
            localises less.
        level_cells: cells per side of a square image that a level set consists of.
        level_shown: smallest and largest share of the image that a level set is.
        level_shuffle: standard deviation of the smooth noise on the map's ranks, which are 0 to 1,
            before it is cut.
        beta: weight of the map against its attended self, Eq. 6; 1 is no attention. A smaller
            weight localises better and deletes worse.
        threshold: share of the range of the map's positive part above which the region lies, Eq. 8.
        features: source of the features of Eq. 9: a name in `FEATURES`, 'none', an extractor, or a
            reference to one, as in 'FILE.onnx:tensor_a,tensor_b'; see `open_features`.
        positions: positions per side that attention is taken over.
        temperature: of its softmax.
        kernel_share: share of a kernel regression on the masks in the effect; 0 is none. A larger
            share deletes better and localises less.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "iassa"

    round_calls: Annotated[int, Within(16, 100_000)] = 256
    max_rounds: Annotated[int | None, Within(1, 1_000_000)] = None
    explore_every: Annotated[int, Within(1, 1_000_000)] = 4
    segment_counts: Annotated[tuple[int, ...], Within(2, 2000)] = (16, 32, 64, 128)
    fine_segment_counts: tuple[int, ...] = (64, 128)
    compactness: Annotated[tuple[float, ...], Within(0.001, 1_000_000)] = (5.0, 10.0, 20.0)
    keep_probability: Shares = (0.1, 0.9)
    adapt_keep_probability: bool = False
    level_share: Share = 0.5
    level_cells: Annotated[int, Within(2, 112)] = 28
    level_shown: Shares = (0.05, 0.85)
    level_shuffle: Annotated[float, Within(0, 100)] = 0.25
    beta: Share = 0.3
    threshold: Annotated[float, Within(0, 1, below=True)] = 0.2
    features: str | FeatureExtractor = "efficientnet-lite0"
    positions: Annotated[int, Within(1, 224)] = 56
    temperature: Annotated[float, Within(0.001, 1000)] = 0.1
    kernel_share: Share = 0.3

    def __post_init__(self) -> None:
        """Refuse hyperparameters that do not go together."""
        super().__post_init__()
        for name in ("keep_probability", "level_shown"):
            low, high = getattr(self, name)
            self._require(name, low <= high, "the lower first")
        fine = set(self.fine_segment_counts)
        known = bool(fine) and fine <= set(self.segment_counts)
        self._require("fine_segment_counts", known, "some of segment_counts")
        number = len(self.segment_counts) * len(self.compactness)
        self._require("compactness", number <= 32, "few enough for 32 segmentations in all")
        self._require_room(self.round_calls, max(self.level_cells**2, *self.segment_counts))
        self._require("features", is_source(self.features), SOURCES)

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """Superpixels and level sets of round k; see `Method.plan`."""
        if self.max_rounds is not None and k >= self.max_rounds:
            return {}
        assert setting.segmentations is not None
        counts, region, ranks = self.fine_segment_counts, feedback.region, feedback.ranks
        if k % self.explore_every == 0:
            counts, region, ranks = self.segment_counts, None, None
        num_level_sets = 0 if ranks is None else round(self.level_share * self.round_calls)
        num_segment_masks = self.round_calls - num_level_sets
        plans: dict[str, MaskPlan] = {}
        if num_segment_masks:
            plans["segment"] = draw_segments(
                num_segment_masks,
                setting.segmentations.num_segments,
                setting.segmentations.of(counts),
                feedback.keep_probability or self.keep_probability,
                setting.rng(k, 0),
                region,
            )
        if num_level_sets and ranks is not None:
            plans["level"] = draw_level_sets(
                num_level_sets, ranks, self.level_shown, self.level_shuffle, setting.rng(k, 1)
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

    def segmentations(self, image: Tensor) -> Segmentations:
        """SLIC, once for each count and compactness."""
        return segment(image, self.segment_counts, self.compactness)

    def attention(self, image: Tensor) -> Attention | None:
        """Features of the image, normalised level by level (Eq. 9)."""
        if self.beta == 1 and self.kernel_share == 0:
            return None
        levels = extract(self.features, image, self.positions**2)
        if not levels:
            return None
        positions = (self.positions, self.positions)
        return spatial_attention(levels, positions, temperature=self.temperature)

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
        """HAR(S') of Eq. 8, of the map's positive part; everywhere if that part is flat."""
        positive = adjusted.clamp(min=0)
        region = highest_activated_region(positive, self.threshold).cpu().numpy()
        return region if region.any() else None
