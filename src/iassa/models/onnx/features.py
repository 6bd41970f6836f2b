"""Features from an ONNX file: intermediate tensors by name.

The names are made outputs of a copy of the graph in memory; the file stays as it is.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import InputSize, Within, take_fields
from iassa.errors import InputError, list_some, reason_of, require, suggest
from iassa.files import user_path
from iassa.image import resize
from iassa.models.conventions import Layout
from iassa.models.onnx import graph
from iassa.models.onnx.session import checking_size, open_session, run_session
from iassa.query import PLAIN, format_fields, parse_fields

PROBE = (224, 224)  # where a graph takes any size, its strides are those at this one
FLOATS = ("float16", "float32", "float64")
READ_AS = "iassa.features"  # key of the metadata: what stands behind FILE.onnx: where nothing does
LISTING = "iassa.models.onnx_feature_names(path) lists all that there are."
SPEC = re.compile(
    r"(?P<path>.+?\.onnx)(?::(?P<tensors>[^?]*))?(?:\?(?P<options>.*))?", re.DOTALL | re.IGNORECASE
)


@dataclass(frozen=True)
class OnnxLayers:
    """Intermediate tensors of an ONNX model, run on the CPU by ONNX Runtime, once an image.

    Its `str` is the text that `features` of a method takes, and that `explanation.json` records:
    'FILE.onnx:tensor_a,tensor_b?mean=0.485,0.456,0.406&std=0.229,0.224,0.225'.

    Attributes:
        path: the file, named *.onnx; external data is read from beside it.
        tensors: names of feature maps, fine to coarse; see `onnx_feature_names`.
        input_size: (height, width) that the image is resized to; None for that of the graph, which
            must then have one.
        mean: of red, green and blue in [0, 1], taken off the image.
        std: what is left is divided by it. 0.00392, that is 1 / 255, makes values up to 255.
        layout: of the input, 'NCHW' or 'NHWC'; None reads it from the graph.
        feature_layout: of the tensors; None recognises it by what the image's aspect ratio says.
    """

    path: str
    tensors: tuple[str, ...]
    input_size: InputSize = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: Annotated[tuple[float, float, float], Within(0, above=True)] = (1.0, 1.0, 1.0)
    layout: Layout | None = None
    feature_layout: Layout | None = None

    def __post_init__(self) -> None:
        """Open the file and run it once on grey, so that what cannot work is refused here."""
        object.__setattr__(self, "path", str(user_path(str(self.path))))  # a Path is taken too
        self._check_fields()
        self(torch.full((3, *self._opened[1]), 0.5))

    def __str__(self) -> str:
        """What `parse` reads."""
        names = ",".join(quote(name, safe=PLAIN) for name in self.tensors)
        options = format_fields(type(self), vars(self))
        return f"{self.path}:{names}" + (f"?{options}" if options else "")

    def __reduce__(self) -> tuple[Any, ...]:
        """Made again from its fields: a session cannot be pickled."""
        return OnnxLayers, astuple(self)

    @classmethod
    def parse(cls, text: str) -> OnnxLayers:
        """The layers that a text names.

        Args:
            text: 'FILE.onnx:tensor_a,tensor_b', then '?field=value&field=value' for other fields
                than the defaults: '?input_size=224,224&mean=0.485,0.456,0.406&layout=NHWC'. In a
                name ',' is written %2C, '?' %3F, '&' %26 and '%' %25. 'FILE.onnx' alone is enough
                where the file says the rest itself, as one of `iassa.adapting` does.

        Raises:
            InputError: no names, which tells what there is to choose from; see also the class.
        """
        match = SPEC.fullmatch(text)
        if match is None:
            raise InputError(f"expected FILE.onnx:tensor_a,tensor_b, got {text!r}.")
        if match["tensors"] is match["options"] is None and (told := _read_as(match["path"])):
            match = SPEC.fullmatch(f"{match['path']}:{told}")
            assert match is not None, "as this takes any text behind the colon"
        names = tensors_of(match["tensors"] or "")
        options = parse_fields(cls, match["options"] or "")
        if not names:
            size, layout = options.get("input_size"), options.get("layout")
            raise InputError(
                f"expected names of tensors, fine to coarse, as in FILE.onnx:tensor_a,tensor_b, "
                f"got {text!r}. {_suggest(str(user_path(match['path'])), size, layout)}"
            )
        return cls(match["path"], names, **options)

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features of one image; see `FeatureExtractor`."""
        entry, size, session = self._opened
        planes = resize(image.cpu().float(), size)
        if entry.dtype == np.uint8:
            planes = (planes * 255).round()
        else:
            mean, std = torch.tensor(self.mean), torch.tensor(self.std)
            planes = (planes - mean[:, None, None]) / std[:, None, None]
        if entry.layout == "NHWC":
            planes = planes.permute(1, 2, 0)
        batch = planes.expand(entry.batch or 1, *planes.shape).numpy().astype(entry.dtype)
        with checking_size(self.path, size):
            arrays = run_session(session, self.tensors, {entry.name: batch})
        pairs = zip(self.tensors, arrays, strict=True)
        return tuple(self._level(name, maps).to(image.device) for name, maps in pairs)

    def _level(self, name: str, maps: NDArray[Any]) -> Tensor:
        """One tensor as (C, h, w) float32."""
        entry, size, _ = self._opened
        shape: tuple[int, ...] = getattr(maps, "shape", ())  # else a sequence
        kind = getattr(maps, "dtype", type(maps).__name__)
        maps_of_batch = len(shape) == 4 and shape[0] == (entry.batch or 1) and 0 not in shape
        require(
            maps_of_batch and kind in FLOATS,
            f"expected tensor {name!r} of {self.path} to be feature maps (1, C, h, w) or "
            f"(1, h, w, C) of floating-point numbers, got shape {shape} of {kind}. {LISTING}",
        )
        layout = self.feature_layout or _feature_layout(shape, size)
        require(
            layout is not None,
            f"expected the shape of tensor {name!r} to tell NCHW from NHWC, got {shape} for an "
            f"image of {size[0]} x {size[1]}. Give feature_layout, or name another tensor.",
        )
        level = torch.from_numpy(maps[0].astype(np.float32))
        return level if layout == "NCHW" else level.permute(2, 0, 1).contiguous()

    # Cached in the instance's dictionary, which a frozen dataclass still has: no field, not
    # compared, not printed.
    @functools.cached_property
    def _opened(self) -> tuple[graph.ImageInput, tuple[int, int], Any]:
        """The input of the graph, its (height, width), and the session."""
        model = graph.load(self.path)
        entry, size = _read_input(model, self.path, self.input_size, self.layout)
        require(
            entry.dtype != np.uint8 or (*self.mean, *self.std) == (0, 0, 0, 1, 1, 1),
            f"expected no mean and std, got {self.mean} and {self.std}: {self.path} takes 8-bit "
            "images and normalises by itself. Leave them out.",
        )
        inside = {name for node in model.graph.node for name in node.output if name}
        unknown = [name for name in self.tensors if name not in inside]
        shown = list_some(f"{name!r}{suggest(name, inside)}" for name in unknown)
        require(
            not unknown,
            f"expected names of tensors inside {self.path}, got {shown}. {LISTING}",
        )
        present = {value.name for value in model.graph.output}
        added = [onnx.ValueInfoProto(name=name) for name in self.tensors if name not in present]
        model.graph.output.extend(added)
        return entry, size, open_session(Path(self.path), model.SerializeToString())

    def _check_fields(self) -> None:
        take_fields(self, " of OnnxLayers")
        match = SPEC.fullmatch(self.path)
        self._require("path", match and match["path"] == self.path, "a file named *.onnx")
        distinct = len(set(self.tensors)) == len(self.tensors) > 0
        self._require("tensors", distinct and all(self.tensors), "names, each once")

    def _require(self, field: str, holds: object, expected: str) -> None:
        got = getattr(self, field)
        require(holds, f"expected {field} of OnnxLayers to be {expected}, got {got!r}.")


