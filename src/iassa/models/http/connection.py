"""The path of one request: its turn, its header, sending, reading, repeating. Only user of httpx.

`exchange.py` gives each attempt a connection and a deadline.

A request is repeated when no answer came in time, when the answer was cut short or was not JSON (as
the page of a proxy is not), and after the statuses 408, 429 and 5xx. Other refusals, and whole
answers of another form, would come back the same and are not repeated. httpx can repeat a
connection alone, and a library for repeating anything knows neither Retry-After nor that a 429 for
one thread is meant for all. So the loop is ours.

No redirect is followed. To another host it would take images and header where nobody sent them, and
on the same host it would cost a request each time. The error says where it points.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urljoin, urlsplit

from iassa.errors import BlackBoxError, InputError, reason_of, require
from iassa.models.http.exchange import Exchange
from iassa.models.http.pace import Pace, backoff, read_retry_after
from iassa.models.http.request_forms import Body, UnexpectedAnswerError
from iassa.models.http.settings import HttpSettings

if TYPE_CHECKING:
    import httpx

Read = TypeVar("Read")

EXCERPT = 80  # characters of an answer that errors quote
LONG = 2.0  # seconds of a wait that is worth a message
SHORTEST = 8  # characters of a value in a query that may be a key

log = logging.getLogger(__name__)

NAME_IT = "Name the environment variable of the authorisation header: auth_env, --auth-env"
CHECK_FORM = "It did not like the request: check the form"
HINTS = {
    **dict.fromkeys((401, 403), NAME_IT),
    **dict.fromkeys((400, 415, 422), CHECK_FORM),
    405: "Check the URL and the form",
    413: "Send fewer images: images_per_request, or #images-per-request=1 after the URL",
}


class _RequestError(Exception):
    """A request failed.

    Attributes:
        may_pass: whether it may go well the next time.
        wait: the server's Retry-After in seconds, if it sent one.
    """

    def __init__(self, text: str, *, may_pass: bool = False, wait: float | None = None) -> None:
        super().__init__(text)
        self.may_pass = may_pass
        self.wait = wait


class Connection:
    """A server that answers requests. Threads may share it.

    Attributes:
        sent: number of requests so far.
        repeated: number of those that repeated another one.
    """

    def __init__(self, settings: HttpSettings) -> None:
        """Prepare; the first request connects.

        Raises:
            InputError: httpx is not installed, the header is not in the environment, or what is
                there for proxies and TLS cannot be used.
        """
        if settings.auth_env:
            _read_authorisation(settings.auth_env)
        self.sent = 0
        self.repeated = 0
        self._settings = settings
        self._name = settings.label
        self._pace = Pace(settings.rate)
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._under_way: set[Exchange[bytes]] = set()
        self._client = self._open_client()

    def _open_client(self) -> httpx.Client:
        try:
            import httpx
        except ImportError:
            raise InputError(
                "a model at a URL needs httpx, which is not installed: pip install httpx."
            ) from None
        try:
            return httpx.Client(
                auth=self._authorise if self._settings.auth_env else None,
                # A packed answer could be a thousand times as large as the bytes that were counted.
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "Connection": "close",
                },
                # None is kept: each request would carry all that were set before, without end.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                timeout=self._settings.timeout,
                follow_redirects=False,
                # Before httpx reads where a redirect points, which may be nothing that it can read.
                event_hooks={"response": [self._check_head]},
                # As many at a time as there are threads; none is used again, see `exchange.py`.
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
            # The text of others may hold the password of a proxy.
            told = f": {reason_of(error)}" if isinstance(error, ImportError | OSError) else ""
            raise InputError(
                f"cannot connect to anything as the environment says{told}. Check what it has for "
                "proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) and for TLS "
                "(SSL_CERT_FILE, SSL_CERT_DIR, SSLKEYLOGFILE)."
            ) from None

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def give_up(self) -> None:
        """Cut all requests under way; they fail at once."""
        with self._lock:
            under_way = [*self._under_way]
        for exchange in under_way:
            exchange.give_up()

    def _authorise(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = _read_authorisation(self._settings.auth_env)
        return request

    def get(self, url: str) -> Any:
        """The JSON at a URL of the server; see `ask`."""
        return self.ask(url, lambda answer: answer)

    def ask(
        self,
        url: str,
        read: Callable[[object], Read],
        *,
        body: Body | None = None,
        stop: threading.Event | None = None,
    ) -> Read:
        """Send a request, again and again, until it is answered.

        Args:
            url: of the same server.
            read: from the JSON of the answer to the result; raises `UnexpectedAnswerError`.
            body: of a POST; None for a GET.
            stop: set when nobody waits for the answer any longer.

        Returns:
            The result of `read`.

        Raises:
            BlackBoxError: no answer that can be used.
        """
        stop = stop or threading.Event()
        attempt = 0
        while True:
            self._pace.wait(stop)
            # First known, then a look at `stop`: so `give_up`, after `stop`, misses none.
            with self._known(Exchange()) as exchange:
                if stop.is_set():
                    raise BlackBoxError(f"{self._name}: given up, as another request had failed.")
                with self._lock:
                    self.sent += 1
                    self.repeated += attempt > 0
                try:
                    return self._parse(self._exchange(exchange, url, body), read)
                except _RequestError as failure:
                    if refusal := self._why_not_again(failure, attempt):
                        raise BlackBoxError(f"{self._name}: {failure}{refusal}") from None
                    reason = failure
            self._rest(reason, attempt, stop)
            attempt += 1

    @contextmanager
    def _known(self, exchange: Exchange[bytes]) -> Iterator[Exchange[bytes]]:
        """`give_up` finds it for as long as this lasts."""
        with self._lock:
            self._under_way.add(exchange)
        try:
            yield exchange
        finally:
            with self._lock:
                self._under_way.discard(exchange)

    def _why_not_again(self, failure: _RequestError, attempt: int) -> str:
        """The end of the message if the request is not to be repeated; empty if it is."""
        if not failure.may_pass:
            return "."
        longest = self._settings.longest_wait
        if failure.wait is not None and failure.wait > longest:
            longer = f"{failure.wait:.0f} s, which is longer than {longest:.0f} s"
            return f", and asks to wait {longer}. Go on after that."
        if attempt < self._settings.retries:
            return ""
        times = "once" if attempt == 0 else f"{attempt + 1} times"
        advice = "Check the URL, or try again later, with a longer timeout or more retries."
        return f", asked {times}. {advice}"

    def _rest(self, failure: _RequestError, attempt: int, stop: threading.Event) -> None:
        """Wait before the next attempt."""
        seconds = failure.wait
        if seconds is None:
            seconds = backoff(attempt, self._settings.first_wait, self._settings.longest_wait)
        level = logging.INFO if seconds >= LONG else logging.DEBUG
        log.log(level, "%s: %s; asking again in %.1f s", self._name, failure, seconds)
        if failure.wait is None:
            stop.wait(seconds)
        else:
            self._pace.hold(seconds)  # the requests of all threads

    def _exchange(self, exchange: Exchange[bytes], url: str, body: Body | None) -> bytes:
        """Send a request once; the content of a good answer."""
        import httpx

        method = "GET" if body is None else "POST"

        def send() -> bytes:
            told = {"trace": exchange.watch}
            with self._client.stream(method, url, extensions=told, **(body or {})) as response:
                content = self._receive(response)
                self._check_status(response, content)
            if not exchange.is_sent:
                text = "expected an answer to the whole request, got one to a part of it"
                raise _RequestError(text, may_pass=True)
            return content

        try:
            return exchange.run(send, self._settings.timeout)
        except (TimeoutError, httpx.TimeoutException):
            text = f"expected an answer within {self._settings.timeout:g} s, got none"
            raise _RequestError(text, may_pass=True) from None
        except CancelledError:
            raise _RequestError("given up, as the run was interrupted") from None
        except (httpx.InvalidURL, UnicodeError) as error:
            text = self._quote(str(error))
            raise _RequestError(f"expected a URL that can be asked, got {text}. Check it") from None
        except httpx.HTTPError as error:
            text = self._quote(str(error) or type(error).__name__)
            if "CERTIFICATE_VERIFY_FAILED" in text:
                text += ". For a private authority set SSL_CERT_FILE"
                raise _RequestError(f"no answer: {text}") from None
            raise _RequestError(f"expected an answer, got {text}", may_pass=True) from None

    def _check_head(self, response: httpx.Response) -> None:
        headers = response.headers
        if 300 <= response.status_code < 400:
            place = _redirect(self._settings.url, headers.get("Location", ""))
            raise _RequestError(
                f"expected an answer, got a redirect to {self._quote(place)}: refused, as images "
                "and header would go there. Give that URL if it is right"
            )
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _RequestError(
                "expected an answer that is not packed, as requested, got one that is. Have the "
                "server leave it plain"
            )

    def _receive(self, response: httpx.Response) -> bytes:
        content = bytearray()
        for part in response.iter_raw():
            content += part
            if len(content) > self._settings.response_limit:
                raise _RequestError(
                    f"expected an answer of at most {self._settings.response_limit} bytes, got "
                    "more. If these are scores, send fewer images in a request: images_per_request"
                )
        return bytes(content)

    def _check_status(self, response: httpx.Response, content: bytes) -> None:
        status, headers = response.status_code, response.headers
        if 200 <= status < 300:
            return
        phrase = HTTPStatus(status).phrase if status in [*HTTPStatus] else ""
        text = f"expected status 200, got {f'{status} {phrase}'.strip()} and {self._quote(content)}"
        if status >= 500 or status in (408, 429):
            wait = read_retry_after(headers.get("Retry-After"), headers.get("Date"))
            raise _RequestError(text, may_pass=True, wait=wait)
        hint = HINTS.get(status, "Check the URL")
        if status in (401, 403) and self._settings.auth_env:
            hint = f"Check the authorisation header in {self._settings.auth_env}"
        raise _RequestError(f"{text}. {hint}")

    def _parse(self, content: bytes, read: Callable[[object], Read]) -> Read:
        with self._reading:  # as objects of Python an answer may take 35 times its bytes
            found = self._parse_alone(content, read)
        if isinstance(found, _RequestError):
            raise found
        return found

    def _parse_alone(self, content: bytes, read: Callable[[object], Read]) -> Read | _RequestError:
        """A failure is returned: one that is raised here would keep the answer while it lives."""
        try:
            answer = json.loads(content, object_pairs_hook=_each_once)
        except (ValueError, RecursionError):
            return _RequestError(f"expected JSON, got {self._quote(content)}", may_pass=True)
        try:
            return read(answer)
        except UnexpectedAnswerError as error:
            return _RequestError(
                f"expected {error}, got {self._quote(content)}. See docs/endpoint.md for the form "
                "of answers"
            )

    def _quote(self, content: bytes | str) -> str:
        """The beginning of a text from outside, on one line and without secrets."""
        if isinstance(content, bytes):
            # Cut long before the end of the excerpt, so that no half of a secret stays in it.
            content = content[: 800 * EXCERPT].decode("utf-8", "replace")
        text = hide(content, self._settings.auth_env, self._settings.url)
        line = " ".join(text.split())
        return repr(line[:EXCERPT]) + "..." * (len(line) > EXCERPT) if line else "nothing"


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON; of a name that is there twice, readers take either."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError
    return found


def _redirect(url: str, location: str) -> str:
    """Where a redirect points, without user, password and query."""
    try:
        place = urlsplit(urljoin(url, location))
    except ValueError:
        return location.partition("?")[0]
    return f"{place.scheme}://{place.netloc.rpartition('@')[2]}{place.path}"


def _read_authorisation(variable: str) -> str:
    """The value of the header, read when it is sent and kept nowhere; errors do not quote it."""
    value = os.environ.get(variable, "").strip()
    require(
        value and value.isascii() and value.isprintable(),
        f"expected the authorisation header, one line of ASCII, in the environment variable "
        f"{variable}, got {'other characters' if value else 'none'}. Set it: export "
        f"{variable}='Bearer ...'.",
    )
    return value


def hide(text: str, variable: str, url: str) -> str:
    """A text without the header, which a server may have sent back, and without keys of the URL.

    Args:
        text: from a server or a library.
        variable: of the header; empty for none.
        url: its query may hold a key.
    """
    header = os.environ.get(variable, "").strip() if variable else ""
    scheme, _, rest = header.partition(" ")
    secrets = {header, *(rest.split() or [scheme])} - {""}
    query = urlsplit(url).query
    as_sent = (part.partition("=")[2] for part in query.split("&"))
    as_meant = (value for _, value in parse_qsl(query))
    secrets.update(one for one in (query, *as_sent, *as_meant) if len(one) >= SHORTEST)
    for secret in sorted(secrets, key=len, reverse=True):
        for written in (secret, secret.replace("/", "\\/")):  # some write it so in JSON
            text = text.replace(written, "***")
    return text
