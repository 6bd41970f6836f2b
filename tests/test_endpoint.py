"""Models behind URLs, against a real server on loopback that fails in every way it can."""

from __future__ import annotations

import gc
import inspect
import json
import logging
import os
import pickle
import random
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
import traceback
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import iassa
from hostile_server import in_time
from iassa.benchmark import Store
from iassa.cli import main
from iassa.errors import BlackBoxError, InputError
from iassa.methods import Rise
from iassa.models.black_box import FunctionModel, ask
from iassa.models.http.connection import Connection, hide
from iassa.models.http.endpoint import open_endpoint
from iassa.models.http.pace import backoff, read_retry_after
from iassa.models.http.score_cache import FILE, digest
from iassa.models.http.settings import HttpSettings
from iassa.models.opening import add_conventions, open_model
from rounding import steps
from scoring_server import Server, model, serving

SIZE = (20, 28)
PLANES = torch.rand(10, 3, *SIZE, generator=torch.Generator().manual_seed(0))
IMAGES = PLANES.permute(0, 2, 3, 1).contiguous().numpy()
AS_PNG = np.rint(IMAGES * 255).astype(np.uint8)
QUICK = {"first_wait": 0.001, "timeout": 20.0}
SECRET = "s3cr3t/Tok+en=="


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy of this machine's between client and loopback."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("all_proxy", raising=False)


@pytest.fixture
def server():
    with serving() as running:
        yield running


def endpoint(server, **settings):
    inputs = server.metadata.get("/v2/models/m")
    floats = isinstance(inputs, dict) and "UINT8" not in str(inputs)
    pixels = {"range": (0, 1)} if floats and not {"mean", "plain"} & {*settings} else {}
    settings.pop("plain", None)
    return iassa.models.HttpModel(server.url, **{**QUICK, **pixels, **settings})


def failure(server, fault, images=IMAGES[:2], **settings) -> str:
    """What is said of a fault that does not pass."""
    server.fault = lambda number: fault
    with (
        endpoint(server, **{"retries": 1, "in_flight": 1, **settings}) as box,
        pytest.raises(BlackBoxError) as error,
    ):
        box(images)
    assert "http://127.0.0.1" in str(error.value)
    return str(error.value)


# Request forms.


@pytest.mark.parametrize("form", ["json", "multipart"])
@pytest.mark.parametrize(
    ("settings", "requests"),
    [
        ({}, [3, 3, 3, 1]),
        ({"images_per_request": 4}, [2, 4, 4]),
        ({"in_flight": 1}, [10]),
        ({"in_flight": 1, "images_per_request": 1}, [1] * 10),
        ({"in_flight": 32}, [1] * 10),
    ],
)
def test_pngs_are_sent_and_the_order_is_kept(server, form, settings, requests):
    with endpoint(server, form=form, **settings) as box:
        scores = ask(box, PLANES).numpy()
    np.testing.assert_array_equal(scores, model(AS_PNG))
    assert sorted(len(one.images) for one in server.posts) == sorted(requests)
    for one in server.posts:  # in one request they are as in the batch
        places = [np.nonzero((image == AS_PNG).all((1, 2, 3)))[0].item() for image in one.images]
        assert places == list(range(places[0], places[0] + len(places)))


def test_values_that_no_png_has_are_rounded(server):
    values = np.array([0, 1, 0.5, 0.4999 / 255, 0.5001 / 255, 1 + 1e-6, -1e-6], np.float32)
    images = np.broadcast_to(values[:, None, None, None], (7, *SIZE, 3)).copy()
    with endpoint(server, in_flight=1) as box:
        box(images)
    assert server.posts[0].images[:, 0, 0, 0].tolist() == [0, 255, 128, 0, 1, 255, 0]


def v2_server(server, shape, datatype="FP32", binary=False, more=()):
    tensor = {"name": "pixels", "datatype": datatype, "shape": shape}
    output = {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]}
    server.metadata = {
        "/v2/models/m": {"name": "m", "inputs": [tensor, *more], "outputs": [output]},
        "/v2": {"name": "s", "extensions": ["binary_tensor_data"] if binary else []},
    }
    server.url = server.url.replace("/model", "/v2/models/m")


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "UINT8"])
@pytest.mark.parametrize(
    ("shape", "axes", "size"),
    [
        ([-1, 3, *SIZE], (0, 2, 3, 1), SIZE),
        ([-1, *SIZE, 3], (0, 1, 2, 3), SIZE),
        ([-1, 3, -1, -1], (0, 2, 3, 1), None),
        ([1, *SIZE, 3], (0, 1, 2, 3), SIZE),
    ],
)
def test_v2_sends_tensors(server, binary, datatype, shape, axes, size):
    v2_server(server, shape, datatype, binary)
    server.score = lambda images: model(images.transpose(axes))
    with endpoint(server, auth_env="") as box:
        scores = ask(box, PLANES).numpy()
        assert box.settings.chosen_form == "v2"
        assert box.input_size == size
    expected = AS_PNG if datatype == "UINT8" else IMAGES
    np.testing.assert_array_equal(scores, model(expected))
    assert {one.path for one in server.posts} == {"/v2/models/m/infer"}
    assert {one.images.dtype.name for one in server.posts} == {
        {"FP32": "float32", "FP64": "float64", "UINT8": "uint8"}[datatype]
    }
    if shape[0] == 1:
        assert [len(one.images) for one in server.posts] == [1] * 10


def test_v2_without_an_axis_for_images(server):
    v2_server(server, [3, *SIZE])
    server.score = lambda images: model(images.transpose(1, 2, 0)[None])
    with endpoint(server) as box:
        np.testing.assert_array_equal(ask(box, PLANES).numpy(), model(IMAGES))


