"""The loop: masks, scores, effect per pixel, attention, region, next masks. Every method is it.

The numbers of equations are those of the paper (Vasu and Long, IASSA, WACV 2020).
"""

from __future__ import annotations

import dataclasses
import itertools
import typing
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.attention import Attention
from iassa.baselines import BaselineLike, FillImage, read_baseline
from iassa.black_box import Adapter, cap_batch, one_thread, score_masks
from iassa.black_boxes import BlackBoxLike, open_black_box
from iassa.budget import Budget, Progress
from iassa.case import Case, conclude, open_case
from iassa.errors import BlackBoxError, CancelledError, InputError, WeakEvidenceWarning
from iassa.explanation import Explanation, Round
from iassa.hyperparameters import describe, fits
from iassa.image import ImageLike, as_image
from iassa.masks import MaskPlan
from iassa.rendering import Canvas
from iassa.saliency import Effect, Estimator
from iassa.segmentation import Segmentations
from iassa.targets import TargetLike

__all__ = ["Method", "RunOptions", "Setting", "last"]


class RunOptions(TypedDict, total=False):
    """Keywords of a run; `Method.iterate` says what each means."""

    target: TargetLike
    calls: int
    seconds: float | None
    seed: int
    batch_size: int
    device: str | torch.device | None
    progress: Callable[[Progress], object] | None
    cancel: Callable[[], bool] | None


