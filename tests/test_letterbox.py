"""Letterboxed detectors: a graph that finds bright patches, against letterboxing by Pillow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import iassa
from iassa.benchmark import Contestant, Protocol, Store, run
from iassa.benchmark.datasets import Coco
from iassa.errors import InputError
from iassa.models.onnx.letterbox import Letterbox
from iassa.models.opening import open_model

SIZE = (48, 64)  # of the graph's input
BRIGHT = 0.6  # what is darker does not count: the grey field, too
NEEDED = 30.0  # sum of what is above it, for a score of 1


def graph(path: Path) -> Path:
    """YOLOv10's layout, one box an image: around the mean place of what is bright."""
    rows, columns = np.indices(SIZE) + 0.5
    constants: dict[str, NDArray[Any]] = {
        "bright": np.float32(BRIGHT),
        "x": columns[None, None].astype(np.float32),
        "y": rows[None, None].astype(np.float32),
        "tiny": np.float32(1e-6),
        "needed": np.float32(NEEDED),
        "one": np.float32(1),
        "zero": np.float32(0),
        "six": np.float32(6),
        "axes": np.array([1, 2, 3]),
        "first": np.array([0]),
        "second": np.array([1]),
        "channel": np.array([1]),
        "flat": np.array([-1, 1, 1]),
    }
    steps = [
        ("Slice", ["image", "first", "second", "channel"], "red"),
        ("Sub", ["red", "bright"], "above"),
        ("Relu", ["above"], "weight"),
        ("ReduceSum", ["weight", "axes"], "sum"),
        ("Max", ["sum", "tiny"], "safe"),
    ]
    for axis in "xy":
        steps += [
            ("Mul", ["weight", axis], f"{axis} of each"),
            ("ReduceSum", [f"{axis} of each", "axes"], f"{axis} sum"),
            ("Div", [f"{axis} sum", "safe"], f"{axis} mean"),
            ("Reshape", [f"{axis} mean", "flat"], f"{axis} middle"),
            ("Sub", [f"{axis} middle", "six"], f"{axis} low"),
            ("Add", [f"{axis} middle", "six"], f"{axis} high"),
        ]
    steps += [
        ("Reshape", ["sum", "flat"], "found"),
        ("Div", ["found", "needed"], "share"),
        ("Min", ["share", "one"], "score"),
        ("Mul", ["found", "zero"], "label"),
    ]
    nodes = [helper.make_node(kind, given, [made]) for kind, given, made in steps]
    parts = ["x low", "y low", "x high", "y high", "score", "label"]
    nodes.append(helper.make_node("Concat", parts, ["out"], axis=2))
    made = helper.make_graph(
        nodes,
        "patches",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("n", 3, *SIZE))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ("n", 1, 6))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return graph(tmp_path / "patches.onnx")


def opened(path: Path, resize: str | None) -> Any:
    said = "" if resize is None else f"&resize={resize}"
    return open_model(f"{path}?range=0-1&detector=yolov10{said}")


def photo(size: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """Dark, with a bright patch."""
    image = np.full((*size, 3), 0.2, np.float32)
    top, left, bottom, right = box
    image[top:bottom, left:right] = 1
    return image


def by_exporter(path: Path, image: NDArray[np.float32], centred: bool) -> NDArray[np.float64]:
    """The box that the graph gives when Pillow puts the image on the field, mapped back.

    Both after the description of Ultralytics and YOLOX: one gain for both axes, half of the rest at
    each side or none.
    """
    import onnxruntime

    (height, width), (rows, columns) = image.shape[:2], SIZE
    gain = min(rows / height, columns / width)
    high, wide = (round(height * gain), round(width * gain))
    if not centred:
        high, wide = (int(height * gain + 1e-9), int(width * gain + 1e-9))
    shrunk = np.stack(
        [
            np.asarray(Image.fromarray(plane).resize((wide, high), Image.Resampling.BILINEAR))
            for plane in image.transpose(2, 0, 1)
        ]
    )
    top = round((rows - high) / 2 - 0.1) if centred else 0
    left = round((columns - wide) / 2 - 0.1) if centred else 0
    field = np.full((1, 3, *SIZE), 114 / 255, np.float32)
    field[0, :, top : top + high, left : left + wide] = shrunk
    session = onnxruntime.InferenceSession(path)
    ((found,),) = session.run(None, {"image": field})[0]
    x_low, y_low, x_high, y_high = found[:4]
    corners = np.array([y_low - top, x_low - left, y_high - top, x_high - left], np.float64)
    return corners / gain


@pytest.mark.parametrize("resize", ["letterbox", "letterbox-corner"])
@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((96, 192), (20, 100, 50, 160)),  # wide: grey above and below
        ((192, 96), (120, 10, 170, 50)),  # high: grey at both sides
        ((24, 32), (4, 6, 12, 20)),  # enlarged, no grey
        ((48, 64), (4, 30, 12, 50)),  # as it is
        ((99, 61), (40, 20, 70, 50)),  # sides that do not come out even
        ((50, 211), (10, 150, 40, 200)),
    ],
)
def test_boxes_are_those_of_the_exporter(
    path: Path, size: tuple[int, int], box: tuple[int, int, int, int], resize: str
) -> None:
    image = photo(size, box)
    aimed = opened(path, resize).aim(image)
    wanted = by_exporter(path, image, centred=resize == "letterbox")
    # Exporters scale both axes by one gain, whatever the rounded sides are: at the far end of an
    # axis that is up to one pixel of the field.
    even = all((side * min(np.divide(SIZE, size))) % 1 < 1e-9 for side in size)
    pixel = max(np.divide(size, SIZE))
    assert aimed.boxes.boxes[0] == pytest.approx(wanted, abs=(0.01 if even else 1) * pixel)
    middle = aimed.boxes.boxes[0].reshape(2, 2).mean(0)
    patch = np.reshape(box, (2, 2)).mean(0)
    assert middle == pytest.approx(patch, abs=0.6 * pixel)  # the patch that was drawn


