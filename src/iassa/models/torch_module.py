"""A torch module as a black box.

Transforms, precision and the choice among what the module returns are the adapter's, so that any
classifier is shown masked images in [0, 1] and answers with scores (N, K). It is in eval mode for
as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from iassa.errors import BlackBoxError, InputError, TrainingModeWarning, warn
from iassa.models.black_box import BlackBox
from iassa.models.identity import digest_code, digest_module

__all__ = ["TorchModel", "evaluating", "place", "warn_of_training"]

HALVES = (torch.float16, torch.bfloat16)
MOST_PARTS = 4  # of what a module returned, that an error lists


class TorchModel(BlackBox):
    """A torch module, planes (N, 3, H, W) -> logits or probabilities (N, K).

    An output with `logits`, as an attribute or under that key, stands for these: those of
    transformers need nothing more. The module is handed planes of the type of its weights, and
    scores in half precision are given back as float32.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        normalise: Callable[[Tensor], Tensor] | None = None,
        pick: Callable[[Any], Tensor] | None = None,
        softmax: bool = False,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        input_size: tuple[int, int] | None = None,
        device: torch.device | str | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        """Wrap a module.

        Args:
            module: the network; it runs in eval mode, and is left in the mode it was in.
            normalise: from planes in [0, 1] to what it was trained on, float32; None leaves them.
            pick: from what it returns to its scores (N, K), where these are one of several things:
                `lambda outputs: outputs[0]`.
            softmax: whether to turn its logits into probabilities.
            name: what to call it; its class if not given.
            class_names: names of the K outputs.
            input_size: (height, width) that images are resized to before they are masked.
            device: where it is moved to, in place; None leaves it where it is.
            autocast: torch.bfloat16 or torch.float16, in which torch then runs what it deems safe;
                None leaves all in the type of the weights.

        Raises:
            InputError: float16 on a CPU, or another type to cast to.

        Warns:
            TrainingModeWarning: the module, or a part of it, is in training mode.
        """
        module, self.device = place(module, device)
        self.name = name or type(module).__name__
        self.class_names = class_names
        self.input_size = input_size
        self._module = module
        self._normalise = normalise
        self._pick = pick
        self._softmax = softmax
        self._autocast = autocast
        self._dtype = _float_type(module)
        self._identity = ""
        self._check_types()
        warn_of_training(module, self.name)

    def _check_types(self) -> None:
        if self._autocast not in (None, *HALVES):
            raise InputError(
                "expected autocast to be torch.bfloat16, torch.float16 or None, got "
                f"{self._autocast}."
            )
        if self.device.type == "cpu" and torch.float16 in (self._dtype, self._autocast):
            what = "weights" if self._dtype == torch.float16 else "autocast"
            # Where torch has it at all: a convolution takes twenty times as long as in float32.
            raise InputError(
                f"expected {what} in float32 or bfloat16 on a CPU, got float16 for {self.name}: "
                "few CPUs compute in it. "
                + (
                    "Call module.float() or module.bfloat16() first, or give device='cuda'."
                    if what == "weights"
                    else "Say autocast=torch.bfloat16, or give device='cuda'."
                )
            )

    def identity(self) -> str:
        """Name, weights, softmax, autocast and the code of `normalise` and `pick`.

        See `identity.digest_module`. They are looked at once, when it is first asked for: weights
        that are changed afterwards need an adapter of their own.
        """
        if not self._identity:
            picked = digest_code(self._pick)
            parts = [
                self.name,
                digest_module(self._module),
                "softmax" if self._softmax else "",
                digest_code(self._normalise),
                picked and f"pick={picked}",
                f"autocast={self._autocast}" if self._autocast else "",
            ]
            self._identity = " ".join(filter(None, parts))
        return self._identity

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `BlackBox.score`."""
        cast = (
            torch.autocast(self.device.type, dtype=self._autocast)
            if self._autocast
            else nullcontext()
        )
        with evaluating(self._module), torch.inference_mode():
            seen = planes if self._normalise is None else self._normalise(planes)
            with cast:
                scores = self._scores(self._module(seen.to(self._dtype)))
            if scores.dtype in HALVES:
                scores = scores.float()
            return scores.softmax(1) if self._softmax else scores

    def _scores(self, output: Any) -> Tensor:
        """The scores in what the module returned."""
        if self._pick is not None:
            output = self._pick(output)
        if isinstance(output, Tensor):
            return output
        keyed = isinstance(output, Mapping)
        logits = output.get("logits") if keyed else getattr(output, "logits", None)
        if isinstance(logits, Tensor):
            return logits
        raise BlackBoxError(
            f"expected scores (N, K) of the module {self.name}, or an output with logits, got "
            f"{_describe(output)}. {_advise(output)}"
        )


def place(module: nn.Module, device: torch.device | str | None) -> tuple[nn.Module, torch.device]:
    """A module where it is wanted, and the device on which it lies then.

    Args:
        module: the network; it is moved in place.
        device: where to; None leaves it where it is.

    Returns:
        What its `to` gives, and the device of its first weights or buffers; that on which torch
        makes tensors, if it has none.
    """
    if device is not None:
        module = module.to(device)
    held = next(chain(module.parameters(), module.buffers()), torch.empty(0))
    return module, held.device


def _float_type(module: nn.Module) -> torch.dtype:
    """Type of the first weights that are floating-point: that of the planes it takes."""
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.dtype in (*HALVES, torch.float32, torch.float64):
            return tensor.dtype
    return torch.float32


def _describe(output: object) -> str:
    """Its type, and what is in it: 'tuple of Tensor (4, 10), NoneType'."""
    kind = type(output).__name__
    if isinstance(output, Tensor):
        return f"{kind} {tuple(output.shape)}"
    if isinstance(output, Mapping):
        parts = [f"{key!r}: {_describe(value)}" for key, value in output.items()]
    elif isinstance(output, tuple | list):
        parts = [_describe(value) for value in output]
    else:
        return kind
    more = f" and {len(parts) - MOST_PARTS} more" if len(parts) > MOST_PARTS else ""
    return f"{kind} of {', '.join(parts[:MOST_PARTS])}{more}" if parts else f"empty {kind}"


def _advise(output: object) -> str:
    """What to write: the first part that looks like scores, if there is one, or a detector's."""
    parts: Mapping[Any, Any] = {}
    if isinstance(output, Mapping):
        parts = output
    elif isinstance(output, tuple | list):
        parts = dict(enumerate(output))
    for key, value in parts.items():
        if isinstance(value, Tensor) and value.ndim == 2:
            return (
                "Say which are the scores: iassa.models.TorchModel(module, "
                f"pick=lambda outputs: outputs[{key!r}])."
            )
    if any(isinstance(value, Mapping) for value in parts.values()):
        return "Wrap a detector with iassa.models.FunctionDetector or iassa.models.TorchDetector."
    return "Say how scores are made of it, with iassa.models.TorchModel(module, pick=...)."


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
        warn(
            f"{name} is in training mode: it is run in eval mode, where dropout is off and batch "
            "norm uses what it has learnt, and left in training mode. Call module.eval() first, "
            "once its weights are loaded.",
            TrainingModeWarning,
        )
