"""The loop: masks, scores, effect per pixel, attention, region, next masks. Every `Method` is it.

The numbers of equations are those of the paper (Vasu and Long, IASSA, WACV 2020).
"""

from __future__ import annotations

import copy
import itertools
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import CancelledError, InputError, require
from iassa.estimators.attention import Attention
from iassa.estimators.by_fill import EstimatorsByFill, average
from iassa.estimators.effect import Effect, Estimator
from iassa.explanations.evidence import Feedback, ScoredRound
from iassa.explanations.explanation import Explanation
from iassa.masks.dealing import serve
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Canvas
from iassa.masks.superpixels import Segmentations
from iassa.methods.engine.base import Explainer
from iassa.methods.engine.budget import FEWEST_MASKS, Budget
from iassa.methods.engine.case import Case
from iassa.methods.engine.conclusion import conclude, deliver, describe_fills
from iassa.methods.engine.history import History
from iassa.methods.engine.scoring import Asking, RoundScores, cap_batch, score_round
from iassa.models.black_box import one_thread

MOST_CELLS = 2**24  # of the masks of a round; drawing them takes forty bytes each


@dataclass(frozen=True, eq=False)
class Setting:
    """What a method looks at to plan its masks and to read their scores, the same in all rounds.

    Attributes:
        size: (height, width) of the masks.
        photo_size: (height, width) of the image as it was given: its aspect ratio counts.
        seed: of all randomness.
        reference: f(I) of the targets, (T,) float64, on the device of the masks.
        segmentations: superpixels, for a method that makes them.
        attention: A of Eq. 10, for a method that attends.
    """

    size: tuple[int, int]
    photo_size: tuple[int, int]
    seed: int
    reference: Tensor
    segmentations: Segmentations | None = None
    attention: Attention | None = None

    def rng(self, *stream: int) -> np.random.Generator:
        """A generator for one family of one round; no two share one, so none depends on another."""
        return np.random.default_rng((self.seed, *stream))


@dataclass(frozen=True, kw_only=True)
class Method(Explainer):
    """Masks and an estimator; the fields are hyperparameters.

    Attributes:
        baseline: what hidden pixels show; see `Explainer`. Masks are dealt to several fills.
    """

    deals: ClassVar[bool] = True

    def check_budget(self, budget: Budget) -> None:
        """Refuse more fills than the calls can serve."""
        number = len(self.fills)
        fewest = 1 + number * FEWEST_MASKS
        if number > 1:
            budget.forgo_check(fewest)
            require(
                budget.left >= fewest,
                f"expected a budget of at least {fewest} calls for {number} fills (the whole image "
                f"and {FEWEST_MASKS} masks for each), got {budget.left}. Ask for more, or give "
                "fewer fills.",
            )

    def _require_room(self, masks: int, cells: int) -> None:
        """Refuse more masks of a round than fit into memory: a plan is drawn whole."""
        most = MOST_CELLS // cells
        self._require("round_calls", masks <= most, f"at most {most} with so many cells")

    @abstractmethod
    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """Masks of round k, by family; none ends the run.

        Args:
            k: number of the round, from 0.
            feedback: what the rounds before say; empty for the first.
            setting: sizes, superpixels, seed.
        """

    @abstractmethod
    def estimator(self, setting: Setting) -> Estimator:
        """Fresh sums for Eq. 5."""

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

    def rank(self, adjusted: Tensor, photo_size: tuple[int, int]) -> NDArray[np.float32] | None:
        """Ranks of the cells of the maps (T, H, W), if the plans need them; see `level_sets`."""
        del adjusted, photo_size
        return None

    def choose_keep_probability(
        self, scores: NDArray[np.float64], keep_probability: NDArray[np.float32]
    ) -> tuple[float, float] | None:
        """Limits of the keep probability of all rounds but the first, from its scores.

        Args:
            scores: (N, T) of the first round.
            keep_probability: (N,) of its masks.

        Returns:
            Smallest and largest; None for the method's own.
        """
        del scores, keep_probability
        return None

    def run(self, case: Case, budget: Budget) -> Iterator[Explanation]:
        """The loop. Masks that an earlier run has scored cost no call.

        Yields:
            The map after every round in which the black box was asked, and at the end.
        """
        with one_thread():
            setting = _set(self, case)
            estimator = EstimatorsByFill([self.estimator(setting) for _ in case.fills])
        batch_size = cap_batch(case.batch_size, case.size, case.image.device)
        canvas = Canvas(case.size, batch_size, setting.segmentations, case.image.device)
        history = History(doubts=case.doubts)
        feedback, plans = _plan(self, 0, Feedback(), case, setting)  # M_0

        for k in itertools.count():
            started = (budget.calls, budget.seconds)

            def look(
                scored: RoundScores, before: History = history, shown: Feedback = feedback
            ) -> None:
                """End the run within the round, if the map is precise enough."""
                copied = copy.deepcopy(estimator)
                copied.close_round()
                so_far = before.after(shown, scored, 0.0, case.size)
                _, adjusted = _map(self, copied, so_far, setting)
                budget.stop_if_enough(max(adjusted.relative_errors))

            with one_thread() as threads:
                asking = Asking(case, canvas, budget, threads)
                scored = score_round(k, plans, estimator, asking, look)
                if scored.families:
                    seconds = _seconds(case.scored_before(k), started, budget)
                    history = history.after(feedback, scored, seconds, case.size)
                each, adjusted = _map(self, estimator, history, setting)
                feedback = _feed_back(self, adjusted.saliency, history.first, setting)  # Eq. 8
                if case.scored_before(k + 1) is not None:  # an earlier run has yielded this map
                    feedback, plans = _plan(self, k + 1, feedback, case, setting)
                    continue
                budget.stop_if_enough(max(adjusted.relative_errors))
                if not budget.stopped:
                    feedback, plans = _plan(self, k + 1, feedback, case, setting)  # M_k, Eq. 7
                    budget.stopped = "" if plans else "rounds"
                if not history.rounds:
                    raise scored.failure or CancelledError("cancelled before a map: no mask scored")
                evidence = case.collect(history.scored, setting.segmentations)
                by_fill = describe_fills(case, self, each) if len(each) > 1 else None
                explanation = conclude(
                    case, self.as_dict(), adjusted, budget, history, evidence, by_fill
                )
            deliver(explanation, budget, scored.failure)
            yield explanation
            if budget.stopped:
                return


