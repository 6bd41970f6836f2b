"""Who may ask: by the name of the host, the origin of the page, and a token where others can reach.

A page of anyone's, open in the same browser, may send requests to this machine, also under a name
of its own that leads here. The first two checks refuse both.
"""

from __future__ import annotations

import errno
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from iassa.errors import InputError, require

SHORTEST = 16  # letters of a token of the user's
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def make_token(host: str, given: str | None) -> str | None:
    """What a visitor has to know; None where only this machine can reach the server.

    Args:
        host: that is listened on.
        given: a token of the user's; None for a new one.

    Raises:
        InputError: it is short.
    """
    if given is None:
        return None if is_loopback(host) else secrets.token_urlsafe(32)
    require(
        len(given) >= SHORTEST and given.isascii() and given.isprintable(),
        f"expected a token of {SHORTEST} letters of ASCII or more, got {len(given)}. Make one: "
        "python -c 'import secrets; print(secrets.token_urlsafe())'.",
    )
    return given


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or an address.
        port: 0 for any that is free.

    Raises:
        InputError: the port is in use, or the host is none of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(f"cannot listen on {host}: {error.strerror}. Name an address.") from None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        used = error.errno == errno.EADDRINUSE
        advice = "--port 0 takes a free one" if used else "Name another address or port"
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror}. {advice}."
        ) from None
    return listening


@dataclass(frozen=True)
class Access:
    """What is known of who may ask.

    Attributes:
        host: that is listened on.
        port: likewise.
        token: see `make_token`.
        names: further names under which the page is reached, as of a proxy in front of it.
        secret: of the cookie that stands for the token.
    """

    host: str
    port: int
    token: str | None = None
    names: tuple[str, ...] = ()
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie(self) -> str:
        """The name of the cookie: those of several ports are sent to all of them."""
        return f"iassa-{self.port}"

    @property
    def url(self) -> str:
        """Where the page is, with the token."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def knows_host(self, header: str) -> bool:
        """Whether the page is reached under a name that can only mean this server.

        An address is no name, and no page of another's can be at it.
        """
        match = HOST.fullmatch(header)
        if match is None:
            return False
        name, port = match[1].lower(), int(match[2] or 80)
        if name in map(str.lower, self.names):
            return True  # a proxy has a port of its own
        if port != self.port:
            return False
        if is_loopback(name) or name == self.host.lower():
            return True
        try:
            ip_address(name.strip("[]"))
        except ValueError:
            return not is_loopback(self.host) and name == socket.gethostname().lower()
        return not is_loopback(self.host)

    def knows_origin(self, origin: str, host: str) -> bool:
        """Whether a request comes from the page itself."""
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    def admits(self, cookies: Mapping[str, str]) -> bool:
        """Whether the visitor gave the token before, or needs none."""
        given = cookies.get(self.cookie, "")
        return self.token is None or _equal(given, self.secret)

    def accepts(self, token: str) -> bool:
        """Whether this is the token."""
        return self.token is not None and _equal(token, self.token)


def _equal(given: str, known: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return secrets.compare_digest(given.encode(), known.encode())