def test_v2_normalises_as_it_is_told(server):
    v2_server(server, [-1, 3, *SIZE])
    server.score = lambda images: np.ones((len(images), 3))
    mean, std = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    with endpoint(server, range=(0, 255), mean=mean, std=std, in_flight=1) as box:
        box(IMAGES)
    expected = (IMAGES * 255.0 - mean) / std
    np.testing.assert_allclose(
        server.posts[0].images, expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=steps(32, expected)
    )
    with endpoint(server, range=(-1, 1), bgr=True, in_flight=1) as box:
        box(IMAGES)
    expected = 2 * IMAGES[..., ::-1] - 1
    np.testing.assert_allclose(
        server.posts[1].images, expected.transpose(0, 3, 1, 2), atol=steps(8, 1.0)
    )


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_v2_floats_are_asked_for_as_those_of_a_file_are(server, datatype, monkeypatch):
    """One error for all that is open, with a line to copy that is enough."""
    v2_server(server, [-1, -1, SIZE[1], -1], datatype)
    outputs = server.metadata["/v2/models/m"]["outputs"]
    outputs.append({"name": "features", "datatype": "FP32", "shape": [-1, 9]})
    server.metadata["/v2/models/m?key=s3cr3tkey"] = server.metadata["/v2/models/m"]
    monkeypatch.setenv("TOKEN", "Bearer abcdefgh")
    given = f"{server.url}?key=s3cr3tkey#auth_env=TOKEN&rate=50"
    with pytest.raises(InputError) as error:
        open_model(given)
    text = str(error.value)
    missing = "output_name=probabilities&layout=NCHW&input_size=224,224&range=0-1"
    assert f"as in '{server.url}?...#auth_env=TOKEN&rate=50&{missing}'. In Python" in text
    options = "--model-option output_name=probabilities --model-option layout=NCHW"
    assert f"add {options} --input-size 224,224 --range 0-1, with your values" in text
    assert "mean=... and std=... of its training, as 0.485,0.456,0.406" in text
    assert "s3cr3tkey" not in text
    assert server.posts == []
    size = f"{SIZE[1]},{SIZE[1]}"
    with open_model(f"{given}&{missing.replace('224,224', size)}") as box:
        assert (box.settings.range, box.input_size) == ((0, 1), (SIZE[1],) * 2)
    server.url = server.url.replace("/v2/models/m", "/model")
    v2_server(server, [-1, *SIZE, 3], "UINT8")  # which has one meaning
    with endpoint(server) as box:
        assert box(IMAGES).shape == (10, 3)


def test_the_identity_of_what_earlier_versions_sent_is_theirs(server):
    """Their caches are paid for."""
    v2_server(server, [-1, 3, *SIZE])
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    parts = ("v2", "", 1.0, mean, std, False, "", "")
    with endpoint(server) as box:
        assert box.identity().endswith(digest("", server.url, *parts).hex())
        plain = box.identity()
    kinds = [{"sigmoid": True}, {"bgr": True}, {"range": (-1, 1)}, {"range": (0, 255)}]
    found = {endpoint(server, **one).identity() for one in kinds}
    assert len(found | {plain}) == 5


@pytest.mark.parametrize(
    ("shape", "datatype", "settings", "message"),
    [
        ([-1, 3, 20, 28], "FP16", {}, "expected an input of datatype FP32, FP64, UINT8, got"),
        ([-1, 3, 20, 28], "UINT8", {"range": (0, 1)}, "no range, mean or std for 8-bit images"),
        ([-1, 1, 20, 28], "FP32", {}, "an input with 3 channels, got .* Iassa shows RGB images"),
        ([-1, -1, -1, -1], "FP32", {}, "Give layout=NCHW or layout=NHWC"),
        ([-1, 3, 20, 3], "FP32", {}, "Give layout=NCHW or layout=NHWC"),
        ([-1, 3, 20, 28], "FP32", {"layout": "NHWC"}, "Give layout NCHW"),
        ([4, 3, 20, 28], "FP32", {}, "for any number of images or for one"),
        ([-1, 3], "FP32", {}, r"expected an input \[N, 3, H, W\] or \[N, H, W, 3\]"),
        ("large", "FP32", {}, r"expected an input \[N, 3"),
        (
            [-1, 3, 20, 28],
            "FP32",
            {"input_size": (20, 20)},
            r"of the size \(20, 20\) of the settings",
        ),
        ([-1, 3, 20, -1], "FP32", {}, "Give input_size=HEIGHT,WIDTH: one edge is fixed"),
        ([-1, 3, 20, 28], "FP32", {"input_name": "x"}, "inputs pixels, got x. .* with input_name"),
        ([-1, 3, 20, 28], "FP32", {"output_name": "x"}, "outputs probabilities, got x"),
    ],
)
def test_v2_models_that_take_something_else(server, shape, datatype, settings, message):
    v2_server(server, shape, datatype)
    with pytest.raises(InputError, match=message):
        endpoint(server, **settings)
    assert server.posts == []


def test_v2_inputs_are_chosen_by_name_and_free_layouts_by_word(server):
    other = {"name": "other", "datatype": "FP32", "shape": [-1, -1, -1, -1]}
    v2_server(server, [-1, 3, *SIZE], more=[other])
    with pytest.raises(InputError, match=r"inputs pixels, other, got no choice\. .*#input-name="):
        endpoint(server)
    with endpoint(server, input_name="other", layout="NHWC", input_size=(10, 14)) as box:
        assert box(IMAGES).shape == (10, 3)
    assert server.posts[0].images.shape[1:] == (10, 14, 3)


@pytest.mark.parametrize("metadata", [None, [], "inputs", {}, {"inputs": []}, {"inputs": ["x"]}])
def test_v2_metadata_that_is_none(server, metadata):
    v2_server(server, [-1, 3, *SIZE])
    server.metadata["/v2/models/m"] = {"inputs": 3} if metadata is None else metadata or [1]
    with pytest.raises(InputError, match="expected inputs with names in the model's metadata, got"):
        endpoint(server)


V2_ANSWERS = {
    "null": "an output 'probabilities' with its shape and as many numbers",
    '{"outputs": []}': "an output 'probabilities' with its shape",
    '{"outputs": [{"name": "other", "shape": [2, 1], "data": [1, 2]}]}': "output 'probabilities'",
    '{"outputs": ["probabilities"]}': "an output 'probabilities' with its shape",
    "[2, 3] [1, 2, 3]": "an output 'probabilities' with its shape and as many numbers",
    "[2, 3] 7": "an output 'probabilities' with its shape and as many numbers",
    '"x" [1, 2]': "an output 'probabilities' with its shape and as many numbers",
    "[2, 2.0] [1, 2, 3, 4]": "an output 'probabilities' with its shape",
    "[3, 1] [1, 2, 3]": "scores of 2 images (got 3)",
    "[2, -1] [1, 2]": "an output 'probabilities' with its shape",
    "[2, 1, 2] [1, 2, 3, 4]": "2 rows of numbers, one for each class",
    "[2, 1] [true, 0.5]": "2 rows of numbers, one for each class",
    '[2, 1] ["a", "b"]': "2 rows of numbers, one for each class",
    "[2, 1] [1, NaN]": "finite scores (got NaN or infinity)",
    "[2, 0] []": "2 rows of numbers, one for each class",
}


