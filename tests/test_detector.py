"""Detectors as black boxes: a map for each box, from a detector whose true map is known."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import nn

import iassa
from iassa.cli import main
from iassa.errors import BlackBoxError, InputError
from iassa.models.detections import overlaps
from iassa.models.opening import open_model
from rounding import steps

NAMES = ("dog", "cat")
SIZE = (30, 44)
PLACES = ((4, 6, 16, 20), (18, 26, 28, 40), (2, 30, 10, 42))  # top, left, bottom, right
LABELS = (0, 1, 0)
# Darker than the others, so that they are found in this order.
BRIGHTNESS = (1.0, 0.9, 0.8)


def street(size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    """Black, with a bright patch in each place."""
    image = np.zeros((*SIZE, 3), np.float32)
    for (top, left, bottom, right), value in zip(PLACES, BRIGHTNESS, strict=True):
        image[top:bottom, left:right] = value
    rows, columns = np.arange(size[0]) * SIZE[0] // size[0], np.arange(size[1]) * SIZE[1] // size[1]
    return image[rows][:, columns]


def detect(images: NDArray[np.float32]) -> list[iassa.models.Detections]:
    """A box is as sure as its place is bright, at any size of the image."""
    scale = np.tile(np.array(images.shape[1:3]) / SIZE, 2)
    found = []
    for image in images:
        scores = []
        for place in PLACES:
            top, left, bottom, right = np.round(place * scale).astype(int)
            scores.append(image[top:bottom, left:right].mean())
        found.append(iassa.models.Detections.of_labels(PLACES * scale, LABELS, scores, len(NAMES)))
    return found


def detector(**fields: Any) -> iassa.models.FunctionDetector:
    return iassa.models.FunctionDetector(detect, **{"class_names": NAMES, **fields})


def explain(box: Any, image: Any = None, **options: Any) -> iassa.Explanation:
    options = {"method": "rise", "calls": 400, **options}
    return iassa.explain(street() if image is None else image, box, **options)


def inside(place: tuple[int, ...], size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    region = np.zeros(size, bool)
    top, left, bottom, right = place
    region[top:bottom, left:right] = True
    return region


# --- maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["iassa", "rise", "sliding-window"])
def test_the_map_of_a_box_is_high_where_its_score_comes_from(method: str) -> None:
    fields = {"debiased": True} if method == "rise" else {}
    chosen = iassa.methods.METHODS[method](baseline=0.0, **fields)
    explanation = explain(detector(), target="top-3", method=chosen, calls=600)
    assert [target.name for target in explanation.targets] == ["dog 1", "cat", "dog 2"]
    np.testing.assert_allclose(explanation.scores, BRIGHTNESS, rtol=1e-5)
    for saliency, place in zip(explanation.saliency, PLACES, strict=True):
        region = inside(place)
        assert np.corrcoef(saliency.ravel(), region.ravel())[0, 1] > 0.8
        # As many pixels as the box has, the highest of the map: they are those of the box.
        high = saliency >= np.sort(saliency.ravel())[-region.sum()]
        assert (high & region).sum() / (high | region).sum() > 0.65
        assert saliency[region].mean() > 5 * abs(saliency[~region].mean())


def test_targets_work_as_they_do_for_classes() -> None:
    several = explain(detector(), target=["dog 2", 1, "dog 1 vs dog 2", "dog 1, cat"])
    assert [t.indices for t in several.targets] == [(2,), (1,), (0, 2), (0, 1)]
    assert several.targets[2].weights == (1.0, -1.0)
    np.testing.assert_allclose(several.scores, [0.8, 0.9, 0.2, 1.9], rtol=1e-5)
    # One run for all of them: the maps are those of a run for each.
    alone = explain(detector(), target="dog 2")
    np.testing.assert_allclose(
        several.saliency[0], alone.saliency[0], atol=steps(16, alone.saliency)
    )
    np.testing.assert_allclose(
        several.saliency[2],
        explain(detector(), target=0).saliency[0] - several.saliency[0],
        atol=steps(8, several.saliency),
    )
    with pytest.raises(InputError, match=r"name of several\. Say dog 1 or dog 2"):
        explain(detector(), target="dog")
    with pytest.warns(UserWarning, match="top-4 was asked for, and there are 3 boxes: all of them"):
        assert len(explain(detector(), target="top-4").targets) == 3


def test_a_run_costs_what_it_says_and_asks_about_the_whole_image_once() -> None:
    shown = []

    def counting(images: NDArray[np.float32]) -> list[iassa.models.Detections]:
        shown.extend(len(images) * [images.mean()])
        return detect(images)

    explanation = explain(iassa.models.FunctionDetector(counting, class_names=NAMES), calls=100)
    assert explanation.calls == len(shown) == 100
    assert np.isclose(shown, street().mean()).sum() == 1


def test_the_same_seed_gives_the_same_map_whatever_the_batch() -> None:
    first, second = (explain(detector(), batch_size=size).saliency for size in (3, 16))
    np.testing.assert_allclose(first, second, atol=steps(16, second))


@pytest.mark.parametrize("size", [(30, 44), (60, 44), (30, 132)])
def test_boxes_are_in_pixels_of_the_image_whatever_the_detector_looks_at(
    size: tuple[int, int],
) -> None:
    """Squeezed for the detector, the boxes come out where the image has them."""
    image = street(size)
    scale = np.tile(np.array(size) / SIZE, 2)
    for input_size in (None, (45, 88)):
        aimed = detector(input_size=input_size).aim(image)
        assert (aimed.input_size, aimed.class_names) == (
            input_size,
            ("dog 1, dog", "cat", "dog 2, dog"),
        )
        np.testing.assert_allclose(aimed.boxes.boxes, PLACES * scale, rtol=1e-5)
        scores = aimed(np.stack([image, np.zeros_like(image)]))
        np.testing.assert_allclose(scores[0], BRIGHTNESS, atol=0.12)
        np.testing.assert_array_equal(scores[1], 0)


# --- which boxes ------------------------------------------------------------------------------


def test_boxes_of_the_user_s_own() -> None:
    near = (5, 6, 16, 20)
    boxes = [
        near,
        iassa.models.Box(*near, "dog"),
        iassa.models.Box(*near, "cat"),
        iassa.models.Box(17, 2, 20, 5, 0),
    ]
    with pytest.warns(iassa.WeakEvidenceWarning):  # of the two that are not there
        explanation = explain(detector().aim(street(), boxes), target="top-4")
    assert any("cat, dog 2: every masked image" in text for text in explanation.warnings)
    names = {t.name: s for t, s in zip(explanation.targets, explanation.scores, strict=True)}
    overlap = float(overlaps(np.array([near]), np.array(PLACES[:1]))[0, 0])
    assert 0.8 < overlap < 1
    assert set(names) == {"box", "dog 1", "cat", "dog 2"}
    assert names["box"] == names["dog 1"] == pytest.approx(overlap, rel=1e-5)
    assert names["cat"] == names["dog 2"] == 0
    assert explanation.calls == 400
    record = explanation.as_dict()["boxes"]
    assert record[0] == {"name": "box", "box": [5, 6, 16, 20], "confidence": None}


def test_near_duplicates_and_low_scores_are_left_out() -> None:
    def crowded(images: NDArray[np.float32]) -> list[iassa.models.Detections]:
        boxes = [(4, 6, 16, 20), (5, 6, 16, 20), (4, 6, 16, 19), (4, 6, 16, 20), (18, 26, 28, 40)]
        one = iassa.models.Detections.of_labels(boxes, [0, 0, 0, 1, 0], [0.8, 0.9, 0.7, 0.6, 0.3])
        return [one] * len(images)

    def found(**fields: Any) -> list[str]:
        aimed = iassa.models.FunctionDetector(crowded, class_names=NAMES, **fields).aim(street())
        return [
            f"{n.split(',')[0]} {c:.1f}"
            for n, c in zip(aimed.boxes.names, aimed.boxes.confidences, strict=True)
        ]

    assert found() == ["dog 1 0.9", "cat 0.6", "dog 2 0.3"]
    assert found(threshold=0.5) == ["dog 0.9", "cat 0.6"]
    with pytest.raises(
        InputError, match=r"0\.95 or more, got a confidence of 0\.9 at most\. Lower"
    ):
        found(threshold=0.95)
    with pytest.raises(InputError, match="threshold to be a number, from 0 to 1, got 2"):
        found(threshold=2)


@pytest.mark.parametrize(
    ("boxes", "word"),
    [
        ([], "a confidence of 0.25 or more, got none"),
        ([(40, 2, 50, 9)], "got a confidence of 0.9 at most"),  # outside of the image
        ([(0.1, 0.2, 0.5, 0.9)], "shares of the image"),
    ],
)
def test_an_image_in_which_there_is_nothing_to_explain(boxes: Any, word: str) -> None:
    def odd(images: NDArray[np.float32]) -> list[iassa.models.Detections]:
        scores = [0.9] * len(boxes)
        return [iassa.models.Detections.of_labels(boxes, [0] * len(boxes), scores)] * len(images)

    with pytest.raises(InputError, match=word):
        explain(iassa.models.FunctionDetector(odd))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (lambda n: [iassa.models.Detections([(1, 1, 5, np.nan)], [[1.0]])] * n, "finite boxes"),
        (
            lambda n: [iassa.models.Detections([(5, 1, 1, 5)], [[1.0]])] * n,
            "top, left, bottom, right",
        ),
        (
            lambda n: [iassa.models.Detections([(1, 1, 5, 5)], [[1.0] * 3])] * n,
            "expected 2 class scores",
        ),
        (
            lambda n: np.zeros((n, 2)),
            "iassa.models.Detections, one for each image, got 1 of ndarray",
        ),
        (lambda n: [], "got 0 of none"),
        (lambda n: 5, "one for each image, got int"),
        (lambda n: next(iter(())), "raised StopIteration"),
    ],
)
def test_a_detector_that_fails(given: Any, word: str) -> None:
    with pytest.raises(BlackBoxError, match=word):
        explain(iassa.models.FunctionDetector(lambda images: given(len(images)), class_names=NAMES))


def test_a_detector_s_own_line_is_named_where_its_boxes_are_wrong() -> None:
    def give(images: NDArray[np.float32]) -> list[iassa.models.Detections]:
        return [iassa.models.Detections([[9, 9, 4, 4]], [[0.5, 0.5]]) for _ in images]

    line = give.__code__.co_firstlineno + 1
    with pytest.raises(BlackBoxError, match="the bottom below the top") as caught:
        explain(iassa.models.FunctionDetector(give, class_names=NAMES))
    assert f"({__file__}, line {line})" in str(caught.value)


def test_a_detector_that_fails_half_way_leaves_the_map_so_far() -> None:
    calls = []

    def failing(images: NDArray[np.float32]) -> list[iassa.models.Detections]:
        calls.append(len(images))
        if len(calls) == 6:
            raise ConnectionError("gone")
        return detect(images)

    with pytest.raises(BlackBoxError, match="raised ConnectionError: gone") as caught:
        explain(iassa.models.FunctionDetector(failing, class_names=NAMES))
    assert isinstance(caught.value, iassa.RunFailedError)
    assert caught.value.explanation.target_boxes is not None
    assert caught.value.explanation.calls == sum(calls)


def test_what_cannot_be_aimed_at_or_asked() -> None:
    for box in ((40, 1, 50, 9), (-5, -5, 0, 9), (4, 4, 4, 9)):
        with pytest.raises(InputError, match="boxes in the image of 30 x 44, got"):
            detector().aim(street(), [box])
    for box in ((1, 2, 3), "abcd", 5):
        with pytest.raises(InputError, match=r"expected a box as \(top, left, bottom, right\)"):
            detector().aim(street(), [box])  # type: ignore[list-item]
    aimed = detector().aim(street())
    with pytest.raises(InputError, match=r"aimed at, \(30, 44\), got one of \(60, 44\)"):
        explain(aimed, street((60, 44)))
    with pytest.raises(BlackBoxError, match="a detector that is aimed at an image"):
        detector()(street()[None])
    with pytest.raises(
        BlackBoxError, match=r"scores, got detections\. Use iassa\.models\.Function"
    ):
        explain(detect)


# --- going on ---------------------------------------------------------------------------------


def test_extending_is_as_asking_at_once_and_finds_nothing_anew(tmp_path: Path) -> None:
    whole = explain(detector(), target="top-2", calls=200)
    part = explain(detector(), target="top-2", calls=120)
    part.save(tmp_path)
    loaded = iassa.Explanation.load(tmp_path)
    assert loaded.target_boxes is not None
    assert part.target_boxes is not None
    assert loaded.target_boxes.digest() == part.target_boxes.digest()
    assert loaded.target_boxes.describe() == part.target_boxes.describe()
    for start in (part, loaded):
        shown: list[int] = []

        def counting(images: NDArray[np.float32], shown: Any = shown) -> Any:
            shown.append(len(images))
            return detect(images)

        # The code of a function is part of its identity; that of a class of ours is its name.
        class Counting(iassa.models.Detector):
            name, class_names = "detect", NAMES

            def identity(self) -> str:
                return detector().identity()

            def detect(self, planes: torch.Tensor) -> Any:
                return counting(planes.permute(0, 2, 3, 1).numpy())

        longer = iassa.extend(start, Counting(), calls=80)
        assert sum(shown) == 80
        np.testing.assert_array_equal(longer.saliency, whole.saliency)
        assert longer.target_boxes is not None
        assert longer.as_dict()["boxes"] == whole.as_dict()["boxes"]
        other = iassa.retarget(longer, "dog 2")
        assert other.targets[0].indices == (2,)
        assert other.as_dict()["boxes"] == whole.as_dict()["boxes"]
        other.save(tmp_path / "other")
        assert iassa.Explanation.load(tmp_path / "other").target_boxes is not None


def test_identity_tells_the_detector_and_the_boxes() -> None:
    aimed = detector().aim(street())
    again = detector().aim(street(), aimed.boxes)
    assert again.identity() == aimed.identity()
    assert aimed.identity().startswith(detector().identity())
    boxes = [(4, 6, 16, 20)]
    others = {
        one.identity()
        for one in (
            detector().aim(street(), boxes),
            detector().aim(street(), [iassa.models.Box(*boxes[0], "dog")]),
            detector(name="other").aim(street()),
        )
    }
    assert len(others | {aimed.identity()}) == 4
    saved = explain(aimed, calls=60)
    assert saved.identity == aimed.identity()
    assert iassa.extend(saved, aimed, calls=10).calls == 70
    with pytest.raises(InputError, match="expected the black box that was asked before"):
        iassa.extend(saved, detector(name="other"), calls=10)
    with pytest.raises(InputError, match="expected the black box that was asked before"):
        iassa.extend(saved, detector().aim(street(), boxes), calls=10)


def test_a_saved_explanation_whose_boxes_are_damaged(tmp_path: Path) -> None:
    explain(detector(), calls=60).save(tmp_path)
    path = tmp_path / "explanation.json"
    record = json.loads(path.read_text())
    first = record["boxes"][0]
    for boxes, told in (
        ([], "expected boxes for class_scores, got none"),
        ([{"name": "dog"}], r"expected boxes\[0\]\.box, got none"),
        (7, "expected boxes to be"),
        ([{**first, "box": [5, 0, 1, 1]}] * 3, "expected boxes as top, left, bottom, right"),
        ([first] * 4, r"expected class_scores \(4, any\)"),
    ):
        path.write_text(json.dumps({**record, "boxes": boxes}))
        with pytest.raises(InputError, match=told):
            iassa.Explanation.load(tmp_path)


def test_the_box_is_drawn_over_the_image_and_the_map() -> None:
    explanation = explain(detector(), target=["cat", "dog 1 vs dog 2"], calls=60)
    for k, places in enumerate([PLACES[1:2], (PLACES[0], PLACES[2])]):
        for axes in explanation.plot(k).axes[:2]:
            frames = axes.patches[1::2]  # the white ones
            found = [
                (f.get_y() + 0.5, f.get_x() + 0.5, f.get_height(), f.get_width())  # type: ignore[attr-defined]
                for f in frames
            ]
            expected = [(t, left, b - t, r - left) for t, left, b, r in places]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    # On the sheet each is beside its map, inside of it, at the scale of the sheet.
    (sheet, *_) = explanation.plot_sheet().axes
    drawn = sheet.images[0].get_array()
    assert drawn is not None
    cells = ndimage.find_objects(ndimage.label(drawn.min(axis=2) < 255)[0])  # on white
    shown = [(PLACES[1], cells[0]), (PLACES[0], cells[1]), (PLACES[2], cells[1])]
    for frame, (place, (rows, columns)) in zip(sheet.patches[1::2], shown, strict=True):
        assert isinstance(frame, Rectangle)
        scale = (rows.stop - rows.start) / SIZE[0], (columns.stop - columns.start) / SIZE[1]
        expected = np.array(place) * np.tile(scale, 2) + [rows.start, columns.start] * 2
        found = [frame.get_y() + 0.5, frame.get_x() + 0.5]
        np.testing.assert_allclose(found, expected[:2])
        sides = [frame.get_height(), frame.get_width()]
        np.testing.assert_allclose(sides, expected[2:] - expected[:2])
    plain = iassa.explain(street(), lambda x: x.mean((1, 2)), method="rise", calls=60)
    assert [*plain.plot_sheet().axes[0].patches] == []
    assert [*plain.plot().axes[0].patches] == []
    assert plain.target_boxes is None
    assert "boxes" not in plain.as_dict()


# --- torch ------------------------------------------------------------------------------------


class Network(nn.Module):
    """As torchvision's detectors: a list of images in, a dictionary for each out."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        assert isinstance(images, list)
        assert not self.training
        found = []
        for image in images:
            scores = [image[:, t:b, left:r].mean() * self.gain for t, left, b, r in PLACES]
            corners = [(left, t, r, b) for t, left, b, r in PLACES]
            kept = torch.stack(scores) > 0.05  # as theirs: a number of boxes for each image
            found.append(
                {
                    "boxes": torch.tensor(corners, dtype=torch.float32)[kept],
                    "labels": torch.tensor(LABELS)[kept] + 1,
                    "scores": torch.stack(scores)[kept],
                    "masks": torch.zeros(int(kept.sum()), 1, *image.shape[1:]),
                }
            )
        return found