def test_stretching_is_the_default_and_another_box(path: Path) -> None:
    image = photo((96, 192), (20, 100, 50, 160))
    stretched = opened(path, None).aim(image).boxes.boxes[0]
    np.testing.assert_array_equal(opened(path, "stretch").aim(image).boxes.boxes[0], stretched)
    # 12 x 12 pixels of the input are a square in the photograph only if its aspect was kept.
    height, width = stretched[2:] - stretched[:2]
    assert (height, width) == pytest.approx((12 * 96 / 48, 12 * 192 / 64), abs=1e-3)
    boxed = opened(path, "letterbox").aim(image).boxes.boxes[0]
    assert boxed[2:] - boxed[:2] == pytest.approx((36, 36), abs=1e-3)
    names = {opened(path, resize).identity() for resize in (None, "stretch", "letterbox")}
    assert len(names) == 2


def test_a_whole_photograph_is_put_on_the_field_as_well_as_one_of_the_fitted_size(
    path: Path,
) -> None:
    detector = opened(path, "letterbox")
    image = photo((96, 192), (20, 100, 50, 160))
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    (whole,) = detector.detect(planes)
    aimed = detector.aim(image)
    assert detector.size_for((96, 192)) == (32, 64)
    np.testing.assert_allclose(whole.boxes, aimed.boxes.boxes, atol=1e-3)


@pytest.mark.parametrize("size", [(96, 192), (120, 60)])
def test_a_map_is_of_the_image_as_it_was_given(path: Path, size: tuple[int, int]) -> None:
    """No map is about the grey field: each pixel of it is one of the photograph."""
    height, width = size
    box = (height // 4, width // 2, height // 2, width - 10)
    image = photo(size, box)
    detector = opened(path, "letterbox")
    fields = iassa.methods.Rise(baseline=0.0, debiased=True)
    explanation = iassa.explain(image, detector, method=fields, calls=300, seed=1)
    assert explanation.saliency.shape == (1, *size)
    region = np.zeros(size, bool)
    region[box[0] : box[2], box[1] : box[3]] = True
    mass = iassa.metrics.relevance_mass(explanation.saliency[0], region)
    assert mass > 2 * region.mean()
    assert iassa.metrics.pointing_game(explanation.saliency[0], region).distance <= 12
    more = iassa.extend(explanation, detector, calls=100)
    at_once = iassa.explain(image, detector, method=fields, calls=400, seed=1)
    np.testing.assert_array_equal(more.saliency, at_once.saliency)
    with pytest.raises(InputError, match="expected the black box that was asked before"):
        iassa.extend(explanation, opened(path, None), calls=100)


def test_a_benchmark_asks_at_the_size_on_the_field(path: Path, tmp_path: Path) -> None:
    size, box = (96, 192), (30, 102, 62, 134)
    (tmp_path / "photos").mkdir()
    pixels = np.rint(photo(size, box) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    table = {
        "images": [{"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}],
        "categories": [{"id": 1, "name": "patch"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [box[1], box[0], 32, 32]},
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(table))
    run(
        Coco(tmp_path / "photos", tmp_path / "boxes.json"),
        tmp_path / "run",
        [Contestant("rise", iassa.methods.Rise(baseline=0.0), (40,))],
        model=f"{path}?range=0-1&detector=yolov10&resize=letterbox",
        protocol=Protocol(pixels_per_step=100, gain_fills=()),
    )
    with Store.read(tmp_path / "run") as store:
        (item,) = store.items(with_curves=True)
        (entry,) = store.entries()
        assert store.saliency(item.key, 0).shape == (32, 64)
    assert entry.key == "a.png patch 1"  # 36 x 36 pixels around it are found, an IoU of 0.79
    curve = item.snapshots[0].curves["deletion"]
    assert len(curve.scores) == 1 + -(-32 * 64 // 100)
    assert curve.scores[0] == pytest.approx(entry.score)


def test_what_fits_already_stays() -> None:
    for centred in (True, False):
        letterbox = Letterbox((640, 384), centred)
        for size in [(1, 1), (480, 640), (1080, 1920), (4032, 3024), (333, 77), (2, 5000)]:
            fitted = letterbox.fit(size)
            assert letterbox.fit(fitted) == fitted
            assert fitted[0] == 640 or fitted[1] == 384


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ("detector=yolov10&resize=pad", "expected resize to be stretch or letterbox"),
        ("softmax=no&resize=letterbox", "expected a detector for a layout, a threshold or resize"),
    ],
)
def test_what_is_refused(path: Path, options: str, word: str) -> None:
    with pytest.raises(InputError) as caught:
        open_model(f"{path}?range=0-1&{options}")
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
