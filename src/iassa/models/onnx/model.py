"""An ONNX file that takes images: what it says of itself, what it leaves open, and its runs.

What its outputs mean is another matter: `OnnxModel` reads scores in them, `OnnxDetector` boxes.
All else that these two do with a file is that of `OnnxBlackBox`.
"""

from __future__ import annotations

import functools
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor

from iassa.errors import require
from iassa.files import user_path
from iassa.models.black_box import BlackBox
from iassa.models.conventions import (
    ASK_RANGE,
    ClassNames,
    ConventionFields,
    Conventions,
    Layout,
    as_class_names,
    parse_class_names,
    raise_missing,
    to_bytes,
)
from iassa.models.onnx import graph
from iassa.models.onnx.features import READ_AS, tensors_of
from iassa.models.onnx.session import checking_size, open_session, run_session

# https://onnx.ai/onnx/repo-docs/MetadataProps.html; keys and values in any case.
RANGES = {
    "nominalrange_0_255": (0.0, 255.0),
    "normalized_0_1": (0.0, 1.0),
    "normalized_1_1": (-1.0, 1.0),
    "nominalrange_16_235": (16.0, 235.0),
}
ORDERS = {"rgb8": False, "bgr8": True}
NAMES = ("names", "class_names")  # where Ultralytics and others write them
SIZE = "imgsz"  # where Ultralytics writes [height, width]


class OnnxFile:
    """An ONNX file whose one input is an image.

    Attributes:
        path: of the file.
        content: what is in it, for errors.
        image: its input.
        outputs: in its order.
        notes: metadata by key.
        digest: of the file and its external data.
        alone: whether an image of it has to be alone in a batch to be scored by itself.
    """

    def __init__(self, path: Path, layout: Layout | None) -> None:
        """Read it; weights are left alone.

        Args:
            path: external data is beside it.
            layout: of its input, as the user gives it; None reads it from the shape.

        Raises:
            InputError: not a file that can be read, or not a model of one image.
        """
        model = graph.load(path)
        self.path = path
        self.content = graph.describe(model)
        self.image = graph.image_input(model, path, layout)
        self.outputs = graph.read_outputs(model)
        self.notes = {note.key: note.value for note in model.metadata_props}
        self._refuse_features()
        self.digest = graph.digest(model, path)
        self.alone = graph.is_dynamically_quantised(model)

    def _refuse_features(self) -> None:
        """Refuse a file whose metadata say that its outputs are features, as of an adaptation."""
        features = tensors_of(self.notes.get(READ_AS, ""))
        require(
            not features or any(one.name not in features for one in self.outputs),
            f"expected a model that gives scores, got {self.path}, which gives features of "
            f"attention by its metadata. Use it beside a model, as --set features={self.path}, in "
            f"Python Iassa(features={str(self.path)!r}).",
        )

    @property
    def lower_notes(self) -> dict[str, str]:
        """Metadata with keys and values in lower case."""
        return {key.lower(): value.strip().lower() for key, value in self.notes.items()}

    def complete(self, given: Conventions) -> tuple[Conventions, dict[str, str]]:
        """How pixels become the input, by the user and by the file, and what both leave open.

        Args:
            given: by the user.

        Returns:
            Conventions with `input_size`, `layout`, `range` and `bgr`, None where they are open;
            and for each that is open a text of what to give, by an example 'field=value'.

        Raises:
            InputError: the user contradicts the file.
        """
        size, values, bgr = self._size(given), self._range(given), self._bgr(given)
        missing = {}
        if self.image.layout is None:  # without it nobody can tell which sides are the size
            missing["layout=NCHW"] = "Give layout=NCHW or layout=NHWC"
        if size is None:
            any_size = ". Or give input_size=any" if self.image.size == (None, None) else ""
            missing["input_size=224,224"] = (
                "Give input_size=HEIGHT,WIDTH of its training: its input is "
                f"{graph.print_shape(self.image.shape)}{any_size}"
            )
        if values is None:
            missing["range=0-1"] = ASK_RANGE
        layout = self.image.layout
        return replace(given, input_size=size, layout=layout, range=values, bgr=bgr), missing

    def raise_missing(self, given: Conventions, missing: Mapping[str, str], reader: str) -> None:
        """Raise one error for all that is open.

        Args:
            given: by the user.
            missing: see `conventions.raise_missing`.
            reader: likewise.
        """
        said = str(given)
        whole = f"{self.path}?{'&'.join(filter(None, (said, *missing)))}"
        raise_missing(str(self.path), missing, said or "nothing", whole, reader, self.content)

    def class_names(self, given: ClassNames | None) -> tuple[str, ...] | None:
        """Names that the user gives, or else those of the metadata.

        Args:
            given: see `conventions.as_class_names`.

        Raises:
            InputError: they cannot be read.
        """
        if given is not None:
            return as_class_names(given)
        for key in NAMES:
            if key in self.notes:
                return parse_class_names(self.notes[key], f"the metadata {key!r} of {self.path}")
        return None

    def _bgr(self, given: Conventions) -> bool:
        notes = self.lower_notes
        order, gamma = notes.get("image.bitmappixelformat"), notes.get("image.colorspacegamma")
        require(
            order in (None, *ORDERS) and gamma != "linear",
            f"expected a model of sRGB images, got one of {order or ''} {gamma or ''} values by "
            f"its metadata. Write a function that makes them. {self.content}",
        )
        return ORDERS.get(order or "", False) if given.bgr is None else given.bgr

    def _range(self, given: Conventions) -> tuple[float, float] | None:
        if self.image.dtype == np.uint8:
            require(
                given.mean is None and given.range in (None, (0, 255)),
                f"expected no mean, std or range, since {self.path} takes 8-bit images, got "
                f"{given}. Leave them out: such a graph normalises by itself.",
            )
            return 0.0, 255.0
        noted = RANGES.get(self.lower_notes.get("image.nominalpixelrange", ""))
        return given.range or noted or (None if given.mean is None else (0.0, 1.0))

    def _size(self, given: Conventions) -> tuple[int, int] | Literal["any"] | None:
        if given.input_size == "any":
            holds, shape = self.image.size == (None, None), graph.print_shape(self.image.shape)
            require(holds, f"expected input_size=H,W, as {self.path} takes {shape}, got any.")
            return "any"
        match = re.fullmatch(r"\[\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\]", self.lower_notes.get(SIZE, ""))
        noted = (int(match[1]), int(match[2])) if match else (None, None)
        return self.image.complete_size(given.input_size, noted)