def test_a_torch_module_that_gives_dictionaries() -> None:
    network = Network().train()
    box = iassa.models.TorchDetector(network, class_names=("__background__", *NAMES))
    explanation = explain(box, target="top-3", calls=200)
    assert network.training
    assert [target.name for target in explanation.targets] == ["dog 1", "cat", "dog 2"]
    same = explain(detector(), target="top-3", calls=200)
    np.testing.assert_allclose(explanation.saliency, same.saliency, atol=steps(16, same.saliency))
    assert box.identity() == iassa.models.TorchDetector(Network()).identity()
    changed = Network()
    changed.gain.data.fill_(0.5)
    assert iassa.models.TorchDetector(changed).identity() != box.identity()
    halved = iassa.models.TorchDetector(Network(), normalise=lambda planes: planes / 2).aim(
        street()
    )
    np.testing.assert_allclose(halved.boxes.confidences, np.array(BRIGHTNESS) / 2, rtol=1e-5)
    assert halved.boxes.names == ("class 1 1, class 1", "class 2", "class 1 2, class 1")
    assert open_model(box, "cpu") is box


@pytest.mark.parametrize(
    ("output", "word"),
    [
        (torch.zeros(1, 5), "a list of dictionaries, one for each image, got Tensor"),
        ([{"boxes": torch.zeros(1, 4)}], "boxes, labels and scores for each image, got boxes"),
        ([torch.zeros(1, 6)], "got Tensor"),
        ([{}], "got an empty one"),
    ],
)
def test_a_torch_module_that_gives_others(output: Any, word: str) -> None:
    class Odd(nn.Module):
        def forward(self, images: Any) -> Any:
            return output

    with pytest.raises(BlackBoxError, match=word):
        explain(iassa.models.TorchDetector(Odd()))


