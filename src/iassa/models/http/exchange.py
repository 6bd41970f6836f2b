"""One request and its answer: a connection of their own, a thread of their own, one deadline.

A connection carries one request. On one that is kept alive, an answer too many would be read as
that to the next request, and every later answer one request too late: wrong scores, and nothing in
them shows it. A new connection costs a round trip, with TLS two.

httpx counts the seconds between two packets, and from none to the next one of the addresses of a
name. A server that sends a byte now and then would never be late. So the caller waits here, until
the deadline and no longer, and then takes the socket from the thread. A thread that looks up a name
cannot be stopped. It is left behind, and nobody reads what it finds.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class Exchange(Generic[Answer]):
    """A request under way.

    Attributes:
        is_sent: whether the whole request was sent. httpx takes an answer for one all the same.
    """

    def __init__(self) -> None:
        self.is_sent = False
        self._answer: Future[Answer] = Future()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_over = False

    def run(self, work: Callable[[], Answer], seconds: float) -> Answer:
        """Do the work in a thread, and wait for it.

        Args:
            work: the request; it hands `watch` to httpx.
            seconds: until the deadline.

        Returns:
            What `work` returns.

        Raises:
            TimeoutError: the deadline came first.
            concurrent.futures.CancelledError: another thread called `give_up`.
            Exception: what `work` raised.
        """
        threading.Thread(
            target=self._work, args=(work,), name="iassa-exchange", daemon=True
        ).start()
        try:
            return self._answer.result(seconds)
        finally:
            self.give_up()

    def _work(self, work: Callable[[], Answer]) -> None:
        with contextlib.suppress(InvalidStateError):  # nobody waits any longer
            try:
                self._answer.set_result(work())
            except Exception as error:  # noqa: BLE001 - `run` raises it
                self._answer.set_exception(error)

    def watch(self, event: str, found: Mapping[str, Any]) -> None:
        """Keep the socket, and whether all was sent: the extension `trace` of httpx."""
        if "send_request_body" in event:
            self.is_sent = event.endswith("complete")
        if event.endswith("connect_tcp.complete"):
            # A copy: TLS takes the original away from its object.
            own = found["return_value"].get_extra_info("socket").dup()
            with self._lock:
                self._sockets.append(own)
            if self._is_over:
                self.give_up()

    def give_up(self) -> None:
        """End it: whoever waits for it goes on, and its connection is cut. Again is no error."""
        self._is_over = True
        self._answer.cancel()
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):  # the server may have cut it
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._sockets.clear()
