"""Damaged files of every kind: a result, or one of our errors, in bounded memory and time."""

from __future__ import annotations

from pathlib import Path

import pytest

from damaging import run_bounded

HERE = Path(__file__).parent


@pytest.mark.thorough  # as all readers of many files
@pytest.mark.parametrize("script", ["damaged_images.py", "damaged_coco.py"])
def test_damaged_files(script: str) -> None:
    found = run_bounded(HERE / script, 2000, 0)
    assert found["bad"] == []
    assert sum(found["outcomes"].values()) == 2000
    assert found["outcomes"]["InputError"] >= 1000
    assert min(found["outcomes"].values()) >= 40, found  # each kind of outcome is met
