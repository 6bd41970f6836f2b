"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

# The processes that tests start as well: tests run on all cores at once, each on one. It is read
# when NumPy and torch are imported.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import pytest
import torch
from hypothesis import settings

# Under nohup SIGHUP is ignored, and so it would be by every process that a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same cases in every run, on machines of any speed.
settings.register_profile("iassa", deadline=None, derandomize=True)
settings.load_profile("iassa")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first: last of all, one would keep the other processes waiting."""
    items.sort(key=lambda item: item.get_closest_marker("thorough") is None)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small sums are forty times faster in one thread than in two that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
