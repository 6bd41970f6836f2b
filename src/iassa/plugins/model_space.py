"""A map of a tensor that a model takes as it is: normalised, of one or three channels.

Masks hide by a fill in the model's own numbers. The loop knows images in [0, 1], so the tensor and
the fill are brought to that range together, and each masked image is brought back before the model
sees it. A mask mixes both linearly, so nothing else changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from iassa.errors import BlackBoxError, InputError, require, show
from iassa.explanations.explanation import Explanation
from iassa.methods.engine.base import Explainer
from iassa.methods.explain import explain
from iassa.methods.registry import open_method
from iassa.models.black_box import BlackBox

Score = Callable[[Tensor], Tensor]


class ModelSpace(BlackBox):
    """A function of tensors, as a black box of images in [0, 1]."""

    def __init__(self, score: Score, like: Tensor, low: float, high: float, name: str) -> None:
        """Take a function.

        Args:
            score: tensors (N, C, H, W) of the dtype and on the device of `like` -> scores (N,).
            like: (C, H, W).
            low: what 0 stands for.
            high: what 1 stands for.
            name: of the model.
        """
        self.name = name
        self.device = like.device
        self._score, self._like, self._low, self._high = score, like, low, high

    def score(self, planes: Tensor) -> Tensor:
        """Scores (N, 1)."""
        values = planes[:, : len(self._like)] * (self._high - self._low) + self._low
        with torch.no_grad():
            scores = self._score(values.to(self._like.dtype))
        return scores[:, None]


def explain_tensor(
    score: Score,
    tensor: Tensor,
    fill: Tensor,
    *,
    name: str,
    method: str | Explainer = "iassa",
    **options: Any,
) -> Explanation:
    """A map of one tensor.

    Args:
        score: tensors (N, C, H, W) like `tensor` -> scores (N,).
        tensor: (C, H, W) floating point, with one channel or three, in the model's own numbers.
        fill: what hidden pixels show, of the same shape.
        name: of the model.
        method: a name, or an instance; `fill` takes the place of its `baseline`.
        options: as `iassa.explain` takes them.

    Returns:
        The explanation. Its image is the tensor, brought to [0, 1].

    Raises:
        InputError: a tensor of another shape or type, or with values that are not finite.
        RunFailedError: see `iassa.explain`.
    """
    require(
        tensor.ndim == 3 and len(tensor) in (1, 3) and tensor.is_floating_point(),
        f"expected images (C, H, W) of floats with 1 or 3 channels, got {tuple(tensor.shape)} of "
        f"{tensor.dtype}. Wrap the model in a function of such images.",
    )
    both = torch.stack([tensor, fill.to(tensor).expand_as(tensor)]).detach().double().cpu()
    require(bool(both.isfinite().all()), "expected finite inputs and baselines, got others.")
    low, high = float(both.min()), float(both.max())
    high = high if high > low else low + 1.0
    image, baseline = (
        ((one - low) / (high - low)).expand(3, -1, -1).permute(1, 2, 0).float().numpy()
        for one in both
    )
    black_box = ModelSpace(score, tensor, low, high, name)
    opened = open_method(method)
    try:
        filled = dataclasses.replace(opened, baseline=baseline)
    except TypeError as error:  # a method of the user's own
        raise InputError(
            f"expected a method with the field baseline, got {show(method)}. Take 'iassa'."
        ) from error
    try:
        return explain(image, black_box, target=0, method=filled, **options)
    except BlackBoxError as error:
        if isinstance(error.__cause__, InputError):  # the model is right, what was asked is not
            raise error.__cause__ from None
        raise
