"""Folders of images: what is listed, in which order, and what tells two folders apart."""

from __future__ import annotations

import os
import sys

import pytest
from PIL import Image

from iassa.benchmark.datasets import IMAGE_SUFFIXES, ImageFolder
from iassa.errors import InputError
from iassa.image import load_image


def written(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def listed(folder):
    return [sample.name for sample in ImageFolder(folder).samples()]


def test_images_of_all_subfolders_by_name(tmp_path):
    written(tmp_path, "b.jpg", "B.JPEG", "a/z.png", "a/b/c.webp", "a.b.tiff", "a/notes.txt", "no")
    written(tmp_path, "._b.jpg", ".cache/b.jpg", "a/.ipynb_checkpoints/z.png", "video.mpg")
    (tmp_path / "folder.jpg").mkdir()
    samples = ImageFolder(tmp_path).samples()
    names = ["B.JPEG", "a.b.tiff", "a/b/c.webp", "a/z.png", "b.jpg"]
    assert [sample.name for sample in samples] == names
    assert [sample.index for sample in samples] == [0, 1, 2, 3, 4]
    assert [sample.path for sample in samples] == [tmp_path / name for name in names]
    assert {sample.categories for sample in samples} == {()}


def test_has_no_annotations(tmp_path):
    dataset = ImageFolder(written(tmp_path, "a.png"))
    assert list(dataset.annotations(dataset.samples()[0], (3, 4))) == []
    assert dataset.categories == dataset.missing == ()


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_suffix_can_be_read(tmp_path, suffix):
    mode = "L" if suffix == ".pgm" else "RGB"
    Image.new(mode, (5, 3)).save(tmp_path / f"a{suffix}")
    (sample,) = ImageFolder(tmp_path).samples()
    assert load_image(sample.path).shape == (3, 5, 3)


def test_the_description_tells_names_and_sizes_and_nothing_else(tmp_path):
    first = ImageFolder(written(tmp_path / "1", "a.png", "b.png", "x.txt")).describe()
    assert first["kind"] == "images"
    same = written(tmp_path / "2", "b.png", "a.png")
    assert ImageFolder(same).describe() == first
    (same / "a.png").write_bytes(b"longer than before")
    assert ImageFolder(same).describe() != first
    renamed = written(tmp_path / "3", "a.png", "c.png")
    assert ImageFolder(renamed).describe() != first
    more = written(tmp_path / "4", "a.png", "b.png", "c.png")
    assert ImageFolder(more).describe() != first


def test_no_image_and_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"expected a folder, got .*none"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(InputError, match=r"expected images in .*\.bmp, .*\.webp"):
        ImageFolder(written(tmp_path, "a.txt"))
    with pytest.raises(InputError, match="expected a folder"):
        ImageFolder(tmp_path / "a.txt")


def test_links(tmp_path):
    written(tmp_path, "1/a.png", "2/b.png")
    (tmp_path / "1" / "linked.png").symlink_to(tmp_path / "2" / "b.png")
    (tmp_path / "1" / "folder").symlink_to(tmp_path / "2")
    assert listed(tmp_path / "1") == ["a.png", "linked.png"]
    (tmp_path / "whole").symlink_to(tmp_path / "1")
    assert listed(tmp_path / "whole") == ["a.png", "linked.png"]
    (tmp_path / "2" / "b.png").unlink()
    with pytest.raises(InputError, match=r"a link to none: linked.png"):
        listed(tmp_path / "1")


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(InputError, match="file names in UTF-8"):
        ImageFolder(tmp_path)
