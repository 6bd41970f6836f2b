"""How pixels become the input of a model, and its outputs scores, where the model does not say it.

One form for all models: fields in Python, or the text after the '?' of a model's name, as in
'FILE.onnx?mean=0.485,0.456,0.406&std=0.229,0.224,0.225&softmax=yes'. A field that is not given is
None. So a black box can tell what it still has to read from the model, or refuse.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict

import torch
from torch import Tensor

from iassa.checks import SIDES, Within, fits, take_fields
from iassa.errors import InputError, require, show
from iassa.files import read_whole, user_path
from iassa.query import format_fields, parse_fields

Layout: TypeAlias = Literal["NCHW", "NHWC"]
Resize: TypeAlias = Literal["stretch", "letterbox", "letterbox-corner"]
Triple: TypeAlias = tuple[float, float, float]
ClassNames: TypeAlias = "Iterable[str] | Mapping[int, str] | str | Path"

# FILE.onnx, the ending in any case, and what stands behind its '?'.
ONNX = re.compile(r"(?P<path>.+?\.onnx)(\?(?P<options>.*))?", re.DOTALL | re.IGNORECASE)

DETECTORS = (  # what they mean is in detector_layouts.py
    *("yolov5", "yolov8", "yolov10", "yolov7-end2end", "yolox"),
    *("nms", "torchvision", "detr", "rt-detr"),
)

ASK_RANGE = (  # for the error where neither model nor user says it
    "Give the values that it takes: range=0-1, range=0-255 or range=-1..1. Or give mean=... and "
    "std=... of its training, as 0.485,0.456,0.406 and 0.229,0.224,0.225. Give bgr=yes if its "
    "channels are blue, green, red, as OpenCV reads them"
)
# What has an option of its own on the command line.
OPTIONS = ("input_size", "range", "mean", "std", "softmax", "sigmoid", "class_names")


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """Conventions of one model; None for each that is not given.

    Its `str` is what `parse` reads.

    Attributes:
        input_size: (height, width) of the model's input, or 'any': images keep their size.
        layout: of the input, 'NCHW' or 'NHWC'.
        range: values of black and white before mean and std: (0, 1), (0, 255) or (-1, 1).
        mean: subtracted from each channel, in units of `range`; together with `std`.
        std: divides each channel after that, in units of `range`.
        bgr: whether channels are blue, green, red; mean and std are then in this order.
        softmax: True puts a softmax behind the outputs; False leaves the outputs as they are.
        sigmoid: True puts a sigmoid behind the outputs, where several classes can be true.
        output_name: the output that holds the scores; of a detector several, with commas.
        class_names: path of a file of names; see `read_class_names`.
        detector: layout of a detector's outputs: yolov5, yolov8, yolov10, yolov7-end2end, yolox,
            nms, torchvision, detr or rt-detr; see `iassa.models.onnx.detector_layouts`.
        threshold: least confidence of the boxes that are explained, from 0 to 1.
        resize: how a detector's images become its input: 'stretch' to its sides; 'letterbox', in
            the middle of a grey field with their aspect kept, as Ultralytics has it; or
            'letterbox-corner', at the top left of it, as YOLOX has it.

    Raises:
        InputError: a value of another type or out of bounds, or values that do not go together.
    """

    input_size: Annotated[tuple[int, int], SIDES] | Literal["any"] | None = None
    layout: Layout | None = None
    range: tuple[float, float] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    bgr: bool | None = None
    softmax: bool | None = None
    sigmoid: bool | None = None
    output_name: str | None = None
    class_names: str | None = None
    detector: str | None = None
    threshold: Annotated[float | None, Within(0, 1)] = None
    resize: Resize | None = None

    def __post_init__(self) -> None:
        """Check the fields, alone and together."""
        self._check_kinds()
        missing = "std=1,1,1" if self.std is None else "mean=0,0,0"
        require(
            (self.mean is None) is (self.std is None),
            f"expected mean and std together, got mean={self.mean} and std={self.std}. "
            f"Add {missing} if there is none.",
        )
        require(
            not (self.softmax and self.sigmoid),
            "expected softmax or sigmoid, got both. Give one.",
        )
        if self.mean is not None and self.std is not None:
            self._check_units(self.mean, self.std)

    def _check_kinds(self) -> None:
        take_fields(self)
        require(
            self.low < self.high,
            f"expected range to be (black, white), black below white, got {self.range}.",
        )
        require(
            self.detector in (None, *DETECTORS),
            f"expected detector to be one of {', '.join(DETECTORS)}, got {self.detector!r}.",
        )

    def _check_units(self, mean: Triple, std: Triple) -> None:
        """Refuse a mean in another unit than the pixels: it would make wrong maps in silence."""
        low, high = self.low, self.high
        # Some divide by 1 / 255 to get values up to 255, others by 255 to get values up to 1.
        least, most = 0.99 * (high - low) / 255, high - low
        require(
            fits(mean, Annotated[Triple, Within(low, high)])
            and fits(std, Annotated[Triple, Within(least, most)]),
            f"expected mean and std in units of range, here {low:g}..{high:g}: means of {low:g} "
            f"to {high:g} and stds of {least:.3g} to {most:g}, got mean={mean} and std={std}. "
            "Use range=0-255 if they are of pixels up to 255, or scale them.",
        )

    @property
    def low(self) -> float:
        """Value of black before mean and std."""
        return self.range[0] if self.range is not None else 0.0

    @property
    def high(self) -> float:
        """Value of white before mean and std."""
        return self.range[1] if self.range is not None else 1.0

    def __str__(self) -> str:
        """What `parse` reads: 'range=0..255&softmax=yes'; empty where all fields are None."""
        return format_fields(type(self), vars(self))

    @classmethod
    def parse(cls, text: str) -> Conventions:
        """Read 'field=value&field=value'.

        Args:
            text: as `iassa.query` describes it. In names ',' is written %2C, '?' %3F, '&' %26 and
                '%' %25.

        Raises:
            InputError: an unknown field, one given twice, or a value that cannot be read.

        Example:
            >>> Conventions.parse("range=0-255&softmax=yes").high
            255.0
        """
        return cls(**parse_fields(cls, text))

    def normalise(self, planes: Tensor) -> Tensor:
        """Planes in [0, 1] as the model takes them: channels in its order, range, mean, std.

        Args:
            planes: (N, 3, H, W) float32 RGB in [0, 1]; left as they are.

        Returns:
            (N, 3, H, W) float32; the same tensor where there is nothing to do.
        """
        ordered = planes.flip(1) if self.bgr else planes
        scale, offset = self._line
        if not offset.any() and bool((scale == 1).all()):
            return ordered
        # One pass over the pixels in place of a subtraction, a division and a multiplication.
        return torch.addcmul(offset.to(planes.device), ordered, scale.to(planes.device))

    @functools.cached_property
    def _line(self) -> tuple[Tensor, Tensor]:
        """Scale and offset of each channel, (3, 1, 1), computed in float64."""
        mean, std = (
            torch.tensor(values, dtype=torch.float64)[:, None, None]
            for values in (self.mean or (0.0,) * 3, self.std or (1.0,) * 3)
        )
        return ((self.high - self.low) / std).float(), ((self.low - mean) / std).float()

    def activate(self, outputs: Tensor) -> Tensor:
        """Scores of outputs (N, K): those of softmax or sigmoid, or the outputs themselves."""
        if not self.softmax and not self.sigmoid:
            return outputs
        floats = outputs if outputs.dtype == torch.float64 else outputs.float()
        return floats.softmax(1) if self.softmax else floats.sigmoid()


class ConventionFields(TypedDict, total=False):
    """The fields of `Conventions` as keywords of a model: `**conventions: Unpack[...]`.

    `class_names` is not among them: a model takes a list of names as well as a file.
    """

    input_size: tuple[int, int] | Literal["any"] | None
    layout: Layout | None
    range: tuple[float, float] | None
    mean: Triple | None
    std: Triple | None
    bgr: bool | None
    softmax: bool | None
    sigmoid: bool | None
    output_name: str | None
    detector: str | None
    threshold: float | None
    resize: Resize | None


def raise_missing(
    model: str, missing: Mapping[str, str], got: str, whole: str, reader: str, found: str = ""
) -> None:
    """Raise one error for all that neither a model nor the user says, with lines to copy.

    Args:
        model: for people.
        missing: sentences that say what to give, each without its last dot, by an example
            'field=value'; nothing is raised if there are none.
        got: what the user gave.
        whole: the name of the model with all examples in it.
        reader: the class that has these fields as parameters.
        found: a sentence on what the model does say.

    Raises:
        InputError: something is missing.
    """
    require(
        not missing,
        f"expected what {model} does not say of itself, got {got}. {'. '.join(missing.values())}. "
        f"On the command line add {' '.join(map(_as_option, missing))}, with your values. Or put "
        f"them into the name, as in '{whole}'. In Python they are parameters of "
        f"iassa.models.{reader}. {found}".rstrip(),
    )


def _as_option(example: str) -> str:
    """'range=0-1' as an option: '--range 0-1'."""
    field, _, value = example.partition("=")
    option = field.replace("_", "-")
    if field not in OPTIONS:
        return f"--model-option {example}"
    return {"yes": f"--{option}", "no": f"--no-{option}"}.get(value, f"--{option} {value}")


def to_bytes(planes: Tensor) -> Tensor:
    """Planes in [0, 1] as whole numbers up to 255, uint8."""
    return (planes * 255).round_().clamp_(0, 255).to(torch.uint8)


def as_class_names(given: ClassNames | None) -> tuple[str, ...] | None:
    """Class names, in any form that a user has them in.

    Args:
        given: a list, an array or a generator of names; {0: name, 1: name}, as `id2label` of
            transformers is; the path of a file of them, see `read_class_names`; None for none.

    Raises:
        InputError: something else, numbers that are not 0 to K - 1, or a file that cannot be read.
    """
    if given is None:
        return None
    if isinstance(given, str | Path):
        return read_class_names(given)
    names = _in_order(given)
    require(
        names is not None,
        "expected class_names to be a list of texts, {number: text} from 0 without a gap, or the "
        f"path of a file, got {show(given)}.",
    )
    return names


def _in_order(given: object) -> tuple[str, ...] | None:
    """Names from a list or {number: name}; None where these are no names, or have a gap."""
    if isinstance(given, Mapping):
        by_number = {str(key): name for key, name in given.items()}
        given = [by_number.get(str(number)) for number in range(len(given))]
    names = tuple(given) if isinstance(given, Iterable) else (None,)
    return tuple(map(str, names)) if all(isinstance(name, str) for name in names) else None


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Class names from a file.

    Args:
        path: UTF-8 text with a name a line, in the order of the outputs; or JSON, a list of names
            or {"0": name, "1": name}.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    content = read_whole(user_path(path), "the class names")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"expected class names in UTF-8, got other bytes: {path}.") from None
    if text.lstrip()[:1] in ("[", "{"):
        return parse_class_names(text, str(path))
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines or "" in lines:
        raise InputError(
            f"expected a class name on each line of {path}, got "
            + ("an empty file." if not lines else f"none on line {lines.index('') + 1}.")
        )
    return tuple(lines)


def parse_class_names(text: str, source: str) -> tuple[str, ...]:
    """Class names from JSON, or from what Python prints of a list or dictionary of them.

    Args:
        text: '["cat", "dog"]', '{"0": "cat", "1": "dog"}' or "{0: 'cat', 1: 'dog'}".
        source: where the text is from, for the error.

    Raises:
        InputError: something else, or numbers that are not 0 to K - 1.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # '[' a hundred thousand times
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found = None
    names = _in_order(found) if isinstance(found, list | dict) else None
    if not names or "" in names:
        raise InputError(
            "expected a list of class names or {number: name} from 0 without a gap in "
            f"{source}, got {text[:60]!r}."
        )
    return names