@dataclass(frozen=True, eq=False)
class Setting:
    """What a method may look at to plan its masks.

    Attributes:
        size: (height, width) of the masks.
        photo_size: (height, width) of the image as it was given: its aspect ratio counts.
        segmentations: superpixels, for a method that asked for them.
        seed: of all randomness.
    """

    size: tuple[int, int]
    photo_size: tuple[int, int]
    segmentations: Segmentations | None
    seed: int

    def rng(self, *stream: int) -> np.random.Generator:
        """A generator for one family of one round; no two share one, so none depends on another."""
        return np.random.default_rng((self.seed, *stream))


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to draw masks and to read their scores; its fields are its hyperparameters.

    Attributes:
        baseline: what hidden pixels show: a grey or RGB in [0, 1], '#rrggbb', 'zero', 'grey',
            'mean', 'blur', 'noise', the path of an image or an array (H, W, 3); see
            `iassa.baselines`.
    """

    name: ClassVar[str]

    @property
    def measures(self) -> str:
        """What the map's values are: 'effect', signed about 0, or 'mean score' where kept."""
        return "effect"

    baseline: BaselineLike = 0.5

    def __post_init__(self) -> None:
        """Refuse hyperparameters that make no sense; a subclass adds its own `_require`."""
        # An array becomes a value: a method can be compared, hashed and written down.
        object.__setattr__(self, "baseline", read_baseline(self.baseline, self.name))
        for name, kind in typing.get_type_hints(type(self)).items():
            if typing.get_origin(kind) is not ClassVar:
                self._require(name, fits(getattr(self, name), kind), describe(kind))

    def _require(self, field: str, holds: bool, expected: str) -> None:
        if not holds:
            raise InputError(
                f"expected {field} of {self.name} to be {expected}, got {getattr(self, field)!r}."
            )

    @abstractmethod
    def plan(
        self, k: int, region: NDArray[np.bool_] | None, setting: Setting
    ) -> dict[str, MaskPlan]:
        """Masks of round k, by family; none ends the run.

        Args:
            k: number of the round, from 0.
            region: (H, W) where the last round's map is high; None in the first.
            setting: sizes, superpixels, seed.
        """

    @abstractmethod
    def estimator(
        self,
        reference: Tensor,
        size: tuple[int, int],
        attention: Attention | None,
        segmentations: Segmentations | None,
    ) -> Estimator:
        """Fresh sums for Eq. 5; `reference` (T,) are the scores of the whole image."""

    def segmentations(self, image: Tensor) -> Segmentations | None:
        """Superpixels of the image (3, H, W), if the plans need them."""
        del image
        return None

    def attention(self, image: Tensor) -> Attention | None:
        """A of Eq. 10 for the image (3, H, W), if the map is to be adjusted."""
        del image
        return None

    def adjust(self, effect: Effect, attention: Attention | None) -> Effect:
        """S' of Eq. 6; S where there is no attention."""
        del attention
        return effect

    def region(self, adjusted: Tensor) -> NDArray[np.bool_] | None:
        """HAR(S') of Eq. 8, (H, W), of the maps (T, H, W); None for everywhere."""
        del adjusted
        return None

    def as_dict(self) -> dict[str, Any]:
        """Name and fields, as JSON holds them."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain = {k: _plain(v) for k, v in fields.items()}
        return {"name": self.name, "measures": self.measures, "fields": plain}

    def iterate(
        self,
        image: ImageLike,
        black_box: BlackBoxLike,
        *,
        target: TargetLike = "top-1",
        calls: int = 1000,
        seconds: float | None = None,
        seed: int = 0,
        batch_size: int = 16,
        device: str | torch.device | None = None,
        progress: Callable[[Progress], object] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Explanation]:
        """Explain, anytime: yield the map so far after every round.

        Args:
            image: a path, a Pillow image or an array (H, W, 3), uint8 or in [0, 1].
            black_box: a callable, a torch module or the name of a model; see `open_black_box`.
            target: what to explain; see `resolve_targets`.
            calls: the most images that the black box may be asked for, the whole image included.
            seconds: the most time, checked after every batch.
            seed: of all randomness: the same seed gives the same map whatever the batch size.
            batch_size: the most images at a time; fewer where they would take over 32 MB.
            device: where the black box and the masks are; see `open_device`.
            progress: told after every batch.
            cancel: asked after every batch; True ends the run with the map so far.

        Yields:
            An explanation after every round; the last one has `complete` true unless cancelled.

        Raises:
            InputError: an argument that cannot be used.
            BlackBoxError: the black box failed; `explanation` holds the map so far.
            CancelledError: cancelled before there was a map.
        """
        # Checked here, not at the first `next`: a generator's body would run too late to be seen.
        budget = Budget(calls, seconds, progress, cancel)
        if seed < 0:
            raise InputError(f"expected a seed of 0 or more, got {seed}.")
        if batch_size < 1:
            raise InputError(f"expected a batch size of 1 or more, got {batch_size}.")
        source = str(image) if isinstance(image, str | Path) else None
        photo, adapter = as_image(image), open_black_box(black_box, device)
        return _iterate(self, photo, source, adapter, target, budget, seed, batch_size)

    def explain(
        self, image: ImageLike, black_box: BlackBoxLike, **options: Unpack[RunOptions]
    ) -> Explanation:
        """Explain at once: the last of what `iterate` yields, for the same arguments."""
        return last(self.iterate(image, black_box, **options))


def last(explanations: Iterator[Explanation]) -> Explanation:
    """The last one, keeping no other."""
    for explanation in explanations:
        final = explanation
    return final  # there is one: a run without any raises


def _iterate(
    method: Method,
    photo: NDArray[np.float32],
    source: str | None,
    black_box: Adapter,
    target: TargetLike,
    budget: Budget,
    seed: int,
    batch_size: int,
) -> Iterator[Explanation]:
    budget.start()
    case = open_case(method.baseline, photo, source, black_box, target, budget, seed)  # I, f(I)
    with one_thread():
        segmentations = method.segmentations(case.image)
        attention = method.attention(case.image)  # A, Eq. 9-10
    setting = Setting(case.size, photo.shape[:2], segmentations, seed)
    canvas = Canvas(case.size, cap_batch(batch_size, case.size), segmentations, case.image.device)
    estimator = method.estimator(case.reference, case.size, attention, segmentations)
    history: list[Round] = []
    plans = {} if budget.stopped == "cancelled" else method.plan(0, None, setting)  # M_0

    for k in itertools.count(1):
        affordable = _afford(plans, budget.left)
        with one_thread() as threads:
            failure = _score_round(case, affordable, canvas, estimator, budget, history, threads)
            effect = estimator.estimate()  # S, Eq. 5
            adjusted = method.adjust(effect, attention)  # S', Eq. 6
            region = method.region(adjusted.saliency)  # HAR(S'), Eq. 8
        plans = {} if budget.stopped else method.plan(k, region, setting)  # M_k, Eq. 7
        budget.stopped = budget.stopped or ("" if plans else "rounds")

        if not history:
            raise failure or CancelledError("cancelled before a mask was scored: there is no map.")
        explanation = conclude(case, method.as_dict(), adjusted, budget, history)
        if failure is not None:
            failure.explanation = explanation
            raise failure
        for text in explanation.warnings:
            warnings.warn(text, WeakEvidenceWarning, stacklevel=2)
        yield explanation
        if budget.stopped:
            return


def _score_round(
    case: Case,
    plans: Mapping[str, MaskPlan],
    canvas: Canvas,
    estimator: Estimator,
    budget: Budget,
    history: list[Round],
    threads: int,
) -> BlackBoxError | None:
    """Score a round and add it to the sums and the history, as far as it gets.

    Returns:
        The failure of the black box that ended it, if one did.
    """
    started = budget.seconds
    failure: BlackBoxError | None = None
    scores: dict[str, list[Tensor]] = {}
    for family, plan in plans.items():
        batches = score_masks(
            case.black_box, case.image, case.baseline, plan, canvas, len(case.weights), threads
        )
        try:
            for batch, masks, answer in batches:
                f = answer @ case.weights  # f(I * M_i), of the targets
                estimator.add(masks, f, plan[batch], family)
                scores.setdefault(family, []).append(f)
                budget.spend(len(f))
                if budget.stopped:
                    break
        except BlackBoxError as error:
            failure, budget.stopped = error, "failed"
            budget.calls += error.images  # it was asked, though it did not answer
        if budget.stopped:
            break
    estimator.close_round()
    if scores:
        history.append(_summarise(plans, scores, case.size, budget.seconds - started))
    return failure


def _afford(plans: Mapping[str, MaskPlan], calls: int) -> dict[str, MaskPlan]:
    """As much of a round as the budget allows, the families in their proportion.

    A larger budget begins with the same masks: what is cut off is each family's end.
    """
    total = sum(map(len, plans.values()))
    if total <= calls:
        return dict(plans)
    counts = {family: len(plan) * calls // total for family, plan in plans.items()}
    first = next(iter(counts))
    counts[first] += calls - sum(counts.values())
    return {family: plan[: counts[family]] for family, plan in plans.items() if counts[family]}


def _summarise(
    plans: Mapping[str, MaskPlan],
    scores: Mapping[str, list[Tensor]],
    size: tuple[int, int],
    seconds: float,
) -> Round:
    together = torch.cat([f for batches in scores.values() for f in batches])
    return Round(
        masks={family: sum(map(len, batches)) for family, batches in scores.items()},
        region_share=max(plan.reach(size) for plan in plans.values()),
        score_mean=tuple(together.mean(0).tolist()),
        score_low=tuple(together.amin(0).tolist()),
        score_high=tuple(together.amax(0).tolist()),
        seconds=seconds,
    )


def _plain(value: object) -> object:
    if isinstance(value, FillImage):
        return value.as_dict()
    # The `str` of an object is what opens it again by name, where there is such a text.
    return value if _is_plain(value) else str(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
