"""Whole runs: real images, real worker processes, real stores; killed, resumed, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iassa
from iassa.benchmark import Contestant, ItemKey, Outcome, Protocol, Store, Tally, run
from iassa.benchmark.datasets import Coco, ImageFolder, MaskFolder
from iassa.decoding import UPRIGHT
from iassa.errors import BlackBoxError, ImageWarning, InputError
from made_runs import contents

SIZES = [(40, 56), (48, 40), (36, 80), (52, 52)]
PROTOCOL = Protocol(pixels_per_step=400, gain_steps=2)
RISE = Contestant("rise", iassa.methods.Rise(), (40, 90))
WINDOWS = Contestant("windows", iassa.methods.Occlusion(), (60,))
MODEL = "working:brightness"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def go(photos: Path, folder: Path, *contestants: Contestant, **options) -> Outcome:
    dataset = options.pop("dataset", None) or ImageFolder(photos)
    settings = {"model": MODEL, "protocol": PROTOCOL} | options
    return run(dataset, folder, contestants or (RISE,), **settings)


def test_any_number_of_workers_gives_the_same_bits(photos: Path, tmp_path: Path) -> None:
    runs = []
    for workers in (1, 3):
        folder = tmp_path / f"run-{workers}"
        outcome = go(photos, folder, RISE, WINDOWS, workers=workers)
        assert (outcome.items, outcome.wanted, outcome.made) == (8, 8, 8)
        assert not outcome.failures
        assert not outcome.cancelled
        runs.append(contents(folder))
    assert len(runs[0]) == 8
    assert runs[0] == runs[1]


def test_the_default_model_and_method_give_the_same_bits(photos: Path, tmp_path: Path) -> None:
    contestants = [
        Contestant("iassa", iassa.methods.Iassa(), (40,)),
        Contestant("slic", iassa.methods.Lime(segmentation="slic"), (40,)),
    ]
    settings = {
        "model": "efficientnet-lite0",
        "protocol": Protocol(pixels_per_step=12544, gain_steps=2),
    }
    for workers in (1, 2):
        go(photos, tmp_path / f"run-{workers}", *contestants, workers=workers, limit=1, **settings)
    assert contents(tmp_path / "run-1") == contents(tmp_path / "run-2")


def test_every_call_of_the_model_is_counted(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tmp_path / "count"
    monkeypatch.setenv("COUNT", str(count))
    go(photos, tmp_path / "run", RISE, WINDOWS, model="working:counted", workers=2)
    with Store.read(tmp_path / "run") as store:
        items = list(store.items())
    explained = sum(item.calls for item in items)
    measured = sum(item.metric_calls for item in items)
    assert explained == 4 * (90 + 60)
    whole_images, outputs = 4, 1  # one more call learns how many outputs there are
    assert len(count.read_text()) == explained + measured + whole_images + outputs


def test_a_run_with_nothing_in_it_can_be_another(photos: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "run", {"methods": {}, "target": "mistaken"}):
        pass
    assert go(photos, tmp_path / "run").made == 4


def test_a_run_among_the_images_is_refused(photos: Path) -> None:
    with pytest.raises(InputError, match="a run apart from the images"):
        go(photos, photos / "run")


def test_an_image_that_cannot_be_scored_is_told_and_tried_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mood = tmp_path / "mood"
    monkeypatch.setenv("MOOD", str(mood))
    mood.touch()
    outcome = go(photos, tmp_path / "run", model="working:choosy")
    assert (outcome.made, outcome.items) == (3, 3)
    assert [failure.key.entry for failure in outcome.failures] == ["2.png"]
    mood.unlink()
    outcome = go(photos, tmp_path / "run", model="working:choosy")
    assert (outcome.made, outcome.items, outcome.failures) == (1, 4, ())


def test_odd_names_are_names(photos: Path, tmp_path: Path) -> None:
    for old, new in (("0.png", " 1.png"), ("2.png", "a:cat:b ü.png"), ("3.png", "x 1.png")):
        (photos / old).rename(photos / new)
    assert go(photos, tmp_path / "run").made == 4
    with Store.read(tmp_path / "run") as store:
        keys = {entry.key for entry in store.entries()}
    assert keys == {"1.png", " 1.png", "a:cat:b ü.png", "x 1.png"}


def test_an_item_is_what_explain_gives(photos: Path, tmp_path: Path) -> None:
    from iassa.benchmark.evaluation import method_seed

    go(photos, tmp_path / "run", target="2", seeds=(5,))
    key = ItemKey("2.png", "rise", 5)
    explanation = iassa.explain(
        photos / "2.png", MODEL, method="rise", target=2, calls=90, seed=method_seed(key)
    )
    with Store.read(tmp_path / "run") as store:
        saliency = store.saliency(key, 1)
        (item,) = [item for item in store.items() if item.key == key]
        entries = {entry.key: entry for entry in store.entries()}
    error = np.abs(saliency - explanation.saliency[0]).max()
    assert error <= item.snapshots[1].saliency_error < 1e-3 * np.abs(saliency).max()
    assert entries["2.png"].score == pytest.approx(explanation.scores[0], rel=1e-6)
    assert entries["2.png"].size == SIZES[2]


def test_the_same_call_goes_on(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert go(photos, folder, limit=1).made == 1
    assert go(photos, folder, limit=3).made == 2
    assert go(photos, folder).made == 1
    again = go(photos, folder)
    assert (again.made, again.items, again.wanted) == (0, 4, 4)
    before = contents(folder)
    added = go(photos, folder, RISE, WINDOWS)  # another method, the old one is not made again
    assert (added.made, added.items) == (4, 8)
    alone = go(photos, folder, WINDOWS)
    assert (alone.made, alone.items) == (0, 4)
    after = contents(folder)
    assert len(after) == 8
    assert all(after[key] == value for key, value in before.items())


def test_the_highest_scores_come_first(photos: Path, tmp_path: Path) -> None:
    made = []

    def follow(tally: Tally) -> None:
        if tally.last is not None:
            made.append(tally.last.key.entry)
        assert 0 <= tally.done <= tally.total == 4

    go(photos, tmp_path / "run", progress=follow)
    with Store.read(tmp_path / "run") as store:
        scores = {entry.key: entry.score for entry in store.entries()}
    assert made == sorted(scores, key=lambda key: -scores[key])


@pytest.mark.parametrize(
    ("half", "names"), [("even", {"0.png", "2.png"}), ("odd", {"1.png", "3.png"})]
)
def test_half_of_the_images(photos: Path, tmp_path: Path, half: str, names: set[str]) -> None:
    assert go(photos, tmp_path / "run", half=half).made == 2
    with Store.read(tmp_path / "run") as store:
        assert {entry.image for entry in store.entries()} == names == set(store.images())


def test_seeds_are_items_of_their_own(photos: Path, tmp_path: Path) -> None:
    assert go(photos, tmp_path / "run", seeds=(0, 1), limit=1).made == 2
    found = contents(tmp_path / "run")
    first, second = found.values()
    assert {key.seed for key in found} == {0, 1}
    assert first[2] != second[2]


def test_another_configuration_is_refused(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    go(photos, folder, limit=1)
    before = contents(folder)
    others: dict[str, dict] = {
        "metrics.pixels_per_step: 400 in the run, 401": {
            "protocol": Protocol(pixels_per_step=401, gain_steps=2)
        },
        "seeds": {"seeds": (1,)},
        "min_score": {"min_score": -5.0},
        "targets.wanted": {"target": "3"},
        "half": {"half": "even"},
    }
    for message, options in others.items():
        with pytest.raises(InputError, match=message):
            go(photos, folder, **options)
        assert contents(folder) == before


def test_images_that_are_new_or_gone_are_named(photos: Path, tmp_path: Path) -> None:
    go(photos, tmp_path / "run", limit=1)
    (photos / "1.png").rename(photos / "new.png")
    told = r"not the images .* \(not in the run: new\.png; no longer in the folder: 1\.png\)\. Ask"
    with pytest.raises(InputError, match=told) as refusal:
        go(photos, tmp_path / "run")
    assert "data as it was" in str(refusal.value)


def test_a_label_with_other_settings_is_refused(photos: Path, tmp_path: Path) -> None:
    go(photos, tmp_path / "run", limit=1)
    other = Contestant("rise", iassa.methods.Rise(grid_size=5), (40, 90))
    with pytest.raises(InputError, match=r"methods.rise.fields.grid_size: 7 in the run, 5"):
        go(photos, tmp_path / "run", other)


def alter(path: Path) -> None:
    """Turn a pixel of an image into another."""
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] ^= 255
    Image.fromarray(pixels).save(path)


def test_images_that_changed_are_not_used(photos: Path, tmp_path: Path) -> None:
    go(photos, tmp_path / "run", limit=1)
    (done,) = contents(tmp_path / "run")
    for path in photos.iterdir():
        alter(path)
    outcome = go(photos, tmp_path / "run")
    assert (outcome.made, outcome.items, outcome.wanted) == (0, 1, 4)
    names = sorted(path.name for path in photos.iterdir() if path.name != done.entry)
    assert sorted(failure.key.entry for failure in outcome.failures) == names
    assert all("as it was when the run began" in failure.error for failure in outcome.failures)
    assert set(contents(tmp_path / "run")) == {done}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"half": "third"}, "half"),
        ({"workers": 0}, "workers to be a whole number, from 1 to 1000"),
        ({"seeds": (0, -1)}, "seeds to be .*, from 0 to"),
        ({"seeds": 3}, "seeds to be a tuple of whole numbers"),
        ({"limit": 1.5}, "limit to be a whole number or None, .* got 1.5"),
        ({"target": 1.5}, "target to be a text or a whole number, got 1.5"),
        ({"limit": 0}, "limit to be a whole number or None, from 1 to 1000000000, got 0"),
        ({"seeds": ()}, "seeds to be a tuple of whole numbers, from 0 to"),
        ({"min_score": float("nan")}, "min_score to be a number or None, got nan"),
        ({"min_score": 1e9}, r"score below the minimum of 1e\+09"),
        ({"target": "top-2"}, "expected one sum of outputs"),
        ({"target": "99"}, "99"),
        ({"model": "working:nothing"}, "cannot open"),
    ],
)
def test_bad_arguments(photos: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        go(photos, tmp_path / "run", **options)


def test_numbers_of_numpy_are_numbers_of_the_run(photos: Path, tmp_path: Path) -> None:
    odd = {"seeds": np.arange(2), "limit": np.int64(1), "min_score": np.float32(-9), "workers": 1.0}
    assert go(photos, tmp_path / "run", target=np.int64(0), **odd).made == 2
    plain = {"seeds": range(2), "limit": 1, "min_score": -9.0, "target": "0"}
    assert go(photos, tmp_path / "run", **plain).made == 0  # the same run


def test_cancel_ends_after_the_items_in_flight(photos: Path, tmp_path: Path) -> None:
    made = []

    def follow(tally: Tally) -> None:
        if tally.last is not None:
            made.append(tally.last)

    outcome = go(photos, tmp_path / "run", progress=follow, cancel=lambda: len(made) >= 2)
    assert outcome.cancelled
    assert 2 <= outcome.made < 4
    assert len(contents(tmp_path / "run")) == outcome.made
    assert go(photos, tmp_path / "run").items == 4


def test_what_fails_is_told_and_tried_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mood = tmp_path / "mood"
    monkeypatch.setenv("MOOD", str(mood))
    mood.touch()
    outcome = go(photos, tmp_path / "run", RISE, WINDOWS, model="working:moody", workers=2)
    assert (outcome.made, outcome.items, outcome.wanted) == (6, 6, 8)
    assert {failure.key.entry for failure in outcome.failures} == {"2.png"}
    assert all("not today" in failure.error for failure in outcome.failures)
    with Store.read(tmp_path / "run") as store:
        assert sorted(store.failures(), key=str) == sorted(outcome.failures, key=str)
    mood.unlink()
    assert go(photos, tmp_path / "run", RISE, WINDOWS, model="working:moody").made == 2
    with Store.read(tmp_path / "run") as store:
        assert store.failures() == []


def test_a_black_box_that_fails_on_whole_images_ends_the_run(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BlackBoxError, match="gone"):
        go(photos, tmp_path / "run", model="working:broken")


def coco_file(path: Path, annotated: bool = True) -> Path:
    """Two categories, one of them nowhere in the model; an image missing, one of another size."""
    images = [
        {"id": k, "file_name": f"{k}.png", "height": size[0], "width": size[1]}
        for k, size in enumerate(SIZES)
    ]
    images[3]["height"] += 1
    images.append({"id": 9, "file_name": "lost.png", "height": 10, "width": 20})
    square = [5, 5, 25, 5, 25, 30, 5, 30]
    annotations = [
        {
            "id": 10 * k + c,
            "image_id": image["id"],
            "category_id": c,
            "segmentation": [square],
            "area": 1,
            "bbox": [0, 0, 1, 1],
            "iscrowd": 0,
        }
        for k, image in enumerate(images)
        for c in (1, 2)
        if k != 1 or annotated
    ]
    categories = [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return path


def test_coco_with_classes_of_a_file(photos: Path, tmp_path: Path) -> None:
    dataset = Coco(photos, coco_file(tmp_path / "instances.json"))
    table = tmp_path / "classes.json"
    table.write_text(json.dumps({"left": [0, 2]}))
    outcome = go(photos, tmp_path / "run", dataset=dataset, classes=str(table))
    assert outcome.made == 3
    assert outcome.missing == ("lost.png",)
    reasons = str(outcome.excluded)
    assert "right" in reasons
    assert str((53, 52)) in reasons.replace("53 x 52", str((53, 52)))
    with Store.read(tmp_path / "run") as store:
        entries = {entry.key: entry for entry in store.entries() if not entry.excluded}
        items = list(store.items())
        assert store.last["missing"] == ["lost.png"]
    assert set(entries) == {"0.png left", "1.png left", "2.png left"}
    scores = iassa.open_model(MODEL)(iassa.load_image(photos / "1.png")[None])[0]
    assert entries["1.png left"].score == pytest.approx(float(scores[0] + scores[2]), rel=1e-5)
    assert entries["1.png left"].annotated == pytest.approx(20 * 25 / (48 * 40), rel=0.1)
    assert all({"f1", "pointing", "best_iou"} <= item.snapshots[0].metrics.keys() for item in items)


@pytest.mark.parametrize("target", [None, "1"])
def test_an_image_of_coco_without_annotations_is_left_out(
    photos: Path, tmp_path: Path, target: str | None
) -> None:
    dataset = Coco(photos, coco_file(tmp_path / "instances.json", annotated=False))
    table = tmp_path / "classes.json"
    table.write_text(json.dumps({"left": [0, 2]}))
    outcome = go(photos, tmp_path / "run", dataset=dataset, classes=str(table), target=target)
    assert outcome.made == (2 if target is None else 4)
    assert outcome.excluded["nothing is annotated in it"] == ["1.png"]


@pytest.fixture
def left(tmp_path: Path) -> dict:
    """Settings that explain 'left' in a dataset of `coco_file`."""
    table = tmp_path / "classes.json"
    table.write_text(json.dumps({"left": [0, 2]}))
    return {"classes": str(table)}


def test_images_that_were_repaired_are_taken_up(photos: Path, tmp_path: Path, left: dict) -> None:
    file, folder = coco_file(tmp_path / "instances.json"), tmp_path / "run"
    whole = go(photos, tmp_path / "whole", dataset=Coco(photos, file), **left)
    kept = {name: (photos / name).read_bytes() for name in ("1.png", "2.png", "3.png")}
    (photos / "1.png").write_bytes(kept["1.png"][:200])
    (photos / "2.png").write_bytes(b"nothing")
    # And 3.png is of another size than in the file.
    for _ in range(2):  # what is still damaged is left out again, whatever the damage is
        outcome = go(photos, folder, dataset=Coco(photos, file), **left)
        assert (outcome.items, outcome.wanted, outcome.failures) == (1, 1, ())
        told = str(outcome.excluded)
        assert all(name in told for name in kept)
        (photos / "2.png").write_bytes(b"nothing else")
    for name in ("1.png", "2.png"):
        (photos / name).write_bytes(kept[name])
    outcome = go(photos, folder, dataset=Coco(photos, file), **left)
    assert (outcome.made, outcome.items, outcome.wanted) == (2, 3, 3)
    assert outcome.excluded == whole.excluded
    assert contents(folder) == contents(tmp_path / "whole")
    with Store.read(folder) as store, Store.read(tmp_path / "whole") as other:
        assert store.entries() == other.entries()
        assert store.images() == other.images()
    pixels = np.random.default_rng(3).integers(0, 256, (53, 52, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photos / "3.png")  # of the size that the file has
    outcome = go(photos, folder, dataset=Coco(photos, file), **left)
    assert (outcome.made, outcome.items, outcome.wanted) == (1, 4, 4)


@pytest.mark.parametrize(("how", "workers"), [("gone", 2), ("another", 1), ("unreadable", 1)])
def test_an_image_that_is_not_what_it_was_costs_its_items_alone(
    photos: Path, tmp_path: Path, left: dict, how: str, workers: int
) -> None:
    file, folder = coco_file(tmp_path / "instances.json"), tmp_path / "run"
    go(photos, tmp_path / "whole", RISE, WINDOWS, dataset=Coco(photos, file), **left)
    go(photos, folder, dataset=Coco(photos, file), limit=1, **left)
    (done,) = contents(folder)
    with Store.read(folder) as store:
        wanted = [entry for entry in store.entries() if not entry.excluded]
    # The one that is next: all others are behind it.
    lost = max((e for e in wanted if e.key != done.entry), key=lambda entry: entry.score)
    path = photos / lost.image
    kept = path.read_bytes()
    dataset = Coco(photos, file)
    if how == "another":
        alter(path)
    else:
        path.unlink()
        dataset = Coco(photos, file) if how == "gone" else dataset
    outcome = go(photos, folder, RISE, WINDOWS, dataset=dataset, workers=workers, **left)
    assert (outcome.made, outcome.items, outcome.wanted) == (3, 4, 6)
    with Store.read(folder) as store:
        assert store.last["missing"] == ["lost.png"]  # it is in the run
    assert [failure.key for failure in outcome.failures] == [
        ItemKey(lost.key, label, 0) for label in ("rise", "windows")
    ]
    assert all(lost.image in failure.error for failure in outcome.failures)
    assert not outcome.cancelled
    with Store.read(folder) as store:
        assert store.failures() == sorted(outcome.failures, key=lambda failure: failure.key)
    path.write_bytes(kept)
    outcome = go(photos, folder, RISE, WINDOWS, dataset=Coco(photos, file), **left)
    assert (outcome.made, outcome.items, outcome.failures) == (2, 6, ())
    with Store.read(folder) as store:
        assert store.failures() == []
    assert contents(folder) == contents(tmp_path / "whole")


def test_an_image_that_vanishes_before_it_is_scored_costs_itself_alone(
    photos: Path, tmp_path: Path, left: dict
) -> None:
    dataset = Coco(photos, coco_file(tmp_path / "instances.json"))
    kept = (photos / "1.png").read_bytes()
    (photos / "1.png").unlink()
    outcome = go(photos, tmp_path / "run", dataset=dataset, **left)
    assert (outcome.made, outcome.items, outcome.wanted) == (2, 2, 2)
    (failure,) = outcome.failures
    assert failure.key.entry == "1.png"
    assert "cannot read" in failure.error
    with Store.read(tmp_path / "run") as store:
        assert store.last["unscored"] == {"1.png": failure.error}
    (photos / "1.png").write_bytes(kept)
    assert go(photos, tmp_path / "run", dataset=dataset, **left).made == 1


def test_no_image_that_can_be_read_is_told(photos: Path, tmp_path: Path, left: dict) -> None:
    dataset = Coco(photos, coco_file(tmp_path / "instances.json"))
    for path in photos.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"got none: cannot read .* \(1: 0.png\); .* and 1 more"):
        go(photos, tmp_path / "run", dataset=dataset, **left)


def without_outlines(path: Path, categories: int) -> Path:
    """A COCO file in which each image of `photos` shows all categories, by their boxes alone."""
    table = {
        "images": [
            {"id": k, "file_name": f"{k}.png", "height": height, "width": width}
            for k, (height, width) in enumerate(SIZES)
        ],
        "annotations": [
            {"id": k, "image_id": k, "category_id": c, "segmentation": [], "bbox": [5, 7, 20, 9.5]}
            for k in range(len(SIZES))
            for c in range(categories)
        ],
        "categories": [{"id": c, "name": f"thing {c}"} for c in range(categories)],
    }
    path.write_text(json.dumps(table))
    return path


def test_a_run_without_an_entry_leaves_its_folder_to_the_corrected_command(
    photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match=r"got none: score below .* \(4: .*can be used again"):
        go(photos, folder, min_score=1e9)
    dataset = Coco(photos, without_outlines(tmp_path / "instances.json", 2))
    with pytest.raises(InputError, match="got none"):  # another mistake, in another kind of dataset
        go(photos, folder, dataset=dataset, target="1")
    assert go(photos, folder, min_score=0.0).made == 4
    with pytest.raises(InputError, match=r"min_score: 0.0 in the run, 1000000000.0 asked for"):
        go(photos, folder, min_score=1e9)
    go(photos, tmp_path / "at-once", min_score=0.0)
    assert contents(folder) == contents(tmp_path / "at-once")
    with Store.read(folder) as store, Store.read(tmp_path / "at-once") as other:
        assert store.configuration == other.configuration
        assert store.entries() == other.entries()


def test_settings_of_items_may_change_until_there_is_one(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stop = iter([False] * len(SIZES) + [True] * 9)
    assert go(photos, folder, seeds=(3,), cancel=lambda: next(stop)).made == 0
    with pytest.raises(InputError, match="got another: min_score"):  # the images were scored
        go(photos, folder, min_score=0.5)
    assert go(photos, folder, WINDOWS, seeds=(0, 1)).made == 8
    with pytest.raises(InputError, match="seeds"):
        go(photos, folder, WINDOWS, seeds=(3,))


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_annotated_images_are_read_as_stored_and_it_is_told(
    photos: Path, tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    masks = tmp_path / "masks"
    masks.mkdir()
    for number, (height, width) in enumerate(SIZES[:2]):
        with Image.open(photos / f"{number}.png") as picture:
            picture.save(photos / f"{number}.png", exif=exif)
        marked = np.zeros((height, width), np.uint8)
        marked[5:20, 5:20] = 1
        Image.fromarray(marked).save(masks / f"{number}.png")
    read = r"EXIF would turn it, but .* stored.* \(2: 0.png, 1.png\)"
    with pytest.warns(ImageWarning, match=read):
        go(photos, tmp_path / "run", dataset=MaskFolder(photos, masks), target="1")
    with Store.read(tmp_path / "run") as store:
        assert store.configuration["dataset"]["orientation"] == "stored"
        sizes = {entry.image: entry.size for entry in store.entries()}
    assert sizes == {f"{number}.png": size for number, size in enumerate(SIZES)}
    turned = MaskFolder(photos, masks, UPRIGHT)
    if orientation == 6:
        with pytest.raises(InputError, match="say --orientation stored"):
            go(photos, tmp_path / "upright", dataset=turned, target="1")
    else:
        assert go(photos, tmp_path / "upright", dataset=turned, target="1").made == 2


def test_300_outlines_without_points_are_one_reason(photos: Path, tmp_path: Path) -> None:
    dataset = Coco(photos, without_outlines(tmp_path / "instances.json", 75))
    with pytest.raises(InputError) as refusal:
        go(photos, tmp_path / "run", dataset=dataset, target="1")
    assert "got an empty list" in str(refusal.value)
    assert "(300: 0.png thing 0, 0.png thing 1, 0.png thing 10 and 297 more)" in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_masks_beside_the_images(photos: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for number, size in enumerate(SIZES[:3]):
        marked = np.zeros(size, np.uint8)
        if number:
            marked[10:20, 5:30] = 255
        Image.fromarray(marked).save(masks / f"{number}.png")
    outcome = go(photos, tmp_path / "run", dataset=MaskFolder(photos, masks), target="1")
    assert outcome.made == 2
    assert sum(map(len, outcome.excluded.values())) == 2


def command(photos: Path, folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "iassa", "benchmark", "images", "--images", str(photos)),
        *("--run", str(folder), "--model", "working:slow", "--calls", "40,90"),
        *("--methods", "rise,sliding-window"),
        *("--protocol", "pixels_per_step=400", "--protocol", "gain_steps=2", *more),
    ]


def environment() -> dict[str, str]:
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def test_a_killed_run_goes_on(photos: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    typed = [Contestant("rise", iassa.methods.Rise(), (40, 90))]
    typed.append(Contestant("sliding-window", iassa.methods.Occlusion(), (40, 90)))
    assert go(photos, whole, *typed, model="working:slow").made == 8
    for round_ in range(2):
        with subprocess.Popen(
            command(photos, killed, "--workers", "2"),
            env=environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        ) as driver:
            assert driver.stderr is not None
            told = driver.stderr.readline()  # of an item that is in the store
            driver.send_signal(signal.SIGKILL)
        assert "/8 " in told
        with Store.read(killed) as store:
            before = len(store.finished())
        assert round_ < before < 8
    outcome = go(photos, killed, *typed, model="working:slow")
    assert (outcome.items, outcome.made) == (8, 8 - before)
    assert contents(killed) == contents(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_process_at_a_time_and_a_signal_keeps_what_was_done(
    photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        command(photos, folder),
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as driver:
        assert driver.stderr is not None
        driver.stderr.readline()
        with pytest.raises(InputError, match="another process"):
            go(photos, folder)
        os.killpg(driver.pid, number)  # its workers, too
        rest = driver.stderr.read()
        assert driver.wait() == 128 + number, rest
    assert "all that was done is kept" in rest
    with Store.read(folder) as store:
        assert 1 <= len(store.finished()) <= 3
