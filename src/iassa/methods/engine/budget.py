"""What a run may cost, what it has cost, and why it stops. The unit of cost is the model call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from iassa.checks import Within, convert, fits, take
from iassa.errors import InputError, require, show

if TYPE_CHECKING:
    from iassa.explanations.explanation import Explanation

ABOVE_0 = Annotated[float | None, Within(0, above=True)]
SHARE = Annotated[float | None, Within(0, 1, above=True, below=True)]
PATIENCE = 60.0  # seconds for a call, beyond twice the time of the run
FEWEST_MASKS = 16  # below, a map of fifty cells is noise
MOST_CALLS = 10**9  # months at a hundred a second

Calls: TypeAlias = int | Literal["auto"]
# What 'auto' stands for; docs/engine.md has the calls that maps take to this tolerance.
AUTO_CALLS = 4000
AUTO_TOLERANCE = 0.1


@dataclass(frozen=True)
class Progress:
    """How far a run is, after every batch.

    Attributes:
        calls: made so far.
        budget: that may be made.
        seconds: since the run began.
        rate: calls a second, of this run; 0 before the first.
        explanation: the map after the last round that ended; None before that.
    """

    calls: int
    budget: int
    seconds: float
    rate: float = 0.0
    explanation: Explanation | None = None

    @property
    def seconds_left(self) -> float:
        """Until the calls are spent, at this rate; infinite before the first."""
        return (self.budget - self.calls) / self.rate if self.rate else float("inf")


class Budget:
    """Counts the calls, and says when and why to stop.

    Attributes:
        calls: made so far.
        stopped: empty, or why the run ends: see `Explanation.stopped`.
        tolerance: the relative error at which the run ends; None for no such end.
        check: calls kept back for `check_neighbours`, 1 until it is made.
        latest: the map after the last round that ended, for whoever follows the progress.
    """

    def __init__(
        self,
        calls: Calls,
        max_seconds: float | None,
        progress: Callable[[Progress], object] | None,
        cancel: Callable[[], bool] | None,
        tolerance: float | None = None,
        spent: tuple[int, float] = (0, 0.0),
        checked: bool = False,
    ) -> None:
        """Check what may be spent.

        Args:
            calls: the most that may be made, the whole image included; in a run that goes on, the
                most that may be added. 'auto' is `AUTO_CALLS`, and `AUTO_TOLERANCE` where no
                tolerance is given.
            max_seconds: the most time, None for any.
            progress: called after every batch.
            cancel: called after every batch; True stops the run.
            tolerance: above 0 and below 1, see `Explanation.relative_error`; None for none.
            spent: calls and seconds of the run that is continued.
            checked: whether that run made the call of `check_neighbours`.

        Raises:
            InputError: too few calls for a map, no time, a tolerance that cannot be, or an
                argument of another type.
        """
        calls = take(calls, Calls, "calls")
        if calls == "auto":
            calls, tolerance = AUTO_CALLS, AUTO_TOLERANCE if tolerance is None else tolerance
        require(
            calls <= MOST_CALLS,
            f"expected a budget of at most {MOST_CALLS} calls, got {show(calls)}.",
        )
        max_seconds, tolerance = (convert(one, float | None) for one in (max_seconds, tolerance))
        for name, hook in {"progress": progress, "cancel": cancel}.items():
            take(hook, Callable | None, name)
        if spent[0] and calls < 1:
            raise InputError(f"expected at least 1 more call, got {calls}. Ask for some.")
        if not spent[0] and calls < 1 + FEWEST_MASKS:
            raise InputError(
                f"expected a budget of at least {1 + FEWEST_MASKS} calls (the whole image and "
                f"{FEWEST_MASKS} masks), got {calls}. Ask for hundreds: a useful map takes them."
            )
        if not fits(max_seconds, ABOVE_0):
            raise InputError(f"expected a time budget above 0 seconds, got {show(max_seconds)}.")
        if not fits(tolerance, SHARE):
            raise InputError(
                "expected a tolerance above 0 and below 1, the standard error as a share of the "
                f"map's peak, got {show(tolerance)}. 0.05 is a precise map."
            )
        self.calls, self._seconds_before = spent
        self._calls_before = self.calls
        self.stopped = ""
        self.tolerance = tolerance
        self.latest: Explanation | None = None
        self._limit = self.calls + calls
        self.check = int(not checked)
        self.forgo_check(1 + FEWEST_MASKS - self.calls)
        self._max_seconds = max_seconds
        self._progress = progress
        self._cancel = cancel
        self._started = time.perf_counter()

    def start(self) -> None:
        """Start the clock: opening a model may take longer than asking it."""
        self._started = time.perf_counter()

    def is_over(self) -> bool:
        """Whether the run ends."""
        return bool(self.stopped)

    @property
    def left(self) -> int:
        """Calls that may still be made for the map."""
        return self._limit - self.calls - self.check

    @property
    def seconds(self) -> float:
        """Since the start, with those of the run that is continued."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def deadline(self) -> float:
        """When a call that is still in flight is given up, see `until`; infinite without a limit.

        The run ends after the batch in flight. One that has no end is not waited for.
        """
        if self._max_seconds is None:
            return math.inf
        return self._started + 2 * self._max_seconds + PATIENCE

    def spend(self, calls: int) -> None:
        """Count calls, report progress, and see whether it is time to stop."""
        self.calls += calls
        elapsed = time.perf_counter() - self._started
        if self._progress is not None:
            rate = (self.calls - self._calls_before) / max(elapsed, 1e-9)
            self._progress(Progress(self.calls, self._limit, self.seconds, rate, self.latest))
        if self._cancel is not None and self._cancel():
            self.stopped = "cancelled"
        elif self.calls == self._limit:
            self.stopped = "calls"
        elif self._max_seconds is not None and elapsed >= self._max_seconds:
            self.stopped = "seconds"

    def forgo_check(self, fewest: int) -> None:
        """Give the call that is kept back to the map, where fewer are left than this needs."""
        if self.left < fewest:
            self.check = 0

    def give_up_the_rest(self) -> None:
        """Allow no further calls."""
        self._limit, self.check = self.calls, 0

    def stop_if_enough(self, relative_error: float) -> None:
        """End the run, if the map is precise enough or nothing is left to spend.

        Args:
            relative_error: of the map, see `Explanation.relative_error`.
        """
        if self.stopped:
            return
        if self.tolerance is not None and relative_error <= self.tolerance:
            self.stopped = "tolerance"
        elif not self.left:
            self.stopped = "calls"
