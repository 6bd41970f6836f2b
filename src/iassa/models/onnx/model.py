"""An ONNX file that takes images: what it says of itself, what it leaves open, and its runs.

What its outputs mean is another matter: `OnnxModel` reads scores in them, `OnnxDetector` boxes.
All else that these two do with a file is that of `OnnxBlackBox`.
"""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from iassa.errors import InputError
from iassa.models.black_box import BlackBox
from iassa.models.conventions import (
    Conventions,
    Layout,
    parse_class_names,
    read_class_names,
    to_bytes,
)
from iassa.models.onnx.graph import (
    Output,
    describe,
    digest_files,
    image_input,
    metadata,
    print_shape,
    read_graph,
    read_outputs,
)
from iassa.models.onnx.session import open_session, run_session

__all__ = ["OnnxBlackBox", "OnnxFile", "OnnxRunner", "split_name"]

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
DTYPES = {
    np.dtype("float32"): torch.float32,
    np.dtype("float16"): torch.float16,
    np.dtype("float64"): torch.float64,
    np.dtype("uint8"): torch.uint8,
}


def split_name(text: str) -> tuple[Path, Conventions]:
    """Path and conventions of 'FILE.onnx?field=value&field=value'; see `Conventions.parse`.

    Raises:
        InputError: conventions that cannot be read.
    """
    path, _, options = text.partition(".onnx?")
    said = Conventions.parse(options)
    return Path(f"{path}.onnx") if options else Path(text.removesuffix("?")), said


class OnnxFile:
    """An ONNX file whose one input is an image.

    Attributes:
        path: of the file.
        found: what is in it, for errors.
        image: its input.
        outputs: in its order.
        notes: metadata by key.
        digest: of the file and its external data.
    """

    def __init__(self, path: Path, layout: Layout | None) -> None:
        """Read it; weights are left alone.

        Args:
            path: external data is beside it.
            layout: of its input, if it was said.

        Raises:
            InputError: not a file that can be read, or not a model of one image.
        """
        model = read_graph(path)
        self.path = path
        self.found = describe(model)
        self.image = image_input(model, path, layout)
        self.outputs = read_outputs(model)
        self.notes = metadata(model)
        self.digest = digest_files(model, path)

    @property
    def lower_notes(self) -> dict[str, str]:
        """Metadata with keys and values in lower case."""
        return {key.lower(): value.strip().lower() for key, value in self.notes.items()}

    def complete(self, said: Conventions) -> tuple[Conventions, dict[str, str]]:
        """What was said and what is read of how pixels become the input, and what is missing.

        Args:
            said: by the user.

        Returns:
            Conventions with `input_size`, `layout`, `range` and `bgr`, as far as they are known;
            and what is not, a text for each by an example of how to say it.

        Raises:
            InputError: what was said contradicts the file.
        """
        normalised, range_missing = self._normalisation(said)
        size, size_missing = self._size(said)
        layout_missing = ""
        if self.image.layout is None:  # nor can its size be told then
            layout_missing, size_missing = "layout=NCHW or layout=NHWC", ""
        missing = {
            "layout=NCHW": layout_missing,
            "input_size=224,224": size_missing,
            "range=0-1": range_missing,
        }
        completed = dataclasses.replace(normalised, input_size=size, layout=self.image.layout)
        return completed, {example: text for example, text in missing.items() if text}

    def require(self, said: Conventions, missing: Mapping[str, str], reader: str) -> None:
        """Raise one error for all that is missing.

        Args:
            said: by the user.
            missing: a text for each, by an example of how to say it, 'field=value'.
            reader: the class that has these fields as parameters.
        """
        if not missing:
            return
        raise InputError(
            f"expected what {self.path} does not say of itself: "
            f"{'; '.join(missing.values())}; got {str(said) or 'nothing'}. {self.found} "
            f"Say it in its name, as '{self.path.name}?{'&'.join(missing)}', as options, as "
            f"{' '.join(f'--model-option {one}' for one in missing)}, or as parameters of "
            f"iassa.models.{reader}."
        )

    def class_names(self, said: Conventions) -> tuple[str, ...] | None:
        """Names that were said, or else those of the metadata.

        Raises:
            InputError: they cannot be read.
        """
        if said.class_names is not None:
            return read_class_names(said.class_names)
        for key in NAMES:
            if key in self.notes:
                return parse_class_names(self.notes[key], f"the metadata {key!r} of {self.path}")
        return None

    def _normalisation(self, said: Conventions) -> tuple[Conventions, str]:
        notes = self.lower_notes
        order, gamma = notes.get("image.bitmappixelformat"), notes.get("image.colorspacegamma")
        if order not in (None, *ORDERS) or gamma == "linear":
            raise InputError(
                f"expected a model of sRGB images, got one of {order or ''} {gamma or ''} values "
                f"by its metadata. Write a function that makes them. {self.found}"
            )
        bgr = ORDERS.get(order or "", False) if said.bgr is None else said.bgr
        if self.image.dtype == np.uint8:
            if said.mean is not None or said.range not in (None, (0, 255)):
                raise InputError(
                    f"expected no mean, std or range, since {self.path} takes 8-bit images, got "
                    f"{said}. Leave them out: such a graph normalises by itself."
                )
            return dataclasses.replace(said, range=(0.0, 255.0), bgr=bgr), ""
        noted = notes.get("image.nominalpixelrange", "")
        values = said.range or RANGES.get(noted)
        if values is None and said.mean is None:
            return said, (
                "range=0-1, range=0-255 or range=-1..1 for the values that it takes, or mean=... "
                "and std=..., as 0.485,0.456,0.406 and 0.229,0.224,0.225, that it was trained with"
            )
        return dataclasses.replace(said, range=values or (0.0, 1.0), bgr=bgr), ""

    def _size(self, said: Conventions) -> tuple[tuple[int, int] | Literal["any"] | None, str]:
        graph, wanted = self.image.size, said.input_size
        shape = print_shape(self.image.shape)
        if wanted == "any":
            if graph != (None, None):
                raise InputError(
                    f"expected input_size=HEIGHT,WIDTH, as {self.path} takes {shape}, got any."
                )
            return "any", ""
        noted = _noted_size(self.lower_notes)
        size = [have or want for have, want in zip(graph, wanted or noted, strict=True)]
        if None in size:
            return None, (
                f"input_size=HEIGHT,WIDTH that it was trained on, as its input is {shape}"
                + (", or input_size=any" if graph == (None, None) else "")
            )
        found = (int(size[0] or 0), int(size[1] or 0))
        if wanted is not None and found != wanted:
            raise InputError(
                f"expected input_size to be that of {self.path}, {found[0]},{found[1]}, got "
                f"{wanted[0]},{wanted[1]}. Leave it out."
            )
        return found, ""


