"""Batches of images: the cache is read first, requests share out the rest, threads send them."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.errors import BlackBoxError, counted
from iassa.files import user_path
from iassa.models.http.connection import Connection
from iassa.models.http.request_forms import RequestForm
from iassa.models.http.score_cache import ScoreCache, digest
from iassa.models.http.settings import HttpSettings

log = logging.getLogger(__name__)


class ScoringClient:
    """What one model holds open while it is in use: a connection, threads and a cache.

    Attributes:
        connection: to the server.
    """

    def __init__(self, settings: HttpSettings, identity: str) -> None:
        """Open the cache and start no request.

        Args:
            settings: of the model.
            identity: of the model; the cache keeps the scores of each identity apart.

        Raises:
            InputError: see `Connection` and `ScoreCache`.
        """
        self.connection = Connection(settings)
        self._settings = settings
        self._cache = (
            None if settings.cache is None else ScoreCache(user_path(settings.cache), identity)
        )
        self._num_outputs = None if self._cache is None else self._cache.num_outputs
        self._images = 0
        self._from_cache = 0
        self._lock = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(settings.in_flight, thread_name_prefix="iassa-endpoint")

    def close(self, wait: bool = True) -> None:
        """Close everything, and log what was asked.

        Args:
            wait: for requests under way, so that their answers come into the cache. The garbage
                collector must not wait: it may run in one of the threads.
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
                "%s: %s, %d of them from the cache; %s, %d of them repeated",
                *(self._settings.label, counted(self._images, "image"), self._from_cache),
                *(counted(self.connection.sent, "request"), self.connection.repeated),
            )

    def score(self, images: NDArray[Any], form: RequestForm) -> NDArray[np.float64]:
        """Scores of images.

        Args:
            images: (N, ...) as `form` sends them.
            form: of the requests.

        Returns:
            (N, K), row k of image k.

        Raises:
            BlackBoxError: a request failed for good, or the server changed its K.
        """
        keys: list[bytes] = []
        rows: list[NDArray[np.float64] | None] = [None] * len(images)
        if self._cache is not None:
            keys = [digest(image.tobytes(), image.shape, str(image.dtype)) for image in images]
            rows = self._cache.find(keys)
            for row in rows:
                if row is not None:
                    self._check_outputs(len(row))
        missing = [k for k, row in enumerate(rows) if row is None]
        if len(missing) < len(rows) and not self._from_cache:
            log.info("%s: scores in the cache are not asked for again", self._settings.label)
        self._images += len(rows)
        self._from_cache += len(rows) - len(missing)

        def ask(part: Sequence[int], stop: threading.Event) -> None:
            asked = images[list(part)]
            read = partial(form.scores, images=asked)
            scores = self.connection.ask(form.url, read, body=form.body(asked), stop=stop)
            self._check_outputs(scores.shape[1])
            if self._cache is not None:
                self._cache.add([keys[k] for k in part], scores)
            for k, row in zip(part, scores, strict=True):
                rows[k] = row

        self._run([partial(ask, part) for part in self._share_out(missing, form.most)])
        return np.stack([row for row in rows if row is not None])

    def _share_out(self, missing: Sequence[int], most: int | None) -> list[Sequence[int]]:
        even = math.ceil(len(missing) / self._settings.in_flight)
        count = self._settings.images_per_request or even
        count = min(count, most or count)
        return [missing[k : k + count] for k in range(0, len(missing), max(count, 1))]

    def _run(self, tasks: Sequence[Callable[[threading.Event], None]]) -> None:
        """Run all tasks; the first failure stops those that have not been sent."""
        stop = threading.Event()
        futures = [self._threads.submit(task, stop) for task in tasks]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:  # a second Ctrl-C: no answer is waited for
            stop.set()
            self.connection.give_up()
            raise
        finally:
            stop.set()
            under_way = [future for future in futures if not future.cancel()]
        failure = next((one.exception() for one in done if one.exception() is not None), None)
        if failure is not None:
            wait(under_way)  # their answers still come into the cache
            raise failure

    def _check_outputs(self, count: int) -> None:
        """Refuse a K that changes before it comes into the cache."""
        with self._lock:
            if self._num_outputs is None:
                self._num_outputs = count
        if count != self._num_outputs:
            raise BlackBoxError(
                f"expected {self._num_outputs} scores for each image, as before, got {count} from "
                f"the black box {self._settings.label}. If it is another model now, give it "
                "another version."
            )