class OnnxBlackBox(BlackBox):
    """An ONNX file as a black box, whatever its outputs mean.

    A subclass writes `_complete`, how its outputs are laid out, and `_read`, what they say. A black
    box has the name, the pickle and the identity of its file and of its conventions.
    """

    def __init__(
        self,
        path: str | Path | OnnxFile,
        *,
        class_names: ClassNames | None = None,
        name: str | None = None,
        device: torch.device | str = "cpu",
        **conventions: Unpack[ConventionFields],
    ) -> None:
        """Open the file, once, and run it on grey, so that what cannot work is refused here.

        Args:
            path: the file, named *.onnx; external data is read from beside it. Or the file as it
                was read.
            class_names: the names, or a file of them, see `conventions.as_class_names`. By default
                those of the metadata.
            name: what to call it; the file's name if not given.
            device: 'cpu', or 'cuda' where ONNX Runtime has CUDA.
            **conventions: what the file does not say of itself, see
                `iassa.models.conventions.Conventions`:
                `input_size`, where the graph leaves it open; `layout`, where the shape of the
                input does not tell it; `range`, or `mean` and `std`, unless the graph takes 8-bit
                images or metadata say the range; `bgr`, which is False if neither this nor
                metadata say otherwise. The class says which others it takes.

        Raises:
            InputError: not a file that can be used, or something that neither the file nor the
                caller says; the message lists what is in the file.
        """
        named = str(class_names) if isinstance(class_names, str | Path) else None
        given = Conventions(**conventions, class_names=named)
        self._file = path if isinstance(path, OnnxFile) else OnnxFile(user_path(path), given.layout)
        self.name = name or self._file.path.name
        self.device = torch.device(device)
        self.class_names = self._file.class_names(class_names)
        same: dict[str, Any] = {"class_names": self.class_names, "device": self.device}
        again = functools.partial(type(self), self._file.path, name=self.name, **same)
        self._again = functools.partial(again, **conventions)
        self._outputs, batch, whole = self._complete(given)
        self._conventions = replace(whole, class_names=None)
        self._batch = self._file.image.batch or batch
        self._session = open_session(self._file.path, device=self.device)
        size = self._conventions.input_size
        self.input_size = None if size == "any" else size
        if self.input_size is not None:
            with checking_size(self._file.path, self.input_size):
                self._answers(torch.full((1, 3, *self.input_size), 0.5))
        if self._conventions.resize is not None:  # then it resizes by itself
            self.input_size = None

    def __reduce__(self) -> tuple[Callable[[], OnnxBlackBox], tuple[()]]:
        """Opened again with the same arguments: a session cannot be pickled."""
        return self._again, ()

    def identity(self) -> str:
        """Digest of the file and its external data, and how images and outputs are treated."""
        return f"onnx {self._file.digest} {self._conventions}"

    @abstractmethod
    def _complete(
        self, given: Conventions
    ) -> tuple[tuple[graph.Output, ...], int | None, Conventions]:
        """Complete what the user gives by what is in `_file`.

        Args:
            given: by the user.

        Returns:
            The outputs to compute; how many images the graph may be given at a time, None for as
            many as its input takes; and the conventions, complete.

        Raises:
            InputError: see the class.
        """

    @abstractmethod
    def _read(self, arrays: list[Any], count: int, size: tuple[int, int]) -> Any:
        """What outputs say of a batch: a sequence or a tensor, one entry for each image.

        Args:
            arrays: the outputs.
            count: of images in the batch.
            size: their (height, width).

        Raises:
            InputError: outputs that are of another kind.
        """

    def _answers(self, planes: Tensor) -> list[Any]:
        """What `_read` makes of planes (N, 3, H, W) in [0, 1], batch by batch."""
        images = self._images(planes)
        step = 1 if self._file.alone else self._batch or max(1, len(images))
        size = self._batch or step
        answers = []
        for start in range(0, len(images), step):
            batch = images[start : start + step]
            count = len(batch)
            if count < size:  # a graph of a fixed size is given the last image again
                batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, axis=0)])
            names = [output.name for output in self._outputs]
            arrays = run_session(self._session, names, {self._file.image.name: batch})
            answer = self._read(arrays, len(batch), (planes.shape[2], planes.shape[3]))
            answers.append(answer[:count])
        return answers

    def _images(self, planes: Tensor) -> Any:
        """Planes as the graph takes images, an array."""
        image = self._file.image
        if image.dtype == np.uint8:
            shown = to_bytes(planes.flip(1) if self._conventions.bgr else planes)
        else:
            shown = self._conventions.normalise(planes)
        if image.layout == "NHWC":
            shown = shown.permute(0, 2, 3, 1)
        return shown.contiguous().cpu().numpy().astype(image.dtype, copy=False)