def _set(method: Method, case: Case) -> Setting:
    """Superpixels and attention of the image, once for all rounds.

    Raises:
        InputError: the superpixels are not those of the run that is continued.
    """
    segmentations = method.segmentations(case.image)
    digest = "" if segmentations is None else segmentations.digest()
    if case.evidence is not None and case.evidence.superpixels != digest:
        raise _redrawn("the superpixels of the image are not reproduced")
    return Setting(
        size=case.size,
        photo_size=case.photo_size,
        seed=case.seed,
        reference=case.reference,
        segmentations=segmentations,
        attention=method.attention(case.image),  # A, Eq. 9-10
    )


def _map(
    method: Method, estimator: EstimatorsByFill, history: History, setting: Setting
) -> tuple[tuple[Effect, ...], Effect]:
    """The adjusted map of each fill, and their mean, of all closed rounds."""
    each = estimator.estimate()  # S of each fill, Eq. 5
    each = tuple(method.adjust(one, setting.attention) for one in each)  # S', Eq. 6
    each = tuple(one.lose_error(history.lost) for one in each)
    return each, average(each)


def _feed_back(
    method: Method, adjusted: Tensor, first: RoundScores | None, setting: Setting
) -> Feedback:
    """What the maps (T, H, W) and the scores of the first round say about the next masks."""
    limits = None
    if first is not None:
        limits = method.choose_keep_probability(first.scores, first.keep_probability)
    ranks = method.rank(adjusted, setting.photo_size)
    return Feedback(method.region(adjusted), limits, ranks)


def _plan(
    method: Method, k: int, feedback: Feedback, case: Case, setting: Setting
) -> tuple[Feedback, dict[str, MaskPlan]]:
    """The masks of round k and what they are drawn by, as in the run that is continued.

    Raises:
        InputError: the method, as it is here, would not draw the masks of the earlier run.
    """
    known = case.scored_before(k)
    if known is None:
        return feedback, serve(method.plan(k, feedback, setting), len(case.fills))
    # Not what was computed here: another machine may round another way at a region's edge.
    plans = serve(method.plan(k, known.feedback, setting), len(case.fills))
    for family, scored in known.families.items():
        if family not in plans or plans[family][: len(scored.plan)] != scored.plan:
            raise _redrawn(f"the masks of round {k + 1} are not those that seed {case.seed} draws")
    return known.feedback, plans


def _redrawn(what: str) -> InputError:
    return InputError(
        f"cannot extend this explanation: {what}. It was made with other "
        "versions of iassa, NumPy or scikit-image (see explanation.versions). Run explain again."
    )


def _seconds(before: ScoredRound | None, started: tuple[int, float], budget: Budget) -> float:
    """Seconds spent on a round, those of the earlier run included."""
    spent = budget.seconds - started[1] if budget.calls > started[0] else 0.0
    return spent + (0.0 if before is None else before.seconds)
