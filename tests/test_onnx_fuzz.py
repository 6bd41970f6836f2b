"""Two thousand damaged ONNX files: each gives a result, an InputError or a BlackBoxError."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("onnx_mutants.py")
GOOD = {"result", "InputError", "BlackBoxError"}
COUNT = 2000


def read_all(seed: int, count: int) -> tuple[list[list[Any]], list[tuple[int, int]]]:
    """What came of each mutant, and the numbers and statuses of those that ended the process."""
    rows: list[list[Any]] = []
    ended: list[tuple[int, int]] = []
    first = 0
    while first < count:
        command = [sys.executable, str(SCRIPT), str(seed), str(first), str(count - first)]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("[")]
        rows += [line for line in lines if len(line) > 1]
        assert lines, "it did not begin"
        first = lines[-1][0] + 1
        if child.returncode:
            ended.append((lines[-1][0], child.returncode))
    return rows, ended


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")
def test_damaged_files() -> None:
    rows, ended = read_all(0, COUNT)
    assert ended == []
    assert len(rows) == COUNT
    odd = [f"{row[0]}: {row[4]}" for row in rows if not {*row[1]} <= GOOD]
    assert not odd, "\n".join(odd[:3])
    assert max(row[2] for row in rows) < 15
    assert max(row[3] for row in rows) < 2**30
    outcomes = Counter(row[1][0] for row in rows)
    assert min(outcomes["result"], outcomes["InputError"]) > COUNT / 10  # both are there
