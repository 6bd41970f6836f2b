"""One map in the making, as a browser sees it: it goes on in turns, stops, and goes on again.

The first turn ends after a few calls, so that there is a map at once. `iassa.extend` goes on from
there: the map is that of one run with all the calls.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

import iassa
from iassa.errors import IassaError, WeakEvidenceWarning, describe_error
from iassa.methods import Explainer, Method
from iassa.models import BlackBox

FIRST_CALLS = 97  # of the first map: the whole image, a check, and 95 masks
PATIENCE = 1.5  # seconds after which a slow model has its first map, with as few masks as this:
FEWEST_CALLS = 33
SETTLED = 1.0  # seconds of a turn, before which its rate says nothing: the last one stays
_NUMBERS = itertools.count(1)
State: TypeAlias = Literal["waiting", "running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes:
        state: 'waiting' for its turn, 'running', or how it ended.
        calls: made so far.
        budget: that may be made.
        rate: calls a second, of this turn once it has lasted; 0 before.
        left: seconds, at this rate; None where that is not known.
        version: a number that grows with each map; 0 before the first.
        message: why it failed, or why there is no map.
    """

    state: State
    calls: int
    budget: int
    rate: float = 0.0
    left: float | None = None
    version: int = 0
    message: str = ""


class Run:
    """A run. One thread steps it, others look at `standing` and `explanation`.

    Attributes:
        number: of this run; no other has it.
        standing: how far it is.
        explanation: the map so far; None before the first.
        black_box: that is asked.
        method: of the run.
    """

    def __init__(
        self,
        image: Callable[[], NDArray[np.float32]],
        source: str,
        black_box: BlackBox,
        method: Explainer,
        limits: Mapping[str, Any],
        tolerance: float | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            image: gives its pixels (H, W, 3) float32 in [0, 1], at the first turn.
            source: the name of its file.
            black_box: the model; a detector is aimed at the image.
            method: with its fields.
            limits: `target`, `calls` and `seed`, as `iassa.explain` takes them.
            tolerance: likewise, of a method whose maps can be extended.
        """
        self.number = next(_NUMBERS)
        self.explanation: iassa.Explanation | None = None
        self.black_box = black_box
        self.method = method
        self.standing = Standing("waiting", 0, int(limits["calls"]))
        self._image = image
        self._source = source
        self._limits = dict(limits)
        self._tolerance = tolerance
        self._stop = threading.Event()

    @property
    def goes_on(self) -> bool:
        """Whether it waits or runs."""
        return self.standing.state in ("waiting", "running")

    @property
    def can_extend(self) -> bool:
        """Whether calls can be added to its map."""
        made = self.explanation
        return made is not None and made.evidence is not None and isinstance(self.method, Method)

    @property
    def size(self) -> int:
        """Bytes that it holds, about."""
        made = self.explanation
        if made is None:
            return 0
        maps = 2 * made.saliency.nbytes * (1 if made.fills is None else 1 + len(made.fills.names))
        return maps + made.image.nbytes + 200 * made.calls

    def stop(self) -> None:
        """End it after the batch in flight; its map is kept."""
        self._stop.set()

    def add(self, calls: int) -> None:
        """Give it more calls; see `can_extend`. It goes on at its next turn."""
        assert self.explanation is not None
        budget = self.explanation.calls + calls
        self._stop.clear()
        self._tolerance = None  # who asks for more wants more
        self.standing = dataclasses.replace(
            self.standing, state="waiting", budget=budget, message="", left=None
        )

    def step(self, give_way: Callable[[], bool]) -> bool:
        """A turn; see `turns.Step`."""
        if self._stop.is_set():
            return self._end("stopped", "" if self.explanation else "Stopped before a map.")
        self._say(state="running")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", WeakEvidenceWarning)  # they are in `warnings`
                made = self._go_on(give_way)
        except iassa.RunFailedError as error:
            self._publish(error.explanation)
            return self._end("failed", str(error))
        except iassa.CancelledError as error:
            return self._end("stopped", str(error)) if self._stop.is_set() else self._wait()
        except IassaError as error:
            return self._end("failed", str(error))
        except Exception as error:  # noqa: BLE001 - a model may be anyone's; others go on
            return self._end("failed", f"The run ended by an error: {describe_error(error)}.")
        self._publish(made)
        if self._stop.is_set():
            return self._end("stopped")
        whole = made.calls >= self.standing.budget or made.stopped in ("rounds", "tolerance")
        return self._end("done") if whole or not self.can_extend else self._wait()

    def _go_on(self, give_way: Callable[[], bool]) -> iassa.Explanation:
        """More of the map, until it has all its calls or gives way."""
        before, budget = self.explanation, self.standing.budget
        extends, fills = isinstance(self.method, Method), len(self.method.fills)

        def cancel() -> bool:
            there = self.explanation is not None
            enough = self.standing.calls >= FEWEST_CALLS * fills
            late = extends and enough and self._seconds > PATIENCE
            wanted = give_way()  # in any case: it answers what others ask
            return self._stop.is_set() or (wanted and extends and there) or (late and not there)

        self._seconds = 0.0
        if before is not None:
            return iassa.extend(
                before,
                self.black_box,
                calls=budget - before.calls,
                tolerance=self._tolerance,
                progress=self._show,
                cancel=cancel,
            )
        calls = min(budget, FIRST_CALLS * fills) if extends else budget
        limits = {**self._limits, "calls": calls}
        if extends:
            limits["tolerance"] = self._tolerance
        return iassa.explain(
            self._image(),
            self.black_box,
            method=self.method,
            progress=self._show,
            cancel=cancel,
            **limits,
        )

    def _show(self, progress: iassa.Progress) -> None:
        latest = progress.explanation
        if latest is not None and latest is not self.explanation:
            self._publish(latest)
        self._seconds = progress.seconds
        budget, settled = self.standing.budget, progress.seconds >= SETTLED
        rate = progress.rate if settled else self.standing.rate
        left = (budget - progress.calls) / rate if rate else math.inf
        known = round(left, 1) if math.isfinite(left) else None
        self._say(calls=progress.calls, rate=rate, left=known)

    def _publish(self, made: iassa.Explanation) -> None:
        if made.source is None:
            made = dataclasses.replace(made, source=self._source)
        self.explanation = made
        self._say(version=self.standing.version + 1, calls=made.calls)

    def _wait(self) -> bool:
        self._say(state="waiting")
        return True

    def _end(self, state: State, message: str = "") -> bool:
        self._say(state=state, message=message, left=None)
        return False

    def _say(self, **changes: Any) -> None:
        self.standing = dataclasses.replace(self.standing, **changes)
