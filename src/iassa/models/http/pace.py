"""When the next request may be sent: at a rate, after what the server asks for, after failures."""

from __future__ import annotations

import random
import threading
import time
from email.utils import mktime_tz, parsedate_tz

MOST = 3600.0  # seconds of one wait: what a rate of 1e-300 asks for is none that a system takes


class Pace:
    """Spaces the requests of all threads that share it evenly, without bursts."""

    def __init__(self, rate: float | None) -> None:
        """Begin.

        Args:
            rate: the most requests a second; None for any.
        """
        self._interval = 0.0 if rate is None else 1 / rate
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Until it is this request's turn, or `stop` is set."""
        while not stop.is_set():
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._interval
                    return
                delay = self._next - now
            stop.wait(min(delay, MOST))

    def hold(self, seconds: float) -> None:
        """Send nothing for so long: a server that has had too much of one thread has of all."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def backoff(attempt: int, first: float, longest: float) -> float:
    """Seconds to wait after a failure: twice as long each time, half of it by chance.

    Chance keeps clients that failed together from coming back together. It is of no consequence to
    the map, so it needs no seed.

    Args:
        attempt: 0 after the first failure.
        first: seconds after that, at most.
        longest: seconds, at most.
    """
    whole = min(longest, first * 2.0 ** min(attempt, 60))
    return random.SystemRandom().uniform(whole / 2, whole)


def read_retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds that a server asks to wait.

    Args:
        value: of its Retry-After header: seconds, or an HTTP date.
        date: of its Date header. A date is counted from that, as clocks differ.

    Returns:
        0 or more; None where it asks for nothing, or for what cannot be read.
    """
    if value is not None and value.strip().isdecimal() and value.isascii():
        return float(value)
    until = _read_date(value)
    return None if until is None else max(0.0, until - (_read_date(date) or time.time()))


def _read_date(value: str | None) -> float | None:
    """Seconds of the clock."""
    parsed = parsedate_tz(value or "")
    try:
        return None if parsed is None else float(mktime_tz(parsed))
    except (ValueError, OverflowError):
        return None
