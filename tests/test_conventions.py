"""What is said of a model: read, written, checked, and done to pixels and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iassa.errors import InputError
from iassa.models.conventions import Conventions, parse_class_names, read_class_names, to_bytes
from rounding import steps

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(seed: int = 0, shape: tuple[int, ...] = (2, 3, 5, 7)) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"range": (0, 255)},
        {"range": (-1.0, 1.0)},
        {"range": (16.0, 235.0)},
        {"mean": MEAN, "std": STD},
        {"range": (0.0, 255.0), "mean": (103.5, 116.3, 123.7), "std": (1.0, 2.0, 57.0)},
        {"mean": MEAN, "std": (1 / 255,) * 3},
        {"range": (0.0, 255.0), "mean": (0.0,) * 3, "std": (255.0,) * 3},
    ],
)
@pytest.mark.parametrize("bgr", [None, False, True])
def test_pixels_are_ordered_then_scaled_then_normalised(fields: dict[str, Any], bgr: Any) -> None:
    conventions = Conventions(bgr=bgr, **fields)
    low, high = fields.get("range", (0, 1))
    for seed in range(2):
        given_ = pixels(seed)
        expected = np.empty(given_.shape)
        for channel in range(3):
            source = given_[:, 2 - channel if bgr else channel].astype(np.float64)
            value = low + (high - low) * source
            value -= fields.get("mean", (0, 0, 0))[channel]
            expected[:, channel] = value / fields.get("std", (1, 1, 1))[channel]
        found = conventions.normalise(torch.from_numpy(given_.copy()))
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=steps(16, expected))


def test_planes_are_left_as_they_are() -> None:
    planes = torch.from_numpy(pixels())
    before = planes.clone()
    Conventions(mean=MEAN, std=STD, bgr=True).normalise(planes)
    assert torch.equal(planes, before)
    assert Conventions(range=(0, 1)).normalise(planes) is planes


def test_bytes_are_rounded_and_never_wrap() -> None:
    planes = torch.tensor([-1e-6, 0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1, 1 + 1e-6])
    assert to_bytes(planes).tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_outputs_become_scores() -> None:
    outputs = np.random.default_rng(0).normal(size=(3, 4)) * 5
    exponents = np.exp(outputs - outputs.max(1, keepdims=True))
    for kind in (torch.float32, torch.float16, torch.float64):
        given_ = torch.from_numpy(outputs).to(kind)
        assert Conventions().activate(given_) is given_
        assert Conventions(softmax=False).activate(given_) is given_
        loose = {
            "atol": steps(2, 1.0, dtype=np.float16) if kind == torch.float16 else steps(8, 1.0)
        }
        soft = Conventions(softmax=True).activate(given_)
        np.testing.assert_allclose(soft, exponents / exponents.sum(1, keepdims=True), **loose)
        several = Conventions(sigmoid=True).activate(given_)
        np.testing.assert_allclose(several, 1 / (1 + np.exp(-outputs)), **loose)


unit = st.floats(0, 1, allow_nan=False)
names = st.text(min_size=1).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
conventions = st.builds(
    lambda moments, **fields: Conventions(
        mean=moments and moments[0], std=moments and moments[1], **fields
    ),
    moments=st.none() | st.tuples(st.tuples(unit, unit, unit), st.just((0.25, 1 / 3, 1.0))),
    input_size=st.none() | st.just("any") | st.tuples(st.integers(1, 999), st.integers(1, 999)),
    layout=st.sampled_from([None, "NCHW", "NHWC"]),
    range=st.sampled_from([None, (0.0, 1.0)]),
    bgr=st.none() | st.booleans(),
    softmax=st.none() | st.booleans(),
    output_name=st.none() | names,
    class_names=st.none() | names,
)


@given(conventions)
def test_the_text_is_read_back(said: Conventions) -> None:
    assert Conventions.parse(str(said)) == said
    assert hash(Conventions.parse(str(said))) == hash(said)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("", {}),
        ("range=0-1", {"range": (0, 1)}),
        ("range=0..255", {"range": (0, 255)}),
        ("range=-1..1", {"range": (-1, 1)}),
        ("range=-1-1", {"range": (-1, 1)}),
        ("range=-1,1", {"range": (-1, 1)}),
        ("mean=0.5&std=0.5", {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ("softmax=No&bgr=YES", {"softmax": False, "bgr": True}),
        ("input_size=3,4&output_name=a%26b", {"input_size": (3, 4), "output_name": "a&b"}),
        ("class_names=../a+b of 1.txt", {"class_names": "../a+b of 1.txt"}),
    ],
)
def test_texts(text: str, fields: dict[str, Any]) -> None:
    assert Conventions.parse(text) == Conventions(**fields)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("range=1-0", r"expected range to be .black, white., black below white, got .1.0, 0.0."),
        (
            "input_size=0,3",
            "expected input_size to be .height, width., from 1 to 4096 or 'any'",
        ),
        ("detector=yolo", "expected detector to be one of yolov5, .*, rt-detr, got 'yolo'"),
        ("threshold=1.5", "expected threshold to be a number or None, from 0 to 1, got 1.5"),
        ("mean=0.5", "expected mean and std together.* Add std=1,1,1"),
        ("std=0.5", "Add mean=0,0,0"),
        ("softmax=yes&sigmoid=yes", "expected softmax or sigmoid, got both"),
        # What silently makes wrong maps: a unit that was mistaken.
        ("mean=123.675,116.28,103.53&std=58.395,57.12,57.375", "Use range=0-255"),
        ("mean=0&std=255", "in units of range, here 0..1"),
        ("range=0-255&mean=0.485,0.456,0.406&std=0.229,0.224,0.225", "here 0..255"),
        ("range=0-255&mean=103.9,116.8,123.7&std=0.017", "here 0..255"),
        ("mean=0.5&std=0", "in units of range"),
    ],
)
def test_what_is_refused(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        Conventions.parse(text)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        (
            {"mean": (0.5, 0.5), "std": (1.0, 1.0)},
            r"mean to be a tuple .number, number, number. or None, got",
        ),
        ({"mean": [0.5, 0.5, "a"], "std": (1.0,) * 3}, "mean to be a tuple"),
        ({"layout": "CHW"}, "layout to be 'NCHW' or 'NHWC' or None, got 'CHW'"),
        ({"input_size": "all"}, "input_size to be"),
        ({"input_size": (3.5, 3)}, "input_size to be"),
        ({"softmax": 1}, "softmax to be True or False or None, got 1"),
        ({"range": (0, float("inf"))}, "range to be"),
        ({"output_name": 3}, "output_name to be a text or None, got 3"),
        ({"threshold": True}, "threshold to be a number or None, from 0 to 1, got True"),
    ],
)
def test_fields_of_the_wrong_type_are_refused(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=f"expected {word}"):
        Conventions(**fields)


@pytest.mark.parametrize(
    "content",
    [
        "tabby, tabby cat\nÉgyptien\n[UNK]\n",
        "tabby, tabby cat\r\nÉgyptien\r\n[UNK]",
        "\ufefftabby, tabby cat\nÉgyptien\n[UNK]\n\n",
        '["tabby, tabby cat", "Égyptien", "[UNK]"]',
        '{"2": "[UNK]", "0": "tabby, tabby cat", "1": "Égyptien"}',
        "{0: 'tabby, tabby cat', 1: 'Égyptien', 2: '[UNK]'}",
    ],
)
def test_class_names_are_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(content.encode())
    assert read_class_names(path) == ("tabby, tabby cat", "Égyptien", "[UNK]")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "an empty file"),
        (b"a\n\nb", "none on line 2"),
        (b"\xff\xfe", "expected class names in UTF-8"),
        (b'["a", 3]', "a list of class names"),
        (b"[]", "a list of class names"),
        (b'{"1": "a"}', "from 0 without a gap"),
        (b"[__import__('os')]", "a list of class names"),
        (b'["a"', "a list of class names"),
    ],
)
def test_class_names_that_are_refused(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(content)
    with pytest.raises(InputError, match=word):
        read_class_names(path)


def test_a_file_of_class_names_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the class names"):
        read_class_names(tmp_path / "none.txt")
    with pytest.raises(InputError, match="in metadata"):
        parse_class_names("none", "metadata")
