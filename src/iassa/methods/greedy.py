"""Greedy search over superpixels: it searches the curve that it is judged by.

The map is an order of the superpixels. Shown one after another from the baseline, they are to bring
the score up early (insertion); hidden one after another from the image, to bring it down early
(deletion). With S what has been shown so far, the next superpixel is the one that has the most of

    F(S) = f(S) - f(I without S)

(SMDL, Chen et al., ICLR 2024, and VPS, CVPR 2025, with lambda 1 for consistency and collaboration
and without the two terms that need a network's features). Two calls a candidate: m superpixels take
m (m + 1). The bidirectional search of LiMA (Chen et al., 2025) takes about 0.65 of that: in each
step one superpixel is put in front, and one at the back, the one of least F beside those at the
back, out of the `pending` that were least in front.

It is the upper reference for curves with the fill that it hides by, not an explanation to rely on:
it has no error, no score unit, and no order within a superpixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within
from iassa.errors import InputError
from iassa.masks.superpixels import Segmentations, segment_once
from iassa.methods.engine.budget import FEWEST_MASKS
from iassa.methods.engine.game import CoalitionGame, GameExplainer, HaltedError

BOTH = 2  # calls: the superpixels alone, and the image without them
FEWEST = 2  # superpixels that can be put in an order


@dataclass(eq=False)
class _Search:
    """The order that one target has so far.

    Attributes:
        rest: superpixels without a place.
        front: the most important ones, first to last.
        back: the least important ones, last to first.
        gains: F of each of the rest in front, of the last step.
    """

    rest: list[int]
    front: list[int] = field(default_factory=list)
    back: list[int] = field(default_factory=list)
    gains: dict[int, float] = field(default_factory=dict)

    def step(self, game: CoalitionGame, target: int, pending: int) -> None:
        """Put one in front, and one at the back if there are many.

        Raises:
            HaltedError: the run is over.
            BlackBoxError: the black box failed.
        """
        self.gains = _gain(game, target, self.front, self.rest)
        descending = sorted(self.rest, key=lambda each: -self.gains[each])
        self._place(descending[0], self.front)
        if len(descending) > pending > 0:
            least = _gain(game, target, self.back, descending[1:][-pending:])
            self._place(min(least, key=lambda each: least[each]), self.back)

    def _place(self, segment: int, end: list[int]) -> None:
        self.rest.remove(segment)
        end.append(segment)

    def ranks(self, segments: int) -> NDArray[np.float64]:
        """(S,) from 1 / S, the least important, to 1; those without a place are in between."""
        between = sorted(self.rest, key=lambda each: -self.gains.get(each, 0.0))
        order = [*self.front, *between, *reversed(self.back)]
        ranks = np.empty(segments)
        ranks[order] = np.arange(segments, 0, -1) / segments
        return ranks


@dataclass(frozen=True, kw_only=True)
class Greedy(GameExplainer):
    """The order of superpixels that raises the score most with the fewest, found by search.

    The superpixels are as many as the calls can put in order, `num_segments` at most: 2112 calls
    are more than enough for fifty. Each target has a search of its own, and they share the calls
    evenly. Nothing is random: all seeds give the same map. A run that is cut short keeps the order
    so far; superpixels without a place come between both ends, by what they gained last.

    Attributes:
        num_segments: about how many superpixels SLIC is to make at most.
        pending: candidates for the place at the back, in each step; 0 searches from the front only.
        baseline: what hidden pixels show; see `Explainer`.
    """

    name: ClassVar[str] = "greedy"

    num_segments: Annotated[int, Within(2, 500)] = 50
    pending: Annotated[int, Within(0, 500)] = 8

    @property
    def measures(self) -> str:
        """The place in the order, from the last to the first, as a share."""
        return "rank"

    @property
    def fewest_calls(self) -> tuple[int, str]:
        """Those of any method."""
        return FEWEST_MASKS, "the whole image, the baseline and a search over three superpixels"

    def players(self, image: Tensor, calls: int) -> Segmentations:
        """As many superpixels as the calls can put in order."""
        most = max((m for m in range(1, 501) if self._cost(m) < calls), default=0)
        if most < FEWEST:
            raise InputError(
                f"expected a budget of more than {self._cost(FEWEST)} calls for each target of "
                f"{self.name}, got {calls}. Ask for hundreds, or for fewer targets."
            )
        # SLIC makes fewer than it is asked for, or a few more.
        wanted = min(self.num_segments, 2 * most)
        found = segment_once(image, "slic", wanted)
        while found.num_segments > most:
            wanted -= max(1, (found.num_segments - most) // 2)
            found = segment_once(image, "slic", max(1, wanted))
        return found

    def _cost(self, segments: int) -> int:
        """Calls of a search, at most."""
        calls, rest = 0, segments
        while rest:
            calls += BOTH * rest
            many = rest > self.pending > 0
            calls += BOTH * min(self.pending, rest - 1) * many
            rest -= 1 + many
        return calls

    def attribute(self, game: CoalitionGame) -> NDArray[np.float64]:
        """Ranks (S, T); see `GameExplainer.attribute`."""
        ranks, halt = self._rank(game)
        if halt is not None:
            raise halt
        return ranks

    def salvage(self, game: CoalitionGame) -> NDArray[np.float64] | None:
        """The order so far: the same is asked again."""
        if not game.answers:
            return None
        game.rewind()
        ranks, _ = self._rank(game)
        return ranks

    def _rank(self, game: CoalitionGame) -> tuple[NDArray[np.float64], HaltedError | None]:
        """Ranks (S, T), and what ended the search before its end."""
        halt: HaltedError | None = None
        ranks = np.empty((game.num_players, game.num_targets))
        for target in range(game.num_targets):
            search = _Search(list(range(game.num_players)))
            try:
                while search.rest and halt is None:
                    search.step(game, target, self.pending)
            except HaltedError as end:
                halt = end
            ranks[:, target] = search.ranks(game.num_players)
        return ranks, halt


def _gain(
    game: CoalitionGame, target: int, shown: list[int], candidates: list[int]
) -> dict[int, float]:
    """F of each candidate beside those that are shown."""
    coalitions = np.zeros((len(candidates), game.num_players), np.bool_)
    coalitions[:, shown] = True
    coalitions[np.arange(len(candidates)), candidates] = True
    scores = game.play(np.concatenate([coalitions, ~coalitions]))[:, target]
    gains = scores[: len(candidates)] - scores[len(candidates) :]
    return dict(zip(candidates, gains.tolist(), strict=True))