class OnnxRunner:
    """A session of an ONNX file, planes in [0, 1] in, arrays out."""

    def __init__(
        self,
        file: OnnxFile,
        conventions: Conventions,
        outputs: Sequence[str],
        device: torch.device,
        batch: int | None = None,
    ) -> None:
        """Start the session, once.

        Args:
            file: the model.
            conventions: how pixels become its input, complete.
            outputs: names of those wanted.
            device: where it runs.
            batch: how many images it is given at a time; as many as it takes, if not given.

        Raises:
            InputError: ONNX Runtime does not open it, or not there.
        """
        self._image = file.image
        self._conventions = conventions
        self._outputs = list(outputs)
        self._batch = file.image.batch or batch
        try:
            # Not resolved: a link, as in the cache of a hub, has its weights beside it as links.
            self._session = open_session(file.path.absolute(), device=device)
        except InputError as error:
            raise InputError(
                f"expected an ONNX model that ONNX Runtime opens, got {file.path}: "
                f"{str(error).rstrip('.')}. Export it with the operators of ONNX itself, in an "
                "opset that the runtime has."
            ) from error

    def run(self, planes: Tensor) -> Iterator[tuple[int, int, list[Any]]]:
        """Outputs of planes (N, 3, H, W) in [0, 1], a batch at a time.

        Yields:
            How many of the planes are in the batch, how many images are in it, as the last one of
            a batch of fixed size is filled up at its end, and the outputs.
        """
        images = self._images(planes)
        step = self._batch or max(1, len(images))
        for start in range(0, len(images), step):
            batch = images[start : start + step]
            count = len(batch)
            if self._batch is not None and count < step:
                batch = np.concatenate([batch, np.repeat(batch[-1:], step - count, axis=0)])
            found = run_session(self._session, self._outputs, {self._image.name: batch})
            yield count, len(batch), found

    def _images(self, planes: Tensor) -> Any:
        """Planes as the graph takes images, an array."""
        if self._image.dtype == np.uint8:
            seen = to_bytes(planes.flip(1) if self._conventions.bgr else planes)
        else:
            seen = self._conventions.normalise(planes)
        if self._image.layout == "NHWC":
            seen = seen.permute(0, 2, 3, 1)
        return seen.contiguous().to(DTYPES[self._image.dtype]).cpu().numpy()


