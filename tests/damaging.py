"""Files that are damaged at random, and a process that may take only so much memory and time.

A test of a reader damages whole files of all kinds that it reads, and has one rule: each gives a
result, or an error that the library raises on purpose.
"""

from __future__ import annotations

import json
import resource
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MOST_BYTES = 1 << 30  # of memory, beyond what the process has when it begins
MOST_SECONDS = 15  # of the processor, a file
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
PNG = b"\x89PNG\r\n\x1a\n"


def damage(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """A file with one to four kinds of damage; a PNG gets new checksums every other time."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(damaged) + 1))
        if rng.random() < 0.4:  # the head says how large everything is
            place = min(place, int(rng.integers(200)))
        length = int(rng.integers(1, 40))
        match rng.integers(7):
            case 0:
                for spot in rng.integers(0, max(1, len(damaged)), rng.integers(1, 20)):
                    damaged[spot : spot + 1] = rng.bytes(1)
            case 1:
                del damaged[max(place, 1) :]
            case 2:
                del damaged[place : place + length]
            case 3:
                damaged[place:place] = damaged[place : place + length] * int(rng.integers(1, 50))
            case 4:
                width, order = rng.choice([1, 2, 4]), rng.choice(["little", "big"])
                value = int(rng.choice(EXTREMES)) & (256 ** int(width) - 1)
                damaged[place : place + width] = value.to_bytes(int(width), order)
            case 5:
                damaged[place : place + length] = rng.bytes(length)
            case _:
                other = others[rng.integers(len(others))]
                start = int(rng.integers(max(1, len(other))))
                damaged[place : place + length] = other[start : start + length]
    made = bytes(damaged)
    return renew_checksums(made) if made.startswith(PNG) and rng.random() < 0.5 else made


def renew_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they now hold."""
    made, place = bytearray(content), len(PNG)
    while place + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, place)
        end = place + 8 + length
        if end + 4 > len(made):
            break
        struct.pack_into(">I", made, end, zlib.crc32(made[place + 4 : end]))
        place = end + 4
    return bytes(made)


def run_bounded(script: Path, *arguments: object) -> dict[str, Any]:
    """What a script prints as JSON that calls `try_all`, in a process of its own."""
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def try_all(
    attempt: Callable[[int], str], count: int, first: int, known: tuple[type[Exception], ...]
) -> None:
    """Try files one after another, within bounds, and print what became of them.

    Args:
        attempt: reads the file of a number; what it returns is counted.
        count: of the files.
        first: number of the first one.
        known: the errors that may be raised, but for want of memory.
    """
    pages = Path("/proc/self/statm").read_text("ascii").split()
    limit = int(pages[0]) * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: dict[str, int] = {}
    bad: list[str] = []
    slowest = 0.0
    for number in range(first, first + count):
        signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)  # whose signal ends the process
        try:
            outcome = attempt(number)
        except known as error:
            outcome = type(error).__name__
            if isinstance(error.__cause__, MemoryError) or len(str(error)) > 2000:
                bad.append(f"{number}: {error!r} from {error.__cause__!r}"[:500])
        except Exception as error:  # noqa: BLE001 - of any kind, to be listed
            outcome = "other"
            bad.append(f"{number}: {error!r}"[:500])
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        slowest = max(slowest, MOST_SECONDS - signal.getitimer(signal.ITIMER_VIRTUAL)[0])
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    summary = {"outcomes": outcomes, "bad": bad, "bytes": peak, "seconds": round(slowest, 2)}
    print(json.dumps(summary))
