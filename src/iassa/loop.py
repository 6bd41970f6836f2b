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
from iassa.black_box import cap_batch, one_thread, score_masks
from iassa.black_boxes import BlackBoxLike, open_black_box
from iassa.budget import Budget, Progress
from iassa.case import Case, Question, conclude, open_case
from iassa.errors import BlackBoxError, CancelledError, InputError, WeakEvidenceWarning
from iassa.evidence import Keep, Scored, ScoredRound
from iassa.explanation import Explanation, Round
from iassa.hyperparameters import describe, fits
from iassa.image import ImageLike, as_image
from iassa.masks import MaskPlan
from iassa.rendering import Canvas
from iassa.saliency import Effect, Estimator
from iassa.segmentation import Segmentations
from iassa.targets import TargetLike

__all__ = ["Method", "RunOptions", "Setting", "last", "run"]


class RunOptions(TypedDict, total=False):
    """Keywords of a run; `Method.iterate` says what each means."""

    target: TargetLike
    calls: int
    seconds: float | None
    tolerance: float | None
    seed: int
    batch_size: int | None
    keep: Keep
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
        tolerance: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        keep: Keep = 10,
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
            tolerance: end after the first round that knows the map this well: the standard error
                where the map is high, as a share of its peak; see
                `Explanation.relative_error`. 0.05 is a map that is known well.
            seed: of all randomness: the same seed gives the same map whatever the batch size.
            batch_size: the most images at a time; None takes 16 on a CPU, 128 on a GPU. Fewer where
                they would take over 32 MB, or 512 MB on a GPU.
            keep: how many outputs to keep the scores of, beside those of the targets: those that
                are highest for the whole image; 'all' for all. `Explanation.retarget` explains
                any of them later without a call.
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
        budget = Budget(calls, seconds, progress, cancel, tolerance)
        source = str(image) if isinstance(image, str | Path) else None
        photo, adapter = as_image(image), open_black_box(black_box, device)
        return run(self, Question(photo, source, adapter, target, keep, seed, batch_size), budget)

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


def run(method: Method, question: Question, budget: Budget) -> Iterator[Explanation]:
    """The loop. Masks that the question knows of are not asked about again.

    Args:
        method: how masks are drawn and scores read.
        question: what is asked.
        budget: what it may cost.

    Yields:
        The map after every round in which the black box was asked, and at the end.
    """
    budget.start()
    case = open_case(question, method.baseline, budget)  # I, f(I)
    with one_thread():
        segmentations = method.segmentations(case.image)
        attention = method.attention(case.image)  # A, Eq. 9-10
    superpixels = "" if segmentations is None else segmentations.digest()
    if question.known is not None and question.known.superpixels != superpixels:
        raise _redrawn("the same superpixels of the image")
    setting = Setting(case.size, question.photo.shape[:2], segmentations, question.seed)
    batch_size = cap_batch(question.batch_size, case.size, case.image.device)
    canvas = Canvas(case.size, batch_size, segmentations, case.image.device)
    estimator = method.estimator(case.reference, case.size, attention, segmentations)
    rounds: list[ScoredRound] = []
    history: list[Round] = []
    region, plans = _plan(method, 0, None, case, setting)  # M_0

    for k in itertools.count(1):
        started, confined = (budget.calls, budget.seconds), region
        with one_thread() as threads:
            scored, failure = _score_round(case, k - 1, plans, canvas, estimator, budget, threads)
            if scored:
                seconds = _seconds(case, k - 1, started, budget)
                rounds.append(ScoredRound(confined, scored, seconds))
                history.append(_summarise(rounds[-1], case))
            effect = estimator.estimate()  # S, Eq. 5
            adjusted = method.adjust(effect, attention)  # S', Eq. 6
            region = method.region(adjusted.saliency)  # HAR(S'), Eq. 8
        if k < len(case.rounds):  # there is more that an earlier run has scored, and yielded
            region, plans = _plan(method, k, region, case, setting)
            continue
        budget.stop_if_enough(max(adjusted.relative_errors))
        if not budget.stopped:
            region, plans = _plan(method, k, region, case, setting)  # M_k, Eq. 7
            budget.stopped = "" if plans else "rounds"

        if not history:
            raise failure or CancelledError("cancelled before a mask was scored: there is no map.")
        explanation = conclude(
            case, method.as_dict(), adjusted, budget, superpixels, rounds, history
        )
        budget.latest = explanation
        if failure is not None:
            failure.explanation = explanation
            raise failure
        for text in explanation.warnings:
            warnings.warn(text, WeakEvidenceWarning, stacklevel=2)
        yield explanation
        if budget.stopped:
            return