def onnx_feature_names(
    path: str | Path,
    input_size: tuple[int, int] | None = None,
    layout: Layout | None = None,
) -> dict[int, tuple[str, ...]]:
    """Tensors that `OnnxLayers` can read, by stride.

    Only the graph is read, no weights. A tensor whose shape the graph does not tell, as behind a
    custom operator, is not listed, but can be named.

    Args:
        path: an ONNX file.
        input_size: (height, width) of its input, where the graph leaves it open; None is 224 x 224.
        layout: of its input, where the graph does not tell.

    Returns:
        Names of the feature maps in the order of the graph, by their stride to the nearest power of
        two, fine to coarse. The last of each of the strides 4, 8, 16, 32 is a good choice.

    Raises:
        InputError: not an ONNX file, or not a model of one image.
    """
    return _names(str(user_path(path)), input_size, layout)[0]


def tensors_of(text: str) -> tuple[str, ...]:
    """The names in 'tensor_a,tensor_b?field=value'; none in ''."""
    names = text.partition("?")[0]
    return tuple(map(unquote, names.split(","))) if names else ()


def _read_as(path: str) -> str:
    """What the metadata of a file says of how its features are read; '' where it says nothing."""
    notes = graph.load(user_path(path)).metadata_props
    return next((note.value for note in notes if note.key == READ_AS), "")


