"""One thread that asks all models, so that no two runs share torch's settings or a model.

Runs take turns. A short question, as about one image, is answered between two batches of the run
that has its turn.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

Answer = TypeVar("Answer")
# A part of a run: called with `Turns.give_way`; true if the run is to go on at its next turn.
Step: TypeAlias = Callable[[Callable[[], bool]], bool]

TURN = 4.0  # seconds of a run while another one waits: to go on with a run has its cost
MOST_QUESTIONS = 64  # that wait for an answer


class BusyError(Exception):
    """More questions wait than are held."""


class Turns:
    """The thread, and what waits for it."""

    def __init__(self) -> None:
        self._questions: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._steps: deque[Step] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._ends = 0.0  # of the turn that goes on
        self._thread = threading.Thread(target=self._work, name="iassa models", daemon=True)
        self._thread.start()

    def ask(self, question: Callable[[], Answer]) -> Future[Answer]:
        """Have a short question answered, before any other step of a run.

        Raises:
            BusyError: too many wait.
        """
        future: Future[Answer] = Future()
        with self._changed:
            if len(self._questions) >= MOST_QUESTIONS:
                raise BusyError
            self._questions.append((future, question))
            self._changed.notify()
        return future

    def take(self, step: Step) -> None:
        """Have a run go on whenever it is its turn, until it has no more to do."""
        with self._changed:
            self._steps.append(step)
            self._changed.notify()

    def give_way(self) -> bool:
        """To be called by a step between two batches: answers what was asked in the meantime.

        Returns:
            Whether the step is to end here, because another run waits for its turn.
        """
        while self._questions and not self._closed:
            self._answer()
        return self._closed or (bool(self._steps) and time.monotonic() >= self._ends)

    def close(self) -> None:
        """End after the batch in flight; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        for future, _ in self._questions:
            future.cancel()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._questions or self._steps)
                if self._closed:
                    return
                step = None if self._questions else self._steps.popleft()
            if step is None:
                self._answer()
                continue
            self._ends = time.monotonic() + TURN
            if step(self.give_way):
                self.take(step)

    def _answer(self) -> None:
        future, question = self._questions.popleft()
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(question())
        except BaseException as error:  # noqa: BLE001 - it goes to who asked
            future.set_exception(error)