@pytest.mark.parametrize("answer", V2_ANSWERS)
def test_v2_answers_that_cannot_be_used(server, answer):
    v2_server(server, [-1, 3, *SIZE])
    server.score = lambda images: np.ones((len(images), 3))
    text = answer
    if answer[0] in '["':
        shape, data = re.fullmatch(r"(\[.*?\]|\S+) (.*)", answer).groups()
        output = f'{{"name": "probabilities", "shape": {shape}, "data": {data}}}'
        text = f'{{"outputs": [{output}]}}'
    assert V2_ANSWERS[answer] in failure(server, f"body {text}")
    assert len(server.posts) == 1


@pytest.mark.parametrize("form", ["json", "v2"])
@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 1, 1), (2, 3, 1, 1)])
def test_rows_may_have_the_forms_of_those_of_a_function(server, form, shape):
    rows = np.arange(np.prod(shape)).reshape(shape) / 7
    answer = {"scores": rows.tolist()}
    if form == "v2":
        v2_server(server, [-1, *SIZE, 3])
        output = {"name": "probabilities", "shape": shape, "data": rows.ravel().tolist()}
        answer = {"outputs": [output]}
    server.fault = lambda number: f"body {json.dumps(answer)}"
    with endpoint(server, in_flight=1) as box:
        found = ask(box, PLANES[:2]).numpy()
    called = ask(FunctionModel(lambda images: rows), PLANES[:2]).numpy()
    np.testing.assert_array_equal(found, called)
    np.testing.assert_array_equal(found, rows.reshape(2, -1))


@pytest.mark.parametrize("echo", ["id", "", None, "other"])
def test_v2_answers_are_known_by_their_id(server, echo):
    v2_server(server, [-1, *SIZE, 3])
    server.echo = echo
    with endpoint(server, images_per_request=1) as box:
        if echo == "other":
            with pytest.raises(BlackBoxError, match="the answer to this request, by its id"):
                box(IMAGES)
        else:
            np.testing.assert_array_equal(ask(box, PLANES).numpy(), model(IMAGES))
            assert len({one.id for one in server.posts}) == len(PLANES)


def test_v2_servers_that_do_not_say_what_they_can(server):
    v2_server(server, [-1, *SIZE, 3], binary=True)
    del server.metadata["/v2"]
    with endpoint(server) as box:
        np.testing.assert_array_equal(ask(box, PLANES).numpy(), model(IMAGES))
    server.metadata = {}
    with pytest.raises(BlackBoxError, match=r"got 404 Not Found and '\{\"error"):
        endpoint(server)


# Failures that pass.

PASSING = ["status 500", "status 503", "status 429 0", "status 408", "hang-up", "truncated", "cut"]


def photo():
    return np.random.default_rng(1).random((*SIZE, 3)).astype(np.float32)


@pytest.mark.parametrize("calls", [300, pytest.param(1000, marks=pytest.mark.thorough)])
def test_calls_of_which_a_fifth_fail_give_the_map_of_a_faultless_server(server, calls):
    method = Rise(grid_size=4)
    options = {"target": [0, "1 vs 2"], "calls": calls, "seed": 3, "batch_size": 32}
    with endpoint(server) as box:
        expected = iassa.explain(photo(), box, method=method, **options)
    assert server.answered == calls
    rng = random.Random(5)
    faults = [rng.choice(PASSING) if rng.random() < 0.2 else "" for _ in range(4000)]
    faults[20] = faults[100] = "slow"
    unreliable = Server(fault=faults.__getitem__)
    settings = {"images_per_request": 2, "retries": 50, "timeout": 3.0, "in_flight": 3}
    with serving(unreliable), endpoint(unreliable, **settings) as box:
        found = iassa.explain(photo(), box, method=method, **options)
    assert len(unreliable.posts) > 0.6 * calls  # half as many would do
    assert {*PASSING, "slow"} <= set(faults[: len(unreliable.posts)])
    assert found.calls == unreliable.answered == calls  # none lost, none twice
    np.testing.assert_array_equal(found.saliency, expected.saliency)
    np.testing.assert_array_equal(found.standard_error, expected.standard_error)
    # And that of the same model called as a function, on what a PNG holds.
    called = FunctionModel(lambda images: model(np.rint(images * 255).astype(np.uint8)))
    plain = iassa.explain(photo(), called, method=method, **options)
    np.testing.assert_array_equal(found.saliency, plain.saliency)


@pytest.mark.parametrize("fault", [*PASSING, "status 502", "status 429", "status 599"])
def test_what_may_pass_is_asked_again(server, fault):
    server.fault = lambda number: fault if number < 3 else ""
    with endpoint(server, in_flight=1, retries=3) as box:
        np.testing.assert_array_equal(ask(box, PLANES).numpy(), model(AS_PNG))
    assert len(server.posts) == 4


def test_a_server_that_hangs_is_not_waited_for(server):
    server.fault = lambda number: ("slow", "drip")[number] if number < 2 else ""
    with endpoint(server, in_flight=1, timeout=1.0) as box:  # in which the third is answered
        np.testing.assert_array_equal(ask(box, PLANES).numpy(), model(AS_PNG))
    assert len(server.posts) == 3
    server.open.set()
    text = failure(server, "status 503 ", retries=0)
    assert "asked once" in text


def test_a_server_that_asks_to_wait_is_left_alone_by_all_requests(server):
    def busy(number: int) -> str:  # from when it is asked, however long that takes
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
        return f"status 429 {until}" if number == 0 else ""

    server.fault = busy
    with endpoint(server, in_flight=1, images_per_request=1) as box:
        box(IMAGES[:3])
    first, *later = [one.arrived for one in server.posts]
    assert len(later) == 3
    assert min(later) - first > 1  # an HTTP date is whole seconds, of which one may be gone


def test_a_server_that_asks_to_wait_for_long_ends_the_run(server):
    text = failure(server, "status 429 3600")
    assert "429 Too Many Requests" in text
    assert "asks to wait 3600 s, which is longer than 120 s" in text
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        (None, None, None),
        ("0", None, 0),
        (" 17 ", None, 17),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:27:10 GMT", 50),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "yesterday", 0),
        ("soon", None, None),
        ("-3", None, None),
        ("", None, None),
        ("\u0663", None, None),
    ],
)
def test_retry_after(value, date, expected):
    assert read_retry_after(value, date) == expected


