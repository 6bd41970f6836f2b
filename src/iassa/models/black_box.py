"""The black box: its interface, how any callable becomes one, and one checked call of it.

A black box is any callable, images (N, H, W, 3) float32 RGB in [0, 1] -> scores (N, K). Inside,
each is a `BlackBox`, which owns layout, normalisation, input size, device and softmax, and takes
planes (N, 3, H, W) on its device.
"""

from __future__ import annotations

import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import InputSize, take
from iassa.errors import BlackBoxError, describe_error, require
from iassa.image import resize
from iassa.models.answers import drop_trailing, to_numbers
from iassa.models.conventions import Conventions, as_class_names
from iassa.models.detections import Detections, TargetBoxes
from iassa.models.identity import digest_code
from iassa.models.outputs import check_outputs

ADVICE = (
    "Return one row for each image and one column for each class. Of maps (N, C, h, w) return "
    "scores.reshape(N, -1), see docs/targets.md. Wrap a detector with "
    "iassa.models.FunctionDetector or iassa.models.TorchDetector."
)

# How torch, Keras, ONNX Runtime, TensorFlow Lite, scikit-learn and NumPy refuse an image's size.
SIZES = re.compile(r"\bshapes?\b|dimension|\bsizes? (of|mismatch)|of size|\bfeatures\b", re.I)
_DEADLINE = ContextVar("deadline", default=math.inf)


