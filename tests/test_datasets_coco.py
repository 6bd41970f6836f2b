"""COCO files made here, against masks drawn in NumPy."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps
from pycocotools import mask as pycocotools_mask

from iassa.benchmark.datasets import Coco, category_targets
from iassa.decoding import UPRIGHT
from iassa.errors import InputError
from iassa.image import decode_image

HEIGHT, WIDTH = SIZE = (7, 11)


def rectangle(top: int, left: int, bottom: int, right: int) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def filled(*boxes: tuple[int, int, int, int], size=SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def runs(mask: np.ndarray) -> dict[str, Any]:
    """Lengths of runs of 0 and 1 in turn, counted one pixel after the other."""
    counts = [0]
    value = False
    for pixel in mask.T.reshape(-1):
        if pixel == value:
            counts[-1] += 1
        else:
            counts.append(1)
            value = pixel
    return {"size": list(mask.shape), "counts": counts}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    encoded = pycocotools_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def image(number: int, name: str, size=SIZE) -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": size[0], "width": size[1]}


def annotation(image_id: int, category: int, outline: Any, crowd: int = 0) -> dict[str, Any]:
    return {
        "id": 900 + image_id,
        "image_id": image_id,
        "category_id": category,
        "segmentation": outline,
        "iscrowd": crowd,
    }


CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush"}]
BOX = [rectangle(1, 2, 4, 9)]
TABLE: dict[str, Any] = {
    "images": [image(1, "b.png"), image(2, "a.png"), image(3, "d/c.png"), image(4, "gone.png")],
    "annotations": [annotation(1, 18, BOX), annotation(2, 3, BOX), annotation(4, 3, BOX)],
    "categories": CATEGORIES,
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images" / "d").mkdir(parents=True)
    for name in ("a.png", "b.png", "d/c.png", "other.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / name)
    return tmp_path


def opened(folder, table: Any = TABLE, **parts: Any) -> Coco:
    content = table if isinstance(table, bytes) else json.dumps(table | parts).encode()
    (folder / "instances.json").write_bytes(content)
    return Coco(folder / "images", folder / "instances.json")


def outlines(folder, *annotations: dict[str, Any]) -> list[Any]:
    """What is annotated in the first image."""
    dataset = opened(folder, images=[image(1, "a.png")], annotations=list(annotations))
    return list(dataset.annotations(dataset.samples()[0], SIZE))


def test_samples_are_in_the_order_of_file_names_over_all_images(folder, capfd):
    table = TABLE | {"images": [image(5, "aa-gone.png"), *TABLE["images"]]}
    dataset = opened(folder, table)
    names = [(sample.name, sample.index, sample.categories) for sample in dataset.samples()]
    assert names == [("a.png", 0, ("car",)), ("b.png", 2, ("dog",)), ("d/c.png", 3, ())]
    assert [sample.path for sample in dataset.samples()] == [
        folder / "images" / name for name in ("a.png", "b.png", "d/c.png")
    ]
    assert dataset.missing == ("aa-gone.png", "gone.png")
    assert dataset.categories == ("car", "dog", "toothbrush")  # by number, annotated or not
    assert list(dataset.annotations(dataset.samples()[2], SIZE)) == []
    assert capfd.readouterr() == ("", "")


def test_an_empty_outline_excludes_its_category_and_crowds_alone_are_none(folder):
    dataset = opened(
        folder,
        images=[image(4, "0-gone.png"), image(1, "a.png"), image(2, "b.png")],
        annotations=[
            annotation(4, 18, BOX),
            annotation(4, 3, BOX),
            annotation(1, 90, BOX),
            annotation(1, 3, [rectangle(2, 2, 2, 2)]),  # empty
            annotation(1, 18, compressed(filled()), crowd=1),  # crowds only
            annotation(2, 18, BOX),
        ],
    )
    found = [
        (sample.name, each.category, bool(each.excluded))
        for sample in dataset.samples()
        for each in dataset.annotations(sample, SIZE)
    ]
    assert found == [
        ("a.png", "car", True),
        ("a.png", "toothbrush", False),
        ("b.png", "dog", False),
    ]


@given(
    st.tuples(
        st.integers(0, HEIGHT - 1),
        st.integers(0, WIDTH - 1),
        st.integers(0, HEIGHT),
        st.integers(0, WIDTH),
    )
)
def test_a_rectangle_fills_its_pixels(tmp_path_factory, box):
    top, left, bottom, right = box[0], box[1], max(box[0], box[2]), max(box[1], box[3])
    folder = tmp_path_factory.mktemp("coco")
    (folder / "images").mkdir()
    (folder / "images" / "a.png").touch()  # no image is read
    (found,) = outlines(folder, annotation(1, 18, [rectangle(top, left, bottom, right)]))
    np.testing.assert_array_equal(found.annotation, filled((top, left, bottom, right)))
    assert bool(found.excluded) == (not found.annotation.any())


@pytest.mark.parametrize("seed", range(8))
def test_a_triangle_agrees_but_for_its_edge(folder, seed):
    size = (HEIGHT * 10, WIDTH * 10)
    corners = np.random.default_rng(seed).uniform((0, 0), size[::-1], (3, 2))
    dataset = opened(
        folder,
        images=[image(1, "a.png", size)],
        annotations=[annotation(1, 18, [corners.ravel().tolist()])],
    )
    (found,) = dataset.annotations(dataset.samples()[0], size)
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    a, b = corners[1] - corners[0], corners[2] - corners[0]
    turn = np.sign(a[0] * b[1] - a[1] * b[0])
    inside = np.full(size, np.inf)  # signed distance to the nearest of the three lines
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        x, y = end - start
        distance = turn * (x * (rows - start[1]) - y * (columns - start[0])) / np.hypot(x, y)
        inside = np.minimum(inside, distance)
    sure = np.abs(inside) > 1
    assert sure.mean() > 0.8
    np.testing.assert_array_equal(found.annotation[sure], inside[sure] > 0)


@given(arrays.arrays(bool, SIZE))
def test_run_lengths_of_both_kinds(tmp_path_factory, mask):
    folder = tmp_path_factory.mktemp("coco")
    (folder / "images").mkdir()
    (folder / "images" / "a.png").touch()
    for outline in (runs(mask), compressed(mask)):
        (found,) = outlines(folder, annotation(1, 18, outline))
        np.testing.assert_array_equal(found.annotation, mask)


def test_long_runs(folder):
    """Numbers of several letters, and differences to earlier ones of both signs."""
    rng = np.random.default_rng(3)
    size = (531, 777)
    edges = np.sort(rng.choice(size[0] * size[1], 40, replace=False))
    mask = (np.searchsorted(edges, np.arange(size[0] * size[1])) % 2 == 1).reshape(size, order="F")
    dataset = opened(
        folder,
        images=[image(1, "a.png", size)],
        annotations=[annotation(1, 18, compressed(mask)), annotation(1, 3, runs(mask))],
    )
    for found in dataset.annotations(dataset.samples()[0], size):
        np.testing.assert_array_equal(found.annotation, mask)


def test_objects_and_parts_are_joined_and_crowds_left_out(folder):
    crowd = filled((0, 0, 7, 11))
    dogs, car = outlines(
        folder,
        annotation(1, 3, runs(filled((0, 0, 1, 1)))),
        annotation(1, 18, [rectangle(0, 0, 2, 3), rectangle(5, 5, 7, 6)]),
        annotation(1, 18, runs(filled((1, 1, 3, 4)))),
        annotation(1, 18, compressed(crowd), crowd=1),
        annotation(1, 18, runs(crowd), crowd=1),
        annotation(1, 90, runs(crowd), crowd=1),  # as crowds only
    )[::-1]
    assert (dogs.category, dogs.excluded) == ("dog", "")
    np.testing.assert_array_equal(dogs.annotation, filled((0, 0, 2, 3), (5, 5, 7, 6), (1, 1, 3, 4)))
    assert dogs.annotation.dtype == np.bool_
    assert car.category == "car"


def test_an_outline_without_pixels_excludes_its_category_only(folder):
    car, dog = outlines(
        folder, annotation(1, 3, runs(filled())), annotation(1, 18, runs(filled((0, 0, 1, 1))))
    )
    assert car.excluded == "its outlines hold no pixel"
    assert not car.annotation.any()
    assert dog.excluded == ""


def test_one_category_is_drawn_at_a_time(folder):
    dataset = opened(
        folder, annotations=[annotation(2, 3, BOX), annotation(2, 18, "nothing to draw")]
    )
    found = dataset.annotations(dataset.samples()[0], SIZE)
    assert next(found).category == "car"
    bad = next(found)
    assert bad.category == "dog"
    assert bad.excluded.startswith("expected polygons or run")
    assert not bad.annotation.any()


ORIENTATIONS = range(1, 9)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("reading", [None, UPRIGHT])
def test_an_outline_lies_on_its_object_whatever_exif_says(folder, orientation, reading):
    """The outline is of the pixels as they are stored or, if asked for, as viewers show them."""
    marked = filled((1, 2, 4, 9))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / "images" / "a.png"
    Image.fromarray(marked.astype(np.uint8) * 255).save(path, exif=exif)
    with Image.open(path) as picture:
        seen = np.asarray(ImageOps.exif_transpose(picture) if reading else picture) > 0
    parts = {
        "images": [image(1, "a.png", seen.shape)],
        "annotations": [annotation(1, 18, runs(seen))],
    }
    (folder / "instances.json").write_text(json.dumps(TABLE | parts))
    files = (folder / "images", folder / "instances.json")
    dataset = Coco(*files, *filter(None, [reading]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photo = decode_image(path.read_bytes(), "a.png", dataset.reading)
    assert len(caught) == (reading is None and orientation > 1)
    (found,) = dataset.annotations(dataset.samples()[0], photo.shape[:2])
    np.testing.assert_array_equal(found.annotation, photo[:, :, 0] == 1)
    assert found.annotation.sum() == 21
    if orientation > 4:  # the sides are exchanged: the other reading is offered
        other = "stored" if reading else "upright"
        with pytest.raises(InputError, match=f"EXIF orientation .* say --orientation {other}"):
            dataset.annotations(dataset.samples()[0], photo.shape[1::-1])


def test_outlines_in_shares_of_the_image_are_refused(folder):
    shares = [[0.25, 0.1, 0.75, 0.1, 0.75, 0.9]]
    whole = [rectangle(0, 0, 1, 1)]
    with pytest.raises(
        InputError, match=r"outlines in pixels .* got all coordinates in .0, 1., shares"
    ):
        opened(folder, annotations=[annotation(1, 18, whole), annotation(2, 3, shares)])
    opened(folder, annotations=[annotation(1, 18, BOX), annotation(2, 3, shares)])
    opened(folder, annotations=[annotation(1, 18, whole)])  # one pixel
    boxes = [annotation(1, 18, []) | {"bbox": [0.1, 0.2, 0.5, 0.5]}]
    files = (folder / "images", folder / "instances.json")
    opened(folder, annotations=boxes)
    with pytest.raises(InputError, match="shares"):
        Coco(*files, boxes=True)


@pytest.mark.parametrize("nothing", [[], None])
def test_boxes_are_regions_where_there_is_no_outline(folder, nothing):
    alone = annotation(1, 18, nothing) | {"bbox": [2, 1, 7, 3]}
    both = annotation(1, 3, BOX) | {"bbox": [0, 0, 11, 7]}
    broken = annotation(1, 90, nothing) | {"bbox": [2, 1, 7]}
    images, annotations = [image(1, "a.png")], [alone, both, broken]
    refused = list(outlines(folder, *annotations))
    assert "It has a box; to take boxes, say --boxes." in refused[1].excluded
    opened(folder, images=images, annotations=annotations)
    dataset = Coco(folder / "images", folder / "instances.json", boxes=True)
    car, dog, brush = dataset.annotations(dataset.samples()[0], SIZE)
    np.testing.assert_array_equal(dog.annotation, filled((1, 2, 4, 9)))
    np.testing.assert_array_equal(car.annotation, filled((1, 2, 4, 9)))
    assert brush.excluded == "expected a box [x, y, width, height], got [2, 1, 7]."
    assert dataset.describe()["boxes"] is True


def test_a_file_name_of_windows_is_found(folder):
    parts = {"images": [image(1, "d\\c.png")], "annotations": [annotation(1, 18, BOX)]}
    assert opened(folder, **parts).samples()[0].path == folder / "images" / "d" / "c.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / "d\\c.png")  # a name of POSIX
    assert opened(folder, **parts).samples()[0].name == "d\\c.png"


def test_another_size_than_the_image(folder):
    dataset = opened(folder)
    with pytest.raises(InputError, match=r"expected an image of 7 x 11 .* got 11 x 7"):
        dataset.annotations(dataset.samples()[0], (11, 7))


def test_describes_the_content_and_no_place(folder, tmp_path):
    dataset = opened(folder)
    content = (folder / "instances.json").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    described = {"kind": "coco", "annotations": digest, "orientation": "stored"}
    assert dataset.describe() == described
    assert str(tmp_path) not in json.dumps(dataset.describe())


def test_survives_a_pickle(folder):
    dataset = pickle.loads(pickle.dumps(opened(folder)))
    (found,) = dataset.annotations(dataset.samples()[0], SIZE)
    np.testing.assert_array_equal(found.annotation, filled((1, 2, 4, 9)))


def test_numbers_of_images_may_be_texts(folder):
    images = [image(1, "a.png") | {"id": "a"}]
    dataset = opened(folder, images=images, annotations=[annotation(1, 3, BOX) | {"image_id": "a"}])
    assert dataset.samples()[0].categories == ("car",)


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        (None, "expected polygons or run lengths"),
        ([], "got an empty list"),
        ([[]], "expected a polygon of three points"),
        ([1, 2, 3, 4, 5, 6], "expected a polygon of three points"),
        ([[1, 2, 3, 4]], "expected a polygon of three points"),  # pycocotools takes it for a box
        ([rectangle(1, 2, 4, 9), [1, 2, 3]], "expected a polygon of three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "expected a polygon of three points"),
        ([[1, 2, 3, 4, 5, "6"]], "expected a polygon of three points"),
        ([[1, 2, 3, 4, 5, float("nan")]], "expected a polygon of three points"),
        ([[1, 2, 3, 4, 5, 10**400]], "expected a polygon of three points"),
        ([[1, 2, 3, 4, 5, 15]], r"image of 7 x 11 .* from 2 to 15"),
        ([[-12, 2, 3, 4, 5, 6]], r"image of 7 x 11 .* from -12 to 5"),
        ({}, r"expected run lengths of size \[7, 11\]"),
        ({"size": [11, 7], "counts": [77]}, r"\[7, 11\].*got \[11, 7\]"),
        ({"size": [7, 11]}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": []}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": [76]}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": [78]}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": [78, -1]}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": [76.5, 0.5]}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": ""}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": "abc"}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": compressed(filled((1, 2, 4, 9)))["counts"][:-1]}, "add up"),
        ({"size": [7, 11], "counts": "\u4e2d"}, "add up to 7 x 11"),
        ({"size": [7, 11], "counts": "o" * 99}, "add up to 7 x 11"),
    ],
)
def test_outlines_that_cannot_be_drawn(folder, outline, message):
    (found,) = outlines(folder, annotation(1, 18, outline))
    assert re.search(message, found.excluded)
    assert not found.annotation.any()


NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(-20, 30), st.text(max_size=3))
OUTLINES = st.one_of(
    st.lists(st.lists(NUMBERS, max_size=9), max_size=3),
    st.builds(lambda text: {"size": list(SIZE), "counts": text}, st.text(max_size=12)),
    st.builds(lambda runs: {"size": list(SIZE), "counts": runs}, st.lists(NUMBERS, max_size=5)),
)


@given(OUTLINES)
def test_whatever_the_outline_is_it_is_drawn_or_refused(tmp_path_factory, outline):
    folder = tmp_path_factory.mktemp("coco")
    (folder / "images").mkdir()
    (folder / "images" / "a.png").touch()
    try:
        (found,) = outlines(folder, annotation(1, 18, outline))
    except InputError as error:  # of the whole file
        assert "shares of the image" in str(error)  # noqa: PT017
        numbers = [one for part in outline for one in part if isinstance(one, int | float)]
        assert all(0 <= one <= 1 for one in numbers)
        return
    assert found.annotation.shape == SIZE
    assert bool(found.excluded) is not found.annotation.any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON"),
        (b"\xff\xfe\x00", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[]", "expected lists of images, annotations and categories"),
        (b'{"images": []}', "no list of categories"),
        (b'{"images": [], "categories": []}', "no list of annotations"),
        (b'{"categories": [], "annotations": []}', "no list of images"),
        (b'{"images": {}, "categories": [], "annotations": []}', "no list of images"),
        (b'{"images": [], "categories": [], "annotations": []}', "got none of its 0"),
    ],
)
def test_files_of_another_format(folder, content, message):
    with pytest.raises(InputError, match=message):
        opened(folder, content)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"images": ["a.png"]}, r"id .*images\[0\]"),
        ({"images": [image(1, "a.png"), {"id": 2}]}, r"file_name .*images\[1\]"),
        ({"images": [image(1, "a.png", (None, 3))]}, r"height .*images\[0\].*None"),
        ({"images": [image(1, "a.png", (0, 3))]}, "1 x 1 pixel or more.*0 x 3"),
        ({"images": [image(True, "a.png")]}, "id .*True"),
        (
            {"images": [image(1, "a.png"), image(1, "b.png")]},
            "each id once in images .*got 1 twice",
        ),
        (
            {"images": [image(1, "a.png"), image(2, "a.png")]},
            "each file_name once in images .*'a.png' twice",
        ),
        ({"images": [image(1, "a.png"), image(2, "./a.png")]}, "each file_name once"),
        ({"images": [image(1, "gone.png")]}, "got none of its 1, such as gone.png"),
        (
            {"categories": [*CATEGORIES, {"id": 3, "name": "bus"}]},
            "each id once in categories .*got 3",
        ),
        (
            {"categories": [*CATEGORIES, {"id": 4, "name": "car"}]},
            "each name once in categories .*'car'",
        ),
        ({"categories": [{"id": "3", "name": "car"}]}, r"id \(int\)"),
        ({"annotations": [annotation(1, 17, BOX)]}, r"category_id.*17 in annotations\[0\]"),
        ({"annotations": [annotation(99, 18, BOX)]}, r"image_id.*99 in annotations\[0\]"),
        ({"annotations": [{"id": 1, "image_id": 1}]}, r"category_id .*annotations\[0\]"),
    ],
)
def test_entries_that_cannot_be_used(folder, parts, message):
    parts = {"annotations": []} | parts if "images" in parts else parts
    with pytest.raises(InputError, match=message):
        opened(folder, **parts)


@pytest.mark.parametrize(
    "name",
    ["", ".", "../images/a.png", "d/../a.png", "/etc/passwd", "C:\\a.png", "..\\a.png", "a\0.png"],
)
def test_file_names_outside_the_folder(folder, name):
    with pytest.raises(InputError, match="expected file names inside the folder"):
        opened(folder, images=[image(1, name)], annotations=[])


def test_a_file_name_that_no_file_can_have(folder):
    for name in ("a" * 3000, f"{'a' * 300}/a.png"):
        with pytest.raises(
            InputError, match=r"cannot look for 'aaa.*: File name too long"
        ) as refusal:
            opened(folder, images=[image(1, "a.png"), image(2, name)], annotations=[])
        assert len(str(refusal.value)) < 700


def test_messages_about_long_texts_and_numbers_are_short(folder):
    long = "a" * 3000
    for parts in (
        {"images": [image(1, f"../{long}")]},
        {"images": [image(1, "a.png"), image(2, f"{long}/../{long}")]},
        {"images": [image(long, "a.png"), image(long, "b.png")]},
        {"images": [image(1, "a.png", (10**3000, 3))]},
        {"images": [image(1, "a.png", (3, -(10**3000)))]},
        {"images": [image(1, "/".join(["a" * 200] * 12))]},  # a name that may be, and is not
        {"images": [image(1, [long])]},
        {"categories": [{"id": 1, "name": long}, {"id": 2, "name": long}]},
        {"annotations": [annotation(10**3000, 18, BOX)]},
        {"annotations": [annotation(1, 18, BOX) | {"image_id": long}]},
    ):
        with pytest.raises(InputError) as refusal:
            opened(folder, **({"annotations": []} | parts))
        assert len(str(refusal.value)) < 700
    with pytest.raises(InputError) as refusal:
        category_targets([long, long + "b"], ["cat", "dog"], 2, "same")
    assert len(str(refusal.value)) < 1200


def test_a_category_that_is_no_text(folder):
    for name in ("\ud800", "dog\0"):
        with pytest.raises(InputError, match=r"text without lone surrogates.* in categories\[0\]"):
            opened(folder, categories=[{"id": 1, "name": name}], annotations=[])


@pytest.mark.parametrize("letter", ["P", "o", "0", "_"])
def test_compressed_run_lengths_are_read_in_linear_time(folder, letter):
    """A number of a million letters took minutes, as each added to it all of it again."""
    (found,) = outlines(folder, annotation(1, 3, {"size": SIZE, "counts": letter * 2_000_000}))
    start = f"expected run lengths that add up to 7 x 11 pixels, got '{letter * 9}"
    assert found.excluded.startswith(start)


def test_long_numbers_in_compressed_run_lengths(folder):
    """77 in two letters, and in more, whose further bits are 0."""
    for counts in ("]2", "]R0", "]R" + "P" * 9 + "0"):
        (found,) = outlines(folder, annotation(1, 3, {"size": list(SIZE), "counts": counts}))
        assert found.excluded == "its outlines hold no pixel"
    too_long = {"size": list(SIZE), "counts": "]R" + "P" * 10 + "0"}
    (found,) = outlines(folder, annotation(1, 3, too_long))
    assert found.excluded.startswith("expected run lengths that add up to 7 x 11 pixels, got ']RP")


def test_polygons_that_would_take_all_memory(folder):
    """Each of its edges runs across the image: three million pixels, in a file of one megabyte."""
    name, size = "large.png", (7, 2000)
    Image.new("1", size[::-1]).save(folder / "images" / name)
    for turns, drawn in ((1000, True), (2600, False)):
        edges = [value for k in range(turns) for value in (0, k % 7, 1999, k % 7)]
        dataset = opened(
            folder, images=[image(1, name, size)], annotations=[annotation(1, 3, [edges])]
        )
        (found,) = dataset.annotations(dataset.samples()[0], size)
        assert found.annotation.any() == drawn
        if not drawn:
            assert "polygons of at most 5000000 pixels along them, got 10" in found.excluded


def test_a_file_name_that_is_no_text(folder):
    with pytest.raises(InputError, match="expected file names inside the folder"):
        opened(folder, images=[image(1, "\ud800.png")], annotations=[])


def test_no_such_folder_or_file(folder):
    with pytest.raises(InputError, match="cannot read the annotations"):
        Coco(folder / "images", folder / "none.json")
    opened(folder)
    with pytest.raises(InputError, match="expected a folder of images"):
        Coco(folder / "none", folder / "instances.json")


def test_without_pycocotools(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(InputError, match="pip install pycocotools"):
        opened(folder)
