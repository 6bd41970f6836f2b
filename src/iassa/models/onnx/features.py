"""Features from an ONNX file: intermediate tensors by name.

The names are made outputs of a copy of the graph in memory; the file stays as it is.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import fits
from iassa.errors import InputError
from iassa.image import resize
from iassa.models.conventions import LAYOUTS, Layout
from iassa.models.onnx.graph import image_input, print_shape, read_graph, shape_of
from iassa.models.onnx.session import open_session
from iassa.query import PLAIN, format_fields, parse_fields

__all__ = ["OnnxLayers", "onnx_feature_names"]

PROBE = (224, 224)  # where a graph takes any size, its strides are told at this one
SPEC = re.compile(r"(?P<path>.+?\.onnx)(?::(?P<tensors>[^?]*))?(?:\?(?P<options>.*))?", re.DOTALL)


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
    input_size: tuple[int, int] | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Layout | None = None
    feature_layout: Layout | None = None

    def __post_init__(self) -> None:
        """Open the file and run it once on grey, so that what cannot work is refused here."""
        object.__setattr__(self, "path", str(self.path))  # a Path is taken too
        self._check_fields()
        entry, _ = self._opened
        self(torch.full((3, *entry.size), 0.5))

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
                name ',' is written %2C, '?' %3F, '&' %26 and '%' %25.

        Raises:
            InputError: no names, which tells what there is to choose from; see also the class.
        """
        match = SPEC.fullmatch(text)
        if match is None:
            raise InputError(f"expected FILE.onnx:tensor_a,tensor_b, got {text!r}.")
        names = tuple(map(unquote, match["tensors"].split(","))) if match["tensors"] else ()
        options = parse_fields(cls, match["options"] or "")
        if not names:
            size, layout = options.get("input_size"), options.get("layout")
            raise InputError(
                f"expected names of tensors, fine to coarse, as in FILE.onnx:tensor_a,tensor_b, "
                f"got {text!r}. {_suggest(match['path'], size, layout)}"
            )
        return cls(match["path"], names, **options)

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features of one image; see `FeatureExtractor`."""
        entry, session = self._opened
        planes = resize(image.cpu().float(), entry.size)
        if entry.dtype == np.uint8:
            planes = (planes * 255).round()
        else:
            mean, std = torch.tensor(self.mean), torch.tensor(self.std)
            planes = (planes - mean[:, None, None]) / std[:, None, None]
        if entry.layout == "NHWC":
            planes = planes.permute(1, 2, 0)
        batch = planes.expand(entry.batch, *planes.shape).numpy().astype(entry.dtype)
        try:
            found = session.run(list(self.tensors), {entry.name: batch})
        except Exception as error:  # ONNX Runtime has its own kinds, which share no base
            height, width = entry.size
            raise InputError(
                f"expected {self.path} to run on an image of {height} x {width}, got: "
                f"{' '.join(str(error).split())}. Try another input_size or layout."
            ) from error
        pairs = zip(self.tensors, found, strict=True)
        return tuple(self._level(name, maps, entry).to(image.device) for name, maps in pairs)

    def _level(self, name: str, maps: NDArray[Any], entry: _Input) -> Tensor:
        """One tensor as (C, h, w) float32."""
        shape = maps.shape if isinstance(maps, np.ndarray) else ()  # else a sequence
        if len(shape) != 4 or shape[0] != entry.batch or 0 in shape:
            raise InputError(
                f"expected tensor {name!r} of {self.path} to be feature maps (1, C, h, w) or "
                f"(1, h, w, C), got shape {shape}. See "
                f"iassa.models.onnx_feature_names({self.path!r})."
            )
        if maps.dtype.kind != "f":
            raise InputError(
                f"expected tensor {name!r} of {self.path} to hold floating-point numbers, got "
                f"{maps.dtype}. Name the tensor after its DequantizeLinear."
            )
        layout = self.feature_layout or _feature_layout(shape, entry.size)
        if layout is None:
            height, width = entry.size
            raise InputError(
                f"expected the shape of tensor {name!r} to tell NCHW from NHWC, got {shape} for an "
                f"image of {height} x {width}. Give feature_layout, or name another tensor."
            )
        level = torch.from_numpy(maps[0].astype(np.float32))
        return level if layout == "NCHW" else level.permute(2, 0, 1).contiguous()

    # Cached in the instance's dictionary, which a frozen dataclass still has: no field, not
    # compared, not printed.
    @functools.cached_property
    def _opened(self) -> tuple[_Input, Any]:
        """What the graph wants to be given, and the session."""
        model = read_graph(self.path)
        entry = _input(model, self.path, self.input_size, self.layout)
        plain = (*self.mean, *self.std) == (0, 0, 0, 1, 1, 1)
        if entry.dtype == np.uint8 and not plain:
            raise InputError(
                f"expected no mean and std, since {self.path} takes 8-bit images, got "
                f"{self.mean} and {self.std}. Leave them out: such a graph normalises by itself."
            )
        known = {name for node in model.graph.node for name in node.output if name}
        unknown = [name for name in self.tensors if name not in known]
        if unknown:
            near = [difflib.get_close_matches(name, known, n=2) for name in unknown]
            nearest = ", ".join(repr(name) for names in near for name in names)
            raise InputError(
                f"expected names of tensors inside {self.path}, got "
                f"{', '.join(map(repr, unknown))}. "
                + (f"Near: {nearest}. " if nearest else "")
                + f"See iassa.models.onnx_feature_names({self.path!r})."
            )
        there = {value.name for value in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in self.tensors if name not in there
        )
        try:
            folder = Path(self.path).resolve().parent
            return entry, open_session(model.SerializeToString(), folder)
        except InputError as error:
            raise InputError(
                f"expected an ONNX model that ONNX Runtime opens, got {self.path}: {error}"
            ) from error

    def _check_fields(self) -> None:
        def require(field: str, holds: bool, expected: str) -> None:
            if not holds:
                raise InputError(
                    f"expected {field} of OnnxLayers to be {expected}, got "
                    f"{getattr(self, field)!r}."
                )

        triple = tuple[float, float, float]
        layouts = "'NCHW', 'NHWC' or None"
        match = SPEC.fullmatch(self.path)
        require("path", bool(match and match["path"] == self.path), "a file named *.onnx")
        strings = fits(self.tensors, tuple[str, ...]) and all(self.tensors)
        distinct = strings and len(set(self.tensors)) == len(self.tensors) > 0
        require("tensors", distinct, "a tuple of names, each once")
        size = self.input_size
        sizes = size is None or (fits(size, tuple[int, int]) and min(size) > 0)
        require("input_size", sizes, "(height, width) or None")
        require("mean", fits(self.mean, triple), "three numbers")
        require("std", fits(self.std, triple) and min(self.std) > 0, "three numbers above 0")
        require("layout", self.layout is None or self.layout in LAYOUTS, layouts)
        told = self.feature_layout
        require("feature_layout", told is None or told in LAYOUTS, layouts)


def onnx_feature_names(
    path: str | Path,
    input_size: tuple[int, int] | None = None,
    layout: Layout | None = None,
) -> dict[int, tuple[str, ...]]:
    """What `OnnxLayers` may be asked for, by stride.

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
    return _names(str(path), input_size, layout)[0]


