"""Damage to files, drawn from a seed, and the one judge of all that read them.

Whatever a file holds, a reader gives a result or raises an error of ours, on one short line. It
takes less than a gigabyte of memory and 15 seconds of the processor.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from iassa.errors import (
    BlackBoxError,
    ConventionWarning,
    ImageWarning,
    InputError,
    WeakEvidenceWarning,
)

MOST_BYTES = 1 << 30  # of memory, beyond what the process has when it begins
MOST_SECONDS = 15  # of the processor, a reader and file
LONGEST = 2000  # letters of an error
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
DEEP = {f"in {depth} lists": depth for depth in (30, 900, 50_000)}  # no list of Python's, but JSON
# Values that a field of JSON may have instead of its own.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.5, 1e-320, 1e308),
    *(float("nan"), float("inf"), -float("inf"), "", "x", "3", "é\x00\x1b[2J\u202e", "\ud800"),
    *("x" * 10_000, "../../x", "/etc/passwd", "C:\\x", "a:b", [], [[]], {}, {"": {}}, [0] * 1000),
    *([None, 1], [1e308] * 2, *DEEP),
)
Reader = Callable[[], str]


def damage(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """A file with one to three kinds of damage.

    Args:
        content: of the file.
        others: files, parts of which may come into it.
        rng: draws all.
    """
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        size = len(damaged)
        start = int(rng.integers(size + 1))
        if rng.random() < 0.3:  # the head says how large everything is
            start = min(start, int(rng.integers(200)))
        length = int(rng.integers(1, 40 if rng.random() < 0.7 else size + 2))
        match rng.integers(8):
            case 0:
                for place in rng.integers(0, max(1, size), rng.integers(1, 20)):
                    damaged[place : place + 1] = rng.bytes(1)
            case 1:
                for place in rng.integers(0, size, rng.integers(1, 9)) if size else ():
                    damaged[place] ^= 1 << int(rng.integers(8))
            case 2:
                del damaged[max(start, 1) :]
            case _:
                part = damaged[start : start + length]
                damaged[start : start + length] = _instead(part, others, rng)
    return bytes(damaged)


def _instead(part: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """What stands in the place of a part of a file."""
    match rng.integers(6):
        case 0:
            return b""
        case 1:
            return part * int(rng.integers(2, 50 if len(part) < 40 else 4))
        case 2:
            width, order = int(rng.choice([1, 2, 4])), rng.choice(["little", "big"])
            value = int(rng.choice(NUMBERS)) & (256**width - 1)
            return value.to_bytes(width, order) + part[width:]
        case 3:
            return rng.bytes(len(part))
        case 4:
            return bytes(len(part))
        case _:
            other = others[rng.integers(len(others))]
            first = int(rng.integers(max(1, len(other))))
            return other[first : first + len(part)]


def edit(content: bytes, rng: np.random.Generator, odd: Sequence[Any] = ODD) -> bytes:
    """The text of a JSON file with other values in it, or another text.

    Args:
        content: of the file.
        rng: draws all.
        odd: values that a field may have instead of its own.
    """
    if rng.random() < 0.03:
        return [b"[" * 10**5, b'{"a":' * 10**5, b"9" * 10**5, b"\xff\xfe", b""][rng.integers(5)]
    value = json.loads(content)
    for _ in range(rng.choice([1, 1, 2])):
        places = _places(value)
        if places:
            _replace(*places[rng.integers(len(places))], odd, rng)
    text = json.dumps(value)
    for name, depth in DEEP.items():
        text = text.replace(f'"{name}"', "[" * depth + "]" * depth)
    return text.encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each list or dictionary with each of its keys."""
    if not isinstance(value, dict | list):
        return []
    keys = [*value] if isinstance(value, dict) else range(len(value))
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _replace(place: Any, key: Any, odd: Sequence[Any], rng: np.random.Generator) -> None:
    """Another value in a dictionary or a list."""
    value = place[key]
    match rng.integers(8):
        case 0:
            del place[key]
        case 1:
            place[key] = [value] * int(rng.choice([1, 3, 30]))
        case 2 | 3 if isinstance(place, list):  # one of its neighbours, or many of its own
            if rng.random() < 0.5:
                place[key] = deepcopy(place[rng.integers(len(place))])
            else:
                place += [value] * int(rng.choice([1, 2, 100]))
        case 4 | 5 if isinstance(value, int | float):
            few = int(rng.integers(-3, 99))
            place[key] = value * few if isinstance(value, int) else value / 7 * few
        case _:
            place[key] = deepcopy(odd[rng.integers(len(odd))])


def judge(
    prepare: Callable[[int], Sequence[Reader]],
    count: int,
    first: int = 0,
    room: int = MOST_BYTES,
) -> dict[str, Any]:
    """Read damaged files one after another, within bounds.

    Args:
        prepare: makes the file of a number, and gives all that reads it. What a reader returns
            says what became of the file.
        count: of the files.
        first: number of the first one.
        room: bytes of address space, of which a library may take more than it uses.

    Returns:
        How often each came of it, what broke the rule, and the most memory in bytes.
    """
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("error")
    for kind in (ImageWarning, ConventionWarning, WeakEvidenceWarning):
        warnings.simplefilter("ignore", kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: Counter[str] = Counter()
    bad: list[str] = []
    for number in range(first, first + count):
        print(number, file=sys.stderr)  # the last one, where the process ends
        for reader in prepare(number):
            signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)  # its signal ends the process
            try:
                found[reader()] += 1
            except (InputError, BlackBoxError) as error:
                found["refused"] += 1
                cause = error.__cause__
                if (
                    isinstance(cause, MemoryError)
                    or "\n" in str(error)
                    or len(str(error)) > LONGEST
                ):
                    bad.append(f"{number}: {error!r} from {cause!r}"[:500])
            except Exception as error:  # noqa: BLE001 - of any kind, to be listed
                bad.append(f"{number}: {error!r}"[:500])
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    return {"found": found, "bad": bad, "bytes": grown}


def print_judgement(prepare: Callable[[int], Sequence[Reader]], room: int = MOST_BYTES) -> None:
    """Judge as many files as the command line says, and print what came of it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("first", type=int, nargs="?", default=0)
    asked = parser.parse_args()
    print(json.dumps(judge(prepare, asked.count, asked.first, room)))


def judge_apart(script: Path, count: int) -> dict[str, Any]:
    """What a script prints that calls `print_judgement`, in a process of its own."""
    command = [sys.executable, str(script), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
