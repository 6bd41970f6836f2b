"""Files that are whole or not there."""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iassa.errors import InputError
from iassa.files import (
    check_apart,
    check_writable,
    is_there,
    private_folder,
    read_whole,
    refuse_special,
    user_path,
    write_whole,
)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_are_written(tmp_path):
    folder = tmp_path / "a" / "b"
    write_whole(folder, {"x.bin": b"\0\1", "y.txt": b""})
    assert listing(folder) == ["x.bin", "y.txt"]
    assert (folder / "x.bin").read_bytes() == b"\0\1"
    assert (folder / "y.txt").read_bytes() == b""


def test_files_are_replaced_and_others_stay(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    write_whole(tmp_path, {"x": b"old and long", "y": b"old"})
    write_whole(tmp_path, {"x": b"new"})
    assert listing(tmp_path) == ["mine.txt", "x", "y"]
    assert (tmp_path / "x").read_bytes() == b"new"
    assert (tmp_path / "y").read_bytes() == b"old"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_rights_are_as_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_whole(tmp_path, {"x": b"1"})
        (tmp_path / "plain").write_bytes(b"1")
        assert os.umask(umask) == umask  # left as it was
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("x", "plain")]
    assert modes[0] == modes[1] == 0o666 & ~umask


def test_a_file_is_read_or_named(tmp_path):
    (tmp_path / "x").write_bytes(b"1\r\n")
    assert read_whole(tmp_path / "x") == b"1\r\n"
    with pytest.raises(InputError, match=r"cannot read the mask .*none: No such file"):
        read_whole(tmp_path / "none", "the mask")
    with pytest.raises(InputError, match=r"cannot read \S*: Is a directory"):
        read_whole(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for write in (lambda folder: write_whole(folder, {"x": b"1"}), check_writable):
            with pytest.raises(InputError, match=r"cannot write to .*Choose another folder"):
                write(folder)
    assert listing(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_that_cannot_be_written():
    # Even root writes nothing into /proc.
    for write in (lambda folder: write_whole(folder, {"x": b"1"}), check_writable):
        with pytest.raises(InputError, match="cannot write to"):
            write(Path("/proc/self/fd/none"))


def test_a_name_that_is_a_folder_leaves_no_litter(tmp_path):
    (tmp_path / "y").mkdir()
    with pytest.raises(InputError, match="cannot write to"):
        write_whole(tmp_path, {"y": b"2"})
    assert listing(tmp_path) == ["y"]
    with pytest.raises(InputError, match="cannot write to"):
        write_whole(tmp_path, {"x": b"1", "y": b"2", "z": b"3"})
    assert not [name for name in listing(tmp_path) if name.startswith(".")]


def test_nothing_is_moved_before_all_is_written(tmp_path):
    write_whole(tmp_path, {"x": b"old"})
    too_long = "n" * 300  # the second draft cannot be made
    with pytest.raises(InputError, match="cannot write to"):
        write_whole(tmp_path, {"x": b"new", too_long: b"1"})
    assert listing(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_an_interrupt_leaves_no_litter(tmp_path):
    write_whole(tmp_path, {"x": b"old"})

    class Interrupting(dict):
        def items(self):
            yield "x", b"new"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path, Interrupting())
    assert listing(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_check_writable_leaves_nothing(tmp_path):
    check_writable(tmp_path)
    check_writable(tmp_path / "new")
    assert listing(tmp_path) == ["new"]
    assert listing(tmp_path / "new") == []


NAMES = st.text("abc.-_é ", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))


@given(contents=st.dictionaries(NAMES, st.binary(max_size=50), max_size=4))
def test_what_is_written_is_what_is_there(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("any")
    write_whole(folder, contents)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents


@pytest.mark.skipif(sys.platform == "win32", reason="rights are kept elsewhere")
def test_a_private_folder_is_made_and_what_others_can_change_is_refused(tmp_path):
    before = os.umask(0)
    try:
        folder = private_folder(tmp_path / "a" / "cache", "scores", "absent")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "scores").write_bytes(b"")
    (folder / "beside").write_bytes(b"")
    (folder / "beside").chmod(0o666)  # nobody reads it
    private_folder(folder, "scores")
    for path, rights in ((folder / "scores", 0o606), (folder, 0o703), (folder, 0o1777)):
        path.chmod(rights)
        with pytest.raises(InputError, match=f"expected {re.escape(str(path))} to be yours"):
            private_folder(folder, "scores")
        path.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(folder)
    (folder / "scores").chmod(0o622)
    with pytest.raises(InputError, match="to be written by nobody else"):
        private_folder(link, "scores")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_has_the_name_of_a_file_in_a_private_folder_is_one(tmp_path, kind):
    """A pipe would be read for ever."""
    folder = private_folder(tmp_path / "cache")
    path = folder / "scores"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "link":
            path.symlink_to(folder / "nowhere")
    with pytest.raises(InputError, match=f"expected {re.escape(str(path))} to be a file"):
        private_folder(folder, "absent", "scores")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="holes are told in other ways")
def test_a_file_of_holes_is_not_read(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"begins")
    os.truncate(path, 20 * 2**30)
    with pytest.raises(InputError, match=r"on the disk, got 0\.0 MB there of 21475 MB in .*large"):
        read_whole(path)
    os.truncate(path, 10**6)
    assert len(read_whole(path)) == 10**6


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="needs a system that tells of holes")
@pytest.mark.parametrize(("stored", "message"), [(0, "the rest are holes"), (30, "")])
def test_a_file_of_holes_is_refused_and_one_with_bytes_is_not(tmp_path, stored, message):
    """300 MB, of which so many are there: a share of 1 / 16 is enough."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(300 * 2**20)
        for k in range(stored):  # each in a place of its own
            file.seek(k * 10 * 2**20)
            file.write(b"x" * 2**20)
    assert path.stat().st_size == 300 * 2**20
    said = ""
    try:
        refuse_special(path)
    except InputError as error:
        said = str(error)
    assert message in said
    assert bool(said) == bool(message)


# --- paths of the user's --------------------------------------------------------------------------


def test_a_file_is_there_behind_a_folder_that_is_made_on_the_way(tmp_path):
    (tmp_path / "mine.onnx").write_text("mine")
    around = tmp_path / "new" / ".." / "mine.onnx"
    assert not around.exists()  # for the system
    assert is_there(around)
    write_whole(around.parent, {"mine.onnx": b"of another"})  # which makes the folder
    assert (tmp_path / "mine.onnx").read_text() == "of another"
    assert not is_there(tmp_path / "new" / ".." / "other.onnx")
    for odd in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        assert not is_there(odd)


def test_what_is_no_path_is_refused():
    assert user_path("~/x") == Path("~/x").expanduser()
    for odd in (["a", "b"], None, 3, b"a", {"a": 1}):
        with pytest.raises(InputError, match="expected the folder of images as a text or a Path"):
            user_path(odd, "the folder of images")
    for odd in ("a\0b", Path("a\0b")):
        with pytest.raises(InputError, match=r"expected a path without a null byte, got 'a\\x00b'"):
            user_path(odd)


def test_results_lie_apart_from_the_files_of_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("photos")
    others = {"the images": Path("photos"), "the masks": Path("elsewhere")}
    inside = ("photos/run", "photos/inner", "link/run", "new/../photos/run", "elsewhere/a/b")
    for folder in (*inside, str(tmp_path / "photos/inner")):
        with pytest.raises(InputError, match=r"expected a run apart from the .* inside of"):
            check_apart(Path(folder), "a run", others)
    for folder in ("photos", "./photos/inner/..", "link", "elsewhere"):
        with pytest.raises(InputError, match=f"got their folder {re.escape(str(Path(folder)))}. C"):
            check_apart(Path(folder), "a run", others)
    for folder in ("run", "photos-run", ".", "photos/../run", ".."):
        check_apart(Path(folder), "a run", others)
