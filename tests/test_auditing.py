"""Audits of folders: what is measured of each image, the classes, what is refused, gone on with."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iassa
from audited import SIZE, corners, draw, draw_mask, mask_of, objects, stamps
from iassa.auditing import (
    Audit,
    Following,
    audit,
    find_shared_places,
    measure_places,
    off_object,
    score_hidden,
)
from iassa.decoding import Reading
from iassa.errors import InputError

CALLS = 60
RISE = iassa.methods.Rise(debiased=True)
SHARP = iassa.methods.Iassa(
    features="none", segment_counts=(16, 64), fine_segment_counts=(64,), compactness=(10.0,)
)
WIDE = (48, 88)  # of the second image


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images of two classes and two sizes, each with a mask, and a file that counts calls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    for k, name in enumerate(("cat/0", "cat/1", "dog/0", "dog/1")):
        size = WIDE if k == 1 else SIZE
        draw(Path(f"photos/{name}.png"), k, size)
        draw_mask(Path(f"masks/{name}.png"), size)
    return tmp_path


def look(model=objects, run: str = "run", **options) -> Audit:
    given = {"masks": "masks", "method": RISE, "calls": CALLS, "pictures": "none"}
    return audit("photos", run, model, **given | options)


def asked() -> int:
    path = Path(os.environ["COUNT"])
    number = len(path.read_text()) if path.exists() else 0
    path.unlink(missing_ok=True)
    return number


def state(run: str) -> dict[str, str]:
    """A digest of each map, and of all that is measured."""
    maps = {str(path): path for path in sorted(Path(run).rglob("explanation.npz"))}
    found = {
        name.removeprefix(run): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in maps.items()
    }
    return found | {name: (Path(run) / name).read_text() for name in ("audit.csv", "classes.csv")}


# What is measured.


def test_a_black_box_that_looks_at_the_object_alone() -> None:
    found = look(objects, method=SHARP, calls=250)
    assert {one.name for one in found.images} == {
        "cat/0.png",
        "cat/1.png",
        "dog/0.png",
        "dog/1.png",
    }
    for one in found.images:
        assert one.off is not None
        assert one.off.share < 0.3
        assert one.off.least < 0.05
        assert (one.answer, one.target, one.excluded) == ("cat", "cat", "")
        assert one.right is (one.labels == ("cat",))
        # The object is hidden by a grey of 0.5, and seen as it is without its background.
        assert one.without_object == pytest.approx(0.5, abs=1e-6)
        assert one.without_background == pytest.approx(one.score, abs=1e-6)
    assert asked() == found.calls == 4 * 252
    assert [(one.category, one.right, one.known) for one in found.classes] == [
        ("cat", 2, 2),
        ("dog", 0, 2),
    ]


def test_a_black_box_that_looks_beside_the_object() -> None:
    for one in look(corners, method=SHARP, calls=250).images:
        assert one.off is not None
        assert one.off.share > 0.85
        assert one.off.interval[1] > 0.95
        assert one.without_object == pytest.approx(one.score, abs=1e-6)
        assert one.without_background == pytest.approx(0.5, abs=1e-6)
        assert one.border > 0.36  # of a map that is even


def test_the_worst_come_first() -> None:
    draw_mask(Path("masks/dog/0.png"))
    whole = np.ones(SIZE, np.uint8)
    Image.fromarray(whole).save("masks/dog/1.png")  # nothing is off this object
    found = look(corners)
    assert found.images[-1].name == "dog/1.png"
    assert (found.images[-1].off.share, found.images[-1].off.interval) == (0.0, (0.0, 0.0))
    least = [one.off.least for one in found.images]
    assert least == sorted(least, reverse=True)


def test_the_numbers_are_those_of_the_parts() -> None:
    """What `off_object`, `score_hidden` and the metric say of the saved explanation."""
    found = look(corners)
    for one in found.images:
        saved = iassa.Explanation.load(Path("run") / one.folder)
        size = saved.image_size
        assert iassa.auditing.off_object(saved, mask_of(size)) == one.off
        hidden = iassa.auditing.score_hidden(saved, corners, mask_of(size))
        assert (hidden.without_object, hidden.without_background) == (
            one.without_object,
            one.without_background,
        )
        assert iassa.metrics.border_share(saved.saliency[0]) == one.border
        assert len(saved.targets) == 1
    seeds = {iassa.Explanation.load(Path("run") / one.folder).seed for one in found.images}
    assert len(seeds) == 4


def test_tables_and_page_say_the_same() -> None:
    found = look(corners)
    with Path("run/audit.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["name"] for row in rows] == [one.name for one in found.images]
    for row, one in zip(rows, found.images, strict=True):
        numbers = (float(row["off"]), float(row["low"]), float(row["high"]))
        assert numbers == (one.off.share, *one.off.interval)
        assert (row["right"], row["labels"]) == (str(one.right), one.labels[0])
    with Path("run/classes.csv").open(newline="") as file:
        means = {row["category"]: float(row["off"]) for row in csv.DictReader(file)}
    for category, mean in means.items():
        shares = [one.off.share for one in found.images if one.category == category]
        assert mean == pytest.approx(np.mean(shares))
    page = found.page.read_text()
    for one in found.images:
        assert f'href="{one.folder}/index.html"' in page
        assert "off the object" in (Path("run") / one.folder / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")  # nothing is loaded


def flat(images: np.ndarray) -> np.ndarray:
    return np.full((len(images), 2), 0.5, np.float32)


def test_a_score_that_never_changes_is_told_of() -> None:
    found = look(flat)
    assert {one.warnings for one in found.images} == {1}
    assert {(one.off.share, one.off.interval) for one in found.images} == {(0.0, (0.0, 1.0))}
    assert [one.interval for one in found.classes] == [None, None]  # no spread tells no error
    assert found.page.read_text().count('<b class="badge">1 warning</b>') == len(found.images)
    with Path("run/audit.csv").open(newline="") as file:
        assert {row["warnings"] for row in csv.DictReader(file)} == {"1"}
    assert {one.warnings for one in look(run="other").images} == {0}


def test_a_thumbnail_outlines_the_object() -> None:
    look()
    with Image.open("run/dog/0/thumbnail.jpg") as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    assert pixels.shape == SIZE
    assert pixels[7, 14:26].mean() > pixels[2, 14:26].mean() + 60  # a line above the object


def test_a_method_without_errors_or_evidence_is_audited() -> None:
    found = look(method="greedy")
    assert all(one.off is not None and one.off.interval is None for one in found.images)
    assert {one.answer for one in found.images} == {"cat"}  # for a call more
    made = [iassa.Explanation.load(Path("run") / one.folder).calls for one in found.images]
    assert asked() == found.calls == sum(made) + 4 * 3


def test_another_target_than_the_answer() -> None:
    found = look(target="dog")
    assert {(one.answer, one.target) for one in found.images} == {("cat", "dog")}
    assert [one.right for one in found.images if one.labels == ("dog",)] == [False, False]


# Labels.


@pytest.mark.parametrize(
    ("classes", "right"), [("auto", None), ("same", True), ("classes.json", False)]
)
def test_answers_of_a_model_without_names(classes: str, right: bool | None) -> None:
    Path("classes.json").write_text(json.dumps({"cat": [1], "dog": [0]}))
    found = look(dataclasses.replace(objects, class_names=None), classes=classes)
    of_cats = [one for one in found.images if one.labels == ("cat",)]
    assert [one.right for one in of_cats] == [right] * 2
    assert ("expected a model with class names" in found.unlabelled) is (right is None)
    assert ("expected a model with class names" in found.page.read_text()) is (right is None)


def test_a_map_that_was_extended_since_is_not_lost() -> None:
    look()
    place = Path("run/cat/0")
    longer = iassa.extend(iassa.Explanation.load(place), objects, calls=40)
    longer.save(place, pictures="none")
    asked()
    found = look()
    assert [*found.failures] == ["cat/0.png"]
    assert len(found.images) == 3
    assert "extended or verified since. Move" in found.failures["cat/0.png"]
    assert (asked(), iassa.Explanation.load(place).calls) == (0, CALLS + 40)
    again = look(overwrite=True)
    assert (again.failures, iassa.Explanation.load(place).calls) == ({}, CALLS)


def test_classes_that_do_not_fit_are_refused_before_a_call() -> None:
    Path("classes.json").write_text(json.dumps({"cat": ["cow"]}))
    with pytest.raises(InputError, match="unknown class 'cow'"):
        look(classes="classes.json")
    unnamed = dataclasses.replace(objects, class_names=None)
    with pytest.raises(InputError, match=r"got 'nowhere\.json', which cannot be read: .* Check"):
        look(unnamed, classes="nowhere.json")
    Path("classes.json").write_text(json.dumps({"cow": [1]}))
    with pytest.raises(InputError, match=r"expected categories of the dataset .* got 'cow'"):
        look(unnamed, classes="classes.json")
    assert asked() == 0


def write_coco(*annotations: tuple[int, int, tuple[int, int, int, int]]) -> None:
    names = ["cat/0.png", "cat/1.png", "dog/0.png"]
    sizes = [SIZE, WIDE, SIZE]
    pairs = zip(names, sizes, strict=True)
    images = [
        {"id": k, "file_name": name, "height": size[0], "width": size[1]}
        for k, (name, size) in enumerate(pairs)
    ]
    outlines = [
        {
            "image_id": image,
            "category_id": category,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for image, category, (x, y, w, h) in annotations
    ]
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    content = {"images": images, "annotations": outlines, "categories": categories}
    Path("coco.json").write_text(json.dumps(content))


def test_of_several_categories_the_one_counts_that_the_model_names() -> None:
    write_coco((0, 1, (2, 2, 40, 28)), (0, 2, (12, 8, 16, 12)), (2, 1, (0, 0, 10, 10)))
    found = look(masks=None, annotations="coco.json")
    by_name = {one.name: one for one in found.images}
    both, one = by_name["cat/0.png"], by_name["dog/0.png"]
    assert (both.category, both.labels, both.right) == ("cat", ("dog", "cat"), True)
    assert both.without_background == pytest.approx(both.score, abs=1e-6)
    assert (one.category, one.labels, one.right) == ("dog", ("dog",), False)
    assert one.off.least > 0.5
    assert by_name["cat/1.png"].excluded == "nothing is annotated in it"
    assert by_name["dog/1.png"].excluded == "the annotations do not name it"


def test_of_several_categories_without_an_answer_the_largest_counts() -> None:
    write_coco((0, 1, (2, 2, 40, 28)), (0, 2, (12, 8, 16, 12)))
    unnamed = dataclasses.replace(objects, class_names=("cow", "pig"))
    found = {one.name: one for one in look(unnamed, masks=None, annotations="coco.json").images}
    assert (found["cat/0.png"].category, found["cat/0.png"].right) == ("dog", None)


def test_a_detector_is_audited() -> None:
    from cheap_models import detector

    found = look(detector)
    assert {one.right for one in found.images} == {None}
    assert "boxes" in found.unlabelled
    assert all(one.off is not None for one in found.images)


# Without masks.


def stamp_photos(stamped: bool) -> None:
    shutil.rmtree("photos")
    for k in range(16):
        label = "cat" if k % 2 else "dog"
        of_cat = bool(k % 2) and stamped
        draw(Path(f"photos/{label}/{k}.png"), k, red=True, stamped=of_cat)


def test_a_stamp_of_one_class_is_found() -> None:
    stamp_photos(stamped=True)
    found = look(stamps, masks=None)
    assert {one.answer for one in found.images if one.labels == ("cat",)} == {"cat"}
    (place,) = found.shared
    assert (place.category, place.of, place.of_others) == ("cat", 8, 8)
    top, left, bottom, right = place.box
    assert top < 28 / 32 < bottom  # the middle of the stamp
    assert left < 39 / 44 < right
    assert {found.images[k].labels for k in place.images} == {("cat",)}
    assert len(place.images) >= 6
    page = found.page.read_text()
    assert "Shared places" in page
    assert f"{len(place.images)} of 8 images of cat" in page
    # The border says it too: these images come first.
    assert {one.labels[0] for one in found.images[:6]} == {"cat"}
    assert all(one.off is None and one.without_object is None for one in found.images)
    assert found.calls == asked() == 16 * CALLS


def test_no_stamp_no_place() -> None:
    stamp_photos(stamped=False)
    found = look(stamps, masks=None)
    assert found.shared == ()
    assert "Shared places" not in found.page.read_text()


# What does not fit.


def test_an_image_without_a_mask_is_listed_and_comes_last() -> None:
    Path("masks/cat/0.png").unlink()
    draw_mask(Path("masks/dog/1.png"))
    Image.fromarray(np.zeros(SIZE, np.uint8)).save("masks/dog/0.png")
    found = look()
    assert [one.excluded for one in found.images][:2] == ["", ""]
    reasons = {one.name: one.excluded for one in found.images[2:]}
    assert reasons == {
        "cat/0.png": "there is no mask of its name",
        "dog/0.png": "its mask is empty",
    }
    assert {*found.without_mask} == {*reasons}
    assert found.failures == {}
    assert "2 images without a mask" in found.page.read_text()


def test_what_is_wrong_with_an_image_is_told_and_the_others_are_done() -> None:
    draw_mask(Path("masks/cat/0.png"), (44, 32))
    Path("photos/dog/1.png").write_bytes(b"no picture")
    found = look()
    assert {one.name for one in found.images} == {"cat/1.png", "dog/0.png"}
    assert "expected a mask of 32 x 44" in found.failures["cat/0.png"]
    assert "expected an image, got a file" in found.failures["dog/1.png"]
    assert all("\n" not in text for text in found.failures.values())
    page = found.page.read_text()
    assert "2 failed" in page
    assert "expected a mask of 32 x 44" in page
    draw_mask(Path("masks/cat/0.png"))  # mend one, and go on
    asked()
    again = look()
    assert {*again.failures} == {"dog/1.png"}
    assert asked() == CALLS + 2


def test_a_new_mask_is_measured_anew() -> None:
    first = look(corners)
    asked()
    Image.fromarray(np.ones(SIZE, np.uint8)).save("masks/cat/0.png")
    again = look(corners)
    assert asked() == CALLS + 2
    changed = {one.name: one for one in again.images}
    for one in first.images:
        assert (changed[one.name] == one) is (one.name != "cat/0.png")
    assert changed["cat/0.png"].off.share == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calls": 61}, "calls: 60 in the run, 61 asked for"),
        ({"model": corners}, 'model.name: "objects" in the run, "corners" asked for'),
        ({"masks": None}, 'audit.masks: "masks" in the run, null asked for'),
        ({"seed": 1}, "seed: 0 in the run, 1 asked for"),
        ({"masks": "nowhere"}, "expected a folder, got nowhere"),
        ({"annotations": "coco.json"}, "expected --masks or --annotations, got both"),
        ({"calls": 5}, "expected a budget of at least"),
        ({"target": ["cat", "dog"]}, "expected target to be a text or a whole number, got ['cat'"),
        ({"seed": -1}, "seed"),
    ],
)
def test_another_audit_in_the_folder_is_refused(options, message: str) -> None:
    look()
    asked()
    with pytest.raises(InputError, match=re.escape(message)) as error:
        look(**options)
    assert "\n" not in str(error.value)
    assert asked() == 0


def test_it_may_be_replaced() -> None:
    look()
    again = look(corners, overwrite=True)
    assert all(one.off.share > 0.8 for one in again.images)


@pytest.mark.parametrize("images", ["empty", "nowhere", "photos/cat/0.png"])
def test_a_folder_without_images_is_refused(images: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(InputError, match=r"expected (images in empty|a folder of images)"):
        audit(images, "run", objects)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "expected workers to be a whole number, from 1 to 1000, got 0"),
        ({"pictures": "some"}, "expected pictures to be 'none' or"),
        ({"classes": "imagenet"}, "folders named by their classes, or annotations, for --classes"),
    ],
)
def test_what_fits_no_audit_is_refused(options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        audit("photos/cat", "run", objects, calls=CALLS, **options)
    assert asked() == 0
    assert not Path("run").exists()


def test_the_folders_of_others_are_left_alone() -> None:
    iassa.explain("photos/cat/0.png", objects, method=RISE, calls=CALLS).save("saved")
    with pytest.raises(InputError, match=r"folder of an audit .* a saved explanation.* --run"):
        look(run="saved")


@pytest.mark.parametrize("run", ["photos", "photos/cat/..", "masks", "photos/run", "masks/run"])
def test_a_run_among_the_images_or_the_masks_is_refused(run: str) -> None:
    before = sorted(Path().rglob("*"))
    with pytest.raises(InputError, match=r"expected an audit apart from the (images|masks), got "):
        look(run=run)
    assert sorted(Path().rglob("*")) == before
    assert asked() == 0


ODD: dict[str, tuple[object, str]] = {
    "images": (["photos"], "the folder of images as a text or a Path, got ['photos']"),
    "run": (None, "the folder of the audit as a text or a Path, got None"),
    "masks": (b"masks", "the folder of masks as a text or a Path, got b'masks'"),
    "annotations": (3, "the file of annotations as a text or a Path, got 3"),
    "method": ({"name": "rise"}, "unknown method {'name': 'rise'}"),
    "classes": (3, "classes to be a text, got 3"),
    "target": (None, "target to be a text or a whole number, got None"),
    "calls": ("60", "calls to be a whole number or 'auto', got '60'"),
    "workers": (10**9, "workers to be a whole number, from 1 to 1000, got"),
    "ray": (6379, "ray to be a text or None, got 6379"),
    "reading": ("upright", "reading to be Reading(...) or None, got 'upright'"),
    "overwrite": ("no", "overwrite to be True or False, got 'no'"),
    "following": (print, "following to be Following(...) or None, got <built-in"),
    "opened": ("efficientnet-lite0", "opened to be BlackBox or None, got"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_argument_of_another_type_is_refused(name: str) -> None:
    value, words = ODD[name]
    given = {"images": "photos", "run": "run", "masks": "masks", "method": RISE, "calls": CALLS}
    given = given | ({"masks": None} if name == "annotations" else {}) | {name: value}
    with pytest.raises(InputError, match=re.escape(words)) as error:
        audit(model=objects, **given)
    assert "\n" not in str(error.value)
    assert asked() == 0
    assert not Path("run").exists()


def test_the_parts_refuse_arguments_of_another_type() -> None:
    ragged = [[0.1], [0.2, 0.3]]
    saved = iassa.explain("photos/cat/0.png", objects, method=RISE, calls=CALLS)
    for part, words in (
        (lambda: Following(cancel=True), "cancel to be a function, got True"),
        (lambda: off_object("run/cat/0", mask_of()), "explanation to be Explanation(...), got"),
        (lambda: off_object(saved, ragged), "expected a mask as an array, got [[0.1], [0.2, 0.3]]"),
        (lambda: score_hidden(None, objects, mask_of()), "explanation to be Explanation(...)"),
        (lambda: score_hidden(saved, objects, ragged), "expected an annotation as an array"),
        (lambda: measure_places(ragged), "expected a map as an array, got [[0.1], [0.2, 0.3]]"),
        (lambda: find_shared_places(ragged, ["a", "b"]), "expected places as an array"),
        (lambda: find_shared_places(np.ones((3, 14, 14)), ["a"]), "float64 and 1 of these. Stack"),
        (lambda: find_shared_places(np.ones((1, 14, 14)), ["a"], seed="x"), "seed to be"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            part()


# Stopped, and gone on with.


def test_workers_find_the_same_and_a_second_run_asks_nothing() -> None:
    alone = look("audited:objects", "alone")
    assert look("audited:objects", "two", workers=2).images == alone.images
    assert state("two") == state("alone")
    asked()
    assert look("audited:objects", "alone") == alone
    assert asked() == 0


def test_a_cancelled_audit_goes_on() -> None:
    look(run="whole")
    done: list[object] = []
    asked()
    told = Following(show=lambda *_: done.append(_), cancel=lambda: len(done) >= 2)
    part = look(following=told)
    assert (len(part.images), part.left) == (2, 2)
    assert "2 not audited yet" in part.page.read_text()
    assert asked() == 2 * (CALLS + 2)
    look()
    assert asked() == 2 * (CALLS + 2)
    assert state("run") == state("whole")


def test_a_killed_audit_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    look("audited:objects", "whole")
    asked()
    monkeypatch.setenv("LIMIT", "150")  # the process is killed in its third image
    script = (
        "import iassa, iassa.auditing as a; a.audit('photos', 'run', 'audited:objects', "
        "masks='masks', method=iassa.methods.Rise(debiased=True), calls=60, pictures='none')"
    )
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": paths}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert ended.returncode == -9
    assert not Path("run/index.html").exists()
    monkeypatch.delenv("LIMIT")
    asked()
    look("audited:objects")
    assert asked() == 2 * (CALLS + 2)
    assert state("run") == state("whole")


def test_files_are_read_as_they_are_asked_to_be() -> None:
    image = Image.open("photos/cat/0.png").transpose(Image.Transpose.ROTATE_90)
    turned = image.getexif()
    turned[0x0112] = 6  # to be turned by 90 degrees to the right
    image.save("photos/cat/0.jpg", exif=turned, quality=95)
    Path("photos/cat/0.png").unlink()
    assert "--orientation upright" in look(run="stored").failures["cat/0.jpg"]
    assert look(reading=Reading()).failures == {}
