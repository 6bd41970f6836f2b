"""The server of the live page: whole runs by plain requests, and requests that are refused."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cheap_models
import iassa
from app_server import Client, path_of, running
from iassa.app import web
from iassa.app.access import Access
from iassa.app.sessions import Limits
from iassa.cli import main
from iassa.models import efficientnet_lite0

SHORT = {"methods": ["iassa"], "calls": 120}


def photo(height=40, width=60, seed=0):
    """A PNG file of noise, brighter on the left."""
    pixels = np.random.default_rng(seed).integers(0, 120, (height, width, 3), np.uint8)
    pixels[:, : width // 3] += 120
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server():
    with running(limits=Limits(gone=60)) as (_, access):  # no tab is there between two tests
        yield Client(access)


@pytest.fixture(scope="module")
def session(server):
    """A session with an image that the cheap model has looked at."""
    begun = server.begin()
    status, _, answer = server.raw("POST", f"{begun}/image?name=a.png", photo())
    assert status == 200, answer
    server.json("POST", f"{begun}/look", {"model": "cheap"})
    return begun


def explain(server, session, *, model="cheap", **wish):
    """The states of a run until its end."""
    server.json("POST", f"{session}/look", {"model": model})
    usual = {"targets": ["bright left"], "methods": ["iassa"], "calls": 120}
    server.json("POST", f"{session}/start", usual | wish)
    return until_end(server, session)


def until_end(server, session):
    told = []
    for state in server.states(session):
        told.append(state)
        if not any(one["state"] in ("waiting", "running") for one in state.values()):
            return told
    raise AssertionError("the stream ended")


def test_a_run_in_turns_gives_the_map_of_one_run(server, session):
    states = explain(server, session, calls=400)
    calls = [one["a"]["calls"] for one in states if "a" in one]
    assert calls == sorted(calls)
    last = states[-1]["a"]
    assert (last["state"], last["calls"], last["version"] > 1) == ("done", 400, True)
    once = iassa.explain(photo(), cheap_models.classifier, target="bright left", calls=400)
    content = server.raw("GET", f"{session}/a/explanation.zip")[2]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        with archive.open("explanation/explanation.npz") as file:
            saliency = np.load(io.BytesIO(file.read()))["saliency"]
        record = json.loads(archive.read("explanation/explanation.json"))
        assert "explanation/overlay-0.png" in archive.namelist()
    np.testing.assert_allclose(saliency, once.saliency, atol=1e-5 * np.abs(once.saliency).max())
    assert (record["calls"], record["image"]["path"]) == (400, "a.png")
    # The value under the pointer is that of the file.
    there = server.json("GET", f"{session}/a/value?target=0&row=7&column=11")
    assert there["value"] == pytest.approx(float(saliency[0, 7, 11]))
    assert there["error"] == pytest.approx(float(once.standard_error[0, 7, 11]), rel=1e-3)


def test_a_run_ends_where_its_error_is_small(server, session):
    last = explain(server, session, calls=5000, tolerance=0.2)[-1]["a"]
    once = iassa.explain(
        photo(), cheap_models.classifier, target="bright left", calls=5000, tolerance=0.2
    )
    assert (last["state"], last["calls"]) == ("done", once.calls)
    assert last["map"]["targets"][0]["error"] <= 0.2


def test_the_first_look_offers_what_the_model_says(server, session):
    seen = server.json("POST", f"{session}/look", {"model": "cheap"})
    with Image.open(io.BytesIO(photo())) as picture:
        image = np.asarray(picture, np.float32) / 255
    scores = cheap_models.classifier(image[None])[0]
    assert [one["name"] for one in seen["offered"]][:2] == ["bright left", "dark"]
    assert seen["offered"][0]["score"] == pytest.approx(float(scores.max()))
    names = server.json("GET", f"{session}/classes?find=tab")["names"]
    assert names == ["tabby"]


def test_stop_keeps_the_map_and_more_goes_on(server, session):
    server.json("POST", f"{session}/look", {"model": "slow"})
    wish = {"targets": ["bright left", "bright left vs dark"], "methods": ["iassa"], "calls": 5000}
    server.json("POST", f"{session}/start", wish)
    states = server.states(session)
    next(state for state in states if state["a"]["version"] > 0)
    server.raw("POST", f"{session}/stop", b"")
    ended = next(state for state in states if state["a"]["state"] == "stopped")["a"]
    assert 33 <= ended["calls"] < 5000
    names = [one["name"] for one in ended["map"]["targets"]]
    assert names == ["bright left", "bright left vs dark"]
    server.json("POST", f"{session}/add", {"pane": "a", "calls": 50})
    more = next(state for state in states if state["a"]["state"] == "done")["a"]
    assert more["calls"] == ended["calls"] + 50
    states.close()


def test_a_region_and_the_curves_are_what_the_model_says(server, session):
    explain(server, session, calls=200)
    found = server.json("POST", f"{session}/region", {"pane": "a", "target": 0, "share": 0.33})
    whole = cheap_models.classifier(
        np.asarray(Image.open(io.BytesIO(photo())))[None] / np.float32(255)
    )
    assert found["whole"] == pytest.approx(float(whole[0, 0]), rel=1e-4)
    assert found["kept"] > found["lost"]  # its left third is what makes it 'bright left'
    curves = server.json("POST", f"{session}/curves", {"pane": "a", "target": 0})
    up, down = curves["up"]["scores"], curves["down"]["scores"]
    assert (curves["shares"][0], curves["shares"][-1]) == (0, 1)
    # Each begins where the other ends: what hides, and the image.
    assert (up[0], up[-1]) == pytest.approx((down[-1], down[0]))
    assert up[0] == pytest.approx(0.25)  # all grey
    for picture in ("remains-0.jpg", "0/step-1-5.jpg"):
        status, headers, content = server.raw("GET", f"{session}/a/{picture}")
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(content)).size == (320, 213)


def test_the_pictures_of_a_map(server, session):
    explain(server, session)
    for view in ("map", "error", "region", "map-bar", "error-bar"):
        status, headers, content = server.raw("GET", f"{session}/a/{view}.png?target=0&share=0.1")
        assert (status, headers["content-type"]) == (200, "image/png")
        picture = Image.open(io.BytesIO(content))
        assert abs(picture.width / picture.height - (256 if "bar" in view else 1.5)) < 0.02


def test_two_methods_at_equal_calls(server, session):
    last = explain(server, session, methods=("iassa", "rise"))[-1]
    assert {(one["method"], one["calls"]) for one in last.values()} == {
        ("iassa", 120),
        ("rise", 120),
    }
    alike = server.json("GET", f"{session}/alike?target=0")
    assert 0 < alike["rank"] <= 1


def test_boxes_of_a_detector(server, session):
    seen = server.json("POST", f"{session}/look", {"model": "boxes"})
    assert [one["name"] for one in seen["offered"]] == ["cat", "dog"]
    assert seen["offered"][0]["box"] == [0, 0, 20, 30]
    last = explain(server, session, targets=("class 1",), model="boxes")[-1]["a"]
    assert (last["state"], last["map"]["targets"][0]["name"]) == ("done", "dog")


def test_the_likeness_of_two_images(server, session):
    server.raw("POST", f"{session}/image?compare=1&name=b.png", photo(seed=3))
    seen = server.json("POST", f"{session}/look", {"model": "cheap", "compare": True})
    assert [one["name"] for one in seen["offered"]] == ["1: b.png"]
    server.json("POST", f"{session}/start", {"targets": ["1: b.png"], **SHORT})
    last = until_end(server, session)[-1]["a"]
    assert (last["state"], last["map"]["targets"][0]["name"]) == ("done", "1: b.png")


def test_a_model_that_fails_leaves_its_map(server, session):
    last = explain(server, session, calls=3000, model="failing")[-1]["a"]
    assert last["state"] == "failed"
    assert "the cable is out" in last["message"]
    assert last["map"]["targets"][0]["name"] == "bright left"
    assert server.raw("GET", f"{session}/a/map.png?target=0")[0] == 200


def test_two_visitors_do_not_mix(server):
    first, second = server.begin(), server.begin()
    assert first != second
    for one, seed in ((first, 1), (second, 2)):
        server.raw("POST", f"{one}/image?name=a.png", photo(seed=seed))
    assert explain(server, first)[-1]["a"]["state"] == "done"
    assert server.raw("GET", f"{second}/a/map.png")[0] == 400  # it has no map
    pictures = [server.raw("GET", f"{one}/photo.jpg")[2] for one in (first, second)]
    assert pictures[0] != pictures[1]


def test_a_tab_that_is_closed_stops_its_run_and_is_forgotten(monkeypatch):
    monkeypatch.setattr(web, "SWEEP", 0.05)
    with running(limits=Limits(gone=0.1, kept=0.3)) as (desk, access):
        server = Client(access)
        name = server.begin()
        server.raw("POST", f"{name}/image?name=a.png", photo())
        server.json("POST", f"{name}/look", {"model": "slow"})
        states = server.states(name)
        next(states)
        wish = {"targets": ["dark"], "methods": ["iassa"], "calls": 100_000}
        server.json("POST", f"{name}/start", wish)
        next(state for state in states if state["a"]["calls"] > 20)
        run = desk.sessions.find(name.removeprefix("/sessions/")).shown["a"].run
        states.close()
        ended = time.monotonic() + 20
        while run.goes_on or server.raw("GET", f"{name}/photo.jpg")[0] != 404:
            assert time.monotonic() < ended
            time.sleep(0.05)
        assert run.standing.state == "stopped"


def test_sessions_are_bounded_in_number_and_in_bytes():
    with running(limits=Limits(sessions=2, size=1000)) as (_, access):
        server = Client(access)
        first, _ = server.begin(), server.begin()
        assert server.raw("POST", "/sessions", b"")[0] == 503
        assert server.raw("POST", f"{first}/image?name=a.png", photo())[0] == 503
    with running(limits=Limits(sessions=2, gone=0.0)) as (_, access):  # who is gone makes room
        server = Client(access)
        names = [server.begin() for _ in range(3)]
        found = [server.raw("GET", f"{name}/classes?find=a")[0] for name in names]
        assert found == [404, 400, 400]


# --- requests that are refused ----------------------------------------------------------------

LONG = b"x" * (web.MOST_JSON + 1)
OWN = "{session}"
START = {"targets": ["dark"], "methods": ["rise"], "calls": 100}


def wish(**changes):
    return json.dumps({**START, **changes}).encode()


# Method, path, body, headers that differ, status.
HOSTILE = {
    "the name of another host": ("GET", "/", None, {"Host": "evil.example"}, 421),
    "another port": ("GET", "/", None, {"Host": "127.0.0.1:1"}, 421),
    "no host": ("GET", "/", None, {"Host": None}, 400),
    "two hosts": ("GET", "/", None, {"Host": ["{host}", "evil.example"]}, 400),
    "a host with a user": ("GET", "/", None, {"Host": "a@{host}"}, 421),
    "a name that begins like ours": ("GET", "/", None, {"Host": "127.0.0.1.evil.example"}, 421),
    "a post from another page": ("POST", "/sessions", b"", {"Origin": "http://evil.example"}, 403),
    "a post from nowhere": ("POST", "/sessions", b"", {"Origin": None}, 403),
    "a post from a file": ("POST", "/sessions", b"", {"Origin": "null"}, 403),
    "a post from another port": ("POST", "/sessions", b"", {"Origin": "http://127.0.0.1:1"}, 403),
    "two origins": ("POST", "/sessions", b"", {"Origin": ["http://{host}", "http://a.b"]}, 403),
    "a picture for another page": (
        *("GET", OWN + "/photo.jpg", None, {"Sec-Fetch-Site": "cross-site"}),
        403,
    ),
    "a script for a page beside": (
        *("GET", "/settings", None, {"Sec-Fetch-Site": "same-site"}),
        403,
    ),
    "a get from another page": ("GET", "/settings", None, {"Origin": "http://evil.example"}, 403),
    "a folder above": ("GET", "/../pyproject.toml", None, {}, 404),
    "a folder above, encoded": ("GET", "/%2e%2e/pyproject.toml", None, {}, 404),
    "a folder above, twice encoded": ("GET", "/%252e%252e/index.html", None, {}, 404),
    "an absolute path": ("GET", "//etc/passwd", None, {}, 404),
    "a file of the package": ("GET", "/web.py", None, {}, 404),
    "a null byte": ("GET", "/app.css%00", None, {}, 404),
    "a proxy's address": ("GET", "http://evil.example/", None, {}, 404),
    "a gallery that is none": ("GET", "/galleries/0/index.html", None, {}, 400),
    "a run that is none": ("GET", "/runs/0", None, {}, 400),
    "a session that is none": ("GET", "/sessions/abc/photo.jpg", None, {}, 404),
    "events of none": ("GET", "/sessions/abc/events", None, {}, 404),
    "a guess of a session": ("POST", "/sessions/" + "a" * 32 + "/stop", b"", {}, 404),
    "delete": ("DELETE", OWN, b"", {}, 404),
    "put": ("PUT", "/sessions", b"", {}, 405),
    "trace": ("TRACE", "/settings", None, {}, 405),
    "options": ("OPTIONS", "/settings", None, {}, 405),
    "a method of its own": ("BREW", "/settings", None, {}, 405),
    "a start by get": ("GET", OWN + "/start", None, {}, 405),
    "an unknown verb": ("POST", OWN + "/erase", b"", {}, 404),
    "json that is none": ("POST", OWN + "/start", b"{", {}, 400),
    "json of a list": ("POST", OWN + "/start", b"[]", {}, 400),
    "json too deep": ("POST", OWN + "/start", b"[" * 60000, {}, 400),
    "not utf-8": ("POST", OWN + "/start", b"\xff\xfe", {}, 400),
    "json too large": ("POST", OWN + "/start", LONG, {}, 413),
    "a promise of a huge body": (
        *("POST", OWN + "/image", b"", {"Content-Length": str(10**12)}),
        413,
    ),
    "a length that is none": ("POST", OWN + "/image", b"", {"Content-Length": "many"}, 400),
    "a negative length": ("POST", OWN + "/image", b"", {"Content-Length": "-5"}, 400),
    "a body for a verb without": ("POST", OWN + "/stop", b"x", {}, 413),
    "a text as an image": ("POST", OWN + "/image?name=a.png", b"a text file", {}, 400),
    "an empty image": ("POST", OWN + "/image", b"", {}, 400),
    "a script as an image": ("POST", OWN + "/image", b"<svg onload=alert(1)>", {}, 400),
    "an example that is none": ("POST", OWN + "/image?example=../cat", b"", {}, 400),
    "a model of the visitor's": ("POST", OWN + "/look", b'{"model": "os:system"}', {}, 400),
    "a function as a target": ("POST", OWN + "/start", wish(targets=["os:getcwd"]), {}, 400),
    "its other side": ("POST", OWN + "/start", wish(targets=["not  NOT os:getcwd"]), {}, 400),
    "no target": ("POST", OWN + "/start", wish(targets=[]), {}, 400),
    "a thousand targets": ("POST", OWN + "/start", wish(targets=["dark"] * 1000), {}, 400),
    "a hundred maps": ("POST", OWN + "/start", wish(targets=["top-100"]), {}, 400),
    "a method that is none": ("POST", OWN + "/start", wish(methods=["eval"]), {}, 400),
    "a file as a fill": ("POST", OWN + "/start", wish(fill="/etc/passwd"), {}, 400),
    "too many calls": ("POST", OWN + "/start", wish(calls=10**9), {}, 400),
    "calls that are no number": ("POST", OWN + "/start", wish(calls="many"), {}, 400),
    "a share of nothing": (
        *("POST", OWN + "/region", b'{"pane": "a", "target": 0, "share": -1}', {}),
        400,
    ),
    "a pane that is none": ("POST", OWN + "/add", b'{"pane": "../a", "calls": 5}', {}, 400),
    "a view that is none": ("GET", OWN + "/a/passwd.png", None, {}, 404),
    "a value that is none": ("GET", OWN + "/a/value?target=0&row=-1&column=0", None, {}, 400),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_request_is_refused(server, session, case):
    method, path, body, headers, expected = HOSTILE[case]

    def fill(text):
        return text and text.replace("{session}", session).replace("{host}", server.host)

    known = {
        name: [fill(one) for one in value] if isinstance(value, list) else fill(value)
        for name, value in headers.items()
    }
    status, answered, content = server.raw(method, fill(path), body, known)
    assert status == expected, content
    text = content.decode()
    assert "Traceback" not in text
    assert os.sep + "src" not in text
    if expected != 400 or content.startswith(b"{"):
        assert json.loads(text)["error"]
        assert answered["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in answered["content-security-policy"]
    assert server.raw("GET", "/settings")[0] == 200  # it goes on


def test_there_are_fifty_of_them():
    assert len(HOSTILE) >= 50


def test_a_header_without_end_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 2**17)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_body_that_only_grows_is_cut_off(server, session):
    """In chunks, without a length that could be looked at first."""
    head = (
        f"POST {session}/start HTTP/1.1\r\nHost: {server.host}\r\nOrigin: http://{server.host}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + chunk + chunk)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_large_upload_is_told_what_would_fit(server, session):
    too_large = {"Content-Length": str(60 * 2**20)}
    status, _, answer = server.raw("POST", f"{session}/image?name=a.jpg", b"x", too_large)
    assert (status, json.loads(answer)["error"]) == (
        413,
        "expected at most 32 MB, got more. Send less.",
    )


def test_the_page_loads_nothing_from_elsewhere(server):
    status, headers, page = server.raw("GET", "/")
    assert status == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert links
    for link in links:
        assert server.raw("GET", f"/{link}")[0] == 200
    assert "<style" not in page.decode()
    assert "style=" not in page.decode()
    assert not re.search(r"<script(?! type=\"module\" src=)", page.decode())
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "iassa explain" in re.search(r"<noscript>(.*)</noscript>", page.decode())[1]


def test_a_token_is_asked_for_and_remembered():
    token = "a-token-of-many-letters"
    with running(host="0.0.0.0", token=token) as (_, access):
        server = Client(access)
        assert access.url == f"http://127.0.0.1:{access.port}/?token={token}"
        for path in ("/", "/settings", "/app.css", "/?token=another-token-of-letters"):
            assert server.raw("GET", path)[0] == 401
        assert server.raw("POST", "/sessions", b"")[0] == 401
        status, headers, _ = server.raw("GET", path_of(access.url))
        assert (status, headers["location"]) == (303, "./")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert token not in cookie
        known = {"Cookie": cookie.split(";")[0]}
        assert server.raw("GET", "/", headers=known)[0] == 200
        assert server.raw("POST", "/sessions", b"", headers=known)[0] == 200
        wrong = {"Cookie": f"{access.cookie}={token}"}
        assert server.raw("GET", "/", headers=wrong)[0] == 401


def test_a_port_in_use_is_one_error(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            main(["app", "--port", str(port), "--model", "cheap_models:classifier"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"error: cannot listen on 127.0.0.1, port {port}: ")
    assert "--port 0" in said


@pytest.mark.parametrize(("port", "wanted"), [("65536", "at most 65535"), ("-1", "at least 0")])
def test_a_port_that_cannot_be_is_told_its_bound(port, wanted, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["app", f"--port={port}"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: expected --port to be {wanted}, got '{port}'. Change it.\n"
    )


def test_a_missing_package_is_one_error(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "iassa.app.serving")
    with pytest.raises(SystemExit) as ended:
        main(["app"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: `iassa app` needs the package uvicorn: pip install '.[app]' in the clone.\n"
    )


def test_the_command_says_where_it_is_and_ends_by_ctrl_c():
    command = ["-m", "iassa", "app", "--model", "cheap_models:classifier", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells may ignore it
    )
    try:
        address = process.stdout.readline().strip()
        server = Client(Access("127.0.0.1", int(address.rpartition(":")[2].strip("/"))))
        assert address == f"http://{server.host}/"
        models = server.json("GET", "/settings")["models"]
        assert models == ["cheap_models:classifier", *efficientnet_lite0.NAMES]
        session = server.begin()
        states = server.states(session)  # an open tab does not keep it
        next(states)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        states.close()
        out, err = process.communicate()
        assert (out, err) == ("", "error: interrupted.\n")
    finally:
        process.kill()
