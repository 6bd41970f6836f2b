"""How much a process grew while something ran."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Growth", "watch_memory"]

PROCESS = Path("/proc/self")
RESET_PEAK = "5"  # to clear_refs, see proc(5): the peak becomes what is resident now


@dataclass
class Growth:
    """What `watch_memory` found, once it has ended.

    Attributes:
        bytes: from the beginning to the peak; None where the system does not tell.
    """

    bytes: int | None = None


@contextmanager
def watch_memory() -> Iterator[Growth]:
    """Measure the growth of resident memory inside, at its peak; on Linux, elsewhere not known."""
    growth = Growth()
    try:
        (PROCESS / "clear_refs").write_text(RESET_PEAK)
        before = _status("VmRSS")
    except OSError:  # not Linux, or a sandbox that does not allow it
        yield growth
        return
    yield growth
    growth.bytes = max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", (PROCESS / "status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"no {field} in {PROCESS / 'status'}")
    return int(found[1]) * 1024
