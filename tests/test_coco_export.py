"""COCO annotations of regions, against readers of that format that know nothing of ours."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import shutil
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import iassa
from iassa.benchmark.datasets.coco_outline import draw_outline
from iassa.cli import main
from iassa.errors import InputError, WeakEvidenceWarning
from iassa.explanations.coco import (
    DESCRIPTION,
    export_coco,
    find_saved,
    list_exported,
    run_lengths,
)
from iassa.explanations.regions import split_region

SIZE = (18, 27)
IMAGE = np.random.default_rng(0).random((*SIZE, 3)).astype(np.float32)
ROWS, COLUMNS = np.mgrid[: SIZE[0], : SIZE[1]]
# Two bumps, and a hollow on the left.
MAP = sum(
    height * np.exp(-((ROWS - row) ** 2 + (COLUMNS - column) ** 2) / 8)
    for height, row, column in ((1.0, 4, 8), (0.7, 13, 21), (-1.0, 14, 3))
).astype(np.float32)


def model(images):
    return images.mean((1, 2))


@pytest.fixture(scope="module")
def made():
    one = iassa.explain(IMAGE, model, target=[0, 2], method="rise", calls=20)
    return dataclasses.replace(one, saliency=np.stack([MAP, MAP[::-1, ::-1]]))


def decode(counts, size):
    """A loop down the columns."""
    pixels, value = [], 0
    for run in counts:
        pixels += [value] * run
        value = 1 - value
    rows, columns = size
    return [[bool(pixels[column * rows + row]) for column in range(columns)] for row in range(rows)]


@settings(max_examples=40)
@given(arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 7))))
def test_run_lengths_are_read_back(region):
    assume(region.any())
    again = np.zeros_like(region)
    for part in split_region(region, 0):
        runs = run_lengths(part)
        own = np.array(decode(runs, region.shape))
        assert own.sum() == part.mask.sum()
        outline = {"size": list(region.shape), "counts": runs}
        np.testing.assert_array_equal(draw_outline(outline, region.shape), own)
        again |= own
    np.testing.assert_array_equal(again, region)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
def test_pycocotools_reads_the_same_regions(made, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    files = export_coco([("two", made)])
    (tmp_path / "instances.json").write_bytes(files["instances.json"])
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco.COCO(tmp_path / "instances.json")
    (image,) = loaded.imgs.values()
    assert (image["height"], image["width"], image["file_name"]) == (*SIZE, "two.png")
    assert [one["name"] for one in loaded.cats.values()] == ["class 0", "class 2"]
    for k in range(2):
        ids = loaded.getAnnIds(catIds=[k + 1])
        annotations = loaded.loadAnns(ids)
        masks = [loaded.annToMask(one).astype(np.bool_) for one in annotations]
        whole = made.region(k)
        np.testing.assert_array_equal(np.any(masks, axis=0), whole)
        for one, mask, box in zip(annotations, masks, made.boxes(k), strict=True):
            assert one["area"] == mask.sum()
            rows, columns = np.nonzero(mask)
            first = [columns.min(), rows.min()]
            sides = [1 + np.ptp(columns), 1 + np.ptp(rows)]
            assert one["bbox"] == [*first, *sides]
            assert one["bbox"] == [box.left, box.top, box.right - box.left, box.bottom - box.top]
            assert one["iscrowd"] == 0
            assert one["score"] == made.scores[k]
        drawn = np.asarray(Image.open(io.BytesIO(files[f"two-{k}.png"])))
        np.testing.assert_array_equal(drawn, np.where(whole, 255, 0))
    assert len(loaded.anns) == len({one["id"] for one in loaded.anns.values()}) == 4


def test_two_explanations_of_one_image_are_annotations_of_it(made):
    other = dataclasses.replace(
        made, image=made.image[:, ::-1].copy(), source="b/photo.jpg", saliency=made.saliency * 2
    )
    known = dataclasses.replace(made, source="a/photo.jpg")
    files = export_coco([("a", known), ("again", known), ("b", other)], share=0.2)
    content = json.loads(files["instances.json"])
    names = [image["file_name"] for image in content["images"]]
    assert names == ["a/photo.jpg", "b/photo.jpg"]  # photo.jpg would be either
    images = [one["image_id"] for one in content["annotations"]]
    assert set(images) == {1, 2}
    assert images.count(1) == 2 * images.count(2)
    assert len(content["categories"]) == 2


def test_a_large_image_is_annotated_in_its_own_pixels():
    image = np.zeros((60, 800, 3), np.float32)
    small = iassa.models.FunctionModel(model, input_size=(12, 40))
    made = iassa.explain(image, small, method="rise", calls=20)
    saliency = np.zeros(made.saliency.shape, np.float32)
    saliency[0, 10:20, 128:256] = 1
    files = export_coco([("wide", dataclasses.replace(made, saliency=saliency))])
    (one,) = json.loads(files["instances.json"])["annotations"]
    assert one["segmentation"]["size"] == [60, 800]
    np.testing.assert_allclose(one["bbox"], [200, 60 * 10 / 38, 200, 60 * 10 / 38], atol=2)


def test_a_target_without_a_region_is_left_out_with_a_warning(made):
    negative = dataclasses.replace(made, saliency=np.stack([MAP, -1 - np.abs(MAP)]))
    with pytest.warns(UserWarning, match=r"n, class 2: no region is exported: .*no pixels"):
        files = export_coco([("n", negative)])
    assert set(files) == {"instances.json", "n-0.png"}
    nothing = dataclasses.replace(made, saliency=-1 - np.abs(made.saliency))
    with (
        pytest.warns(UserWarning, match="no region"),
        pytest.raises(InputError, match="got none: no map is positive anywhere"),
    ):
        export_coco([("n", nothing)])
    with pytest.raises(InputError, match="got share, level"):
        export_coco([("n", made)], share=0.1, level=0.1)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(one) for one in arguments])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_the_command_exports_one_or_a_folder_of_several(made, tmp_path, capsys):
    for name in ("left", "right"):
        made.save(tmp_path / "all" / name, pictures="none")
    assert [*find_saved(tmp_path / "all")] == ["left", "right"]
    status, out, _ = run(capsys, "export", tmp_path / "all", "--coco")
    assert (status, out.strip()) == (0, str(tmp_path / "all" / "coco" / "instances.json"))
    assert {path.name for path in (tmp_path / "all" / "coco").iterdir()} == {
        *("instances.json", "left-0.png", "left-1.png", "right-0.png", "right-1.png")
    }
    assert run(capsys, "export", tmp_path / "all", "--coco", "--mass", 0.5)[0] == 0  # again
    one = run(capsys, "export", tmp_path / "all" / "left", "--coco", "--out", tmp_path / "one")
    assert one[0] == 0
    assert (tmp_path / "one" / "left-0.png").exists()


def test_a_size_that_a_record_promises_is_counted_first(tmp_path, capsys):
    """Maps are enlarged to it: a folder of some kilobytes would take 67 GB."""
    image = np.random.default_rng(0).random((600, 700, 3), np.float32)
    model = iassa.models.FunctionModel(lambda x: x[:, :6, :9].mean((1, 2)), input_size=(24, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakEvidenceWarning)
        made = iassa.explain(image, model, target=0, method="rise", calls=20)
    folder = made.save(tmp_path / "saved", pictures="none")
    record = json.loads((folder / "explanation.json").read_text())
    for times, told in (
        (12, "at most 50000000 pixels in"),
        (200, "image.size of at most 178956970"),
    ):
        size = [600 * times, 700 * times]
        changed = {**record, "image": {**record["image"], "size": size}}
        (folder / "explanation.json").write_text(json.dumps(changed))
        status, _, err = run(capsys, "export", folder, "--coco", "--share", 0.1)
        assert (status, err.count("\n")) == (2, 1)
        assert told in err
    (folder / "explanation.json").write_text(json.dumps(record))
    few = ["--max-pixels", 419_999]
    assert run(capsys, "export", folder, "--coco", "--share", 0.1, *few)[0] == 2
    few = ["--max-pixels", 420_000]
    assert run(capsys, "export", folder, "--coco", "--share", 0.1, *few)[0] == 0


def test_the_command_says_what_is_wrong_in_one_line(made, tmp_path, capsys):
    made.save(tmp_path / "left", pictures="none")
    (tmp_path / "yours").mkdir()
    (tmp_path / "yours" / "instances.json").write_text('{"info": {"description": "mine"}}')
    for arguments, text in {
        (tmp_path / "left",): "expected --coco",
        (tmp_path / "nowhere", "--coco"): "expected a saved explanation in",
        (tmp_path / "left", "--coco", "--share", "2"): "share to be",
        (tmp_path / "left", "--coco", "--out", tmp_path / "yours"): "files of yours",
    }.items():
        status, out, err = run(capsys, "export", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("error: ")
        assert text in err
    (tmp_path / "left" / "explanation.npz").write_bytes(b"")
    status, _, err = run(capsys, "export", tmp_path, "--coco")
    assert status == 2
    assert f"{tmp_path / 'left'}: the explanation.npz" in err


def test_masks_of_an_earlier_export_go_and_files_of_yours_stay(made, tmp_path, capsys):
    for name in ("left", "right"):
        made.save(tmp_path / "all" / name, pictures="none")
    folder = tmp_path / "all" / "coco"
    assert run(capsys, "export", tmp_path / "all", "--coco")[0] == 0
    (folder / "notes-1.png").write_bytes(b"mine")
    shutil.rmtree(tmp_path / "all" / "right")
    status, out, err = run(capsys, "export", tmp_path / "all", "--coco", "--json")
    assert status == 0
    assert "1 explanation" in err
    assert json.loads(out) == json.loads((folder / "instances.json").read_text())
    left = {"instances.json", "left-0.png", "left-1.png", "notes-1.png"}
    assert {path.name for path in folder.iterdir()} == left


def test_a_record_of_anyone_s_names_no_file_to_remove_but_masks_beside_it(tmp_path):
    names = ["../a-1.png", "/etc/a-1.png", "a.txt", "b\\a-1.png", 3, "ok-1.png", "..", "-1.png"]
    text = {"info": {"description": DESCRIPTION, "masks": names}}
    (tmp_path / "instances.json").write_text(json.dumps(text))
    assert list_exported(tmp_path) == {"instances.json", "ok-1.png"}
    text["info"]["masks"] = "ok-1.png"
    (tmp_path / "instances.json").write_text(json.dumps(text))
    assert list_exported(tmp_path) == {"instances.json"}