def test_a_module_that_was_not_wrapped_is_told_of_the_wrapper() -> None:
    class Lists(nn.Module):
        def forward(self, planes: torch.Tensor) -> Any:
            return Network().eval()(list(planes))

    with pytest.raises(BlackBoxError, match=r"FunctionDetector or iassa\.models\.TorchDetector"):
        explain(Lists())
    with pytest.raises(BlackBoxError, match=r"FunctionDetector or iassa\.models\.TorchDetector"):
        explain(lambda images: np.zeros((len(images), 5, 6)))


def test_training_mode_of_a_detector_is_warned_of() -> None:
    with pytest.warns(iassa.TrainingModeWarning, match="Network is in training mode") as told:
        iassa.models.TorchDetector(Network())
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iassa.models.TorchDetector(Network().eval())


# --- the command line, and the page -----------------------------------------------------------


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    Image.fromarray(np.round(street() * 255).astype(np.uint8)).save("street.png")
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["explain", *arguments, "--method", "rise", "--calls", "60", "--quiet"])
    return int(exit_.value.code or 0)


def test_the_command_line(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", "test_detector:detector"]
    assert run("street.png", *model, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in record["targets"]] == ["dog 1"]
    assert [one["name"] for one in record["boxes"]] == ["dog 1, dog", "cat", "dog 2, dog"]
    assert record["boxes"][1]["box"] == pytest.approx(PLACES[1])
    assert run("street.png", *model, "--target", "top-1") == 0  # the same one
    two = ["--target", "cat", "--target", "dog 2", "--overwrite"]
    capsys.readouterr()
    assert run("street.png", *model, *two) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3

    boxes = ["--box", "4,6,16,20", "--box", "18,26,28,40:cat"]
    assert run("street.png", *model, *boxes) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("street.png", *model, *boxes, "--json", "--overwrite") == 0
    record = json.loads(capsys.readouterr().out)
    assert sorted(one["name"] for one in record["targets"]) == ["box", "cat"]
    with pytest.raises(SystemExit) as exit_:
        main(["extend", "explanations/street", *model, "--calls", "30", "--json"])
    assert exit_.value.code == 0
    longer = json.loads(capsys.readouterr().out)
    assert longer["calls"] == 90
    assert longer["boxes"] == record["boxes"]

    for arguments, word in (
        (["street.png", *model, "--target", "dog", "--overwrite"], "Say dog 1 or dog 2"),
        (["street.png", *model, "--box", "1,2,3"], "expected a box as top,left,bottom,right"),
        (["street.png", *model, "--box", "1,2,3,4:rat"], "unknown class 'rat' (nearest: cat)"),
        (["street.png", *model, "--box", "90,2,93,4"], "boxes in the image of 30 x 44"),
        (["street.png", "other.png", *model, *boxes], "one image with --box"),
        (["street.png", "--model", "test_detector:bright", *boxes], "--box with a detector"),
        (
            ["street.png", *model, "--model-option", "detector=nms"],
            "expected detector=nms for an ONNX",
        ),
        (["street.png", *model, "--similar-to", "street.png"], "feature vectors, got the detector"),
    ):
        assert run(*arguments) == 2
        err = capsys.readouterr().err
        assert word in err
        assert len(err.splitlines()) == 1


def bright(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images.mean((1, 2))


def test_python_of_the_page_about_detectors_runs(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[1] / "docs/detectors.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code.replace("calls=1000", "calls=100"), "detectors.md", "exec"), names)
    explanation = names["explanation"]
    assert explanation.saliency.shape == (1, 341, 512)
    assert explanation.target_boxes.names[0] == "cup"
    assert capsys.readouterr().out.startswith("cup [")
    assert names["mine"].targets[0].name == "box"