def _plan(
    method: Method, k: int, region: NDArray[np.bool_] | None, case: Case, setting: Setting
) -> tuple[NDArray[np.bool_] | None, dict[str, MaskPlan]]:
    """The region of round k and its masks: those of the run that is continued, if it got there.

    Raises:
        InputError: the method, as it is here, would not have drawn the masks that are known.
    """
    known: Mapping[str, Scored] = {}
    if k < len(case.rounds):
        # Not the one found here: another machine may round another way at its edge.
        region, known = case.rounds[k].region, case.rounds[k].families
    plans = method.plan(k, region, setting)
    for family, scored in known.items():
        if family not in plans or plans[family][: len(scored.plan)] != scored.plan:
            raise _redrawn(
                f"those of round {k + 1} to be what {method.name} draws from seed {setting.seed}"
            )
    return region, plans


def _redrawn(expected: str) -> InputError:
    return InputError(
        f"cannot go on from these masks: expected {expected}, got others. They were drawn by "
        "another version of iassa, NumPy or scikit-image: see `versions`. Explain again."
    )


def _seconds(case: Case, k: int, started: tuple[int, float], budget: Budget) -> float:
    """Spent on round k, in the run that is continued too; to go through what is known is free."""
    before = case.rounds[k].seconds if k < len(case.rounds) else 0.0
    return before + (budget.seconds - started[1] if budget.calls > started[0] else 0.0)


def _score_round(
    case: Case,
    k: int,
    plans: Mapping[str, MaskPlan],
    canvas: Canvas,
    estimator: Estimator,
    budget: Budget,
    threads: int,
) -> tuple[dict[str, Scored], BlackBoxError | None]:
    """Score as much of round k as the budget allows, and add it to the sums.

    Returns:
        What was scored, by family, and the failure of the black box that ended it, if one did.
    """
    known = case.rounds[k].families if k < len(case.rounds) else {}
    counts = {family: len(scored.plan) for family, scored in known.items()}
    readings: dict[str, list[Tensor]] = {}
    failure: BlackBoxError | None = None
    for family, plan in _afford(plans, counts, budget.left).items():
        question = case.question
        seen = known[family].readings if family in known else None
        # Time that is up at the first call leaves room for a batch: a poor map says more than none.
        if budget.is_over() and (readings or budget.stopped != "seconds"):
            plan = plan[: 0 if seen is None else len(seen)]  # what is known is kept
        batches = score_masks(
            question.black_box, case.image, case.baseline, plan, canvas, case.readout, seen, threads
        )
        try:
            for batch, masks, answer, asked in batches:
                estimator.add(masks, answer @ case.weights, plan[batch], family)  # f(I * M_i)
                readings.setdefault(family, []).append(answer)
                if asked:
                    budget.spend(asked)
                    if budget.is_over():
                        break
        except BlackBoxError as error:
            failure, budget.stopped = error, "failed"
            budget.calls += error.images  # it was asked, though it did not answer
    estimator.close_round()
    scored = {}
    for family, parts in readings.items():
        together = torch.cat(parts).cpu().numpy()
        scored[family] = Scored(plans[family][: len(together)], together)
    return scored, failure


def _afford(
    plans: Mapping[str, MaskPlan], known: Mapping[str, int], calls: int
) -> dict[str, MaskPlan]:
    """As much of a round as the budget allows, the families in their proportion.

    A larger budget begins with the same masks: what is cut off is each family's end. Masks that are
    known cost nothing.
    """
    total = sum(map(len, plans.values()))
    calls += sum(known.values())
    if total <= calls:
        return dict(plans)
    counts = {family: len(plan) * calls // total for family, plan in plans.items()}
    first = next(iter(counts))
    counts[first] += calls - sum(counts.values())
    # A run that was cut short by time or by hand has the whole of one family first.
    excess = 0
    for family, count in counts.items():
        excess += max(0, known.get(family, 0) - count)
        counts[family] = max(count, known.get(family, 0))
    for family, count in counts.items():
        spared = min(excess, count - known.get(family, 0))
        counts[family], excess = count - spared, excess - spared
    return {family: plan[: counts[family]] for family, plan in plans.items() if counts[family]}


def _summarise(scored: ScoredRound, case: Case) -> Round:
    together = torch.cat(
        [torch.from_numpy(one.readings).to(case.weights) for one in scored.families.values()]
    )
    scores = together @ case.weights
    return Round(
        masks={family: len(one.plan) for family, one in scored.families.items()},
        region_share=max(one.plan.reach(case.size) for one in scored.families.values()),
        score_mean=tuple(scores.mean(0).tolist()),
        score_low=tuple(scores.amin(0).tolist()),
        score_high=tuple(scores.amax(0).tolist()),
        seconds=scored.seconds,
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
