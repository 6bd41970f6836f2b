"""Folders of images and of masks: which belong together, and what is told of those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iassa.benchmark.datasets import MaskFolder
from iassa.errors import InputError

SIZE = (4, 6)
OBJECT = np.zeros(SIZE, bool)
OBJECT[1:3, 2:6] = True


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("top.png", "dog/b.jpg", "dog/a.jpeg", "big/cat/a.png"):
        save(tmp_path / "images" / name, np.zeros((*SIZE, 3), np.uint8))
    for name in ("top.png", "dog/b.png", "dog/a.png", "big/cat/a.PNG"):
        save(tmp_path / "masks" / name, OBJECT.astype(np.uint8) * 7)
    return tmp_path


def opened(folder) -> MaskFolder:
    return MaskFolder(folder / "images", folder / "masks")


def annotated(folder, name, size=SIZE):
    dataset = opened(folder)
    (sample,) = [sample for sample in dataset.samples() if sample.name == name]
    (found,) = dataset.annotations(sample, size)
    return found


def test_the_category_is_the_subfolder(folder):
    dataset = opened(folder)
    found = [(sample.name, sample.index, sample.categories) for sample in dataset.samples()]
    assert found == [
        ("big/cat/a.png", 0, ("cat",)),
        ("dog/a.jpeg", 1, ("dog",)),
        ("dog/b.jpg", 2, ("dog",)),
        ("top.png", 3, ("",)),
    ]
    assert dataset.categories == ("", "cat", "dog")
    assert dataset.missing == ()
    for sample in dataset.samples():
        (each,) = dataset.annotations(sample, SIZE)
        assert (each.category,) == sample.categories
        assert each.excluded == ""
        np.testing.assert_array_equal(each.annotation, OBJECT)


def test_an_image_without_a_mask_is_excluded(folder):
    (folder / "masks/dog/a.png").unlink()
    found = annotated(folder, "dog/a.jpeg")
    assert found.excluded == "there is no mask of its name"
    assert found.annotation.shape == SIZE
    assert not found.annotation.any()
    assert annotated(folder, "dog/b.jpg").excluded == ""


def test_an_empty_mask_is_excluded(folder):
    save(folder / "masks/dog/a.png", np.zeros(SIZE, np.uint8))
    assert annotated(folder, "dog/a.jpeg").excluded == "its mask is empty"


def test_a_mask_without_an_image_is_missing(folder):
    (folder / "images/dog/a.jpeg").unlink()
    assert opened(folder).missing == ("dog/a.png",)


def test_a_mask_of_another_size(folder):
    with pytest.raises(InputError, match=r"a mask of 6 x 4 .*size of top.png, got 4 x 6"):
        annotated(folder, "top.png", (6, 4))


def test_a_mask_that_is_no_image(folder):
    (folder / "masks/top.png").write_bytes(b"")
    with pytest.raises(InputError, match="an empty file"):
        annotated(folder, "top.png")


def test_names_that_differ_in_the_suffix_alone(folder):
    save(folder / "images/dog/b.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(InputError, match=r"got dog/b.jpg and dog/b.png"):
        opened(folder)


def test_folders_that_do_not_fit(folder):
    with pytest.raises(InputError, match="beside each other"):
        MaskFolder(folder / "images", folder / "images")
    with pytest.raises(InputError, match="beside each other"):
        MaskFolder(folder, folder / "masks")
    with pytest.raises(InputError, match="expected a folder"):
        MaskFolder(folder / "images", folder / "none")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected a PNG in .*such as big/cat/a.png"):
        MaskFolder(folder / "images", folder / "empty")


def test_the_description_tells_the_masks_apart(folder):
    first = opened(folder).describe()
    assert first["kind"] == "masks"
    assert opened(folder).describe() == first
    save(folder / "masks/unused.png", OBJECT)
    assert opened(folder).describe() == first
    save(folder / "masks/top.png", OBJECT[:, ::-1].astype(np.uint8) * 7)  # as many bytes
    changed = opened(folder).describe()
    assert changed != first
    assert changed["images"] == first["images"]
