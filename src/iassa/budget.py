"""What a run may cost, what it has cost, and why it stops. The unit of cost is the model call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from iassa.errors import InputError

__all__ = ["FEWEST_MASKS", "Budget", "Progress"]

FEWEST_MASKS = 16  # below, a map of fifty cells is noise


@dataclass(frozen=True)
class Progress:
    """How far a run is, told after every batch.

    Attributes:
        calls: made so far.
        budget: that may be made.
        seconds: since the run began.
    """

    calls: int
    budget: int
    seconds: float


class Budget:
    """Counts the calls, and says when and why to stop.

    Attributes:
        calls: made so far.
        stopped: empty, or why the run ends: see `Explanation.stopped`.
    """

    def __init__(
        self,
        calls: int,
        seconds: float | None,
        progress: Callable[[Progress], object] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        """Check what may be spent.

        Args:
            calls: the most that may be made, the whole image included.
            seconds: the most time, None for any.
            progress: told after every batch.
            cancel: asked after every batch; True stops the run.

        Raises:
            InputError: too few calls for a map, or no time.
        """
        if calls < 1 + FEWEST_MASKS:
            raise InputError(
                f"expected a budget of at least {1 + FEWEST_MASKS} calls (the whole image and "
                f"{FEWEST_MASKS} masks), got {calls}. A map that says something takes hundreds."
            )
        if seconds is not None and not seconds > 0:
            raise InputError(f"expected a time budget above 0 seconds, got {seconds}.")
        self.calls = 0
        self.stopped = ""
        self._limit = calls
        self._seconds = seconds
        self._progress = progress
        self._cancel = cancel
        self._started = time.perf_counter()

    def start(self) -> None:
        """Start the clock: opening a model may take longer than asking it."""
        self._started = time.perf_counter()

    @property
    def left(self) -> int:
        """Calls that may still be made."""
        return self._limit - self.calls

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._started

    def spend(self, calls: int) -> None:
        """Count calls, tell of them, and see whether it is time to stop."""
        self.calls += calls
        if self._progress is not None:
            self._progress(Progress(self.calls, self._limit, self.seconds))
        if self._cancel is not None and self._cancel():
            self.stopped = "cancelled"
        elif self.left == 0:
            self.stopped = "calls"
        elif self._seconds is not None and self.seconds >= self._seconds:
            self.stopped = "seconds"