class OnnxBlackBox(BlackBox):
    """An ONNX file as a black box, whatever its outputs mean: subclass it and write `_open`.

    It is named, pickled and told apart from others by its file and by what was said of it.
    """

    _conventions: Conventions
    _runner: OnnxRunner

    def __init__(
        self,
        path: str | Path,
        said: Conventions,
        class_names: Sequence[str] | str | Path | None,
        name: str | None,
        device: torch.device | str,
    ) -> None:
        """Open the file, once, and run it on grey, so that what cannot work is refused here.

        Args:
            path: the file, named *.onnx; external data is read from beside it.
            said: of it, but for class names.
            class_names: the names, or a file of them.
            name: what to call it; the file's name if not given.
            device: where it runs.

        Raises:
            InputError: not a file that can be used, or something that it does not say of itself
                was not said; what was found in the file is listed.
        """
        listed: tuple[str, ...] | None = None
        if isinstance(class_names, str | Path):
            said = dataclasses.replace(said, class_names=str(class_names))
        elif class_names is not None:
            listed = tuple(class_names)
        self._begin(OnnxFile(Path(path), said.layout), said, listed, name, torch.device(device))

    @classmethod
    def of(cls, file: OnnxFile, said: Conventions, device: torch.device | str = "cpu") -> Self:
        """The black box of a file that was read.

        Args:
            file: the model.
            said: of it.
            device: see the class.

        Raises:
            InputError: see the class.
        """
        model = cls.__new__(cls)
        model._begin(file, said, None, None, torch.device(device))
        return model

    def __reduce__(self) -> tuple[Callable[..., OnnxBlackBox], tuple[Any, ...]]:
        """Opened again from what was said: a session cannot be pickled."""
        return _reopen, (type(self), *self._arguments)

    def identity(self) -> str:
        """Digest of the file and its external data, and how images and outputs are treated."""
        return f"onnx {self._file.digest} {self._conventions}"

    @abstractmethod
    def _open(self, said: Conventions, class_names: tuple[str, ...] | None) -> None:
        """Complete what was said by what is in `_file`, set `class_names`, and call `_start`.

        Args:
            said: by the user.
            class_names: those that were listed; others are the file's to tell.

        Raises:
            InputError: see the class.
        """

    def _begin(
        self,
        file: OnnxFile,
        said: Conventions,
        class_names: tuple[str, ...] | None,
        name: str | None,
        device: torch.device,
    ) -> None:
        self._arguments = (file.path, said, class_names, name, device)
        self._file = file
        self.name = name or file.path.name
        self.device = device
        self._open(said, class_names)

    def _start(
        self,
        conventions: Conventions,
        outputs: Sequence[Output],
        ask: Callable[[Tensor], object],
        batch: int | None = None,
    ) -> None:
        """Start the session, and ask about grey where the size of images is known.

        Args:
            conventions: complete.
            outputs: those wanted.
            ask: the black box's own way to be asked about planes (N, 3, H, W).
            batch: see `OnnxRunner`.
        """
        size = conventions.input_size
        self.input_size = None if size is None or size == "any" else size
        self._conventions = conventions
        names = [output.name for output in outputs]
        self._runner = OnnxRunner(self._file, conventions, names, self.device, batch)
        if self.input_size is not None:
            _probe(self._file.path, ask, self.input_size)


def _reopen(
    kind: type[OnnxBlackBox],
    path: Path,
    said: Conventions,
    class_names: tuple[str, ...] | None,
    name: str | None,
    device: torch.device,
) -> OnnxBlackBox:
    model = kind.__new__(kind)
    model._begin(OnnxFile(path, said.layout), said, class_names, name, device)
    return model


def _probe(path: Path, ask: Callable[[Tensor], object], size: tuple[int, int]) -> None:
    """Ask about one grey image, so that what cannot work is refused when a model is opened.

    Raises:
        InputError: it did not work.
    """
    grey = torch.full((1, 3, *size), 0.5)
    try:
        ask(grey)
    except InputError:
        raise
    except Exception as error:  # ONNX Runtime has its own kinds, which share no base
        raise InputError(
            f"expected {path} to run on an image of {size[0]} x {size[1]}, got: "
            f"{' '.join(str(error).split())}. Try another input_size or layout."
        ) from error


def _noted_size(notes: dict[str, str]) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"\[\s*(\d+)\s*,\s*(\d+)\s*\]", notes.get(SIZE, ""))
    return (int(match[1]), int(match[2])) if match else (None, None)
