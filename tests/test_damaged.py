"""Damaged files of every kind: a result, or one of our errors, in bounded memory and time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from damage import MOST_BYTES, judge_apart

HERE = Path(__file__).parent
COUNT = 1000


@pytest.mark.thorough  # as all readers of many files
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
@pytest.mark.parametrize("kind", ["images", "coco", "folders", "onnx", "runs"])
def test_damaged_files(kind: str) -> None:
    judged = judge_apart(HERE / f"damaged_{kind}.py", COUNT)
    assert judged["bad"] == []
    assert judged["bytes"] < MOST_BYTES
    found = judged["found"]
    assert sum(found.values()) >= COUNT
    assert found["refused"] >= COUNT / 4
    assert min(found.values()) >= COUNT / 50, found  # each kind of outcome is met
