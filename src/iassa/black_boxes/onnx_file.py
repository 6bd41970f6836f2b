"""An ONNX file as a black box, on ONNX Runtime.

Layout, size, type and batch are read from its graph; that its scores are probabilities already,
from its last operator; range, order of channels and class names from its metadata, where an
exporter wrote them. The rest has to be said: a wrong guess would make wrong maps in silence.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor

from iassa.black_box import Adapter, one_thread
from iassa.conventions import (
    Conventions,
    Layout,
    parse_class_names,
    read_class_names,
    to_bytes,
)
from iassa.errors import InputError
from iassa.onnx_graph import (
    Output,
    describe,
    digest_files,
    image_input,
    metadata,
    print_shape,
    read_graph,
    read_outputs,
)
from iassa.onnx_session import open_session, run_session

__all__ = ["OnnxAdapter"]

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
BOUNDED = ("Softmax", "Sigmoid", "HardSigmoid")


class OnnxAdapter(Adapter):
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
        listed: tuple[str, ...] | None = None
        if class_names is not None and not isinstance(class_names, str | Path):
            listed, class_names = tuple(class_names), None
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
            class_names=None if class_names is None else str(class_names),
        )
        self._open(Path(path), said, listed, name, torch.device(device))

    @classmethod
    def parse(cls, text: str, device: torch.device | str = "cpu") -> OnnxAdapter:
        """The adapter that a text names.

        Args:
            text: 'FILE.onnx?field=value&field=value'; see `Conventions.parse`.
            device: see the class.

        Raises:
            InputError: see the class.
        """
        path, _, options = text.partition(".onnx?")
        said = Conventions.parse(options)
        adapter = cls.__new__(cls)
        whole = Path(f"{path}.onnx") if options else Path(text.removesuffix("?"))
        adapter._open(whole, said, None, None, torch.device(device))
        return adapter

    def __reduce__(self) -> tuple[Callable[..., OnnxAdapter], tuple[Any, ...]]:
        """Opened again from what was said: a session cannot be pickled."""
        return _reopen, self._arguments

    def _open(
        self,
        path: Path,
        said: Conventions,
        class_names: tuple[str, ...] | None,
        name: str | None,
        device: torch.device,
    ) -> None:
        self._arguments = (path, said, class_names, name, device)
        self.name = name or path.name
        self.device = device
        model = read_graph(path)
        self._path = path
        self._found = describe(model)
        self._image = image_input(model, path, said.layout)
        self._output = self._choose(read_outputs(model), said.output_name)
        self._conventions = self._complete(said, metadata(model))
        size = self._conventions.input_size
        self.input_size = None if size is None or size == "any" else size
        self.class_names = class_names or self._read_names(said, metadata(model))
        self._digest = digest_files(model, path)
        self._session = self._start()
        if self.input_size is not None:
            self._probe(self.input_size)

    def identity(self) -> str:
        """Digest of the file and its external data, and how images and scores are treated."""
        return f"onnx {self._digest} {self._conventions}"

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `Adapter.score`."""
        with one_thread():  # more would spin on the cores that ONNX Runtime needs
            images = self._images(planes)
            step = self._image.batch or max(1, len(images))
            runs = [self._run(images[k : k + step]) for k in range(0, len(images), step)]
            scores = runs[0] if len(runs) == 1 else np.concatenate(runs)
            # A batch is filled up at its end: what is over was nobody's question.
            return self._conventions.activate(torch.from_numpy(scores[: len(images)]))

    def _images(self, planes: Tensor) -> Any:
        """Planes as the graph takes images, an array."""
        if self._image.dtype == np.uint8:
            seen = to_bytes(planes.flip(1) if self._conventions.bgr else planes)
        else:
            seen = self._conventions.normalise(planes)
        if self._image.layout == "NHWC":
            seen = seen.permute(0, 2, 3, 1)
        return seen.contiguous().to(DTYPES[self._image.dtype]).cpu().numpy()

    def _run(self, images: Any) -> Any:
        missing = (self._image.batch or len(images)) - len(images)
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        (scores,) = run_session(self._session, [self._output.name], {self._image.name: images})
        self._check(scores, len(images))
        return scores

    def _check(self, scores: Any, count: int) -> None:
        """Refuse outputs that are no scores (N, K), and names of another number of classes."""
        if not isinstance(scores, np.ndarray) or scores.ndim != 2 or len(scores) != count:
            kind = scores.shape if isinstance(scores, np.ndarray) else type(scores).__name__
            self._refuse_shape(self._output, f"{kind} for N = {count}")
        names = self.class_names
        if names is not None and len(names) != scores.shape[1]:
            raise InputError(
                f"expected {scores.shape[1]} class names, as many as {self._path} has scores, got "
                f"{len(names)}. Give a file of names with class_names."
            )

    def _choose(self, outputs: tuple[Output, ...], wanted: str | None) -> Output:
        found = [output for output in outputs if wanted in (None, output.name)]
        if len(found) != 1:
            got = "none" if wanted is None else repr(wanted)
            raise InputError(
                f"expected output_name to be one of "
                f"{', '.join(repr(output.name) for output in outputs)}, the outputs of "
                f"{self._path}, got {got}. {self._found}"
            )
        if found[0].shape is not None and len(found[0].shape) != 2:
            self._refuse_shape(found[0], print_shape(found[0].shape))
        return found[0]

    def _refuse_shape(self, output: Output, got: str) -> NoReturn:
        raise InputError(
            f"expected output {output.name!r} of {self._path} to be scores (N, K), got {got}. "
            f"Name another with output_name, or write a function that makes scores of it. "
            f"{self._found}"
        )

    def _complete(self, said: Conventions, notes: dict[str, str]) -> Conventions:
        """What was said and what is read, or all that is missing in one error."""
        notes = {key.lower(): value.strip().lower() for key, value in notes.items()}
        normalised, range_missing = self._normalisation(said, notes)
        size, size_missing = self._size(said, notes)
        softmax, softmax_missing = self._activation(said)
        layout_missing = ""
        if self._image.layout is None:  # nor can its size be told then
            layout_missing, size_missing = "layout=NCHW or layout=NHWC", ""
        missing = {
            "layout=NCHW": layout_missing,
            "input_size=224,224": size_missing,
            "range=0-1": range_missing,
            "softmax=yes": softmax_missing,
        }
        missing = {example: text for example, text in missing.items() if text}
        if missing:
            flags = [one.replace("=yes", "").replace("_", "-").replace("=", " ") for one in missing]
            raise InputError(
                f"expected what {self._path} does not say of itself: "
                f"{'; '.join(missing.values())}; got {str(said) or 'nothing'}. {self._found} "
                f"Say it in its name, as '{self._path.name}?{'&'.join(missing)}', as options, as "
                f"--{' --'.join(flags)}, or as parameters of iassa.OnnxAdapter."
            )
        return dataclasses.replace(
            normalised,
            input_size=size,
            layout=self._image.layout,
            softmax=softmax,
            output_name=self._output.name,
            class_names=None,
        )

    def _normalisation(self, said: Conventions, notes: dict[str, str]) -> tuple[Conventions, str]:
        order, gamma = notes.get("image.bitmappixelformat"), notes.get("image.colorspacegamma")
        if order not in (None, *ORDERS) or gamma == "linear":
            raise InputError(
                f"expected a model of sRGB images, got one of {order or ''} {gamma or ''} values "
                f"by its metadata. Write a function that makes them. {self._found}"
            )
        bgr = ORDERS.get(order or "", False) if said.bgr is None else said.bgr
        if self._image.dtype == np.uint8:
            if said.mean is not None or said.range not in (None, (0, 255)):
                raise InputError(
                    f"expected no mean, std or range, since {self._path} takes 8-bit images, got "
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

    def _size(
        self, said: Conventions, notes: dict[str, str]
    ) -> tuple[tuple[int, int] | Literal["any"] | None, str]:
        graph, wanted = self._image.size, said.input_size
        shape = print_shape(self._image.shape)
        if wanted == "any":
            if graph != (None, None):
                raise InputError(
                    f"expected input_size=HEIGHT,WIDTH, as {self._path} takes {shape}, got any."
                )
            return "any", ""
        size = [
            have or want for have, want in zip(graph, wanted or _noted_size(notes), strict=True)
        ]
        if None in size:
            return None, (
                f"input_size=HEIGHT,WIDTH that it was trained on, as its input is {shape}"
                + (", or input_size=any" if graph == (None, None) else "")
            )
        found = (int(size[0] or 0), int(size[1] or 0))
        if wanted is not None and found != wanted:
            raise InputError(
                f"expected input_size to be that of {self._path}, {found[0]},{found[1]}, got "
                f"{wanted[0]},{wanted[1]}. Leave it out."
            )
        return found, ""

    def _activation(self, said: Conventions) -> tuple[bool, str]:
        last = self._output.operator
        if last in BOUNDED:
            if said.softmax or said.sigmoid:
                raise InputError(
                    f"expected no softmax or sigmoid behind {self._path}, whose output "
                    f"{self._output.name!r} is that of {last} already, got {said}. Leave it out."
                )
            return False, ""
        if said.softmax is None and not said.sigmoid:
            return False, (
                "softmax=yes if its outputs are logits of which one class is true, sigmoid=yes if "
                f"several may be, softmax=no to take them as they are, as they come from {last}"
            )
        return bool(said.softmax), ""

    def _read_names(self, said: Conventions, notes: dict[str, str]) -> tuple[str, ...] | None:
        if said.class_names is not None:
            return read_class_names(said.class_names)
        for key in NAMES:
            if key in notes:
                return parse_class_names(notes[key], f"the metadata {key!r} of {self._path}")
        return None

    def _start(self) -> Any:
        try:
            # Not resolved: a link, as in the cache of a hub, has its weights beside it as links.
            return open_session(self._path.absolute(), device=self.device)
        except InputError as error:
            raise InputError(
                f"expected an ONNX model that ONNX Runtime opens, got {self._path}: "
                f"{str(error).rstrip('.')}. Export it with the operators of ONNX itself, in an "
                "opset that the runtime has."
            ) from error

    def _probe(self, size: tuple[int, int]) -> None:
        grey = torch.full((1, 3, *size), 0.5)
        try:
            self.score(grey)
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime has its own kinds, which share no base
            raise InputError(
                f"expected {self._path} to run on an image of {size[0]} x {size[1]}, got: "
                f"{' '.join(str(error).split())}. Try another input_size or layout."
            ) from error


def _reopen(
    path: Path,
    said: Conventions,
    class_names: tuple[str, ...] | None,
    name: str | None,
    device: torch.device,
) -> OnnxAdapter:
    adapter = OnnxAdapter.__new__(OnnxAdapter)
    adapter._open(path, said, class_names, name, device)
    return adapter


def _noted_size(notes: dict[str, str]) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"\[\s*(\d+)\s*,\s*(\d+)\s*\]", notes.get(SIZE, ""))
    return (int(match[1]), int(match[2])) if match else (None, None)
