"""The rounds of a run so far: in numbers, and as evidence to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iassa.estimators.effect import is_lost
from iassa.explanations.evidence import Feedback, ScoredRound
from iassa.explanations.record import Round
from iassa.methods.engine.scoring import RoundScores


@dataclass(frozen=True, eq=False)
class History:
    """The rounds that have scored masks.

    Attributes:
        rounds: in numbers.
        scored: their masks and readings.
        first: scores of the first of them; None before.
        doubts: of `check_neighbours`.
    """

    rounds: tuple[Round, ...] = ()
    scored: tuple[ScoredRound, ...] = ()
    first: RoundScores | None = None
    doubts: tuple[str, ...] = ()

    def limits(self, t: int) -> tuple[float, float]:
        """The lowest and the highest score of masked images for target t."""
        low = min(one.score_low[t] for one in self.rounds)
        return low, max(one.score_high[t] for one in self.rounds)

    @property
    def lost(self) -> list[int]:
        """The targets whose scores vary too little for a map to show it; see `is_lost`."""
        number = len(self.rounds[0].score_low) if self.rounds else 0
        return [t for t in range(number) if is_lost(*self.limits(t))]

    def after(
        self, feedback: Feedback, scored: RoundScores, seconds: float, size: tuple[int, int]
    ) -> History:
        """The history with one more round.

        Args:
            feedback: what its masks were drawn by.
            scored: its masks and their scores.
            seconds: spent on it.
            size: (height, width) of the masks.
        """
        families = scored.families
        masks = {family: len(one.plan) for family, one in families.items()}
        share = min(one.plan.reach(size) for one in families.values())
        return History(
            rounds=(*self.rounds, summarise(masks, share, scored.scores, seconds)),
            scored=(*self.scored, ScoredRound(feedback, families, seconds)),
            first=self.first or scored,
            doubts=self.doubts + scored.doubts,
        )


def summarise(
    masks: Mapping[str, int], region_share: float, scores: NDArray[np.float64], seconds: float
) -> Round:
    """A round in numbers, from the scores (N, T) of its masked images."""
    return Round(
        masks=masks,
        region_share=region_share,
        score_mean=tuple(scores.mean(0).tolist()),
        score_low=tuple(scores.min(0).tolist()),
        score_high=tuple(scores.max(0).tolist()),
        seconds=seconds,
    )
