"""Batches of images, shared out among requests, with a cache before them and counts behind them."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import BlackBoxError
from iassa.models.http.connection import Connection
from iassa.models.http.request_forms import RequestForm
from iassa.models.http.score_cache import ScoreCache, digest

__all__ = ["Line"]

log = logging.getLogger(__name__)


class Line:
    """What an adapter holds while it asks: connection, threads, cache, and counts."""

    def __init__(
        self,
        name: str,
        connection: Connection,
        cache: ScoreCache | None,
        *,
        images_per_request: int | None,
        in_flight: int,
    ) -> None:
        """Begin; see `HttpModel` for the arguments."""
        self.connection = connection
        self._name = name
        self._cache = cache
        self._split = images_per_request
        self._in_flight = in_flight
        self._num_outputs = None if cache is None else cache.num_outputs()
        self._images = 0
        self._known = 0
        self._lock = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(in_flight, thread_name_prefix="iassa-endpoint")

    def close(self, wait: bool = True) -> None:
        """Let go of everything.

        Args:
            wait: for what is under way, so that its answers come into the cache. The collector of
                garbage must not: it may run in one of the threads.
        """
        if self._closed:
            return
        self._closed = True
        self._threads.shutdown(wait=wait, cancel_futures=True)
        self.connection.close()
        if self._cache is not None:
            self._cache.close()
        if self._images:
            log.info(
                "%s: %d images, %d of them from the cache; %d requests, %d of them repeated",
                self._name,
                self._images,
                self._known,
                self.connection.sent,
                self.connection.repeated,
            )

    def ask(self, images: NDArray[Any], form: RequestForm, target: str) -> NDArray[np.float64]:
        """Scores (N, K) of images as they are sent, from the cache where it knows them."""
        digests: list[bytes] = []
        rows: list[NDArray[np.float64] | None] = [None] * len(images)
        if self._cache is not None:
            digests = [digest(one.tobytes(), one.shape, str(one.dtype)) for one in images]
            rows = self._cache.find(digests)
        missing = [k for k, row in enumerate(rows) if row is None]
        if len(missing) < len(rows) and not self._known:
            log.info("%s: scores in the cache are not asked for again", self._name)
        self._images += len(rows)
        self._known += len(rows) - len(missing)
        parts = self._share_out(missing, form.most)

        def ask_part(part: Sequence[int], stop: threading.Event) -> NDArray[np.float64]:
            body = form.body(images[list(part)])

            def read(answer: object) -> NDArray[np.float64]:
                return form.scores(answer, len(part))

            scores = self.connection.ask("POST", target, read, stop, body)
            self._check_outputs(scores.shape[1])
            if self._cache is not None:
                self._cache.add([digests[k] for k in part], scores)
            return scores

        for part, scores in zip(parts, self._ask_all(parts, ask_part), strict=True):
            for k, row in zip(part, scores, strict=True):
                rows[k] = row
        return np.stack([row for row in rows if row is not None])

    def _share_out(self, missing: Sequence[int], most: int | None) -> list[Sequence[int]]:
        count = self._split or math.ceil(len(missing) / self._in_flight)
        count = min(count, most or count)
        return [missing[k : k + count] for k in range(0, len(missing), max(count, 1))]

    def _ask_all(
        self,
        parts: Sequence[Sequence[int]],
        ask_part: Callable[[Sequence[int], threading.Event], NDArray[np.float64]],
    ) -> list[NDArray[np.float64]]:
        stop = threading.Event()
        futures = [self._threads.submit(ask_part, part, stop) for part in parts]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failures = [one.exception() for one in futures if one in done]
            if any(failures):
                stop.set()  # no other is asked again, but what is under way is kept
                wait([one for one in futures if not one.cancel()])
            for failure in filter(None, failures):
                raise failure
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]

    def _check_outputs(self, count: int) -> None:
        """Refuse a K that changes before it comes into the cache."""
        with self._lock:
            if self._num_outputs is None:
                self._num_outputs = count
        if count != self._num_outputs:
            raise BlackBoxError(
                f"expected {self._num_outputs} scores for each image, as before, got {count} from "
                f"the black box {self._name}. If it is another model now, give it another version."
            )
