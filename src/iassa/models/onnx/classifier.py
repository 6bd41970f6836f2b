"""An ONNX file that classifies, as a black box on ONNX Runtime.

Its graph tells layout, size, type and batch; its last operator, whether its scores are
probabilities; its metadata range, order of channels and class names, where an exporter wrote them.
The user has to give the rest: a wrong guess would make wrong maps in silence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from iassa.errors import InputError, list_choices, require
from iassa.models.activation import ActivatedModel
from iassa.models.answers import drop_trailing, to_numbers
from iassa.models.black_box import one_thread
from iassa.models.conventions import DETECTORS, Conventions
from iassa.models.onnx.graph import Output, Shape, print_shape
from iassa.models.onnx.model import OnnxBlackBox
from iassa.models.outputs import check_count

BOUNDED = ("Softmax", "Sigmoid", "HardSigmoid")
LABELS = ("ArgMax", "ArgMin")


def _may_be_scores(shape: Shape) -> bool:
    """Whether `drop_trailing` makes (N, K) of such an output."""
    return len(shape) > 0 and all(side == 1 for side in shape[2:])


class OnnxModel(ActivatedModel, OnnxBlackBox):
    """An ONNX file, planes (N, 3, H, W) in [0, 1] -> scores (N, K).

    Besides what all ONNX files take it takes `softmax` or `sigmoid`, one of which has to be given
    unless the graph ends in one: True puts it behind the graph, softmax=False says that the outputs
    are the scores wanted. `output_name` says which output, if there are several.

    Example:
        >>> OnnxModel("net.onnx", range=(0, 1), softmax=True)  # doctest: +SKIP
    """

    def outputs(self, planes: Tensor) -> Tensor:
        """Outputs of planes; see `ActivatedModel.outputs`."""
        with one_thread():  # more would spin on the cores that ONNX Runtime needs
            return torch.cat(self._answers(planes))

    def _activate(self, outputs: Tensor, images: int) -> Tensor:
        with one_thread():
            return super()._activate(outputs, images)

    def _read(self, arrays: list[Any], count: int, size: tuple[int, int]) -> Tensor:
        source = f"output {self._outputs[0].name!r} of {self._file.path}"
        scores = drop_trailing(to_numbers(arrays[0], "scores (N, K)", source), count)
        if scores.ndim != 2 or len(scores) != count:
            self._refuse_shape(self._outputs[0], f"{tuple(scores.shape)} for N = {count}")
        names = self.class_names
        require(
            names is None or len(names) == scores.shape[1],
            f"expected {scores.shape[1]} class names, as many as {self._file.path} has scores, "
            f"got {len(names or ())}. Give a file of names with class_names.",
        )
        check_count(scores.shape[1], self._conventions, str(self._file.path))
        return scores

    def _complete(self, given: Conventions) -> tuple[tuple[Output, ...], None, Conventions]:
        """See `OnnxBlackBox`; one error lists all that is missing."""
        require(
            given.detector is None and given.threshold is None and given.resize is None,
            "expected a detector for a layout, a threshold or resize, got "
            f"{self._file.path}, whose outputs do not tell. Give detector=LAYOUT, or neither. "
            f"{self._file.content}",
        )
        output = self._choose(given.output_name)
        completed, missing = self._file.complete(given)
        if given.output_name is None and len(self._file.outputs) > 1:
            names = list_choices(repr(one.name) for one in self._file.outputs)
            missing[f"output_name={output.name}"] = (
                f"Give output_name=... of its scores, one of {names}"
            )
        last, shape = output.operator, output.shape
        count = None if not shape else 1 if len(shape) == 1 else shape[1]
        check_count(count, given, str(self._file.path))
        require(
            last not in BOUNDED or not (given.softmax or given.sigmoid),
            f"expected no softmax or sigmoid behind {self._file.path}, whose output "
            f"{output.name!r} is that of {last} already, got {given}. Leave it out.",
        )
        if last not in BOUNDED and given.softmax is None and not given.sigmoid:
            several = (
                "Give softmax=yes if its outputs are logits of which one class is true, "
                "sigmoid=yes if several may be, softmax=no to take them as they are"
            )
            one = "Give sigmoid=yes if its output is a logit, softmax=no to take it as it is"
            wanted, choice = ("sigmoid", one) if count == 1 else ("softmax", several)
            missing[f"{wanted}=yes"] = f"{choice}. It comes from {last or 'no operator'}"
        self._file.raise_missing(given, missing, "OnnxModel")
        softmax = bool(given.softmax)
        return (output,), None, replace(completed, softmax=softmax, output_name=output.name)

    def _choose(self, wanted: str | None) -> Output:
        """The output of a name; without one the first that may hold scores."""
        chosen = [one for one in self._file.outputs if wanted in (None, one.name)]
        names = list_choices(repr(one.name) for one in self._file.outputs)
        require(
            chosen,
            f"expected output_name to be one of {names}, the outputs of {self._file.path}, got "
            f"{wanted!r}. {self._file.content}",
        )
        likely = [one for one in chosen if one.shape is None or _may_be_scores(one.shape)]
        likely.sort(key=lambda one: one.shape is not None and len(one.shape) != 2)
        if not likely:
            self._refuse_shape(chosen[0], print_shape(chosen[0].shape))
        scores = [one for one in likely if one.operator not in LABELS]
        if not scores:
            self._refuse_shape(likely[0], f"class numbers of {likely[0].operator}")
        return scores[0]

    def _refuse_shape(self, output: Output, got: str) -> NoReturn:
        raise InputError(
            f"expected output {output.name!r} of {self._file.path} to be scores (N, K), got {got}. "
            "Name another with output_name, write a function as in docs/targets.md, or, if it "
            f"detects objects, say detector=LAYOUT, one of {', '.join(DETECTORS)}, see "
            f"docs/detectors.md. {self._file.content}"
        )
