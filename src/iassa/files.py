"""Files that are read and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import TYPE_CHECKING

from iassa.errors import InputError, require, show

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = "run.lock"
# What Windows forbids in a name, and the names that stand for devices there.
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)

# Bytes of any file that is read, and times the bytes on the disk of a larger one.
FREE = 256 * 2**20
RATIO = 16


def folder_name(text: str) -> str:
    """A name that every system takes for a folder, from any text.

    Example:
        >>> [folder_name(text) for text in ("cat", "what?", "con.2", "..")]
        ['cat', 'what_', '_con.2', '_']
    """
    name = FORBIDDEN.sub("_", text).rstrip(". ")
    return name if name and not DEVICES.fullmatch(name) else f"_{name}"


def user_path(path: str | PurePath, what: str = "a path") -> Path:
    """A path as the user means it: `~` at its start is the home folder.

    Args:
        path: as the user gives it.
        what: is wanted, for the error, as 'the folder of images'.

    Raises:
        InputError: it is no path, or has a null byte, which no path has.
    """
    taken = isinstance(path, str | os.PathLike)
    require(taken, f"expected {what} as a text or a Path, got {show(path)}. Name one.")
    require(
        "\0" not in str(path),
        f"expected {what} without a null byte, got {show(str(path))}. Check the path.",
    )
    return Path(os.path.expanduser(path))  # noqa: PTH111 - an unknown user is no error


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder, by a name that may be anyone's.

    Raises:
        InputError: the name leads out of the folder.
    """
    if PurePath(name).is_absolute() or PureWindowsPath(name).drive or ".." in PurePath(name).parts:
        raise InputError(f"expected the name of a file in {folder}, got {show(name)}.")
    return folder / name


def is_there(path: Path) -> bool:
    """Whether a file or folder exists; one of a name that is too long does not.

    'new/../a' is 'a', though no folder 'new' is there: whoever writes that path makes the folder.
    """
    try:
        return Path(os.path.realpath(path)).exists()
    except (OSError, ValueError):
        return False


def check_apart(folder: Path, what: str, others: Mapping[str, Path]) -> None:
    """Refuse a folder of results among files of the user's: its pictures would be more of them.

    Args:
        folder: of the results.
        what: they are, as 'a run'.
        others: folders of the user's, by what is in them, as 'the images'.

    Raises:
        InputError: it is one of them, or lies inside of it.
    """
    here = Path(os.path.realpath(folder))
    for files, other in others.items():
        there = Path(os.path.realpath(other))
        got = f"their folder {folder}" if here == there else f"{folder} inside of {other}"
        require(
            not here.is_relative_to(there),
            f"expected {what} apart from {files}, got {got}. Choose another folder.",
        )


def refuse_special(path: Path) -> None:
    """Refuse a pipe, which would wait, a device, which might not end, and a file of holes.

    An archive of a kilobyte may hold a file of many gigabytes, of which no byte is on the disk.

    Raises:
        InputError: it is one of them.
    """
    if not is_there(path):
        return
    special = not (path.is_file() or path.is_dir())
    require(not special, f"expected a file, got {path}, which is none.")
    status = path.stat()
    stored = 512 * getattr(status, "st_blocks", status.st_size)  # Windows does not say
    if status.st_size > max(FREE, RATIO * stored):  # or it was written just now: look closer
        stored = _count_stored(path, status.st_size)
        require(
            status.st_size <= RATIO * stored,
            f"expected a file whose bytes are on the disk, got {stored / 1e6:.1f} MB there of "
            f"{status.st_size / 1e6:.0f} MB in {path}: the rest are holes. Make it again.",
        )


def _count_stored(path: Path, size: int) -> int:
    """The bytes of a file that are in no hole, or enough of them to allow its size.

    A file system that knows of no holes says that all are.
    """
    stored = place = 0
    # An error says that only a hole is left.
    with path.open("rb") as file, contextlib.suppress(OSError):
        while place < size and RATIO * stored < size:
            begin = os.lseek(file.fileno(), place, os.SEEK_DATA)
            place = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            stored += place - begin
    return stored


def private_folder(folder: Path, *names: str) -> Path:
    """A folder of which the content can be trusted: no other user can change it.

    Args:
        folder: made if it is not there.
        names: files in it, which need not be there.

    Returns:
        The folder.

    Raises:
        InputError: another user owns the folder or one of the files, or can write to it; or what
            has the name of a file is none.
        OSError: the folder cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = [folder / name for name in names]
    for path in files:
        there = path.exists() or path.is_symlink()
        require(
            path.is_file() or not there,
            f"expected {path} to be a file, got a folder, a pipe or the like. Delete it.",
        )
    for path in (folder, *files):
        if hasattr(os, "geteuid") and path.exists():  # Windows keeps its rights elsewhere
            _refuse_shared(path, path.stat())
    return folder


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    # Often a user has a group of their own, and what they make can be written by it.
    others = stat.S_IWOTH | (0 if status.st_gid == os.getegid() else stat.S_IWGRP)
    require(
        status.st_uid in (0, os.geteuid()) and not status.st_mode & others,
        f"expected {path} to be yours and to be written by nobody else, got user {status.st_uid} "
        f"and rights {stat.filemode(status.st_mode)}. Delete it, or choose another folder.",
    )


def read_whole(path: Path, what: str = "") -> bytes:
    """The content of a file.

    Args:
        path: of the file.
        what: the kind of file, for the error.

    Raises:
        InputError: it does not exist or cannot be read, or is a pipe or a device.
    """
    refuse_special(path)
    try:
        return path.read_bytes()
    except OSError as error:
        name = f"{what} {path}".strip()
        raise InputError(f"cannot read {name}: {error.strerror or error}. Check it.") from error


def write_whole(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a folder, each whole or not at all.

    All files are written under other names first and renamed last. So a full disk leaves the files
    of an earlier run as they were.

    Args:
        directory: made if it does not exist.
        contents: bytes by file name.

    Raises:
        InputError: the folder cannot be made or written.
    """
    drafts: dict[str, Path] = {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            drafts[name] = directory / f".{name}.{uuid.uuid4().hex[:8]}"
            with drafts[name].open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name in contents:
            drafts[name].replace(directory / name)
            del drafts[name]
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write to {directory}: {reason}. Choose another folder.") from None
    finally:
        for draft_path in drafts.values():
            with contextlib.suppress(OSError):
                draft_path.unlink()


def check_writable(directory: Path) -> None:
    """Check that a folder can be written, before the calls are spent.

    Raises:
        InputError: the folder cannot be made or written.
    """
    write_whole(directory, {".iassa-probe": b""})
    (directory / ".iassa-probe").unlink(missing_ok=True)


def lock_folder(folder: Path) -> BaseFileLock:
    """Lock a folder for this process. The system lets go of it if the process dies.

    Args:
        folder: made if it does not exist.

    Returns:
        The lock, to be released.

    Raises:
        InputError: another process has it, or the folder cannot be made or written.
    """
    import filelock  # here: only runs of many images need it

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise InputError(
            f"another process works on {folder}. Wait for it, or choose another folder."
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror or error}. Choose another folder."
        ) from None
    return lock
