"""The authorisation header: read from the environment when it is sent, and kept nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from iassa.errors import InputError

__all__ = ["hide", "read_authorisation"]

SHORTEST = 8  # characters of a value in a query that may be a key


def read_authorisation(variable: str) -> str:
    """The value of the header, as 'Bearer ...', from an environment variable.

    Args:
        variable: its name.

    Raises:
        InputError: it is not set, or cannot be the value of a header. The value is not told.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise InputError(
            f"expected the authorisation header in the environment variable {variable}, got none. "
            f"Set it: export {variable}='Bearer ...'."
        )
    if not (value.isascii() and value.isprintable()):
        raise InputError(
            f"expected one line of ASCII in {variable}, as a header is, got other characters."
        )
    return value


def hide(text: str, variable: str, url: str) -> str:
    """A text without the header, should a server have sent it back, and without keys in the URL.

    Args:
        text: from a server or a library.
        variable: of the header; empty for none.
        url: whose query may hold a key.
    """
    secrets = sorted({*_of_header(variable), *_of_query(url)}, key=len, reverse=True)
    for secret in secrets:
        for written in (secret, secret.replace("/", "\\/")):  # as some write it in JSON
            text = text.replace(written, "***")
    return text


def _of_header(variable: str) -> Iterator[str]:
    value = os.environ.get(variable, "").strip() if variable else ""
    if value:
        yield value
        scheme, _, rest = value.partition(" ")
        yield from rest.split() or [scheme]


def _of_query(url: str) -> Iterator[str]:
    query = urlsplit(url).query
    as_sent = (part.partition("=")[2] for part in query.split("&"))
    as_meant = (value for _, value in parse_qsl(query))
    yield from (one for one in (query, *as_sent, *as_meant) if len(one) >= SHORTEST)
