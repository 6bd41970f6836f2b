"""The smallest of nested sets that passes, found by asking about few of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# On the scale of the square root of the share, where 1 % and 2 % are as far apart as 50 % and 57 %:
# of a small region a twentieth counts.
RESOLUTION = 1 / 128
# Questions of a round. Three at once first: bisection alone would miss a small set that passes
# where a middling one fails. Then one each: 3 + 5 questions, 4 x 2^5 parts.
QUESTIONS = (3, 1, 1, 1, 1, 1)


class Narrowing:
    """A search among nested sets, of which the last passes and the first, the empty one, does not.

    If every set that holds one that passes did pass, it would find the smallest, to `RESOLUTION`.
    Scores need not be so. What is sure: the set found passes, and no smaller one that was asked
    about does.

    Attributes:
        found: number of the smallest set that is known to pass.
    """

    def __init__(self, shares: NDArray[np.float64]) -> None:
        """Begin.

        Args:
            shares: (n + 1,) rising from 0 to 1, of the sets.
        """
        self._scale = np.sqrt(shares)
        self._failed = 0
        self.found = len(shares) - 1

    def ask(self, count: int) -> tuple[int, ...]:
        """The numbers of so many sets to ask about, or fewer; none once it is done."""
        low, high = self._failed, self.found
        start, width = self._scale[low], self._scale[high] - self._scale[low]
        if high - low < 2 or width <= RESOLUTION:
            return ()
        wanted = start + width * np.arange(1, count + 1) / (count + 1)
        numbers = np.searchsorted(self._scale, wanted).clip(low + 1, high - 1)
        return tuple(np.unique(numbers).tolist())

    def tell(self, passes: Mapping[int, bool]) -> None:
        """Which of the sets that were asked about pass, by number."""
        self.found = min([self.found, *(number for number in passes if passes[number])])
        failed: Sequence[int] = [n for n in passes if not passes[n] and n < self.found]
        self._failed = max([self._failed, *failed])
