"""A torch module as a black box.

The black box owns transforms, precision and the choice among what the module returns. So any
classifier is shown masked images in [0, 1] and answers with scores (N, K). The module is in eval
mode for as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import KW_ONLY, InitVar, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from iassa.checks import InputSize, take
from iassa.errors import BlackBoxError, TrainingModeWarning, require, warn
from iassa.models.activation import ActivatedModel
from iassa.models.answers import describe, drop_trailing, parts_of
from iassa.models.black_box import BlackBox
from iassa.models.conventions import Conventions, as_class_names
from iassa.models.identity import digest_code, digest_module

HALVES = (torch.float16, torch.bfloat16)
FLOATS = (*HALVES, torch.float32, torch.float64)


@dataclass(eq=False, repr=False)
class TorchBlackBox(BlackBox):
    """A torch module as a black box, whatever it returns: subclass it and write `score`.

    Attributes:
        module: the network; it runs in eval mode, and is left in the mode it was in.
        normalise: from planes in [0, 1] to what it was trained on, float32; None leaves them.
        name: what to call it; its class if not given.
        class_names: names of the classes; see `conventions.as_class_names`.
        input_size: (height, width) that images are resized to before they are masked; one number
            for both, or (3, height, width).
        device: where it is moved to, in place; None leaves it where it is.
        dtype: of the planes that it takes, that of its first weights that are floating-point.

    Raises:
        InputError: weights in float16 on a CPU, or class names or a size of another type.

    Warns:
        TrainingModeWarning: the module, or a part of it, is in training mode.
    """

    module: nn.Module
    _: KW_ONLY
    normalise: Callable[[Tensor], Tensor] | None = None
    name: str = ""
    class_names: Sequence[str] | None = None
    input_size: tuple[int, int] | None = None
    device: InitVar[torch.device | str | None] = None
    dtype: torch.dtype = field(init=False)

    def __post_init__(self, device: torch.device | str | None) -> None:
        self.class_names = as_class_names(self.class_names)
        self.input_size = take(self.input_size, InputSize, "input_size")
        if device is not None:
            self.module = self.module.to(device)
        held = [*self.module.parameters(), *self.module.buffers(), torch.empty(0).float()]
        self.device = held[0].device
        self.dtype = next(tensor.dtype for tensor in held if tensor.dtype in FLOATS)
        self.name = self.name or type(self.module).__name__
        self._check_half("weights", self.dtype, "Call module.float() or module.bfloat16() first")
        if any(part.training for part in self.module.modules()):
            warn(
                f"{self.name} is in training mode: it is run in eval mode, where dropout is off "
                "and batch norm uses what it has learnt, and left in training mode. Call "
                "module.eval() first, once its weights are loaded.",
                TrainingModeWarning,
            )

    def _check_half(self, what: str, dtype: torch.dtype | None, instead: str) -> None:
        # Where torch has it at all: a convolution takes twenty times as long as in float32.
        require(
            self.device.type != "cpu" or dtype != torch.float16,
            f"expected {what} in float32 or bfloat16 on a CPU, got float16 for {self.name}: few "
            f"CPUs compute in it. {instead}, or give device='cuda'.",
        )

    def identity(self) -> str:
        """Name, weights and the code of `normalise`; see `identity.digest_module`.

        Weights are read once, at the first call of this: weights that change afterwards need a
        black box of their own.
        """
        return " ".join(filter(None, [self.name, self._weights, *self._treatment()]))

    @cached_property
    def _weights(self) -> str:
        return digest_module(self.module)

    def _treatment(self) -> list[str]:
        """What is done to planes and outputs, for the identity."""
        return [digest_code(self.normalise)]

    def prepare(self, planes: Tensor) -> Tensor:
        """Planes in [0, 1] as the module takes them: normalised, in the type of its weights."""
        return (planes if self.normalise is None else self.normalise(planes)).to(self.dtype)


@dataclass(eq=False, repr=False)
class TorchModel(ActivatedModel, TorchBlackBox):
    """A torch module, planes (N, 3, H, W) -> logits or probabilities (N, K).

    An output with `logits`, as an attribute or under that key, stands for these: those of
    transformers need nothing more. The module is handed planes of the type of its weights, and
    scores in half precision are given back as float32.

    Attributes:
        pick: from what the module returns to its scores (N, K), where these are one of several
            things: `lambda outputs: outputs[0]`.
        softmax: whether to turn its logits into probabilities.
        sigmoid: likewise, where several classes can be true, or there is one output.
        autocast: torch.bfloat16 or torch.float16, in which torch then runs what it deems safe;
            None leaves all in the type of the weights.

    Raises:
        InputError: float16 on a CPU, another type to cast to, or softmax and sigmoid.

    Others are those of `TorchBlackBox`: module, normalise, name, class_names, input_size, device.
    """

    _: KW_ONLY
    pick: Callable[[Any], Tensor] | None = None
    softmax: bool = False
    sigmoid: bool = False
    autocast: torch.dtype | None = None

    def __post_init__(self, device: torch.device | str | None) -> None:
        super().__post_init__(device)
        self._conventions = Conventions(softmax=self.softmax, sigmoid=self.sigmoid)
        require(
            self.autocast in (None, *HALVES),
            f"expected autocast to be torch.bfloat16, torch.float16 or None, got {self.autocast}.",
        )
        self._check_half("autocast", self.autocast, "Say autocast=torch.bfloat16")

    def _treatment(self) -> list[str]:
        return [
            "softmax" if self.softmax else "sigmoid" if self.sigmoid else "",
            digest_code(self.normalise),
            f"pick={digest_code(self.pick)}" if digest_code(self.pick) else "",
            f"autocast={self.autocast}" if self.autocast else "",
        ]

    def outputs(self, planes: Tensor) -> Tensor:
        """Outputs of planes; see `ActivatedModel.outputs`."""
        kind = self.autocast
        with evaluating(self.module), torch.inference_mode():
            prepared = self.prepare(planes)
            with torch.autocast(self.device.type, dtype=kind) if kind else nullcontext():
                scores = drop_trailing(self._scores(self.module(prepared)), len(planes))
            return scores.float() if scores.dtype in HALVES else scores

    def _scores(self, output: Any) -> Tensor:
        """The scores in what the module returned."""
        if self.pick is not None:
            output = self.pick(output)
        if isinstance(output, Tensor):
            return output
        keyed = isinstance(output, Mapping)
        logits = output.get("logits") if keyed else getattr(output, "logits", None)
        if isinstance(logits, Tensor):
            return logits
        raise BlackBoxError(
            f"expected scores (N, K) of the module {self.name}, or an output with logits, got "
            f"{describe(output)}. {_advise(output)}"
        )


def _advise(output: object) -> str:
    """What to write: the first part that looks like scores, if there is one, or a detector's."""
    parts = parts_of(output)
    for key, value in parts.items():
        if isinstance(value, Tensor) and value.ndim == 2:
            pick = f"pick=lambda outputs: outputs[{key!r}]"
            return f"Say which are the scores: iassa.models.TorchModel(module, {pick})."
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
