"""Eval mode for as long as a network of the user's is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside, and each part in the mode it was in afterwards.

    In training mode dropout would make scores random, and batch norm mix the images of a batch.
    """
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