@given(st.text(max_size=40))
def test_retry_after_may_be_anything(text):
    wait = read_retry_after(text, text)
    assert wait is None or wait >= 0


@given(st.integers(0, 2000), st.floats(0, 100), st.floats(0.01, 1000))
def test_backoff_doubles_up_to_a_limit(attempt, first, longest):
    whole = min(longest, first * 2.0 ** min(attempt, 60))
    assert whole / 2 <= backoff(attempt, first, longest) <= whole


# Failures that do not.

FAULTS = {
    "body <html><body>Please log in</body></html>": "expected JSON, got '<html><body>Please log in",
    "body ": "expected JSON, got nothing, asked 2 times",
    'body {"scores": [[1, 2], [3': "expected JSON, got '{\"scores\": [[1, 2], [3', asked 2 times",
    "body " + 100_000 * "[": "expected JSON",
    "cut": "expected JSON",
    'body {"scores": [[1, 2]]}': 'expected scores of 2 images (got 1), got \'{"scores"',
    'body {"scores": [[1, 2], [3, 4], [5, 6]]}': "expected scores of 2 images (got 3)",
    'body {"scores": [[1, 2], [3]]}': "as many scores for each image",
    'body {"scores": [[1, 2]], "scores": [[1], [2]]}': "expected JSON, got",
    'body {"scores": [[true], [0.5]]}': "2 rows of numbers",
    'body {"scores": [[1, [2]], [3, 4]]}': "as many scores for each image",
    'body {"scores": [[[1, 2]], [[3, 4]]]}': "2 rows of numbers",
    'body {"scores": [[1' + 400 * "0" + "], [2]]}": "finite scores (got NaN or infinity)",
    'body {"scores": [[], []]}': "2 rows of numbers",
    'body {"scores": [["1"], ["2"]]}': "2 rows of numbers",
    'body {"scores": [[null], [2]]}': "2 rows of numbers",
    'body {"scores": [[1e999], [2]]}': "finite scores (got NaN or infinity)",
    'body {"scores": [[NaN], [2]]}': "finite scores (got NaN or infinity)",
    'body {"scores": 3}': 'expected {"scores": [[...], ...]}',
    "body []": "expected {\"scores\": [[...], ...]}, got '[]'",
    "body null": 'expected {"scores"',
    "status 404": "expected status 200, got 404 Not Found and '<h1>sorry</h1>'. Check the URL",
    "status 401": "got 401 Unauthorized and '<h1>sorry</h1>'. Name the environment variable",
    "status 413": "images_per_request, or #images-per-request=1 after the URL",
    "status 499": "got 499 and",
    "status 503": "503 Service Unavailable and '<h1>sorry</h1>', asked 2 times",
    "hang-up": "Server disconnected without sending a response",
    "truncated": "peer closed connection",
    "slow": "expected an answer within 0.5 s, got none, asked 2 times",
    "drip": "expected an answer within 0.5 s, got none, asked 2 times",
    "gzip": "expected an answer that is not packed",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[:40])
def test_servers_at_fault(server, fault):
    text = failure(server, fault, timeout=0.5 if fault in ("slow", "drip") else 20.0)
    assert FAULTS[fault] in text
    assert "\n" not in text
    assert len(text) < 400
    again = "asked 2 times" in text
    assert len(server.posts) == 1 + again


def test_answers_are_read_one_at_a_time(server):
    """As objects of Python each may take half a GB; all are there at once, and wait their turn."""
    server.metadata["/x"], url = {"a": [1, 2]}, f"http://127.0.0.1:{server.port}/x"
    connection = Connection(HttpSettings(url=server.url))
    inside, most = [], []

    def read(answer):
        inside.append(answer)
        most.append(len(inside))
        time.sleep(0.02)
        return len(inside.pop()["a"])

    with closing(connection), ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(connection.ask, url, read) for _ in range(4)]
        assert [one.result() for one in answers] == [2] * 4
    assert most == [1] * 4


def test_an_answer_that_is_too_large_is_not_read(server):
    text = failure(server, "body " + " " * 5000, response_limit=4000)
    assert "expected an answer of at most 4000 bytes, got more" in text


def test_an_error_quotes_eighty_characters_on_one_line(server):
    text = failure(server, "body <p>\x1b[31m\n\t" + "word " * 100)
    quoted = re.search(r"got '(.*)'\.\.\.", text)[1]
    assert len(quoted) == 80 + len(r"\x1b") - 1  # what would steer a terminal is written out
    assert quoted.startswith(r"<p>\x1b[31m word word")


def test_nobody_listens():
    with serving() as gone:
        pass
    text = failure(gone, "")
    assert "refused" in text
    assert "asked 2 times" in text


def test_a_number_of_classes_that_changes(server, tmp_path):
    server.score = lambda images: np.ones((len(images), 3 if len(server.posts) <= 2 else 5))
    with endpoint(server, in_flight=1, cache=tmp_path) as box:
        box(IMAGES[:4])
        box(IMAGES[4:6])
        with pytest.raises(BlackBoxError, match="expected 3 scores for each image, as before, go"):
            box(IMAGES[6:])
    # What was wrong is not in the cache, and what was right is.
    server.score = lambda images: np.ones((len(images), 3))
    with endpoint(server, in_flight=1, cache=tmp_path) as box:
        assert box(IMAGES).shape == (10, 3)
    assert [len(one.images) for one in server.posts] == [4, 2, 4, 4]
    server.score = lambda images: np.ones((len(images), 5))
    with endpoint(server, cache=tmp_path) as box, pytest.raises(BlackBoxError, match="as before"):
        box(1 - IMAGES)
    with endpoint(server, cache=tmp_path, version="2") as box:
        assert box(IMAGES).shape == (10, 5)


def test_redirects_are_refused(server):
    with serving() as elsewhere:
        for host in ("localhost", "127.0.0.1"):
            place = f"http://u:p@{host}:{elsewhere.port}/model?key=abcdefghij"
            text = failure(server, f"redirect {place}")
            assert f"a redirect to 'http://{host}:{elsewhere.port}/model': refused" in text
        assert elsewhere.seen == []
    text = failure(server, "redirect /elsewhere")
    assert f"redirect to '{server.url.replace('/model', '/elsewhere')}'" in text
    assert {one.path for one in server.posts} == {"/model"}


