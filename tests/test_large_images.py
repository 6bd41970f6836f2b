"""A large photograph costs no more than what the model sees of it, and loses nothing by that."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import iassa
from iassa.benchmark.contestant import Contestant
from iassa.benchmark.evaluation import MakeItem, Protocol, method_seed
from iassa.benchmark.store.records import ItemKey
from iassa.cli.commands import main
from iassa.errors import InputError
from iassa.explanations.explanation import Explanation
from iassa.image import resize
from iassa.metrics import best_f1, gini_index, overlap_at, pointing_game
from iassa.models.targets import Target
from rounding import steps

SIZE = (620, 1040)
KEPT = (305, 512)  # 620 * 512 / 1040 = 305.2
SEEN = (24, 36)  # by the model
SMALL = {
    "round_calls": 32,
    "segment_counts": (8, 16),
    "fine_segment_counts": (16,),
    "compactness": (10.0,),
    "features": "colour-position",
    "positions": 12,
}


def photograph() -> NDArray[np.float32]:
    """Fine grain, of 8 bits, and a bright place: each scaling of it gives other pixels."""
    pixels = np.random.default_rng(0).integers(0, 160, (*SIZE, 3), dtype=np.uint8)
    pixels[100:340, 600:900] = 250
    return pixels.astype(np.float32) / np.float32(255)


PHOTO = photograph()


def score(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """The bright place and the whole, at any size; each image by itself."""
    height, width = images.shape[1:3]
    top, bottom = height * 100 // SIZE[0], height * 340 // SIZE[0]
    left, right = width * 600 // SIZE[1], width * 900 // SIZE[1]
    return np.array(
        [
            [image[top:bottom, left:right].mean(), image.mean() / 3]
            for image in images.astype(np.float64)
        ]
    )


def model(size: tuple[int, int] | None = SEEN) -> iassa.models.FunctionModel:
    return iassa.models.FunctionModel(score, name="place", input_size=size)


def explain(calls: int = 80, box: Any = None, **options: Any) -> Explanation:
    method = iassa.methods.Iassa(**SMALL)
    given = {"target": [0, 1], "method": method, "batch_size": 8, **options}
    return iassa.explain(PHOTO, model() if box is None else box, calls=calls, **given)


def assert_same_maps(one: Explanation, other: Explanation) -> None:
    for name in ("saliency", "standard_error", "image"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert (one.image_size, one.scores, one.calls) == (other.image_size, other.scores, other.calls)


def test_picture_and_maps_have_512_pixels_on_the_longer_side(tmp_path: Path) -> None:
    made = explain()
    assert made.image_size == SIZE
    assert made.saliency.shape == made.standard_error.shape == (2, *KEPT)
    assert made.image.shape == (*KEPT, 3)
    # By Pillow's filter of the same kind, in 8 bits.
    whole = Image.fromarray((PHOTO * 255).astype(np.uint8))
    shrunk = np.asarray(whole.resize(KEPT[::-1], Image.Resampling.BILINEAR), np.float32) / 255
    np.testing.assert_allclose(made.image, shrunk, atol=2 / 255)
    assert f"{SIZE[0]} x {SIZE[1]}" in repr(made)
    made.save(tmp_path)
    assert json.loads((tmp_path / "explanation.json").read_text())["image"]["size"] == [*SIZE]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < PHOTO.nbytes
    for picture in ("overlay-0.png", "overlay-1.png", "sheet.png"):
        with Image.open(tmp_path / picture) as drawn:
            assert max(drawn.size) < 2000


def test_the_full_size_is_there_on_request() -> None:
    made = explain()
    full = made.enlarge(made.saliency)
    assert full.shape == (2, *SIZE)
    # Bilinear, pixel centres at (k + 1/2) / n, the outermost values beyond them.
    maps = made.saliency.astype(np.float64)
    for axis, size in ((1, SIZE[0]), (2, SIZE[1])):
        known = np.arange(maps.shape[axis])
        places = (np.arange(size) + 0.5) * len(known) / size - 0.5
        maps = np.apply_along_axis(functools.partial(np.interp, places, known), axis, maps)
    np.testing.assert_allclose(full, maps, atol=steps(64, made.saliency))
    error = made.standard_error[0].copy()
    error[:, :100] = np.inf
    assert np.isinf(made.enlarge(error)[:, :200]).all()
    np.testing.assert_array_equal(
        made.enlarge(error)[:, 210:], made.enlarge(made.standard_error[0])[:, 210:]
    )


def test_up_to_512_pixels_nothing_is_scaled() -> None:
    small = PHOTO[:300, 300:812]
    made = iassa.explain(small, model(), method="rise", calls=40)
    np.testing.assert_array_equal(made.image, small)
    assert made.original is None
    assert made.saliency.shape == (1, 300, 512)
    np.testing.assert_array_equal(made.enlarge(made.saliency), made.saliency)


def test_a_model_is_shown_the_pixels_of_the_photograph_not_of_its_picture() -> None:
    shown = []

    def recorder(images: NDArray[np.float32]) -> NDArray[np.float64]:
        shown.extend(images.copy())
        return score(images)

    box = iassa.models.FunctionModel(recorder, name="place", input_size=SEEN)
    made = explain(40, box)
    planes = torch.from_numpy(PHOTO).permute(2, 0, 1)[:, None]
    size = {"mode": "bilinear", "antialias": True}
    expected = torch.nn.functional.interpolate(planes, SEEN, **size)[:, 0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(shown[0], expected)
    assert made.original is not None
    again = torch.from_numpy(made.image).permute(2, 0, 1)
    assert np.abs(resize(again, SEEN).permute(1, 2, 0).numpy() - expected).max() > 1e-4


@pytest.mark.parametrize("size", [SEEN, None])
def test_going_on_after_loading_is_asking_at_once(
    tmp_path: Path, size: tuple[int, int] | None
) -> None:
    """`None`: the model looks at the whole photograph."""
    calls = (90, 150) if size else (20, 28)
    at_once = explain(calls[1], model(size))
    explain(calls[0], model(size)).save(tmp_path, pictures="none")
    loaded = Explanation.load(tmp_path)
    assert_same_maps(loaded, explain(calls[0], model(size)))
    more = iassa.extend(loaded, model(size), calls=calls[1] - calls[0], batch_size=8)
    assert_same_maps(more, at_once)
    more.save(tmp_path, pictures="none")
    other = iassa.retarget(Explanation.load(tmp_path), 1)
    np.testing.assert_array_equal(other.image, at_once.image)
    np.testing.assert_allclose(
        other.saliency[0], at_once.saliency[1], atol=0.5 * abs(at_once.saliency[1]).max()
    )


def of_before(made: Explanation) -> Explanation:
    """As it was saved before: the photograph, and maps of its size."""
    return dataclasses.replace(
        made,
        image=PHOTO,
        original=None,
        saliency=made.enlarge(made.saliency),
        standard_error=made.enlarge(made.standard_error),
    )


def test_a_folder_of_before_is_read_and_goes_on(tmp_path: Path) -> None:
    old = of_before(explain(90))
    old.save(tmp_path)
    loaded = Explanation.load(tmp_path)
    assert_same_maps(loaded, old)
    assert loaded.saliency.shape == (2, *SIZE)
    more = iassa.extend(loaded, model(), calls=60, batch_size=8)
    assert_same_maps(more, explain(150))


def test_an_original_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    explain(40).save(tmp_path, pictures="none")
    path = tmp_path / "explanation.json"
    record = json.loads(path.read_text())
    for size in ([3], [3, "x"], [3, None]):
        path.write_text(json.dumps({**record, "image": {**record["image"], "size": size}}))
        with pytest.raises(InputError, match=r"image\.size"):
            Explanation.load(tmp_path)


def test_only_the_same_photograph_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One pixel that differs by one level is beyond what a picture of 512 pixels shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "large_box.py").write_text(
        "import iassa\n\n\ndef mean(images):\n    return images.mean((1, 2))[:, :2]\n\n\n"
        "box = iassa.models.FunctionModel(mean, name='mean', input_size=(24, 36))\n"
    )
    pixels = (PHOTO * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save("one.png")
    pixels[300, 300, 1] ^= 1
    Image.fromarray(pixels).save("other.png")
    options = ["--model", "large_box:box", "--calls", "40", "--method", "rise", "--out", "o"]

    def status(name: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(["explain", name, *options, "--pictures", "none"])
        assert isinstance(end.value.code, int)
        return end.value.code

    assert status("one.png") == 0, capsys.readouterr().err
    assert status("one.png") == 0, capsys.readouterr().err
    assert status("other.png") == 2
    assert "differs in image" in capsys.readouterr().err


def place_of(images: NDArray[np.float32]) -> list[iassa.models.Detections]:
    """The bright place, as sure as it is bright, in pixels of what it is shown."""
    scale = np.tile(np.array(images.shape[1:3]) / SIZE, 2)
    corners = np.array([[100, 600, 340, 900]]) * scale
    return [
        iassa.models.Detections.of_labels(corners, np.array([0]), score(image[None])[:, 0], 1)
        for image in images
    ]


def test_boxes_stay_in_pixels_of_the_photograph(tmp_path: Path) -> None:
    finder = iassa.models.FunctionDetector(place_of, name="finder", input_size=SEEN)
    made = iassa.explain(PHOTO, finder, method="rise", calls=60, batch_size=8)
    assert made.target_boxes is not None
    np.testing.assert_allclose(made.target_boxes.boxes, [[100, 600, 340, 900]], rtol=1e-5)
    made.save(tmp_path)
    more = iassa.extend(Explanation.load(tmp_path), finder, calls=40, batch_size=8)
    at_once = iassa.explain(PHOTO, finder, method="rise", calls=100, batch_size=8)
    assert_same_maps(more, at_once)
    given = finder.aim(PHOTO, [(100, 600, 340, 900)])
    assert iassa.explain(PHOTO, given, method="rise", calls=40).boxes is not None
    frame = made.plot().axes[0].patches[0]
    scale = KEPT[1] / SIZE[1]
    np.testing.assert_allclose(frame.get_x(), 600 * scale - 0.5, atol=1)  # type: ignore[attr-defined]
    np.testing.assert_allclose(frame.get_height(), 240 * scale, atol=1)  # type: ignore[attr-defined]


def test_a_benchmark_measures_overlap_at_the_size_of_the_photograph() -> None:
    buffer = io.BytesIO()
    Image.fromarray((PHOTO * 255).round().astype(np.uint8)).save(buffer, "PNG")
    marked = np.zeros(SIZE, bool)
    marked[100:340, 600:900] = True
    key, target = ItemKey("a.png place", "label", 3), Target("place", (0,), (1.0,))
    method = iassa.methods.Rise(round_calls=64)
    protocol = Protocol(pixels_per_step=200, threshold=0.4)
    contestant = Contestant("label", method, (60, 100))
    item = MakeItem(key, buffer.getvalue(), target, marked, contestant, protocol).run(model())
    options: dict[str, Any] = {"seed": method_seed(key), "keep_scores": 0}
    made = iassa.explain(PHOTO, model(), method=method, target=target, calls=100, **options)
    full = made.enlarge(made.saliency[0])
    last = item.snapshots[-1]
    assert last.metrics["f1"] == overlap_at(full, marked, fraction=0.4).f1
    assert last.metrics["best_f1"] == best_f1(full, marked).f1
    assert last.metrics["pointing"] == float(pointing_game(full, marked).hit)
    assert last.metrics["sparsity"] == gini_index(full)
    assert last.saliency.shape == SEEN


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_a_picture_of_the_users_is_not_written_to(mode: str, orientation: int | None) -> None:
    """Large pictures are not copied where they need no change."""
    picture = Image.fromarray((PHOTO[:9, :14] * 255).round().astype(np.uint8)).convert(mode)
    if orientation is not None:
        picture.getexif()[0x0112] = orientation
    before = picture.tobytes()
    read = iassa.explain(picture, model(), method="rise", calls=40).image
    assert read.shape == ((14, 9, 3) if orientation == 6 else (9, 14, 3))
    assert picture.tobytes() == before
