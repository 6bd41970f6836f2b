"""The loop: masks, scores, effect per pixel, attention, region, next masks. Every `Method` is it.

The numbers of equations are those of the paper (Vasu and Long, IASSA, WACV 2020).
"""

from __future__ import annotations

import dataclasses
import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import BlackBoxError, CancelledError, InputError, WeakEvidenceWarning, warn
from iassa.estimators.attention import Attention
from iassa.estimators.effect import Effect, Estimator
from iassa.explanations.evidence import Feedback, Scored, ScoredRound
from iassa.explanations.explanation import Explanation, Round, RunFailedError
from iassa.masks.plans import MaskPlan
from iassa.masks.rendering import Canvas
from iassa.masks.superpixels import Segmentations
from iassa.methods.engine.base import Explainer
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.case import Case, Question, first_scores, open_case
from iassa.methods.engine.conclusion import conclude
from iassa.methods.engine.scoring import cap_batch, score_masks
from iassa.models.black_box import one_thread

__all__ = ["Method", "Setting", "afford", "run"]


@dataclass(frozen=True, eq=False)
class Setting:
    """What a method may look at to plan its masks.

    Attributes:
        size: (height, width) of the masks.
        photo_size: (height, width) of the image as it was given: its aspect ratio counts.
        segmentations: superpixels, for a method that asked for them.
        seed: of all randomness.
        keep_probability: smallest and largest that the scores of the first round speak for; None
            for the method's own.
        ranks: (T, rows, columns) of the last map's cells, see `level_sets`, for a method that asked
            for them; None in the first round.
    """

    size: tuple[int, int]
    photo_size: tuple[int, int]
    segmentations: Segmentations | None
    seed: int
    keep_probability: tuple[float, float] | None = None
    ranks: NDArray[np.float32] | None = None

    def rng(self, *stream: int) -> np.random.Generator:
        """A generator for one family of one round; no two share one, so none depends on another."""
        return np.random.default_rng((self.seed, *stream))


@dataclass(frozen=True, kw_only=True)
class Method(Explainer):
    """A way to draw masks and to read their scores; its fields are its hyperparameters.

    Attributes:
        baseline: what hidden pixels show; see `Explainer`.
    """

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

    def answer(self, question: Question, budget: Budget) -> Iterator[Explanation]:
        """The loop; see `Explainer.answer`."""
        return run(self, question, budget)


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
        estimator = method.estimator(case.reference, case.size, attention, segmentations)
    superpixels = "" if segmentations is None else segmentations.digest()
    if question.known is not None and question.known.superpixels != superpixels:
        raise _redrawn("the same superpixels of the image")
    setting = Setting(case.size, question.photo.shape[:2], segmentations, question.seed)
    batch_size = cap_batch(question.batch_size, case.size, case.image.device)
    canvas = Canvas(case.size, batch_size, segmentations, case.image.device)
    rounds: list[ScoredRound] = []
    history: list[Round] = []
    feedback, plans = _plan(method, 0, Feedback(), case, setting)  # M_0

    for k in itertools.count(1):
        started = (budget.calls, budget.seconds)
        with one_thread() as threads:
            scored, failure = _score_round(case, k - 1, plans, canvas, estimator, budget, threads)
            if scored:
                seconds = _seconds(case, k - 1, started, budget)
                rounds.append(ScoredRound(feedback, scored, seconds))
                history.append(_summarise(rounds[-1], case))
            effect = estimator.estimate()  # S, Eq. 5
            adjusted = method.adjust(effect, attention)  # S', Eq. 6
            region = method.region(adjusted.saliency)  # HAR(S'), Eq. 8
            ranks = method.rank(adjusted.saliency, setting.photo_size)
            feedback = Feedback(region, _choose_keep_probability(method, case, rounds), ranks)
            if k < len(case.rounds):  # there is more that an earlier run has scored, and yielded
                feedback, plans = _plan(method, k, feedback, case, setting)
                continue
            budget.stop_if_enough(max(adjusted.relative_errors))
            if not budget.stopped:
                feedback, plans = _plan(method, k, feedback, case, setting)  # M_k, Eq. 7
                budget.stopped = "" if plans else "rounds"
            if not history:
                raise failure or CancelledError("cancelled before a mask was scored: no map.")
            record = method.as_dict()
            explanation = conclude(case, record, adjusted, budget, rounds, history, superpixels)
        budget.latest = explanation
        if failure is not None:
            raise RunFailedError.after(failure, explanation) from failure.__cause__
        for text in explanation.warnings:
            warn(text, WeakEvidenceWarning)
        yield explanation
        if budget.stopped:
            return


def _choose_keep_probability(
    method: Method, case: Case, rounds: Sequence[ScoredRound]
) -> tuple[float, float] | None:
    if not rounds:
        return None
    return method.choose_keep_probability(*first_scores(case, rounds))


def _plan(
    method: Method, k: int, feedback: Feedback, case: Case, setting: Setting
) -> tuple[Feedback, dict[str, MaskPlan]]:
    """The masks of round k and what they are drawn by, as in the run that is continued.

    Raises:
        InputError: the method, as it is here, would not have drawn the masks that are known.
    """
    known: Mapping[str, Scored] = {}
    if k < len(case.rounds):
        # Not what was found here: another machine may round another way at a region's edge.
        feedback, known = case.rounds[k].feedback, case.rounds[k].families
    setting = dataclasses.replace(
        setting, keep_probability=feedback.keep_probability, ranks=feedback.ranks
    )
    plans = method.plan(k, feedback.region, setting)
    for family, scored in known.items():
        if family not in plans or plans[family][: len(scored.plan)] != scored.plan:
            raise _redrawn(
                f"those of round {k + 1} to be what {method.name} draws from seed {setting.seed}"
            )
    return feedback, plans


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
    for family, plan in afford(plans, counts, budget.left).items():
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


def afford(
    plans: Mapping[str, MaskPlan], known: Mapping[str, int], calls: int
) -> dict[str, MaskPlan]:
    """As much of a round as the budget allows, the families in their proportion.

    A larger budget begins with the same masks: what is cut off is each family's end. Masks that are
    known cost nothing.

    Args:
        plans: of the whole round, by family.
        known: how many of a family's masks have been scored, from its first on; a family without
            any may be left out.
        calls: that are left, 0 or more.

    Returns:
        The beginning of each plan, known masks included; where calls are short, without the
        families that get none.

    Example:
        >>> from iassa.masks.grids import draw_grids
        >>> grids = draw_grids(6, (2, 3), (0.5, 0.5), np.random.default_rng(0))
        >>> plans = {"coarse": grids[:4], "fine": grids[4:]}
        >>> {family: len(plan) for family, plan in afford(plans, {"fine": 1}, 3).items()}
        {'coarse': 3, 'fine': 1}
    """
    total = sum(map(len, plans.values()))
    calls += sum(known.values())
    if total <= calls:
        return dict(plans)
    counts = {family: len(plan) * calls // total for family, plan in plans.items()}
    rest = calls - sum(counts.values())
    for family, plan in plans.items():  # to the first that has room, as rounding down left it
        added = min(rest, len(plan) - counts[family])
        counts[family], rest = counts[family] + added, rest - added
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
        region_share=min(one.plan.reach(case.size) for one in scored.families.values()),
        score_mean=tuple(scores.mean(0).tolist()),
        score_low=tuple(scores.amin(0).tolist()),
        score_high=tuple(scores.amax(0).tolist()),
        seconds=scored.seconds,
    )
