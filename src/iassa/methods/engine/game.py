"""The image as a game, and the methods that play it: any questions, in any order, one map.

The players are the segments of one segmentation, pixels or superpixels; a coalition is the set of
those that are shown, the others show the baseline. What it wins are the scores of the targets. A
method chooses coalitions by what others have won, which no plan of masks can say in advance; this
file shows them to the black box, counts the calls and stops, as every other method does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import BlackBoxError, CancelledError, InputError
from iassa.estimators.effect import Effect
from iassa.explanations.explanation import Explanation
from iassa.masks.plans import SegmentPlan
from iassa.masks.rendering import Canvas
from iassa.masks.superpixels import Segmentations
from iassa.methods.engine.base import Explainer
from iassa.methods.engine.budget import FEWEST_MASKS, Budget
from iassa.methods.engine.case import Case
from iassa.methods.engine.conclusion import conclude, deliver
from iassa.methods.engine.history import History, summarise
from iassa.methods.engine.scoring import Asking, cap_batch, check_neighbours, score_masks
from iassa.models.black_box import one_thread

Coalitions = NDArray[np.bool_]  # (N, S), True = shown


class HaltedError(Exception):
    """The budget is over before all questions were answered."""


class CoalitionGame:
    """What coalitions of segments win: the scores of the targets, within a budget.

    Attributes:
        num_players: S, the segments.
        image: (3, height, width), as the black box sees it.
        seed: of all randomness.
        answers: what was answered so far, an array (N, T) for each question.
        unit: of the answers: the power of 2 at the size of the scores. Those who read them may
            take numbers below a millionth for 0.
        scores: (T) those of masked images, one array for each batch.
        around: what a batch is asked in, as random numbers of the black box's own.
    """

    def __init__(
        self, case: Case, segmentations: Segmentations, budget: Budget, threads: int
    ) -> None:
        """Nothing is asked yet.

        Args:
            case: image, black box, targets.
            segmentations: one, of S segments.
            budget: what may be spent.
            threads: of torch, for the black box.
        """
        self.num_players = segmentations.num_segments
        self.image = case.image
        self.seed = case.seed
        self.around: Callable[[], AbstractContextManager[None]] = nullcontext
        self.answers: list[NDArray[np.float64]] = []
        self.scores: list[NDArray[np.float64]] = []
        self.doubts: tuple[str, ...] = ()
        self._case = case
        self._budget = budget
        batch_size = cap_batch(case.batch_size, case.size, case.image.device)
        canvas = Canvas(case.size, batch_size, segmentations, case.image.device)
        self._asking = Asking(case, canvas, budget, threads)
        self._whole = case.reference.cpu().numpy()
        self._nothing: NDArray[np.float64] | None = None
        self._told = 0
        self.unit = 1.0

    @property
    def masks(self) -> int:
        """Masked images that were scored."""
        return sum(map(len, self.scores))

    @property
    def num_targets(self) -> int:
        """T."""
        return len(self._whole)

    def calls_left(self, fewest: int) -> int:
        """Of the budget, of which the method needs so many."""
        self._budget.forgo_check(fewest)
        return self._budget.left

    def open(self) -> None:
        """Ask about the baseline alone.

        Raises:
            HaltedError: the run is over.
            BlackBoxError: the black box failed.
        """
        self._nothing = self._ask(np.zeros((1, self.num_players), np.bool_))[0]
        largest = np.abs([self._whole, self._nothing]).max()
        self.unit = float(np.ldexp(1.0, np.frexp(largest)[1]))

    def play(self, coalitions: NDArray[np.generic]) -> NDArray[np.float64]:
        """Scores (N, T) of the coalitions (N, S), in units; after `rewind`, those from before.

        Raises:
            HaltedError: the run is over.
            BlackBoxError: the black box failed.
        """
        if self._told == len(self.answers):
            self.answers.append(self._answer(coalitions.astype(np.bool_)))
        self._told += 1
        return self.answers[self._told - 1] / self.unit

    def rewind(self) -> None:
        """Give the same answers once more, for the same questions, without a call."""
        self._told = 0

    def _answer(self, coalitions: Coalitions) -> NDArray[np.float64]:
        """Scores of coalitions; the whole image and the baseline alone cost no second call."""
        assert self._nothing is not None, "open the game first"
        whole, nothing = coalitions.all(1), ~coalitions.any(1)
        answers = np.empty((len(coalitions), len(self._whole)))
        answers[whole], answers[nothing] = self._whole, self._nothing
        unknown = ~(whole | nothing)
        if unknown.any():
            with self.around():
                answers[unknown] = self._ask(coalitions[unknown])
        return answers

    def _ask(self, coalitions: Coalitions) -> NDArray[np.float64]:
        if len(coalitions) > self._budget.left:
            self._budget.stopped = self._budget.stopped or "calls"
            raise HaltedError
        kept = coalitions.mean(1, dtype=np.float32)
        plan = SegmentPlan(kept, coalitions, np.zeros(len(coalitions), np.uint8), None)
        fill = np.zeros(len(plan), np.uint8)  # there is one
        batches = score_masks(plan, fill, self._asking)
        first = len(self.scores)
        for _ in range(0, len(coalitions), self._asking.canvas.batch_size):
            if self._is_over():
                raise HaltedError
            batch, _, readings, asked = next(batches)
            self._budget.spend(asked)
            self.scores.append(self._case.score(readings).cpu().numpy())
            if len(coalitions) > 1:  # the first, the baseline alone, is no masked image
                self.doubts += check_neighbours(plan[batch], fill[batch], readings, self._asking)
        return np.concatenate(self.scores[first:])

    def _is_over(self) -> bool:
        """Whether to ask no more. Of time alone some is left for a poor map: better than none."""
        enough = self.masks >= FEWEST_MASKS
        return self._budget.is_over() and (enough or self._budget.stopped != "seconds")


@dataclass(frozen=True, kw_only=True)
class GameExplainer(Explainer):
    """A method that plays the game.

    Its values come without an error: the standard error is infinite everywhere, and a `tolerance`
    is refused. No evidence is kept, so that `extend` and `retarget` refuse, too.
    `iterate` yields one map, at the end.
    """

    @property
    @abstractmethod
    def fewest_calls(self) -> tuple[int, str]:
        """The smallest budget there is a map for, and what it is spent on."""

    @property
    def step_calls(self) -> int:
        """Calls that are made at a time, and that must be left for another time."""
        return 1

    @abstractmethod
    def players(self, image: Tensor, calls: int) -> Segmentations:
        """One segmentation of the image (3, H, W), for so many calls for each target."""

    @abstractmethod
    def attribute(self, game: CoalitionGame) -> NDArray[np.float64]:
        """Values (S, T) of the players: effects in the game's unit, others as they are.

        Raises:
            InputError: the budget is too small for so many players.
            HaltedError: the run was over before.
            BlackBoxError: the black box failed.
        """

    def salvage(self, game: CoalitionGame) -> NDArray[np.float64] | None:
        """Values (S, T), in its unit, from a game that was cut short; None if there are none."""
        del game
        return None

    def paint(self, values: Tensor, segmentations: Segmentations) -> Tensor:
        """Maps (T, H, W) from the values (S, T)."""
        return values.T[:, segmentations.labels[0].long()].float()

    def check_budget(self, budget: Budget) -> None:
        """Refuse a tolerance, and fewer calls than there is a map for."""
        if budget.tolerance is not None:
            raise InputError(
                f"expected no tolerance for {self.name}, got {budget.tolerance} (as calls 'auto' "
                "have it): it has no standard error. Give a number of calls, or use another method."
            )
        fewest, spent_on = self.fewest_calls
        budget.forgo_check(fewest)
        if budget.left < fewest:
            raise InputError(
                f"expected a budget of at least {fewest} calls for {self.name} ({spent_on}), got "
                f"{budget.left}."
            )

    def run(self, case: Case, budget: Budget) -> Iterator[Explanation]:
        """One map; see `Explainer.run`."""
        failure: BlackBoxError | None = None
        with one_thread() as threads:
            segmentations = self.players(case.image, budget.left // len(case.targets))
            game = CoalitionGame(case, segmentations, budget, threads)
            values: NDArray[np.float64] | None
            try:
                game.open()
                values = self.attribute(game)
            except (HaltedError, BlackBoxError) as end:
                if isinstance(end, BlackBoxError):
                    failure, budget.stopped = end, "failed"
                    budget.calls += end.images  # it was asked, though it did not answer
                values = self.salvage(game)
            else:
                budget.stopped = "calls" if budget.left < self.step_calls else "rounds"
        if values is None:
            raise failure or self._no_map(game, budget)
        values = values * game.unit if self.measures == "effect" else values
        saliency = self.paint(torch.from_numpy(values).to(case.image.device), segmentations)
        scores = np.concatenate(game.scores)
        rounds = (summarise({self.name: len(scores)}, 1.0, scores, budget.seconds),)
        history = History(rounds, doubts=game.doubts)
        effect = Effect.without_error(saliency)
        explanation = conclude(case, self.as_dict(), effect, budget, history, evidence=None)
        deliver(explanation, budget, failure)
        yield explanation

    def _no_map(self, game: CoalitionGame, budget: Budget) -> CancelledError | InputError:
        needs = (
            f"{self.name} needs all of its calls before it can make a map; only {game.masks} masks "
            "were scored"
        )
        if budget.stopped == "cancelled":
            return CancelledError(f"cancelled too early: {needs}.")
        return InputError(
            f"{needs} within the time limit. Allow more seconds, or ask for at most "
            f"{budget.calls} calls."
        )