def _names(
    path: str, input_size: tuple[int, int] | None, layout: Layout | None
) -> tuple[dict[int, tuple[str, ...]], tuple[int, int]]:
    """Names by stride, and the (height, width) of the input that they are for."""
    model = read_graph(path)
    entry = _input(model, path, input_size, layout, probe=PROBE)
    sides = (3, *entry.size) if entry.layout == "NCHW" else (*entry.size, 3)
    value = next(v for v in model.graph.input if v.name == entry.name)
    del value.type.tensor_type.shape.dim[:]
    for side in (entry.batch, *sides):
        value.type.tensor_type.shape.dim.add().dim_value = side
    del model.graph.value_info[:]  # of sizes that an exporter left open
    for output in model.graph.output:
        output.type.Clear()
    try:
        known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise InputError(
            f"expected an ONNX model whose shapes can be told, got {path}: "
            f"{' '.join(str(error).split())}. Name its tensors without this list, as a viewer of "
            "ONNX files shows them."
        ) from error
    shapes = {v.name: shape_of(v) for v in (*known.value_info, *known.output)}
    found: dict[int, list[str]] = {}
    for name in (name for node in model.graph.node for name in node.output):
        shape = shapes.get(name)
        if shape is None or len(shape) != 4 or None in shape or shape[0] != entry.batch:
            continue
        sizes = tuple(int(side or 0) for side in shape)
        kind = _feature_layout(sizes, entry.size) if all(sizes) else None
        if kind is None:
            continue
        height, width = sizes[2:] if kind == "NCHW" else sizes[1:3]
        if height * width > 1:
            down = math.sqrt(entry.size[0] * entry.size[1] / (height * width))
            found.setdefault(2 ** max(0, round(math.log2(down))), []).append(name)
    return {stride: tuple(found[stride]) for stride in sorted(found)}, entry.size


def _suggest(path: str, input_size: tuple[int, int] | None, layout: Layout | None) -> str:
    names, (height, width) = _names(path, input_size, layout)
    if not names:
        return f"No shape of a tensor in {path} is known to be one of feature maps."
    coarse = {stride: found[-1] for stride, found in names.items() if stride > 1} or {
        1: names[1][-1]
    }
    last = ", ".join(f"{stride}: {quote(name, safe=PLAIN)}" for stride, name in coarse.items())
    return (
        f"The last feature maps at each stride, for an image of {height} x {width}: {last}. "
        f"iassa.models.onnx_feature_names({path!r}) lists all."
    )


@dataclass(frozen=True)
class _Input:
    """What a graph wants to be given."""

    name: str
    dtype: np.dtype[Any]
    batch: int
    layout: Layout
    size: tuple[int, int]


def _input(
    model: onnx.ModelProto,
    path: str,
    input_size: tuple[int, int] | None,
    layout: Layout | None,
    probe: tuple[int, int] | None = None,
) -> _Input:
    """The one input of a graph, with what was given for what it leaves open."""
    found = image_input(model, path, layout)
    if found.layout is None:
        raise InputError(
            f"expected layout='NCHW' or 'NHWC', since the input of {path} does not tell, "
            f"{print_shape(found.shape)}, got none."
        )
    wanted = input_size or (probe if None in found.size else None) or (None, None)
    size = [have or want for have, want in zip(found.size, wanted, strict=True)]
    if None in size:
        raise InputError(
            f"expected input_size=(height, width), since {path} leaves it open, "
            f"{print_shape(found.shape)}, got none. Give the size that it was trained on."
        )
    if input_size is not None and tuple(size) != tuple(input_size):
        raise InputError(
            f"expected input_size to be that of {path}, {print_shape(tuple(size))}, got "
            f"{input_size}. Leave it out."
        )
    height, width = (int(side or 0) for side in size)
    return _Input(found.name, found.dtype, found.batch or 1, found.layout, (height, width))


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
