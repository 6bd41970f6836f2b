"""Servers that answer wrongly in every way: the right scores, or an error in time.

The rule of the tables: whatever the server does, a black box returns the scores of the images that
it sent, to the bit, or raises a BlackBoxError within its deadline.
"""

from __future__ import annotations

import gc
import gzip
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import numpy as np
import pytest
import torch

import iassa
from hostile_server import answer_well, good, hostile, in_time
from iassa.errors import BlackBoxError, InputError
from iassa.models.black_box import ask
from iassa.models.http.score_cache import FILE
from scoring_server import model

SIZE = (20, 28)
PLANES = torch.rand(6, 3, *SIZE, generator=torch.Generator().manual_seed(0))
AS_PNG = np.rint(PLANES.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
RIGHT = ""
LATE = "expected an answer within"


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy of this machine's between client and loopback."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def scores(url, planes=PLANES, **settings):
    """Of a server, within its deadline."""
    given = {"images_per_request": 2, "retries": 1, "first_wait": 0.001, "timeout": 10.0}

    def work():
        with iassa.models.HttpModel(url, **{**given, **settings}) as box:
            return ask(box, planes).numpy()

    return in_time(work)


def check(act, expected, address=None, **settings):
    """Hold a server that always does it to what is expected, one that does it once to the rule."""

    def once(talk):
        (act if talk.number == 1 else answer_well)(talk)

    for behaviour in (act, once):
        with hostile(behaviour) as server:
            url = address(server) if address else server.url
            try:
                found = scores(url, **settings)
            except BlackBoxError as error:
                text = str(error)
                assert behaviour is once or expected != RIGHT, text
                assert expected in text
                assert len(text) < 500
                assert text.isprintable()
            else:
                assert behaviour is once or expected == RIGHT
                np.testing.assert_array_equal(found, model(AS_PNG))


# What a server sends once it has read the request, made of the JSON of the right scores. Then it
# closes the connection.


def status(line, *lines, content=None):
    def make(right):
        body = right if content is None else content
        return good(body, *lines).replace(b"200 OK", line.encode(), 1)

    return make


def body(content):
    return lambda right: good(content)


def raw(*parts):
    """Parts of an answer; None stands for the JSON."""
    return lambda right: b"".join(right if part is None else part for part in parts)


def chunk(content, size=None):
    return b"%x\r\n%s\r\n" % (len(content) if size is None else size, content)


def chunks(make, end=b"0\r\n\r\n"):
    """A chunked answer."""
    return lambda right: HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + make(right) + end


HEAD = b"HTTP/1.1 200 OK\r\n"
OPEN = HEAD + b"\r\n"  # the end of the connection ends the body
PROTOCOL = "expected an answer, got"
NO_JSON = "expected JSON, got"
ROWS = "expected 2 rows of numbers, one for each class"
FINITE = "expected finite scores"
LOGIN = b"<!DOCTYPE html><html><title>Sign in</title><form action=/login></html>"

ANSWERS = {
    "right": (RIGHT, good),
    # Statuses.
    "201": (RIGHT, status("201 Created")),
    "203": (RIGHT, status("203 Non-Authoritative Information")),
    "204 with a body": (NO_JSON, status("204 No Content")),
    "204": (NO_JSON, raw(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "206 of a part": (NO_JSON, lambda right: status("206 Partial Content")(right[:9])),
    "304": ("redirect", status("304 Not Modified")),
    "400": ("400 Bad Request", status("400 Bad Request")),
    "401": ("401 Unauthorized", status("401 Unauthorized", "WWW-Authenticate: Basic")),
    "403": ("403 Forbidden", status("403 Forbidden", content=LOGIN)),
    "407": ("407 Proxy", status("407 Proxy Authentication Required")),
    "418": ("418", status("418 I'm a teapot")),
    "426": ("426", status("426 Upgrade Required", "Upgrade: h2c")),
    "500 with right scores": ("500 Internal", status("500 Internal Server Error")),
    "503": ("503 Service", status("503 Service Unavailable", content=b"")),
    "999": ("999", status("999 \x1b[31mred")),
    "000": (PROTOCOL, status("000 None")),
    "101": (PROTOCOL, status("101 Switching Protocols", "Upgrade: websocket")),
    "no status": (PROTOCOL, status("OK")),
    "no reason": (RIGHT, status("200 ")),
    "escapes": ("500", status("500 \x1b]0;title\x07", content=b"\x1b[2J\xe2\x80\xae")),
    # What is asked of who asks again.
    "years": ("asks to wait 9999999999 s", status("503 x", "Retry-After: 9999999999")),
    "400 digits": ("asks to wait inf s", status("429 x", f"Retry-After: {'9' * 400}")),
    "negative": ("503", status("503 x", "Retry-After: -5")),
    "a date of old": ("503", status("503 x", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT")),
    "a date to come": (
        "asks to wait",
        status("503 x", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"),
    ),
    "no date": ("503", status("503 x", "Retry-After: Fri, 99 Foo 99999 99:99:99 GMT")),
    "twice": ("503", status("503 x", "Retry-After: 0", "Retry-After: 0")),
    # Redirects.
    **{
        f"redirect {code} {place}"[:40]: ("redirect", status(f"{code} x", f"Location: {place}"))
        for code in (301, 302, 303, 307, 308)
        for place in ("https://elsewhere.example/", "/model")
    },
    "redirect nowhere": ("redirect", status("302 x", "Location: http://[nowhere/?a=b")),
    "redirect to a file": ("redirect", status("302 x", "Location: file:///etc/passwd")),
    "redirect without": ("redirect", status("302 x")),
    "redirect to no host": ("redirect", status("302 x", "Location: //xn--a/")),
    "redirect to no path": ("redirect", status("302 x", "Location: file:a")),
    "refresh": (RIGHT, status("200 OK", "Refresh: 0; url=https://elsewhere.example/")),
    # Lengths.
    "too short a length": (NO_JSON, raw(HEAD, b"Content-Length: 9\r\n\r\n", None)),
    "too long a length": ("peer closed", raw(HEAD, b"Content-Length: 9999\r\n\r\n", None)),
    "a negative length": (PROTOCOL, raw(HEAD, b"Content-Length: -1\r\n\r\n", None)),
    "a length in words": (PROTOCOL, raw(HEAD, b"Content-Length: some\r\n\r\n", None)),
    "no length": (RIGHT, raw(OPEN, None)),
    "no length, cut": (NO_JSON, lambda right: OPEN + right[:-2]),
    "length 0": (NO_JSON, raw(HEAD, b"Content-Length: 0\r\n\r\n", None)),
    "a length of 40 digits": (PROTOCOL, raw(HEAD, b"Content-Length: %d\r\n\r\n" % (10**40), None)),
    "two lengths": (PROTOCOL, lambda right: good(right, "Content-Length: 9")),
    "one length twice": (RIGHT, lambda right: good(right, f"Content-Length: {len(right)}")),
    "length and chunks": (RIGHT, lambda right: chunks(chunk)(right).replace(
        b"Transfer", b"Content-Length: 9\r\nTransfer", 1
    )),
    # Chunks.
    "chunks": (RIGHT, chunks(chunk)),
    "chunks of a byte": (RIGHT, chunks(lambda right: b"".join(
        chunk(right[k : k + 1]) for k in range(len(right))
    ))),
    "chunks with trailers": (RIGHT, chunks(chunk, b"0\r\nScores: 1\r\n\r\n")),
    "chunks with extensions": (RIGHT, chunks(lambda right: chunk(right).replace(
        b"\r\n", b";a=b\r\n", 1
    ))),
    "too short a chunk": (PROTOCOL, chunks(lambda right: chunk(right, len(right) - 9))),
    "too long a chunk": (PROTOCOL, chunks(lambda right: chunk(right, len(right) + 9))),
    "a negative chunk": (PROTOCOL, chunks(lambda right: b"-1\r\n" + right + b"\r\n")),
    "a chunk of words": (PROTOCOL, chunks(lambda right: b"many\r\n" + right + b"\r\n")),
    "a chunk of 2^200": (PROTOCOL, chunks(lambda right: b"1" + b"0" * 50 + b"\r\n" + right)),
    "no last chunk": ("peer closed", chunks(chunk, b"")),
    "half of the chunks": ("peer closed", chunks(lambda right: chunk(right[:9]), b"5\r\n12")),
    "chunks, packed": (PROTOCOL, raw(HEAD, b"Transfer-Encoding: gzip, chunked\r\n\r\n", None)),
    "chunks by name only": (PROTOCOL, raw(HEAD, b"Transfer-Encoding: chunked\r\n\r\n", None)),
    # Headers.
    "a header of 10 MB": (PROTOCOL, raw(HEAD, b"A: " + b"a" * 10**7 + b"\r\n\r\n", None)),
    "10^5 headers": (PROTOCOL, raw(HEAD, b"A: a\r\n" * 10**5 + b"\r\n", None)),
    "10^4 headers": (RIGHT, lambda right: good(right, *["A: a"] * 10**4)),
    "headers twice": (RIGHT, lambda right: good(right, "Content-Type: a/b", "Date: a", "Date: b")),
    "cookies": (RIGHT, lambda right: good(right, *["Set-Cookie: a=; Path=;; Max-Age=x"] * 9)),
    "a header without a colon": (PROTOCOL, lambda right: good(right, "Server")),
    "a header with NUL": (PROTOCOL, lambda right: good(right, "Server: \0")),
    "a folded header": (RIGHT, lambda right: good(right, "Server: a", " b")),
    "bytes in a header": (RIGHT, lambda right: good(right, "Server: \xff\xfe")),
    "bare line feeds": (RIGHT, lambda right: good(right).replace(b"\r\n", b"\n")),
    "cut in the headers": (PROTOCOL, raw(HEAD + b"Content-Len")),
    "cut in the status": (PROTOCOL, raw(b"HTTP/1.1 20")),
    "nothing": (PROTOCOL, raw(b"")),
    # Content types and encodings.
    "as HTML": (RIGHT, lambda right: good(right).replace(b"application/json", b"text/html")),
    "as a picture": (RIGHT, lambda right: good(right).replace(b"application/json", b"image/png")),
    "a login page": (NO_JSON, body(LOGIN)),
    "gzip": ("is not packed", lambda right: good(gzip.compress(right), "Content-Encoding: gzip")),
    "a gzip bomb": (
        "is not packed",
        lambda right: good(gzip.compress(bytes(10**7)), "Content-Encoding: gzip"),
    ),
    "brotli": ("is not packed", lambda right: good(right, "Content-Encoding: br")),
    "gzip twice": (
        "is not packed",
        lambda right: good(right, "Content-Encoding: gzip", "Content-Encoding: gzip"),
    ),
    "gzip without a word": (NO_JSON, lambda right: good(gzip.compress(right))),
    "gzip that is none": ("is not packed", lambda right: good(right, "Content-Encoding: gzip")),
    "a BOM": (RIGHT, lambda right: good(b"\xef\xbb\xbf" + right)),
    "UTF-16": (RIGHT, lambda right: good(right.decode().encode("utf-16"))),
    "UTF-16 without a BOM": (RIGHT, lambda right: good(right.decode().encode("utf-16-be"))),
    "UTF-32": (RIGHT, lambda right: good(right.decode().encode("utf-32"))),
    "no UTF-8": (NO_JSON, lambda right: good(b'{"\xff\xfe": 1, ' + right[1:])),
    "a NUL behind": (NO_JSON, lambda right: good(right + b"\0")),
    # JSON.
    "two answers in one": (NO_JSON, lambda right: good(right + right)),
    "scores twice": (NO_JSON, lambda right: good(b'{"scores": [[1], [2]], ' + right[1:])),
    "cut": (NO_JSON, lambda right: good(right[:-1])),
    "NaN": (FINITE, body(b'{"scores": [[1, NaN], [1, 2]]}')),
    "Infinity": (FINITE, body(b'{"scores": [[1, -Infinity], [1, 2]]}')),
    "1e999": (FINITE, body(b'{"scores": [[1, 1e999], [1, 2]]}')),
    "a number of 400 digits": (FINITE, body(b'{"scores": [[1, 1%s], [1, 2]]}' % (b"0" * 400))),
    "a number of 5000 digits": (NO_JSON, body(b'{"scores": [[1, 1%s], [1, 2]]}' % (b"0" * 5000))),
    "texts": (ROWS, body(b'{"scores": [["1", "2"], ["3", "4"]]}')),
    "one text": (ROWS, body(b'{"scores": [[1, "2"], [3, 4]]}')),
    "truth": (ROWS, body(b'{"scores": [[true, false], [false, true]]}')),
    "one truth": (ROWS, body(b'{"scores": [[true, 0.5], [0.25, 1]]}')),
    "null": (ROWS, body(b'{"scores": [[null, 2], [3, 4]]}')),
    "objects": (ROWS, body(b'{"scores": [{"a": 1}, {"a": 2}]}')),
    "rows by number": ('expected {"scores"', body(b'{"scores": {"0": [1], "1": [2]}}')),
    "too few rows": ("of 2 images (got 1)", body(b'{"scores": [[1, 2, 3]]}')),
    "too many rows": ("of 2 images (got 3)", body(b'{"scores": [[1], [2], [3]]}')),
    "no rows": ("of 2 images (got 0)", body(b'{"scores": []}')),
    "empty rows": (ROWS, body(b'{"scores": [[], []]}')),
    "ragged rows": ("as many scores for each", body(b'{"scores": [[1, 2], [3]]}')),
    "deep rows": (ROWS, body(b'{"scores": [[[1, 2]], [[3, 4]]]}')),
    "90 levels": ("expected", body(b'{"scores": [%s1%s, 2]}' % (b"[" * 90, b"]" * 90))),
    "10^5 levels": (NO_JSON, body(b'{"scores": %s' % (b"[" * 10**5))),
    "10^5 objects": (NO_JSON, body(b'{"a":' * 10**5)),
    "an error": ('expected {"scores"', body(b'{"error": "quota exceeded"}')),
    "a list": ('expected {"scores"', body(b"[[1, 2], [3, 4]]")),
    "a text": ('expected {"scores"', body(b'"scores"')),
    "lone surrogates": (RIGHT, lambda right: good(b'{"\\ud800": "\\udfff", ' + right[1:])),
    "10 MB": ("at most 1000000 bytes", body(b" " * 10**7)),
    "10 MB of lists": ("at most 1000000 bytes", body(b'{"scores": [' + b"[]," * 3 * 10**6)),
    "10 MB without a length": ("at most 1000000 bytes", raw(OPEN, b" " * 10**7)),
    "10 MB in chunks": ("at most 1000000 bytes", chunks(lambda right: chunk(b" " * 10**7))),
    # Other protocols.
    "HTTP/1.0": (RIGHT, lambda right: good(right).replace(b"HTTP/1.1", b"HTTP/1.0")),
    "HTTP/0.9": (PROTOCOL, raw(None)),
    "HTTP/2": (PROTOCOL, raw(b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80\0\4\0\1\0\0\0\5\0\xff\xff\xff")),
    "the preface of HTTP/2": (PROTOCOL, raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None)),
    "HTTP/9.9": (RIGHT, lambda right: good(right).replace(b"HTTP/1.1", b"HTTP/9.9")),
    "ICY": (PROTOCOL, lambda right: good(right).replace(b"HTTP/1.1", b"ICY")),
    "SSH": (PROTOCOL, raw(b"SSH-2.0-OpenSSH_9.6\r\n")),
    "junk": (PROTOCOL, raw(bytes(range(256)) * 40)),
    "zeros": (PROTOCOL, raw(bytes(10**6))),
    "an alert of TLS": (PROTOCOL, raw(b"\x15\3\3\0\2\2\x16")),
    # Answers too many.
    "100 first": (RIGHT, lambda right: b"HTTP/1.1 100 Continue\r\n\r\n" + good(right)),
    "103 first": (RIGHT, lambda right: b"HTTP/1.1 103 x\r\nLink: a\r\n\r\n" * 9 + good(right)),
    "two answers": (RIGHT, lambda right: good(right) + good(b'{"scores": [[1, 2, 3], [1, 2, 3]]}')),
    "an answer and junk": (RIGHT, lambda right: good(right, "Connection: keep-alive") + b"\0" * 99),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_whole_answers(name):
    expected, make = ANSWERS[name]

    def act(talk):
        if talk.read():
            talk.send(make(talk.right))

    check(act, expected, response_limit=10**6)


# What a server does in the course of time.

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def silence(talk):
    talk.wait()


def silence_when_asked(talk):
    talk.read()
    talk.wait()


def begin(content, then):
    """A server that reads the request, sends the beginning of an answer, and goes on so."""

    def act(talk):
        if talk.read():
            talk.send(content)
            then(talk)

    return act


def half(talk):
    """Half of an answer, and no more."""
    if talk.read():
        talk.send(good(talk.right)[:-9])
        talk.wait()


def slow_answer(talk):
    """The right answer, byte for byte, for ever: it is right at last, and nobody waits so long."""
    if talk.read():
        talk.drip(good(talk.right), 0.01)


SLOW = {
    "silent": silence,
    "silent when asked": silence_when_asked,
    "silent in the status": begin(b"HTTP/1.1 2", silence),
    "silent in the headers": begin(HEAD + b"Content-Le", silence),
    "silent in the body": half,
    "a dripping answer": slow_answer,
    "a dripping status": begin(b"", lambda talk: talk.drip(b"H")),
    "a dripping header": begin(HEAD + b"A: ", lambda talk: talk.drip(b"a")),
    "dripping headers": begin(HEAD, lambda talk: talk.drip(b"A: a\r\n")),
    "dripping interim answers": begin(b"", lambda talk: talk.drip(INTERIM, 0.001)),
    "a dripping body": begin(OPEN, lambda talk: talk.drip(b" ")),
    "dripping chunks": begin(CHUNKED, lambda talk: talk.drip(b"1\r\n \r\n")),
    "a dripping size of a chunk": begin(CHUNKED, lambda talk: talk.drip(b"0")),
    "a dripping extension": begin(CHUNKED + b"1;", lambda talk: talk.drip(b"a")),
    "dripping trailers": begin(CHUNKED + b"0\r\n", lambda talk: talk.drip(b"A: a\r\n")),
    "endless 100": begin(b"", lambda talk: talk.flood(INTERIM)),
    "endless 103": begin(b"", lambda talk: talk.flood(b"HTTP/1.1 103 x\r\nA: a\r\n\r\n")),
}
ENDLESS = {  # and bounded by their size before the time is over
    "an endless body": begin(OPEN, lambda talk: talk.flood(b" " * 10**5)),
    "an endless body in chunks": begin(CHUNKED, lambda talk: talk.flood(chunk(b" " * 10**5))),
    "an endless status": begin(b"", lambda talk: talk.flood(b"H" * 10**5)),
    "an endless header": begin(HEAD + b"A: ", lambda talk: talk.flood(b"a" * 10**5)),
    "endless headers": begin(HEAD, lambda talk: talk.flood(b"A: a\r\n" * 10**4)),
    "an endless extension": begin(CHUNKED + b"1;", lambda talk: talk.flood(b"a" * 10**5)),
    "endless trailers": begin(CHUNKED + b"0\r\n", lambda talk: talk.flood(b"A: a\r\n" * 10**4)),
}


def close_at_once(talk):
    pass


def reset_at_once(talk):
    talk.reset()


def reset_when_asked(talk):
    talk.read()
    talk.reset()


def reset_in_the_body(talk):
    if talk.read():
        talk.send(good(talk.right)[:-9])
        talk.reset()


def two_at_a_time(talk):
    """One answer to the request, and later another, on a connection that it keeps open."""
    while talk.read():
        talk.send(good(talk.right, "Connection: keep-alive"))
        talk.send(good(b'{"scores": [[1, 2, 3], [4, 5, 6]]}'))


CUT = {
    "closed at once": (PROTOCOL, close_at_once),
    "reset at once": (PROTOCOL, reset_at_once),
    "reset when asked": (PROTOCOL, reset_when_asked),
    "reset in the body": (PROTOCOL, reset_in_the_body),
    "kept alive": (RIGHT, two_at_a_time),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow_servers(name):
    check(SLOW[name], LATE, timeout=0.3, retries=0)


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_answers(name):
    check(ENDLESS[name], "expected an answer", response_limit=10**6, retries=0)


@pytest.mark.parametrize("name", CUT)
def test_connections_that_end(name):
    expected, act = CUT[name]
    check(act, expected)


# Requests that do not get through.


def noise(size):
    """Two images whose PNGs are larger than what systems keep for who does not read."""
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))


def read_slowly(talk):
    while talk.wait(0.02):
        talk.client.recv(1)


def answer_unread(talk):
    """An answer of the right form, of a server that has read the first bytes of the request."""
    talk.client.recv(10)
    talk.send(good(b'{"scores": [[1, 2, 3], [4, 5, 6]]}'))
    talk.reset()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("act", "timeout"), [(silence, 1.0), (read_slowly, 1.0), (answer_unread, 30.0)]
)
def test_large_requests_that_are_not_read(act, timeout):
    with (
        hostile(act, receive_buffer=4096) as server,
        pytest.raises(BlackBoxError, match="expected an answer"),
    ):
        scores(server.url, noise((1200, 1300)), timeout=timeout, retries=0)


def test_a_plain_server_at_an_https_address():
    def answer(talk):
        talk.client.recv(65536)
        talk.send(good(b""))

    for act, expected in ((answer, "SSL"), (silence, LATE), (close_at_once, PROTOCOL)):
        with (
            hostile(act) as server,
            pytest.raises(BlackBoxError, match=expected),
        ):
            scores(server.url.replace("http:", "https:"), timeout=0.5, retries=0)


def drip_in_the_handshake(talk):
    talk.client.recv(10)
    talk.drip(b"\x16\x03\x03\x40\x00")


def test_a_handshake_of_tls_that_drips():
    with hostile(drip_in_the_handshake) as server, pytest.raises(BlackBoxError, match=LATE):
        scores(server.url.replace("http:", "https:"), timeout=0.5, retries=0)


def test_a_name_that_is_looked_up_for_ever(monkeypatch):
    over, look_up = threading.Event(), socket.getaddrinfo

    def slow(host, *rest, **more):
        if host == "slow.example":
            over.wait(60)
            raise socket.gaierror
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        with pytest.raises(BlackBoxError, match=LATE):
            scores("http://slow.example/", timeout=0.3, retries=0)
    finally:
        over.set()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_takes_the_header_along(code, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "Bearer abcdefgh")
    with hostile(answer_well) as elsewhere:
        for host in ("127.0.0.1", "localhost"):

            def away(talk, place=f"http://{host}:{elsewhere.port}/"):
                if talk.read():
                    talk.send(status(f"{code} x", f"Location: {place}")(b""))

            with hostile(away) as server, pytest.raises(BlackBoxError, match="a redirect to"):
                scores(server.url, auth_env="MY_TOKEN")
        assert elsewhere.connections == 0


@pytest.mark.parametrize("place", ["//xn--a/", "file:a", "http://[v1.x]/", "http://a:b/"])
def test_metadata_that_are_elsewhere(place):
    def away(talk):
        talk.client.recv(65536)
        talk.send(status("302 x", f"Location: {place}")(b""))

    with hostile(away) as server, pytest.raises(BlackBoxError, match="a redirect to"):
        scores(server.url.replace("model", "v2/models/m"))


HOSTS = ["xn--a", "a..b", "\N{SNOWMAN}.\N{SNOWMAN}", "a" * 64, "a" * 70_000]


@pytest.mark.parametrize("path", ["", "v2/models/m"])
@pytest.mark.parametrize("host", HOSTS)
def test_hosts_that_cannot_be_asked(host, path):
    with pytest.raises(BlackBoxError, match="expected a URL that can be asked") as error:
        scores(f"http://{host}/{path}", retries=9)
    assert "raised" not in str(error.value)


def test_a_url_of_bytes_that_are_no_unicode():
    with pytest.raises(InputError, match="expected a URL as https://HOST/PATH"):
        iassa.models.HttpModel("http://127.0.0.1/\udcff")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PROXY", "ftp://me:abcdefgh@host"),
        ("HTTP_PROXY", "http://me:abcd/efgh@host"),
        ("NO_PROXY", "[::"),
        ("SSL_CERT_FILE", "nowhere.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSLKEYLOGFILE", "nowhere/keys"),
    ],
)
def test_surroundings_that_cannot_be_used(variable, value, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match="as the environment says") as error:
        iassa.models.HttpModel("http://127.0.0.1:9/")
    assert variable in str(error.value)
    assert not re.search("abcd|efgh", str(error.value))


def test_no_cookie_is_kept():
    """Each request would carry those of all answers before it, without end."""
    heads = []

    def act(talk):
        peeked = talk.client.recv(1000, socket.MSG_PEEK)
        heads.append(peeked.partition(b"\r\n\r\n")[0])
        if talk.read():
            cookies = (f"Set-Cookie: a{talk.number}-{k}=b" for k in range(200))
            talk.send(good(talk.right, *cookies))

    with hostile(act) as server:
        np.testing.assert_array_equal(scores(server.url), model(AS_PNG))
        np.testing.assert_array_equal(scores(server.url, in_flight=1), model(AS_PNG))
    assert len(heads) == 6
    assert not any(b"cookie" in head.lower() for head in heads)


def test_a_failure_keeps_no_answer():
    """The answers of several requests would be in memory at once, each 35 times its bytes."""
    many = 54_321

    def act(talk):
        if talk.read():
            talk.send(good(b'{"scores": [%s[]]}' % (b"[]," * (many - 1))))

    with hostile(act) as server, pytest.raises(BlackBoxError, match=f"got {many}") as failure:
        scores(server.url)
    alive = [one for one in gc.get_objects() if type(one) is list and len(one) == many]
    assert not alive, failure.value.__context__


# Answers too many.


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("delay", [0, 0.0003, 0.001, 0.003, 0.01, 0.03])
def test_an_answer_too_many_shifts_no_others(tmp_path, delay, wrong):
    """Each image has scores of its own, so an answer that is read a request late is wrong."""
    planes = torch.rand(40, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    expected = model(np.rint(planes.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8))

    def act(talk):
        number = 0
        while talk.read():
            answer = good(talk.right, "Connection: keep-alive")
            talk.send(answer)
            if number % 4 == 1 or talk.number % 4 == 1:
                talk.wait(delay)
                talk.send(good(b'{"scores": [[1, 2, 3]]}') if wrong else answer)
            number += 1

    with hostile(act) as server:
        settings = {"images_per_request": 1, "in_flight": 1, "cache": tmp_path}
        found = scores(server.url, planes, **settings)
        assert server.connections == len(planes)
    np.testing.assert_array_equal(found, expected)
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        kept = [np.frombuffer(row) for (row,) in database.execute("SELECT scores FROM score")]
    assert {tuple(row) for row in kept} == {tuple(row) for row in expected}


def test_a_map_of_a_server_that_answers_twice_is_that_of_a_good_one():
    def twice(talk):
        while talk.read():
            talk.send(2 * good(talk.right, "Connection: keep-alive"))

    maps = []
    for act in (answer_well, twice):
        with hostile(act) as server, iassa.models.HttpModel(server.url) as box:
            photo = PLANES[0].permute(1, 2, 0).numpy()
            options = {"calls": 60, "target": 0, "seed": 1, "batch_size": 8}
            maps.append(in_time(lambda: iassa.explain(photo, box, method="rise", **options)))  # noqa: B023
    np.testing.assert_array_equal(maps[0].saliency, maps[1].saliency)


# Metadata of form v2.

METADATA = {
    "deep": b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": %s1%s}]' % (
        b"[" * 500, b"]" * 500
    ) + b', "outputs": [{"name": "b"}]}',
    "no pixels": b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [-1, 3, 0, 5]}]'
    b', "outputs": [{"name": "b"}]}',
    "a million pixels a side": b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": '
    b'[-1, 3, 1000000, 1000000]}], "outputs": [{"name": "b"}]}',
    "truth": b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [true, 3, 4, 5]}]'
    b', "outputs": [{"name": "b"}]}',
    "long": b'{"inputs": [{"name": "%s", "datatype": "FP32", "shape": 3}]' % (b"\\u202e" * 9999)
    + b', "outputs": [{"name": "b"}]}',
    "numbers": b'{"inputs": [{"name": 5, "datatype": 5, "shape": [5]}], "outputs": [{"name": 5}]}',
    "nothing": b"null",
    "cut": b'{"inputs": [',
    "many": b'{"inputs": [%s{"name": "b"}], "outputs": []}' % (b'{"name": "a"},' * 10**4),
}  # fmt: skip


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_cannot_be_used(name):
    def act(talk):
        talk.client.recv(65536)
        talk.send(good(METADATA[name]))

    with hostile(act) as server:
        url = server.url.replace("/model", "/v2/models/m")
        with pytest.raises((InputError, BlackBoxError)) as error:
            scores(url, form="v2", range=(0, 1))
    assert len(str(error.value)) < 1000
    assert str(error.value).isprintable()


@pytest.mark.parametrize("act", [silence, lambda talk: talk.flood(INTERIM)])
def test_metadata_that_do_not_come(act):
    def answer(talk):
        talk.client.recv(65536)
        act(talk)

    with hostile(answer) as server, pytest.raises(BlackBoxError, match=LATE):
        scores(f"{server.url.replace('model', 'v2/models/m')}", timeout=0.3, retries=0)


# Ctrl-C.


def test_a_second_ctrl_c_ends_a_run_at_once(tmp_path):
    """The deadline is an hour away."""
    asked = threading.Event()

    def answer(talk):
        asked.set()
        talk.drip(INTERIM, 0.01)

    with hostile(answer) as server:
        options = ["--example", "cat", "--model", f"{server.url}#timeout=3600&retries=9"]
        command = [sys.executable, "-m", "iassa", "explain", *options, "--out", "out"]
        run = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        with run:
            try:
                assert asked.wait(60)
                run.send_signal(signal.SIGINT)
                for line in run.stderr:
                    if "Ctrl-C again" in line:
                        break
                run.send_signal(signal.SIGINT)
                _, said = run.communicate(timeout=60)
            finally:
                run.kill()
    assert run.returncode == 130, said
    assert "Traceback" not in said