def test_one_failure_ends_the_batch_and_what_is_under_way_is_kept(server, tmp_path):
    server.fault = lambda number: "status 400" if number == 2 else ""
    together = threading.Barrier(3)
    server.inside = lambda: together.wait(20)
    with (
        endpoint(server, in_flight=3, images_per_request=2, cache=tmp_path) as box,
        pytest.raises(BlackBoxError, match="400 Bad Request"),
    ):
        box(IMAGES[:6])
    server.inside = lambda: None
    asked = len(server.posts)
    with endpoint(server, in_flight=1, cache=tmp_path) as box:
        np.testing.assert_array_equal(ask(box, PLANES[:6]).numpy(), model(AS_PNG[:6]))
    assert asked == 3
    assert [len(one.images) for one in server.posts[asked:]] == [2]


def test_a_run_that_fails_keeps_its_map_and_goes_on(server):
    server.fault = lambda number: "" if number < 20 else "status 500"
    method = Rise(grid_size=4)
    options = {"target": 0, "seed": 1, "batch_size": 8}
    with endpoint(server, retries=2) as box:
        with pytest.raises(BlackBoxError, match="asked 3 times") as error:
            iassa.explain(photo(), box, method=method, calls=200, **options)
        part = error.value.explanation
        assert 0 < part.calls < 200
        assert not part.complete
        server.fault = lambda number: ""
        missing = 198 - sum(sum(one.masks.values()) for one in part.rounds)
        assert missing == 200 - part.calls + 8  # the batch that failed was counted, as it was sent
        whole = iassa.extend(part, box, calls=missing, batch_size=8)
    with serving() as good, endpoint(good) as box:
        expected = iassa.explain(photo(), box, method=method, calls=200, **options)
    np.testing.assert_array_equal(whole.saliency, expected.saliency)


MIDWAY = {
    "slow": "expected an answer within 0.5 s, got none, asked once",
    "body <!DOCTYPE html><title>Sign in</title>": "expected JSON, got '<!DOCTYPE html>",
    "truncated": "peer closed connection without sending complete message body",
    'body {"scores": [[1, 2]]}': "expected 3 scores for each image, as before, got 2",
    'body {"scores": [[1, 2, 3], [4, 5, 6]]}': "expected scores of 1 images (got 2)",
    'body {"scores": []}': "expected scores of 1 images (got 0)",
    "redirect https://elsewhere.example/": "redirect to 'https://elsewhere.example/': refused",
    "status 403": "Check the authorisation header in MY_TOKEN.",
    "status 429 3600": "asks to wait 3600 s, which is longer than 120 s",
}


@pytest.mark.parametrize("fault", MIDWAY, ids=lambda fault: fault[:40])
def test_a_command_that_fails_midway_saves_the_map_so_far(run, server, monkeypatch, fault):
    monkeypatch.setenv("MY_TOKEN", f"Bearer {SECRET}")
    server.fault = lambda number: "" if number < 1 + 24 + 1 else fault
    options = ["--method", "rise", "--set", "grid_size=3", "--calls", "50", "--batch-size", "4"]
    options += ["--model-option", "form=json", "--model-option", "retries=0", "--model-option"]
    options += [f"timeout={0.5 if fault == 'slow' else 20}", "--model-option", "in_flight=1"]
    url = f"{server.url}#images-per-request=1&input-size=20x28"
    options += ["--model", url, "--auth-env", "MY_TOKEN", "--out", "out"]
    Image.fromarray(AS_PNG[0]).save("photo.png")
    status, out, err = run("explain", "photo.png", *options)
    assert (status, out) == (2, "out/overlay-0.png\n")
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert MIDWAY[fault] in line
    assert line.endswith(" The map of the 30 calls so far is in out.")  # the last 4 are lost
    assert SECRET not in err
    saved = iassa.Explanation.load("out")
    assert (saved.calls, saved.complete, saved.stopped) == (30, False, "failed")
    assert sum(sum(one.masks.values()) for one in saved.rounds) == 24
    assert np.isfinite(saved.saliency).all()


# Limits.


def test_requests_in_flight(server):
    together = threading.Barrier(3)  # passes only if three are there at once
    server.inside = lambda: together.wait(20)
    with endpoint(server, in_flight=3, images_per_request=1) as box:
        box(IMAGES[:9])
    assert server.busiest == 3
    assert len(server.posts) == 9


def test_requests_per_second(server):
    with endpoint(server, rate=50.0, images_per_request=1, in_flight=4) as box:
        box(IMAGES)
        box(IMAGES)
    times = sorted(one.arrived for one in server.posts)
    assert len(times) == 20
    assert times[-1] - times[0] > 0.5 * 19 / 50


# The authorisation header.


def test_the_header_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", f"  Bearer {SECRET}\n")
    with endpoint(server, auth_env="MY_TOKEN", in_flight=1) as box:
        box(IMAGES)
        monkeypatch.setenv("MY_TOKEN", "Basic renewed")
        box(IMAGES)
    with endpoint(server, in_flight=1) as box:
        box(IMAGES)
    sent = [one.headers.get("Authorization") for one in server.posts]
    assert sent == [f"Bearer {SECRET}", "Basic renewed", None]


@pytest.mark.parametrize("value", [None, "", " ", "Bearer a\nX: b", "Bearer \u00e9", "a\x00b"])
def test_headers_that_cannot_be(monkeypatch, value):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    if value is not None and "\x00" not in value:
        monkeypatch.setenv("MY_TOKEN", value)
    with pytest.raises(InputError, match="MY_TOKEN") as error:
        iassa.models.HttpModel("http://localhost/", auth_env="MY_TOKEN")
    assert "Bearer a" not in str(error.value)


