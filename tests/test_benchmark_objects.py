"""Detectors in a benchmark: drawn images, a COCO file, and what is matched by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import iassa
from iassa.benchmark import Contestant, Entry, Item, ItemKey, Outcome, Protocol, Store, run
from iassa.benchmark.datasets import Coco, ImageFolder
from iassa.benchmark.evaluation import method_seed
from iassa.benchmark.objects import AtObject, Objects
from iassa.cli import main
from iassa.errors import InputError
from iassa.models.detections import Detections
from made_runs import contents
from working import find_nothing, find_patches, patches

SIZE = (40, 60)
RED, GREEN = (0.9, 0.0, 0.0), (0.0, 0.8, 0.0)
# What is drawn is what is found, as top, left, bottom, right.
PATCHES = (((4, 6, 16, 26), RED), ((22, 4, 34, 16), RED), ((22, 30, 34, 54), GREEN))
OBJECTS = (
    ("dog", (4, 6, 16, 26)),  # 1: IoU 1 with the first patch
    ("dog", (22, 4, 34, 28)),  # 2: 144 pixels of 288, IoU 1/2 with the second
    ("dog", (4, 6, 16, 18)),  # 3: IoU 0.6 with the first patch, which is of dog 1
    ("cat", (22, 30, 34, 55)),  # 1: IoU 288 / 300 with the green patch
    ("cat", (4, 6, 16, 26)),  # 2: a patch, but of a dog
    ("cow", (4, 6, 16, 26)),  # 1: the detector has no cows
)
OUTLINE = (5, 8, 15, 20)  # of dog 1, inside of its box
MATCHED = {"a.png dog 1": PATCHES[0], "a.png dog 2": PATCHES[1], "a.png cat 1": PATCHES[2]}
RISE = Contestant("rise", iassa.methods.Rise(baseline=0.0), (40, 90))
PROTOCOL = Protocol(pixels_per_step=400, gain_steps=2, gain_fills=("grey",))
MODEL = "working:patches"


def draw(patches: Any) -> NDArray[np.float32]:
    image = np.full((*SIZE, 3), 0.1, np.float32)
    for (top, left, bottom, right), colour in patches:
        image[top:bottom, left:right] = colour
    return image


def polygon(box: tuple[int, int, int, int]) -> list[list[int]]:
    top, left, bottom, right = box
    return [[left, top, right, top, right, bottom, left, bottom]]


def inside(box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    region = np.zeros(SIZE, bool)
    region[box[0] : box[2], box[1] : box[3]] = True
    return region


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Coco:
    """a.png with all objects, b.png with a dog that is not seen, c.png with none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name, shown in (("a", PATCHES), ("b", ()), ("c", PATCHES[:1])):
        pixels = np.rint(draw(shown) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    names = ["dog", "cat", "cow"]
    annotations: list[dict[str, Any]] = []
    for image, (category, box) in [*((1, one) for one in OBJECTS), (2, OBJECTS[0])]:
        top, left, bottom, right = box
        of = {"image_id": image, "category_id": names.index(category)}
        annotations.append(of | {"bbox": [left, top, right - left, bottom - top]})
    annotations[0]["segmentation"] = polygon(OUTLINE)
    table = {
        "images": [
            {"id": k, "file_name": f"{name}.png", "height": SIZE[0], "width": SIZE[1]}
            for k, name in enumerate("abc", 1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names)],
        "annotations": annotations,
    }
    (tmp_path / "instances.json").write_text(json.dumps(table))
    return Coco(tmp_path / "photos", tmp_path / "instances.json")


def go(dataset: Any, folder: Path | str = "run", **options: Any) -> Outcome:
    settings: dict[str, Any] = {"model": MODEL, "protocol": PROTOCOL} | options
    return run(dataset, Path(folder), [RISE], **settings)


def read(folder: Path | str = "run") -> tuple[dict[str, Entry], dict[str, Item]]:
    with Store.read(Path(folder)) as store:
        entries = {entry.key: entry for entry in store.entries()}
        return entries, {item.key.entry: item for item in store.items(with_curves=True)}


# --- matching ---------------------------------------------------------------------------------


def test_each_matched_object_is_an_entry_and_the_others_have_a_reason(coco: Coco) -> None:
    outcome = go(coco)
    entries, items = read()
    assert set(items) == set(MATCHED)
    assert (outcome.items, outcome.failures) == (3, ())
    reasons = {key: entry.excluded for key, entry in entries.items() if entry.excluded}
    unmatched = "no box of its class overlaps it by an IoU of 0.5 or more"
    assert reasons == {
        "a.png dog 3": unmatched,
        "a.png cat 2": unmatched,
        "a.png cow 1": "cow: no class of the model has its name",
        "b.png dog 1": "nothing is detected in its image with a confidence of 0.25",
        "c.png": "nothing is annotated in it",
    }
    for key, (_, colour) in MATCHED.items():
        bright = max(colour)
        # D-RISE's score in the whole image: IoU and cosine are 1, the confidence is what is left.
        assert entries[key].score == pytest.approx(round(bright * 255) / 255, abs=1e-6)
    assert entries["a.png dog 1"].annotated == inside(OUTLINE).mean()
    assert entries["a.png dog 2"].annotated == inside(OBJECTS[1][1]).mean()  # it has no outline


def test_without_names_the_iou_alone_decides(coco: Coco) -> None:
    go(coco, model="working:nameless")
    entries, _ = read()
    # The more confident red patch is first, and takes the first of the objects with an IoU of 1.
    explained = {key for key, entry in entries.items() if not entry.excluded}
    assert explained == {"a.png dog 1", "a.png dog 2", "a.png cat 1"}
    assert entries["a.png cow 1"].excluded.startswith("no box of its class overlaps")


def test_a_file_of_classes_says_which_boxes_a_category_has(coco: Coco, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('{"cow": ["dog"], "cat": [1]}')
    go(coco, classes=str(tmp_path / "classes.json"))
    entries, _ = read()
    explained = {key for key, entry in entries.items() if not entry.excluded}
    assert explained == {"a.png cow 1", "a.png cat 1"}


def test_boxes_take_objects_by_confidence() -> None:
    """The surer box overlaps less, and takes the object all the same; the other is left."""
    found = Detections.of_labels([(0, 0, 10, 6), (0, 0, 10, 10)], [0, 0], [0.9, 0.8])
    one = Objects(np.array([(0, 0, 10, 10)], float), ((0,),))
    assert one.match(found) == [0]
    two = Objects(np.array([(0, 0, 10, 10), (0, 0, 10, 9)], float), (None, (0,)))
    # The first takes (0, 0, 10, 9), IoU 6/9 against 6/10; the second has the other, IoU 1.
    assert two.match(found) == [1, 0]
    wide = Objects(np.array([(0, 0, 10, 13)], float), ((0,),))
    assert wide.match(found) == [1]  # 60 of 130 pixels are too few, 100 are not
    assert one.match(found[np.array([], int)]) == [None]
    assert Objects(np.zeros((0, 4)), ()).match(found) == []


def test_objects_have_a_region_and_a_box_or_a_reason(coco: Coco, tmp_path: Path) -> None:
    of = {"image_id": 1, "category_id": 0}
    given: list[tuple[dict[str, Any], tuple[int, ...] | None, tuple[int, ...] | str]] = [
        ({"segmentation": polygon(OUTLINE)}, OUTLINE, OUTLINE),  # the extent is the box
        ({"bbox": [4.0, 2, 6, 7]}, (2, 4, 9, 10), (2, 4, 9, 10)),
        ({"bbox": [0, 0, 9, 9], "segmentation": polygon(OUTLINE)}, OUTLINE, (0, 0, 9, 9)),
        ({"bbox": [0, 0, 9]}, None, "expected a box [x, y, width, height], got [0, 0, 9]"),
        ({"bbox": [0, 0, 0, 0]}, None, "its outlines hold no pixel"),
        ({}, None, "expected a box [x, y, width, height], got None"),
        ({"bbox": [0, 0, 9, 9], "segmentation": 5}, None, "expected polygons or run lengths"),
    ]
    table = json.loads(Path("instances.json").read_text())
    table["annotations"] = [of | item for item, _, _ in given]
    (tmp_path / "other.json").write_text(json.dumps(table))
    dataset = Coco(Path("photos"), tmp_path / "other.json")
    found = list(dataset.objects(dataset.samples()[0], SIZE))
    assert [each.number for each in found] == [1, 2, 3, 4, 5, 6, 7]
    for each, (_, region, box) in zip(found, given, strict=True):
        wanted = np.zeros(SIZE, bool) if region is None else inside(region)
        np.testing.assert_array_equal(each.annotation, wanted)
        assert each.excluded.startswith(box) if isinstance(box, str) else each.box == box
    with pytest.raises(InputError, match="expected an image of 40 x 60"):
        list(dataset.objects(dataset.samples()[0], (60, 40)))


def test_an_object_that_is_not_found_again_is_an_error() -> None:
    boxes = (PATCHES[0][0], (20, 40, 39, 59))
    there, elsewhere = (Objects(np.array([box], float), ((0,),)) for box in boxes)
    assert len(AtObject(there, 0).at(patches()).aim(draw(PATCHES)).boxes) == 1
    with pytest.raises(InputError, match="expected patches to find the object that it found"):
        AtObject(elsewhere, 0).at(patches()).aim(draw(PATCHES))


# --- what is made of it -----------------------------------------------------------------------


def drise(images: NDArray[np.float32], box: tuple[int, ...], label: int) -> NDArray[np.float64]:
    """The formula of D-RISE, in a loop over pixels."""
    target = np.zeros(SIZE, bool)
    target[box[0] : box[2], box[1] : box[3]] = True
    scores = []
    for found in find_patches(images):
        best = 0.0
        for other, classes in zip(found.boxes.astype(int), found.class_scores, strict=True):
            region = inside(tuple(other))
            overlap = (region & target).sum() / (region | target).sum()
            best = max(best, overlap * float(classes[label]))  # one class a box: cosine 0 or 1
        scores.append(best)
    return np.array(scores)[:, None]


@pytest.mark.parametrize("key", MATCHED)
def test_maps_and_metrics_are_those_of_the_matched_box(coco: Coco, key: str) -> None:
    go(coco)
    _, items = read()
    (box, colour) = MATCHED[key]
    label = int(colour is GREEN)
    photo = iassa.image.as_image("photos/a.png")
    annotated = OUTLINE if key == "a.png dog 1" else OBJECTS[1 if "dog" in key else 3][1]
    seed = method_seed(ItemKey(key, "rise", 0))
    black_box = iassa.models.FunctionModel(lambda images: drise(images, box, label))
    alone = iassa.explain(photo, black_box, target=0, method=RISE.method, calls=90, seed=seed)
    with Store.read(Path("run")) as store:
        saliency = store.saliency(items[key].key, 1)
    snapshot = items[key].snapshots[1]
    map_ = alone.saliency[0]
    np.testing.assert_allclose(saliency, map_, atol=snapshot.saliency_error + 1e-5)
    region = inside(annotated)
    wanted = {
        "relevance_mass": iassa.metrics.relevance_mass(map_, region),
        "pointing": float(iassa.metrics.pointing_game(map_, region).hit),
        "f1": iassa.metrics.overlap_at(map_, region, fraction=0.3).f1,
    }
    asked = (map_, photo, lambda images: drise(images, box, label), [1.0])
    steps = {"pixels_per_step": 400}
    wanted["deletion"] = iassa.metrics.deletion(*asked, baseline=0.5, **steps).area
    wanted["insertion"] = iassa.metrics.insertion(*asked, **steps).area
    coarse = {"pixels_per_step": 1200}
    wanted["gain"] = iassa.metrics.relevance_gain(*asked, baseline=0.5, **coarse).gain
    found = {name: snapshot.metrics[name] for name in wanted}
    assert found == pytest.approx(wanted, abs=1e-4)


def test_every_call_is_counted(coco: Coco, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    go(coco)
    _, items = read()
    assert [item.calls for item in items.values()] == [90, 90, 90]
    made = sum(item.calls + item.metric_calls for item in items.values())
    assert len((tmp_path / "count").read_text()) == made + 3  # three whole images


def test_stopped_and_gone_on_with_any_number_of_workers_it_is_the_same(coco: Coco) -> None:
    go(coco, "whole")
    assert go(coco, "parts", limit=1).made == 1
    assert go(coco, "parts", workers=2).made == 2
    assert contents(Path("parts")) == contents(Path("whole"))
    entries = [Store.read(Path(name)).entries() for name in ("whole", "parts")]
    assert entries[0] == entries[1]


def test_a_threshold_is_of_the_run(coco: Coco) -> None:
    go(coco, limit=1)
    other = iassa.models.FunctionDetector(
        find_patches, name="patches", class_names=("dog", "cat"), threshold=0.5
    )
    with pytest.raises(InputError, match=r"targets\.objects\.threshold: 0\.25 in the run, 0\.5"):
        go(coco, limit=1, model=other)


# --- what is refused, and the command line ----------------------------------------------------


def test_what_does_not_go_together(coco: Coco) -> None:
    folder = ImageFolder(Path("photos"))
    with pytest.raises(InputError, match="expected a COCO file with the detector patches, got ima"):
        go(folder)
    with pytest.raises(InputError, match="expected no target with the detector patches, got 'top"):
        go(coco, target="top-1")
    with pytest.raises(InputError, match=r"score below the minimum of 0\.95"):
        go(coco, min_score=0.95)
    assert not Path("run/run.sqlite").exists() or not read()[1]


def test_a_detector_that_finds_nothing_is_one_line(coco: Coco) -> None:
    blind = iassa.models.FunctionDetector(find_nothing, name="blind", class_names=("dog", "cat"))
    with pytest.raises(InputError) as caught:
        go(coco, model=blind)
    assert "expected an entry to explain, got none" in str(caught.value)
    assert "nothing is detected in its image with a confidence of 0.25 (6:" in str(caught.value)
    other = iassa.models.FunctionDetector(find_nothing, name="blind", class_names=("car", "bus"))
    with pytest.raises(InputError, match="expected a category with classes of the model, got none"):
        go(coco, "other", model=other)


def test_the_command_and_its_report(coco: Coco, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([*arguments])
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    data = ["--images", "photos", "--annotations", "instances.json"]
    asked = ["benchmark", "coco", *data, "--run", "run", "--model", MODEL, "--calls", "40"]
    quick = ["--protocol", "pixels_per_step=400", "--protocol", "gain_fills=", "--methods", "rise"]
    status, out, err = call(*asked, *quick)
    assert (status, out) == (0, "run\n"), err
    assert "left out 5:" in err
    status, _, err = call("report", "run", *data, "--pictures", "1")
    assert status == 0, err
    assert "3 of 3 items, 3 entries compared" in err
    page = Path("run/report/report.md").read_text("utf-8")
    assert "no box of its class overlaps it by an IoU of 0.5 or more" in page
    status, _, err = call(*asked, *quick, "--run", "other", "--target", "dog")
    assert (status, len(err.splitlines())) == (2, 1)
    images = ["benchmark", "images", "--images", "photos", "--run", "other", "--model", MODEL]
    status, _, err = call(*images)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "expected a COCO file with the detector patches" in err
