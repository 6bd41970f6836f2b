"""An ONNX file that detects objects, on ONNX Runtime.

How its pixels are made is read and said as for any ONNX file, see `OnnxModel`; how its outputs
are laid out is told from their shapes and names, where these leave no doubt, or said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from iassa.errors import InputError
from iassa.models.black_box import one_thread
from iassa.models.conventions import Conventions, Layout
from iassa.models.detections import Detections
from iassa.models.detector import THRESHOLD, Detector
from iassa.models.onnx.detector_layouts import (
    DETECTOR_LAYOUTS,
    TASKS,
    Frame,
    decode,
    find_outputs,
    recognise,
)
from iassa.models.onnx.graph import Output
from iassa.models.onnx.model import OnnxBlackBox, OnnxFile

__all__ = ["OnnxDetector", "is_detector"]

ULTRALYTICS = "ultralytics"  # by `author`; its exports take RGB in [0, 1]


class OnnxDetector(OnnxBlackBox, Detector):
    """An ONNX file, planes (N, 3, H, W) in [0, 1] -> N `Detections`."""

    def __init__(
        self,
        path: str | Path,
        *,
        detector: str | None = None,
        threshold: float | None = None,
        input_size: tuple[int, int] | Literal["any"] | None = None,
        layout: Layout | None = None,
        range: tuple[float, float] | None = None,  # noqa: A002 - as on the command line
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        bgr: bool | None = None,
        output_name: str | None = None,
        class_names: Sequence[str] | str | Path | None = None,
        name: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Open the file, once, and run it on grey, so that what cannot work is refused here.

        Args:
            path: the file, named *.onnx; external data is read from beside it.
            detector: layout of its outputs, a name in `DETECTOR_LAYOUTS`, where they do not tell:
                'yolov5' (also v7), 'yolov8' (also v9, v11, v12), 'yolov10' (also others with six
                numbers a box), 'yolov7-end2end', 'nms', 'torchvision', 'detr', 'rt-detr'.
            threshold: the least confidence of the boxes that are explained; 0.25 if not given.
            input_size: see `OnnxModel`. Images are resized to it, not letterboxed; boxes come
                out in pixels of the image as it was given.
            layout: see `OnnxModel`.
            range: see `OnnxModel`; (0, 1) where metadata say that Ultralytics exported it.
            mean: see `OnnxModel`.
            std: see `OnnxModel`.
            bgr: see `OnnxModel`.
            output_name: which outputs, if they cannot be told, commas between, in the order of the
                layout.
            class_names: see `OnnxModel`.
            name: what to call it; the file's name if not given.
            device: see `OnnxModel`.

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
            output_name=output_name,
            detector=detector,
            threshold=threshold,
        )
        super().__init__(path, said, class_names, name, device)

    def _open(self, said: Conventions, class_names: tuple[str, ...] | None) -> None:
        self.threshold = THRESHOLD if said.threshold is None else said.threshold
        if said.softmax is not None or said.sigmoid is not None:
            raise InputError(
                f"expected no softmax or sigmoid for the detector {self._file.path}, got {said}. "
                "Leave them out: the layout of its outputs has what it needs."
            )
        self.class_names = class_names or self._file.class_names(said)
        conventions, outputs = self._complete(said)
        batch = None if DETECTOR_LAYOUTS[conventions.detector or ""].batched else 1
        self._start(conventions, outputs, self.detect, batch)

    @property
    def _layout(self) -> str:
        return self._conventions.detector or ""

    @property
    def _num_classes(self) -> int | None:
        return None if self.class_names is None else len(self.class_names)

    def detect(self, planes: Tensor) -> Sequence[Detections]:
        """Detections in planes; see `Detector.detect`."""
        size = (planes.shape[2], planes.shape[3])
        has_more = self._file.lower_notes.get("task") in TASKS[1:]
        found: list[Detections] = []
        with one_thread():  # more would spin on the cores that ONNX Runtime needs
            for count, filled, arrays in self._runner.run(planes):
                frame = Frame(size, filled, self._num_classes, has_more)
                found += decode(self._layout, arrays, frame)[:count]
        return found

    def _complete(self, said: Conventions) -> tuple[Conventions, tuple[Output, ...]]:
        """What was said and what is read, or all that is missing in one error; the outputs."""
        notes, known = self._file.lower_notes, said
        if notes.get("author") == ULTRALYTICS and said.range is None and said.mean is None:
            known = dataclasses.replace(said, range=(0.0, 1.0))
        completed, missing = self._file.complete(known)
        layout = said.detector or _recognise(self._file, completed, self._num_classes)
        if layout is None:
            layouts = [f"{name} {one.shapes}" for name, one in DETECTOR_LAYOUTS.items()]
            missing["detector=yolov8"] = (
                f"detector=... for the layout of its outputs, one of {', '.join(layouts)}, where C "
                "is the number of classes"
            )
        self._file.require(said, missing, type(self).__name__)
        assert layout is not None, "said or missing"
        outputs = find_outputs(layout, self._file.outputs, said.output_name)
        if outputs is None:
            there = ", ".join(repr(output.name) for output in self._file.outputs)
            raise InputError(
                f"expected outputs {DETECTOR_LAYOUTS[layout].shapes} of layout {layout} in "
                f"{self._file.path}, got {said.output_name or 'none that could be told'} of "
                f"{there}. Name them with output_name, in this order, commas between. "
                f"{self._file.found}"
            )
        return dataclasses.replace(
            completed,
            detector=layout,
            output_name=",".join(output.name for output in outputs),
            class_names=None,
            threshold=None,
        ), outputs


def is_detector(file: OnnxFile, said: Conventions) -> bool:
    """Whether a file is a detector's, by what was said or by what is in it.

    Raises:
        InputError: what was said contradicts the file, or names its classes in a way that cannot
            be read.
    """
    task = file.lower_notes.get("task", "")
    if said.detector is not None or task:
        return said.detector is not None or task in TASKS
    names = file.class_names(said)
    number = None if names is None else len(names)
    return _recognise(file, file.complete(said)[0], number) is not None


def _recognise(file: OnnxFile, completed: Conventions, num_classes: int | None) -> str | None:
    size = completed.input_size
    known = size if isinstance(size, tuple) else (None, None)
    return recognise(file.outputs, known, num_classes, file.lower_notes)