def _names(
    path: str, input_size: tuple[int, int] | None, layout: Layout | None
) -> tuple[dict[int, tuple[str, ...]], tuple[int, int]]:
    """Names by stride, and the (height, width) of the input that they are for."""
    model = graph.load(path)
    entry, size = _read_input(model, path, input_size, layout, default=PROBE)
    shapes = _infer_shapes(model, path, entry, size)
    names: dict[int, list[str]] = {}
    for name in (name for node in model.graph.node for name in node.output):
        shape = shapes.get(name) or ()
        if len(shape) != 4 or None in shape or shape[0] != (entry.batch or 1):
            continue
        sides = tuple(int(side or 0) for side in shape)
        kind = _feature_layout(sides, size)
        height, width = sides[1:3] if kind == "NHWC" else sides[2:]
        if kind is not None and height * width > 1:
            down = math.sqrt(size[0] * size[1] / (height * width))
            names.setdefault(2 ** max(0, round(math.log2(down))), []).append(name)
    return {stride: tuple(names[stride]) for stride in sorted(names)}, size


def _infer_shapes(
    model: onnx.ModelProto, path: str, entry: graph.ImageInput, size: tuple[int, int]
) -> dict[str, graph.Shape | None]:
    """Shapes of all tensors by name, for an input of one size, which is written into the model."""
    sides = (3, *size) if entry.layout == "NCHW" else (*size, 3)
    value = next(v for v in model.graph.input if v.name == entry.name)
    del value.type.tensor_type.shape.dim[:]
    for side in (entry.batch or 1, *sides):
        value.type.tensor_type.shape.dim.add().dim_value = side
    del model.graph.value_info[:]  # of sizes that an exporter left open
    for output in model.graph.output:
        output.type.Clear()
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # an InferenceError, or what its C++ library raises of odd values
        raise InputError(
            f"expected an ONNX model whose shapes ONNX can infer, got {path}: "
            f"{reason_of(error)}. Find names of tensors in a viewer of ONNX files."
        ) from error
    return {v.name: graph.shape_of(v) for v in (*inferred.value_info, *inferred.output)}


def _suggest(path: str, input_size: tuple[int, int] | None, layout: Layout | None) -> str:
    names, (height, width) = _names(path, input_size, layout)
    if not names:
        return f"No tensor in {path} has the shape of feature maps."
    coarse = {k: same[-1] for k, same in names.items() if k > 1 or len(names) == 1}
    last = ", ".join(f"{stride}: {quote(name, safe=PLAIN)}" for stride, name in coarse.items())
    return f"The last at each stride, for an image of {height} x {width}: {last}. {LISTING}"


def _read_input(
    model: onnx.ModelProto,
    path: str,
    input_size: tuple[int, int] | None,
    layout: Layout | None,
    default: graph.Size = (None, None),
) -> tuple[graph.ImageInput, tuple[int, int]]:
    """The one input of a graph, and its (height, width), with what was given for open sides."""
    entry = graph.image_input(model, path, layout)
    size = entry.complete_size(input_size, default)
    if size is None or entry.layout is None:
        open_ = "input_size=(height, width)" if entry.layout else "layout='NCHW' or 'NHWC'"
        raise InputError(
            f"expected {open_}, since the input of {path} does not tell, "
            f"{graph.print_shape(entry.shape)}, got none. Give the one of its training."
        )
    return entry, size


def _feature_layout(shape: tuple[int, ...], size: tuple[int, int]) -> Layout | None:
    """Which two sides of (1, a, b, c) are the image's, shrunk alike; None if that does not tell."""

    def distortion(height: int, width: int) -> float:
        return abs(math.log((size[0] / height) / (size[1] / width)))

    _, a, b, c = shape
    first, last = distortion(b, c), distortion(a, b)
    # Padding and rounding make small maps a position larger or smaller: never a factor of two.
    if min(first, last) > math.log(2) or abs(first - last) < 0.1:
        return None
    return "NCHW" if first < last else "NHWC"
