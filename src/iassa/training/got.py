"""What an error says that it got."""

from __future__ import annotations

from torch import Tensor


def describe(value: object) -> str:
    """The shape of a tensor; of anything else its type."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
