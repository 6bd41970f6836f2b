"""An ONNX file that detects objects, on ONNX Runtime, and which kind of black box a file is.

Its pixels are those of any ONNX file, see `OnnxModel`. Shapes and names of its outputs tell their
layout, where they leave no doubt; else the user has to give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from iassa.errors import list_choices, require
from iassa.files import user_path
from iassa.models.black_box import one_thread
from iassa.models.conventions import ONNX, Conventions
from iassa.models.detections import Detections
from iassa.models.detector import THRESHOLD, Detector
from iassa.models.onnx import detector_layouts as layouts
from iassa.models.onnx.classifier import OnnxModel
from iassa.models.onnx.graph import Output
from iassa.models.onnx.letterbox import Letterbox
from iassa.models.onnx.model import OnnxBlackBox, OnnxFile

ULTRALYTICS = "ultralytics"  # by `author`; its exports take RGB in [0, 1]


class OnnxDetector(OnnxBlackBox, Detector):
    """An ONNX file, planes (N, 3, H, W) in [0, 1] -> N `Detections`.

    Besides what all ONNX files take it takes `detector`, the layout of its outputs where they do
    not tell it, a name in `DETECTOR_LAYOUTS`: 'yolov5' (also v7), 'yolov8' (also v9, v11, v12),
    'yolov10' (also others with six numbers a box), 'yolov7-end2end', 'yolox', 'nms', 'torchvision',
    'detr', 'rt-detr'; `threshold`, the least confidence of the boxes that are explained, 0.25 by
    default; and `output_name`, the outputs in the order of the layout with commas between, if
    shapes and names do not tell them. `range` is (0, 1) where metadata say that Ultralytics
    exported the file. `resize` says how images become its input: 'stretch' by default, 'letterbox'
    or 'letterbox-corner'; see `Conventions`. Boxes are in pixels of the image as given.

    Example:
        >>> OnnxDetector("yolo.onnx", detector="yolov8", range=(0, 1))  # doctest: +SKIP
    """

    def detect(self, planes: Tensor) -> Sequence[Detections]:
        """Detections in planes; see `Detector.detect`."""
        with one_thread():  # more would spin on the cores that ONNX Runtime needs
            letterbox = self._letterbox
            if letterbox is None:
                return list(chain.from_iterable(self._answers(planes)))
            size = (planes.shape[2], planes.shape[3])
            found = chain.from_iterable(self._answers(letterbox.put(planes)))
            return [letterbox.take_out(one, size) for one in found]

    def size_for(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """The input's size; with letterboxing, the largest of the photograph's aspect within it."""
        letterbox = self._letterbox
        return super().size_for(photo_size) if letterbox is None else letterbox.fit(photo_size)

    @property
    def _letterbox(self) -> Letterbox | None:
        size, resize = self._conventions.input_size, self._conventions.resize
        if resize is None or not isinstance(size, tuple):
            return None
        return Letterbox(size, centred=resize == "letterbox")

    def _read(self, arrays: list[Any], count: int, size: tuple[int, int]) -> list[Detections]:
        has_more = self._file.lower_notes.get("task") in layouts.TASKS[1:]
        number = None if self.class_names is None else len(self.class_names)
        batch = layouts.Batch(size, count, number, has_more)
        return layouts.decode(self._conventions.detector or "", arrays, batch)

    def _complete(self, given: Conventions) -> tuple[tuple[Output, ...], int | None, Conventions]:
        """See `OnnxBlackBox`; one error lists all that is missing."""
        file = self._file
        self.threshold = THRESHOLD if given.threshold is None else given.threshold
        require(
            given.softmax is None and given.sigmoid is None,
            f"expected no softmax or sigmoid for the detector {file.path}, got {given}. Drop it.",
        )
        ultralytics = file.lower_notes.get("author") == ULTRALYTICS
        plain = ultralytics and given.range is None and given.mean is None
        completed, missing = file.complete(replace(given, range=(0.0, 1.0)) if plain else given)
        names, size = self.class_names, completed.input_size
        layout = given.detector or layouts.recognise(file.outputs, size, names, file.lower_notes)
        if layout is None:
            kinds = [f"{name} {one.shapes}" for name, one in layouts.DETECTOR_LAYOUTS.items()]
            missing["detector=yolov8"] = (
                f"Give detector=... for the layout of its outputs, one of {', '.join(kinds)}. C "
                "is the number of classes"
            )
        file.raise_missing(given, missing, "OnnxDetector")
        letterboxed = given.resize not in (None, "stretch")
        require(
            not letterboxed or size != "any",
            f"expected input_size=HEIGHT,WIDTH of the letterbox of {file.path}, got any. Give it, "
            "or leave out resize.",
        )
        assert layout is not None, "else it is missing"
        kind = layouts.DETECTOR_LAYOUTS[layout]
        outputs = layouts.find_outputs(layout, file.outputs, given.output_name)
        present = list_choices(repr(one.name) for one in file.outputs)
        require(
            outputs,
            f"expected outputs {kind.shapes} of layout {layout} in {file.path}, got "
            f"{given.output_name or 'none'} of {present}. Name them with "
            f"output_name, in this order, commas between. {file.content}",
        )
        chosen = ",".join(output.name for output in outputs)
        whole = replace(completed, detector=layout, output_name=chosen, threshold=None)
        if not letterboxed:
            whole = replace(whole, resize=None)
        return outputs, None if kind.batched else 1, whole


def open_onnx(name: str, device: torch.device | str = "cpu") -> OnnxModel | OnnxDetector:
    """The black box that a name stands for: a detector by its outputs, metadata or conventions.

    Args:
        name: 'FILE.onnx' or 'FILE.onnx?field=value&field=value'; see `Conventions.parse`.
        device: see `OnnxBlackBox`.

    Raises:
        InputError: conventions that cannot be read, or see `OnnxBlackBox`.
    """
    named = ONNX.fullmatch(name)
    path, options = (name, None) if named is None else named.group("path", "options")
    given = Conventions.parse(options or "")
    file = OnnxFile(user_path(path), given.layout)
    kind = OnnxDetector if _is_detector(file, given) else OnnxModel
    return kind(file, device=device, **asdict(given))


def _is_detector(file: OnnxFile, given: Conventions) -> bool:
    task = file.lower_notes.get("task", "")
    if given.detector is not None or task:
        return given.detector is not None or task in layouts.TASKS
    size, names = file.complete(given)[0].input_size, file.class_names(given.class_names)
    return layouts.recognise(file.outputs, size, names, file.lower_notes) is not None
