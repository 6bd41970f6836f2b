"""Requests to one server: sent, repeated while that may help, and read. The only user of httpx.

Repeated are requests that were not answered in time or not wholly, with the statuses 408, 429 and
5xx, or with what is no JSON: so a page of a proxy or a text cut short looks. Not repeated are other
refusals, and answers that are whole and of another form: they would be the same again. httpx can
repeat a connection alone, and a library for repeating anything knows neither Retry-After nor that
one thread's 429 is meant for all; what does is one loop.

No redirect is followed. To another host it would take images and header where nobody sent them, and
on the same host it would be paid for with every request: the error says where it points.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from iassa.errors import BlackBoxError, InputError
from iassa.models.http.authorisation import hide, read_authorisation
from iassa.models.http.pace import Pace, backoff, read_retry_after
from iassa.models.http.request_forms import Body, UnexpectedAnswerError

if TYPE_CHECKING:
    import httpx

__all__ = ["Connection"]

Read = TypeVar("Read")

EXCERPT = 80  # characters of an answer that errors quote
LONG = 2.0  # seconds that are worth a message

log = logging.getLogger(__name__)

HINTS = {
    400: "It did not like the request: check the form.",
    404: "Check the URL.",
    405: "Check the URL and the form.",
    413: "Send fewer images in a request: images_per_request, or #images-per-request=1 after the "
    "URL.",
    415: "Check the form.",
    422: "It did not like the request: check the form.",
}


class _PassingError(Exception):
    """A failure that may not happen again."""

    def __init__(self, text: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.wait = wait  # that the server asks for


class Connection:
    """A server that is asked. Threads may share it."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        auth_env: str,
        timeout: float,
        retries: int,
        first_wait: float,
        longest_wait: float,
        rate: float | None,
        in_flight: int,
        response_limit: int,
    ) -> None:
        """Connect to nothing yet; see `HttpModel` for the arguments.

        Raises:
            InputError: httpx is not installed, or the header is not in the environment.
        """
        try:
            import httpx
        except ImportError:
            raise InputError(
                "a model at a URL needs httpx, which is not installed: pip install 'iassa[http]'."
            ) from None
        if auth_env:
            read_authorisation(auth_env)
        self.sent = 0
        self.repeated = 0
        self._url = url
        self._name = name
        self._auth_env = auth_env
        self._timeout = timeout
        self._retries = retries
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._response_limit = response_limit
        self._pace = Pace(rate)
        self._lock = threading.Lock()
        self._client = httpx.Client(
            # What is sent packed could be a thousand times as large as what was counted.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=timeout,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight),
        )

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    def ask(
        self,
        method: str,
        url: str,
        read: Callable[[object], Read],
        stop: threading.Event,
        body: Body | None = None,
    ) -> Read:
        """Send a request until it is answered.

        Args:
            method: GET or POST.
            url: where to; of the same server.
            read: what to make of the JSON; raises `UnexpectedAnswerError`.
            stop: set when nobody waits for the answer any longer.
            body: what to send.

        Returns:
            What `read` makes of it.

        Raises:
            BlackBoxError: no answer that can be used.
        """
        for attempt in range(self._retries + 1):
            self._pace.wait(stop)
            if stop.is_set():
                break
            try:
                return self._ask_once(method, url, read, body or {}, repeated=attempt > 0)
            except _PassingError as failure:
                text, wait = str(failure), failure.wait
            if wait is not None and wait > self._longest_wait:
                raise BlackBoxError(
                    f"{self._name}: {text}, and asks to wait {wait:.0f} s, which is longer than "
                    f"{self._longest_wait:.0f} s. Go on after that."
                )
            if attempt < self._retries:
                self._rest(text, wait, attempt, stop)
        if stop.is_set():
            raise BlackBoxError(f"{self._name}: given up, as another request had failed.")
        times = "once" if attempt == 0 else f"{attempt + 1} times"
        raise BlackBoxError(
            f"{self._name}: {text}, asked {times}. Check the URL, or try again later, with a "
            "longer timeout or more retries."
        )

    def _rest(
        self, problem: str, wanted: float | None, attempt: int, stop: threading.Event
    ) -> None:
        wait = backoff(attempt, self._first_wait, self._longest_wait) if wanted is None else wanted
        level = logging.INFO if wait >= LONG else logging.DEBUG
        log.log(level, "%s: %s; asking again in %.1f s", self._name, problem, wait)
        if wanted is None:
            stop.wait(wait)
        else:
            self._pace.hold(wait)

    def _ask_once(
        self, method: str, url: str, read: Callable[[object], Read], body: Body, *, repeated: bool
    ) -> Read:
        with self._lock:
            self.sent += 1
            self.repeated += repeated
        content = self._exchange(method, url, body)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise _PassingError(f"expected JSON, got {self._quote(content)}") from None
        try:
            return read(answer)
        except UnexpectedAnswerError as error:
            raise BlackBoxError(
                f"{self._name}: expected {error}, got {self._quote(content)}. See docs/endpoint.md "
                "for what it has to answer."
            ) from None

    def _exchange(self, method: str, url: str, body: Body) -> bytes:
        import httpx

        try:
            auth = self._authorise if self._auth_env else None
            with self._client.stream(method, url, auth=auth, **body) as response:
                return self._receive(response)
        except httpx.TimeoutException:
            raise self._late() from None
        except httpx.HTTPError as error:
            text = self._quote(str(error).encode()) if str(error) else type(error).__name__
            certificate = "CERTIFICATE_VERIFY_FAILED" in str(error)
            if certificate or not isinstance(error, httpx.TransportError):
                advice = " For a private authority set SSL_CERT_FILE." if certificate else ""
                raise BlackBoxError(f"{self._name}: no answer: {text}.{advice}") from None
            raise _PassingError(f"expected an answer, got {text}") from None

    def _authorise(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = read_authorisation(self._auth_env)
        return request

    def _late(self) -> _PassingError:
        return _PassingError(f"expected an answer within {self._timeout:g} s, got none")

    def _receive(self, response: httpx.Response) -> bytes:
        """The content of a good answer."""
        status = response.status_code
        if 300 <= status < 400:
            where = urlsplit(urljoin(self._url, response.headers.get("Location", "")))
            place = f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}"
            raise BlackBoxError(
                f"{self._name}: expected an answer, got a redirect to "
                f"{self._quote(place.encode())}: refused, as images and header would go there. "
                "Give that URL if it is right."
            )
        content = self._receive_content(response)
        if 200 <= status < 300:
            return content
        known = status in HTTPStatus.__members__.values()
        phrase = f"{status} {HTTPStatus(status).phrase}" if known else str(status)
        text = f"expected status 200, got {phrase} and {self._quote(content)}"
        if status >= 500 or status in (408, 429):
            headers = response.headers
            wait = read_retry_after(headers.get("Retry-After"), headers.get("Date"))
            raise _PassingError(text, wait)
        raise BlackBoxError(f"{self._name}: {text}. {self._hint(status)}")

    def _hint(self, status: int) -> str:
        if status not in (401, 403):
            return HINTS.get(status, "Check the URL.")
        if self._auth_env:
            return f"Check the authorisation header in {self._auth_env}."
        return "Name the environment variable of the authorisation header: auth_env, --auth-env."

    def _receive_content(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise BlackBoxError(
                f"{self._name}: expected an answer that is not packed, as was asked for, got one "
                "that is. Have the server leave it plain."
            )
        content = bytearray()
        # httpx counts the seconds between two packets; a server that drips would never be late.
        latest = time.monotonic() + self._timeout
        for part in response.iter_raw():
            content += part
            if len(content) > self._response_limit:
                raise BlackBoxError(
                    f"{self._name}: expected an answer of at most {self._response_limit} bytes, "
                    "got more. Is it scores? Then send fewer images in a request: "
                    "images_per_request."
                )
            if time.monotonic() > latest:
                raise self._late()
        return bytes(content)

    def _quote(self, content: bytes) -> str:
        """The beginning of what a server said, on one line and without secrets."""
        # What is cut off must not leave the beginning of a secret behind.
        text = hide(content[: 800 * EXCERPT].decode("utf-8", "replace"), self._auth_env, self._url)
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        if not line:
            return "nothing"
        return repr(line[:EXCERPT]) + ("..." if len(line) > EXCERPT else "")
