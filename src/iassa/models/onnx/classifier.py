"""An ONNX file as a black box, on ONNX Runtime.

Layout, size, type and batch are read from its graph; that its scores are probabilities already,
from its last operator; range, order of channels and class names from its metadata, where an
exporter wrote them. The rest has to be said: a wrong guess would make wrong maps in silence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor

from iassa.errors import InputError
from iassa.models.black_box import one_thread
from iassa.models.conventions import Conventions, Layout
from iassa.models.onnx.graph import Output, print_shape
from iassa.models.onnx.model import OnnxBlackBox

__all__ = ["OnnxModel"]

BOUNDED = ("Softmax", "Sigmoid", "HardSigmoid")


class OnnxModel(OnnxBlackBox):
    """An ONNX file, planes (N, 3, H, W) in [0, 1] -> scores (N, K)."""

    def __init__(
        self,
        path: str | Path,
        *,
        input_size: tuple[int, int] | Literal["any"] | None = None,
        layout: Layout | None = None,
        range: tuple[float, float] | None = None,  # noqa: A002 - as on the command line
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        bgr: bool | None = None,
        softmax: bool | None = None,
        sigmoid: bool | None = None,
        output_name: str | None = None,
        class_names: Sequence[str] | str | Path | None = None,
        name: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Open the file, once, and run it on grey, so that what cannot work is refused here.

        Args:
            path: the file, named *.onnx; external data is read from beside it.
            input_size: (height, width), where the graph leaves it open; 'any' leaves images as
                they are.
            layout: of the input, where its shape does not tell.
            range: values of black and white, (0, 1), (0, 255) or (-1, 1). With no mean and std, as
                no file tells that, it has to be said, unless the graph takes 8-bit images or
                metadata say it.
            mean: of each channel, in units of `range`, by default (0, 1); together with `std`.
            std: of each channel, likewise.
            bgr: whether channels are blue, green, red; mean and std are then in this order. RGB
                if neither this nor metadata say otherwise.
            softmax: True puts one behind the graph, False says that its outputs are the scores
                wanted. One of the two, or `sigmoid`, has to be said unless the graph ends in one.
            sigmoid: likewise.
            output_name: which output, if there are several.
            class_names: the names, or a file of them, see `conventions.read_class_names`; metadata
                are read for them otherwise.
            name: what to call it; the file's name if not given.
            device: 'cpu', or 'cuda' where ONNX Runtime has CUDA.

        Raises:
            InputError: not a file that can be used, or something that it does not say of itself
                was not said; what was found in the file is listed.
        """
        said = Conventions(
            input_size=input_size,
            layout=layout,
            range=range,
            mean=mean,
            std=std,
            bgr=bgr,
            softmax=softmax,
            sigmoid=sigmoid,
            output_name=output_name,
        )
        super().__init__(path, said, class_names, name, device)

    def _open(self, said: Conventions, class_names: tuple[str, ...] | None) -> None:
        if said.threshold is not None:
            raise InputError(
                f"expected a threshold for a detector, got {self._file.path}, which is not known "
                f"to be one. Say detector=LAYOUT, or leave it out. {self._file.found}"
            )
        self._output = self._choose(self._file.outputs, said.output_name)
        conventions = self._complete(said)
        self.class_names = class_names or self._file.class_names(said)
        self._start(conventions, [self._output], self.score)

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `BlackBox.score`."""
        runs = []
        with one_thread():  # more would spin on the cores that ONNX Runtime needs
            for count, filled, (scores,) in self._runner.run(planes):
                self._check(scores, filled)
                runs.append(scores[:count])  # what is over was nobody's question
            scores = runs[0] if len(runs) == 1 else np.concatenate(runs)
            return self._conventions.activate(torch.from_numpy(scores))

    def _check(self, scores: Any, count: int) -> None:
        """Refuse outputs that are no scores (N, K), and names of another number of classes."""
        if not isinstance(scores, np.ndarray) or scores.ndim != 2 or len(scores) != count:
            kind = scores.shape if isinstance(scores, np.ndarray) else type(scores).__name__
            self._refuse_shape(self._output, f"{kind} for N = {count}")
        names = self.class_names
        if names is not None and len(names) != scores.shape[1]:
            raise InputError(
                f"expected {scores.shape[1]} class names, as many as {self._file.path} has scores, "
                f"got {len(names)}. Give a file of names with class_names."
            )

    def _choose(self, outputs: tuple[Output, ...], wanted: str | None) -> Output:
        found = [output for output in outputs if wanted in (None, output.name)]
        if len(found) != 1:
            got = "none" if wanted is None else repr(wanted)
            raise InputError(
                f"expected output_name to be one of "
                f"{', '.join(repr(output.name) for output in outputs)}, the outputs of "
                f"{self._file.path}, got {got}. {self._file.found}"
            )
        if found[0].shape is not None and len(found[0].shape) != 2:
            self._refuse_shape(found[0], print_shape(found[0].shape))
        return found[0]

    def _refuse_shape(self, output: Output, got: str) -> NoReturn:
        raise InputError(
            f"expected output {output.name!r} of {self._file.path} to be scores (N, K), got {got}. "
            "Name another with output_name, write a function that makes scores of it, as in "
            "docs/targets.md, or, if it detects objects, say detector=LAYOUT. "
            f"{self._file.found}"
        )

    def _complete(self, said: Conventions) -> Conventions:
        """What was said and what is read, or all that is missing in one error."""
        completed, missing = self._file.complete(said)
        softmax, softmax_missing = self._activation(said)
        if softmax_missing:
            missing["softmax=yes"] = softmax_missing
        self._file.require(said, missing, type(self).__name__)
        return dataclasses.replace(
            completed, softmax=softmax, output_name=self._output.name, class_names=None
        )

    def _activation(self, said: Conventions) -> tuple[bool, str]:
        last = self._output.operator
        if last in BOUNDED:
            if said.softmax or said.sigmoid:
                raise InputError(
                    f"expected no softmax or sigmoid behind {self._file.path}, whose output "
                    f"{self._output.name!r} is that of {last} already, got {said}. Leave it out."
                )
            return False, ""
        if said.softmax is None and not said.sigmoid:
            return False, (
                "softmax=yes if its outputs are logits of which one class is true, sigmoid=yes if "
                f"several may be, softmax=no to take them as they are, as they come from {last}"
            )
        return bool(said.softmax), ""