@pytest.mark.parametrize("status", [200, 401, 500])
def test_the_header_is_written_nowhere(server, monkeypatch, tmp_path, caplog, status):
    """Not even if the server sends it back."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_TOKEN", f"Bearer {SECRET}")
    server.fault = lambda number: "" if number < 12 else f"echo {status}"
    server.url += "?model=cat&key=0123456789abcdef"
    settings = {"auth_env": "MY_TOKEN", "cache": tmp_path / "cache", "retries": 1}
    with endpoint(server, **settings) as box:
        with pytest.raises(BlackBoxError) as error:
            iassa.explain(photo(), box, method=Rise(grid_size=4), target=0, calls=100, batch_size=8)
        said = ["".join(traceback.format_exception(error.value)), str(error.value), repr(box)]
        said += [str(box), box.name, box.identity(), str(pickle.dumps(box)), str(hash(box))]
    assert "***" in said[1]
    error.value.explanation.save(tmp_path / "saved")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"explanation.json", "evidence.npz", FILE}
    written = b"".join(path.read_bytes() for path in files)
    assert SECRET not in "".join([*said, caplog.text])
    assert SECRET.encode() not in written
    ours = [one.getMessage() for one in caplog.records if one.name.startswith("iassa")]
    assert b"0123456789abcdef" not in written
    assert not any("0123456789abcdef" in text for text in ours)
    assert "0123456789abcdef" not in said[1] + repr(box) + box.name + box.identity()


@pytest.mark.parametrize("header", ["Bearer abc/def", "abcdef", "Key a1 b2", ""])
def test_texts_are_freed_of_secrets(monkeypatch, header):
    monkeypatch.setenv("MY_TOKEN", header)
    url = "https://h/p?model=cat&key=12345678%2F9"
    text = f"<{header}> {header.split(' ')[-1]} abc\\/def 12345678%2F9 12345678/9 cat"
    free = hide(text, "MY_TOKEN", url)
    for secret in (*header.split()[1:], "12345678", header):
        assert not secret or secret not in free
    assert free.endswith("*** *** cat")


def test_a_header_over_http_is_warned_of(monkeypatch, caplog):
    monkeypatch.setenv("MY_TOKEN", "Bearer abc")
    for url in ("http://localhost/", "http://127.0.0.1:8/", "https://example.org/"):
        iassa.models.HttpModel(url, auth_env="MY_TOKEN")
    assert caplog.text == ""
    iassa.models.HttpModel("http://example.org/", auth_env="MY_TOKEN")
    assert "sent unencrypted" in caplog.text


# The cache.


@pytest.mark.parametrize("form", ["json", "v2"])
def test_a_second_run_asks_nothing(server, tmp_path, caplog, form):
    caplog.set_level(logging.INFO, "iassa")
    if form == "v2":
        v2_server(server, [-1, *SIZE, 3])
    method = Rise(grid_size=4)
    options = {"target": 0, "calls": 100, "seed": 2}
    with endpoint(server, cache=tmp_path) as box:
        first = iassa.explain(photo(), box, method=method, **options)
        other = iassa.explain(photo(), box, method=method, **{**options, "calls": 150})
    assert server.answered == 149  # the cache has the score of the image that is asked about again
    with endpoint(server, cache=tmp_path, in_flight=2) as box:
        second = iassa.explain(photo(), box, method=method, **{**options, "calls": 150})
    assert server.answered == 149
    assert second.calls == other.calls == 150  # counted as made, whoever answered
    np.testing.assert_array_equal(second.saliency, other.saliency)
    assert first.calls == 100
    assert "scores in the cache are not asked for again" in caplog.text
    assert "150 images, 150 of them from the cache; " in caplog.text


def test_a_cache_in_the_home_folder(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with endpoint(server, cache="~/paid") as box:
        box(IMAGES[:1])
    assert (tmp_path / "paid" / FILE).is_file()
    assert not (tmp_path / "~").exists()


def test_another_model_is_asked_anew(server, tmp_path):
    v2_server(server, [-1, *SIZE, 3])
    path = server.url.removesuffix("/v2/models/m")
    settings = {**QUICK, "cache": tmp_path, "in_flight": 1}
    others = [
        {"url": f"{path}/model"},
        {"url": f"{path}/model?a=1"},
        {"url": f"{path}/model", "version": "2"},
        {"url": f"{path}/model", "form": "multipart"},
        {"url": f"{path}/other"},
        {"url": server.url, "range": (0, 1)},
        {"url": server.url, "range": (0, 255)},
    ]
    identities = set()
    for k, one in enumerate(others):
        for _ in range(2):
            with iassa.models.HttpModel(**one, **settings) as box:
                box(IMAGES[:1])
                identities.add(box.identity())
        assert len(server.posts) == k + 1
    assert len(identities) == len(others)


def test_the_cache_serves_threads_and_many_models_at_once(server, tmp_path):
    def work():
        with endpoint(server, cache=tmp_path, images_per_request=1) as box:
            np.testing.assert_array_equal(ask(box, PLANES).numpy(), model(AS_PNG))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    asked = len(server.posts)
    work()
    assert len(server.posts) == asked


def test_caches_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / FILE).write_bytes(b"no database, but long enough to be looked at" * 9)
    for folder, table in (("other", "t"), ("columns", "score")):
        (tmp_path / folder).mkdir()
        with closing(sqlite3.connect(tmp_path / folder / FILE)) as database:
            database.execute(f"create table {table} (a)")
    for folder, message in [
        ("file", "cannot use the cache"),
        ("junk", "file is not a database. .* delete the file if it is damaged"),
        ("other", "it is the file of another program"),
        ("columns", "no such column: "),
    ]:
        with pytest.raises(InputError, match=message):
            iassa.models.HttpModel("http://localhost/", cache=tmp_path / folder)


ENDLESS = (
    "ALTER TABLE score RENAME TO old",
    "DROP TABLE old",
    """CREATE VIEW score AS WITH RECURSIVE n (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n)
    SELECT k AS model, k AS image, k AS scores FROM n""",
)
MUCH = (
    "DROP TABLE score",
    "CREATE TABLE score (model, image, scores AS (zeroblob(900000000)))",
    "INSERT INTO score (model, image) VALUES (1, 2)",
)


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (["UPDATE score SET scores = x'001122'"], "a row of it holds no scores"),
        (["UPDATE score SET scores = 'abcdefgh'"], "a row of it holds no scores"),
        (["UPDATE score SET scores = NULL"], "a row of it holds no scores"),
        (["UPDATE score SET scores = zeroblob(16) WHERE rowid % 2"], "expected . scores"),
        (["UPDATE score SET scores = zeroblob(16000000)"], "expected 2000000 scores"),
        (ENDLESS, "it is the file of another program"),
        (["CREATE TRIGGER t AFTER INSERT ON score BEGIN DELETE FROM score; END"], "of another"),
        (MUCH, "cannot use the cache"),
    ],
)
def test_a_cache_that_holds_something_else(server, tmp_path, commands, message):
    with endpoint(server, cache=tmp_path) as box:
        box(IMAGES[:6])
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        for command in commands:
            database.execute(command)
        database.commit()
    with pytest.raises((InputError, BlackBoxError), match=message):
        in_time(lambda: endpoint(server, cache=tmp_path)(IMAGES))


@pytest.mark.skipif(sys.platform == "win32", reason="rights are kept elsewhere")
def test_a_cache_that_others_can_change_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with endpoint(server, cache="~/paid") as box:
        box(IMAGES[:2])
    asked = len(server.posts)
    for path in (tmp_path / "paid" / FILE, tmp_path / "paid"):
        before = path.stat().st_mode
        path.chmod(before | 0o002)
        with pytest.raises(InputError, match="to be yours and to be written by nobody else"):
            endpoint(server, cache="~/paid")
        path.chmod(before)
    with endpoint(server, cache="~/paid") as box:
        box(IMAGES[:2])
    assert len(server.posts) == asked


def test_a_cache_of_earlier_versions_goes_on(server, tmp_path):
    """They had a checksum in each row, and marked the file as theirs."""
    with endpoint(server, cache=tmp_path) as box:
        box(IMAGES[:6])
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        rows = database.execute("SELECT model, image, scores FROM score").fetchall()
        database.execute("DROP TABLE score")
        database.execute(
            "CREATE TABLE score (model BLOB, image BLOB, scores BLOB, checksum INTEGER, "
            "PRIMARY KEY (model, image))"
        )
        kept = [(*row, zlib.crc32(row[2])) for row in rows]
        database.executemany("INSERT INTO score VALUES (?, ?, ?, ?)", kept)
        database.execute(f"PRAGMA application_id={int.from_bytes(b'IASC', 'big')}")
        database.execute("PRAGMA user_version=1")
        database.commit()
    for _ in range(2):
        with endpoint(server, cache=tmp_path) as box:
            np.testing.assert_array_equal(ask(box, PLANES).numpy(), model(AS_PNG))
        assert server.answered == 10


# Settings.


def test_the_signature_lists_all_settings():
    shown = inspect.signature(iassa.models.HttpModel).parameters
    assert list(shown)[:3] == ["url", "form", "auth_env"]
    assert shown["rate"].default is None
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        iassa.models.HttpModel("http://localhost/", speed=3)


def test_settings_behind_the_url(server):
    text = (
        "form=multipart&in-flight=3&images_per_request=2&input-size=10x14&version=v 1&softmax=true"
    )
    with open_model(f"{server.url}?a=1#{text}", "cpu") as box:
        found = box.settings
        assert (found.form, found.in_flight, found.images_per_request) == ("multipart", 3, 2)
        assert (box.input_size, found.version, found.softmax) == ((10, 14), "v 1", True)
        scores = box(IMAGES[:3])
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-6)
    assert {one.path for one in server.posts} == {"/model?a=1"}
    shapes = sorted(one.images.shape for one in server.posts)
    assert shapes == [(1, 10, 14, 3), (2, 10, 14, 3)]
    with pytest.raises(InputError, match=r"runs on cpu, got device cuda|a device that is here"):
        open_model(server.url, "cuda")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h/#speed=3", "a known field, got speed. Fields: form, auth_env, .*std"),
        ("http://h/#class-names=a", "cannot read the class names a: No such file"),
        ("http://h/#rate=fast", "expected rate to be a number, got rate=fast"),
        ("http://h/#rate=3&rate=3", "expected rate once, got it twice"),
        ("http://h/#rate=0", "expected rate to be a number or None, above 0, got 0.0"),
        ("http://h/#rate=nan", "expected rate to be a number, got rate=nan"),
        ("http://h/#in_flight=0", "expected in_flight to be a whole number, from 1 to 256, got 0"),
        ("http://h/#timeout=inf", "expected timeout to be a number, got timeout=inf"),
        ("http://h/#retries=-1", "expected retries to be a whole number, from 0 to 1000"),
        ("http://h/#form=xml", "expected form to be json or multipart or v2, got form=xml"),
        ("http://h/#form=v2", "expected a URL .*/v2/models/NAME for form v2"),
        ("http://h/#range=0-255", "with form v2 only"),
        ("http://h/#softmax=yes&sigmoid=yes", "expected softmax or sigmoid, got both"),
        (
            "http://h/#auth-env=Bearer abc",
            "auth_env to be the name of an environment variable",
        ),
        ("http://h/#input-size=large", "expected input_size to be HEIGHT,WIDTH, got"),
        ("http://h/#input-size=0", r"expected input_size to be \(height, width\)"),
        ("http://", "expected a URL as https://HOST/PATH"),
        ("http://h:99999/", "expected a URL as https://HOST/PATH"),
        ("http://[h/", "expected a URL as https://HOST/PATH"),
        ("http://h/a b", "expected a URL as https://HOST/PATH"),
    ],
)
def test_settings_that_cannot_be(url, message):
    with pytest.raises(InputError, match=message):
        open_endpoint(url)


def test_passwords_in_urls_are_refused_and_not_repeated():
    for url in (f"https://u:{SECRET}@h/", f"https://u:{SECRET}@h:x/"):
        with pytest.raises(InputError, match="expected a URL") as error:
            open_model(url)
        assert "s3cr3t" not in str(error.value)
    with pytest.raises(InputError, match="without #"):
        iassa.models.HttpModel("https://h/#a=b")


@pytest.mark.parametrize("text", ["20x28", "20,28"])
def test_settings_are_added_to_a_url(server, text, tmp_path):
    said = [f"input_size={text}", "softmax=yes"]
    url = add_conventions(f"{server.url}?q=1#rate=7", said)
    with open_endpoint(url) as box:
        assert (box.input_size, box.settings.softmax, box.settings.rate) == (SIZE, True, 7)
        assert box.settings.url == f"{server.url}?q=1"
    with open_endpoint(add_conventions(server.url, ["input-size=224"])) as box:
        assert box.input_size == (224, 224)
    odd = os.fsdecode(b"a&b #%\xff")  # what a folder may be called
    with open_endpoint(add_conventions(server.url, [f"cache={tmp_path}/{odd}"])) as box:
        assert Path(box.settings.cache) == tmp_path / odd
        assert (tmp_path / odd).is_dir()
    (tmp_path / "my names.txt").write_text("a\nb, c\nd\n")
    with open_endpoint(
        add_conventions(server.url, [f"class_names={tmp_path}/my names.txt"])
    ) as box:
        assert box.class_names == ("a", "b, c", "d")
    v2_server(server, [-1, 3, *SIZE])
    with open_endpoint(add_conventions(server.url, ["range=0-255", "sigmoid=yes"])) as box:
        assert (box.settings.range, box.settings.sigmoid) == ((0, 255), True)


@pytest.mark.parametrize("form", ["json", "v2"])
def test_it_goes_to_another_process_without_connections(server, form, tmp_path):
    if form == "v2":
        v2_server(server, [-1, *SIZE, 3])
    with endpoint(server, cache=tmp_path, class_names=["a", "b", "c"]) as box:
        scores = box(IMAGES)
        asked = len(server.seen)
        again = pickle.loads(pickle.dumps(box))
    assert again.settings == box.settings
    assert again.identity() == box.identity()
    with again:
        np.testing.assert_array_equal(again(IMAGES), scores)
    assert len(server.seen) == asked  # of the metadata, too
    with again:  # and opens again
        again(1 - IMAGES)


def test_what_is_forgotten_is_closed(server):
    before = threading.active_count()
    box = endpoint(server)
    box(IMAGES)
    del box
    gc.collect()  # an open socket would be a warning, and so a failure
    for _ in range(500):
        if threading.active_count() <= before + 8:  # the server's own are daemons
            break
        time.sleep(0.01)
    ours = [one for one in threading.enumerate() if one.name.startswith("iassa-endpoint")]
    for thread in ours:
        thread.join(60)
    assert not any(thread.is_alive() for thread in ours)


# TLS.


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, path = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", path], check=True, capture_output=True)
    return path, key


def test_certificates_are_verified(certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(context=context) as server:
        assert server.url.startswith("https://")
        with (
            endpoint(server) as box,
            pytest.raises(BlackBoxError, match=r"CERTIFICATE_VERIFY_FAILED.*set SSL_CERT_FILE"),
        ):
            box(IMAGES)
        assert server.posts == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with endpoint(server) as box:
            np.testing.assert_array_equal(ask(box, PLANES).numpy(), model(AS_PNG))


# The command line.


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger("iassa").level

    def run_command(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(one) for one in arguments])
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    yield run_command
    logging.getLogger("iassa").setLevel(level)


def test_the_command_line_asks_endpoints(run, server, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("MY_TOKEN", f"Bearer {SECRET}")
    quick = f"{server.url}?key=0123456789abcdef#first-wait=0.001"
    options = ["--model", quick, "--auth-env", "MY_TOKEN", "--input-size", "20x28"]
    for said in ("timeout=20", "retries=2", "rate=1000", "in-flight=2", "form=multipart"):
        options += ["--model-option", said]
    options += ["--model-option", "cache=paid"]
    explain = ["explain", "--example", "cat", "--method", "rise", "--out", "out"]
    server.fault = lambda number: "" if number < 15 else "status 500"
    status, out, err = run(*explain, "--calls", 300, *options)
    assert (status, out.count("overlay")) == (2, 1)
    assert "500 Internal Server Error and '<h1>sorry</h1>', asked 3 times" in err
    assert "The map of the" in err
    server.fault = lambda number: ""
    server.answered, before = 0, server.answered
    status, _, err = run(*explain, "--calls", 300, *options)
    assert status == 0, err
    assert server.answered + before == 299
    assert f"{before + 1} of them from the cache" in caplog.text + err  # one of them twice
    status, _, err = run("extend", "out", "--calls", 50, *options)
    assert status == 0, err
    assert server.answered + before == 349
    assert {one.headers["Authorization"] for one in server.posts} == {f"Bearer {SECRET}"}
    assert {one.images.shape[1:] for one in server.posts} == {(*SIZE, 3)}
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
            assert b"0123456789abcdef" not in path.read_bytes()
    status, _, err = run("extend", "out", "--calls", 50)
    assert status == 2
    assert "expected --model" in err
    status, _, err = run(*explain, "--auth-env", "TOKEN", "--model-option", "rate=3")
    assert status == 2
    assert "expected --model with auth_env=TOKEN, rate=3, got none. Name the model." in err
    status, _, err = run(*explain, "--model", f"{server.url}#rate=3", "--model-option", "rate=3")
    assert status == 2
    assert "expected rate once, got it twice" in err
    status, _, err = run("extend", "out", "--model-option", "rate=3")
    assert status == 2
    assert "expected --model with rate=3, got none. Name the model." in err


def test_the_benchmark_asks_endpoints(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", f"Bearer {SECRET}")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(AS_PNG[number]).save(tmp_path / "photos" / f"{number}.png")
    command = [sys.executable, "-m", "iassa", "benchmark", "images", "--images", "photos"]
    command += ["--model", f"{server.url}?key=0123456789abcdef", "--calls", "40", "--quiet"]
    command += [
        "--methods",
        "rise",
        "--protocol",
        "pixels_per_step=100",
        "--protocol",
        "gain_fills=",
        "--workers",
        "2",
    ]
    options = ["--auth-env", "MY_TOKEN", "--input-size", "20,28"]
    for said in ("form=multipart", "rate=1000", "in_flight=2", "timeout=20", "retries=3"):
        options += ["--model-option", said]
    options += ["--model-option", "cache=paid folder"]

    def go(folder, *options):
        return subprocess.run(
            [*command, "--run", folder, *options], cwd=tmp_path, capture_output=True, text=True
        )

    server.fault = lambda number: "status 503 0" if number % 7 == 3 else ""
    done = go("run", *options)
    assert (done.returncode, done.stdout) == (0, "run\n"), done.stderr
    assert server.answered > 3 * 40
    assert server.busiest <= 2 * 2
    assert {one.headers["Authorization"] for one in server.posts} == {f"Bearer {SECRET}"}
    assert {one.headers["Content-Type"].split(";")[0] for one in server.posts} == {
        "multipart/form-data"
    }
    server.fault, asked = lambda number: "status 500", len(server.posts)
    done = go("again", *options)  # all of it is in the cache, as the workers left it
    assert done.returncode == 0, done.stderr
    assert len(server.posts) == asked
    with Store.read(tmp_path / "run") as one, Store.read(tmp_path / "again") as other:
        assert one.configuration == other.configuration
        assert f"--model '{server.url}?...' " in one.last["command"]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
            assert b"0123456789abcdef" not in path.read_bytes()
    done = go("other", "--model-option", "rate=0")
    assert done.returncode == 2
    assert (
        done.stderr == "error: expected rate to be a number or None, above 0, got 0.0. Change it.\n"
    )