class BlackBox(ABC):
    """A black box as the loop calls it: subclass it and write `score`.

    Attributes:
        name: what to call it in results.
        class_names: names of the K outputs, synonyms after commas; None if it has none.
        input_size: (height, width) that it looks at; None if it takes images of any size.
        device: where it wants its planes.
        boxes: what its K outputs stand for, if these are boxes in one image.
    """

    name: str
    class_names: Sequence[str] | None = None
    input_size: tuple[int, int] | None = None
    boxes: TargetBoxes | None = None
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def score(self, planes: Tensor) -> Tensor:
        """Scores (N, K) of planes (N, 3, H, W) float32 in [0, 1], already of the input size."""

    def score_whole(self, planes: Tensor) -> Tensor:
        """As `score`, of the whole image at the first call: an adapter looks at what comes."""
        return self.score(planes)

    def identity(self) -> str:
        """A text that changes when the black box does, as far as this shows without a call.

        What is saved is continued only with a black box of the same identity, so it must be the
        same in another process. By default it is the name.
        """
        return self.name

    def size_for(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) at which it looks at an image of a (height, width).

        Images are resized to it before they are masked.
        """
        return self.input_size or photo_size

    def first_call(self, image: Tensor, photo_size: tuple[int, int]) -> tuple[BlackBox, Tensor]:
        """The first call of a run, about the whole image.

        A detector's outputs are the boxes of one image. So this returns the black box to use for
        the rest of the run, which may be another one.

        Args:
            image: (3, H, W) float32 in [0, 1], on the device of the black box; left as it is.
            photo_size: (height, width) of the image as it was given.

        Returns:
            The black box for the masked images, and the scores (1, K) of the whole, checked.

        Raises:
            InputError: there is nothing to explain in this image.
            BlackBoxError: see `ask`.
        """
        del photo_size
        return self, ask(_AtFirst(self), image[None].clone())

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of images of any one size.

        Args:
            images: (N, H, W, 3) float32 RGB in [0, 1].

        Returns:
            (N, K) float32.

        Raises:
            InputError: images of another shape.
            BlackBoxError: see `ask`.
        """
        # A copy, for a black box may write to what it is shown.
        return self._ask(self._planes(images).clone())

    def call_without_copy(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of images that nobody needs afterwards: the black box may write to them.

        As a call, but images that are a view of planes (N, 3, H, W) are not copied, which takes a
        share of the time of a fast network. The curves of `iassa.metrics` hand over such images:
        pass them this method.

        Args:
            images: (N, H, W, 3) float32 RGB in [0, 1].

        Returns:
            (N, K) float32.

        Raises:
            InputError: images of another shape.
            BlackBoxError: see `ask`.
        """
        return self._ask(self._planes(images).contiguous())

    def _ask(self, planes: Tensor) -> NDArray[np.float32]:
        return ask(self, planes).float().cpu().numpy()

    def _planes(self, images: NDArray[np.float32]) -> Tensor:
        shape, holds = images.shape, images.ndim == 4 and images.shape[3] == 3
        require(holds, f"expected images (N, H, W, 3), got shape {shape}.")
        planes = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device, torch.float32)
        return planes if self.input_size is None else resize(planes, self.input_size)


class _AtFirst(BlackBox):
    """A black box at its first call."""

    def __init__(self, black_box: BlackBox) -> None:
        self.name = black_box.name
        self._black_box = black_box

    def score(self, planes: Tensor) -> Tensor:
        return self._black_box.score_whole(planes)


@dataclass(eq=False, repr=False)
class FunctionModel(BlackBox):
    """Any function, images (N, H, W, 3) float32 NumPy -> scores (N, K).

    The array is the function's for the length of the call: the next batch is written over it.

    Attributes:
        function: the black box, giving an array or a tensor of scores.
        name: what to call it; the function's own name if not given.
        class_names: names of the K outputs; see `conventions.as_class_names`.
        input_size: (height, width) that images are resized to before they are masked; one number
            for both, or (3, height, width).

    Raises:
        InputError: something else in one of these.
    """

    function: Callable[[NDArray[np.float32]], Any]
    _: KW_ONLY
    name: str = ""
    class_names: Sequence[str] | None = None
    input_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        own = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        self.name = self.name or str(own)
        self.class_names = as_class_names(self.class_names)
        self.input_size = take(self.input_size, InputSize, "input_size")

    def identity(self) -> str:
        """Name and code, where it has one; what the code reads from elsewhere is not seen."""
        return f"{self.name} {digest_code(self.function)}".strip()

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `BlackBox.score`."""
        scores = self.function(planes.permute(0, 2, 3, 1).numpy())
        if isinstance(scores, list | tuple) and any(isinstance(s, Detections) for s in scores):
            raise BlackBoxError(
                "expected scores, got detections. Use iassa.models.FunctionDetector."
            )
        return to_numbers(scores, "scores (N, K)", f"the black box {self.name}")

    def score_whole(self, planes: Tensor) -> Tensor:
        """See `BlackBox.score_whole`; `check_outputs` looks at numbers of a whole type."""
        scores = self.score(planes)
        if scores.dtype != torch.bool and not scores.is_floating_point():  # a float may count
            check_outputs(scores, Conventions(), self.name)
        return scores


def ask(
    black_box: BlackBox, planes: Tensor, num_classes: int | None = None, threads: int | None = None
) -> Tensor:
    """Call a black box once, and check its scores.

    Args:
        black_box: the one to call.
        planes: (N, 3, H, W) float32 in [0, 1].
        num_classes: the K of its scores so far; None at first.
        threads: of torch, while the black box runs and no longer; None leaves them.

    Returns:
        (N, K) float64, finite in float32, on the device of the planes.

    Raises:
        BlackBoxError: it raised, or its scores are not (N, K), not finite in float32 or of
            another K.
    """
    with (
        threads_of_torch(threads) if threads is not None else nullcontext(),
        as_black_box_errors(black_box, planes),
    ):
        scores = black_box.score(planes)
        if isinstance(scores, Tensor):
            scores = drop_trailing(scores, len(planes))
        _check_scores(scores, black_box.name, len(planes), num_classes)
    return scores.to(planes.device, torch.float64)


class as_black_box_errors:  # noqa: N801 - `contextlib` lets a StopIteration through, which a user may raise
    """Turns whatever is raised inside into a failure of a black box, about some images."""

    def __init__(self, black_box: BlackBox, planes: Tensor) -> None:
        self._black_box = black_box
        self._shape = planes.shape

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise a `BlackBoxError` from any other exception."""
        if isinstance(error, BlackBoxError):
            error.images = self._shape[0]
        elif isinstance(error, Exception):
            text = f"the black box {self._black_box.name} raised {describe_error(error)}"
            failure = BlackBoxError(text + self._about_size(error))
            failure.images = self._shape[0]
            raise failure from error

    def _about_size(self, error: Exception) -> str:
        """What a network says that got an image of another size than it takes, said again."""
        images, _, height, width = self._shape
        # The first call of a run is about one image. What went well there is of the right size.
        if images > 1 or self._black_box.input_size is not None or not SIZES.search(str(error)):
            return ""
        return (
            f". It was shown {height} x {width} pixels, as it has no input_size. If it takes one "
            "size alone, wrap it with input_size=(height, width), which iassa.models.TorchModel, "
            "FunctionModel and the others take."
        )


def _check_scores(scores: object, name: str, count: int, num_classes: int | None) -> None:
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != count:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise BlackBoxError(
            f"expected scores (N, K) with N = {count} images, got {got} from the black box {name}. "
            + ADVICE
        )
    columns = scores.shape[1]
    if columns == 0 or num_classes not in (None, columns):
        text = f"{num_classes or 'at least 1'} scores for each image, got {columns}"
    elif scores.dtype == torch.bool or scores.is_complex():
        text = f"real scores, got {scores.dtype}"
    # Callers get float32: what becomes infinite there is refused here.
    elif odd := int((~torch.isfinite(scores.float()).all(dim=1)).sum()):
        got = "numbers above 3e38" if torch.isfinite(scores).all() else "NaN or infinity"
        text = f"finite scores, as float32 holds them, got {got} for {odd} of {count} images"
    else:
        return
    raise BlackBoxError(
        f"expected {text} from the black box {name}. Return as many finite numbers for every image."
    )


@contextmanager
def threads_of_torch(number: int) -> Iterator[int]:
    """So many threads of torch inside; gives the number there was."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[int]:
    """One thread of torch inside; gives the number there was, for the black box.

    Torch's other threads go on spinning for ten milliseconds after each small operation, on cores
    that the black box needs by then: a tenth of all time. It also makes every sum the same on any
    number of threads.
    """
    return threads_of_torch(1)


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Inside, a black box that can end its own call does so at this time.

    Args:
        deadline: on the clock of `time.perf_counter`; an earlier one that holds already goes on to.
    """
    token = _DEADLINE.set(min(deadline, _DEADLINE.get()))
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def seconds_left() -> float:
    """For the call in flight, see `until`; infinite without a limit."""
    return _DEADLINE.get() - time.perf_counter()
