"""Eval mode for as long as a network of the user's is run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from iassa.errors import TrainingModeWarning

__all__ = ["evaluating", "warn_of_training"]


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


def warn_of_training(module: nn.Module, name: str) -> None:
    """Tell whoever calls the constructor that calls this, if a part is in training mode.

    Args:
        module: the network.
        name: what it is called.

    Warns:
        TrainingModeWarning: the module, or a part of it, is in training mode.
    """
    if any(part.training for part in module.modules()):
        warnings.warn(
            f"{name} is in training mode: it is run in eval mode, where dropout is off and batch "
            "norm uses what it has learnt, and left in training mode. Call module.eval() first, "
            "once its weights are loaded.",
            TrainingModeWarning,
            stacklevel=3,
        )
