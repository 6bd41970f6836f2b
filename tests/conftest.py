"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# The same cases in every run, on machines of any speed.
settings.register_profile("iassa", deadline=None, derandomize=True)
settings.load_profile("iassa")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small sums are forty times faster in one thread than in two that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
