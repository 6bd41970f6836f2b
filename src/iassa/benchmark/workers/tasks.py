"""What is done in a worker process: a task goes in, its result comes out, both can be pickled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.benchmark.contestant import Contestant
from iassa.benchmark.evaluation import Protocol, evaluate
from iassa.benchmark.store.records import Item, ItemKey
from iassa.errors import IassaError, InputError
from iassa.image import decode_image
from iassa.models.black_box import BlackBox
from iassa.models.detector import Detector
from iassa.models.opening import BlackBoxLike, open_model
from iassa.models.targets import Target

__all__ = [
    "Failed",
    "MakeItem",
    "Model",
    "ScoreImage",
    "ScoredImage",
    "Task",
    "one_line",
    "perform",
]

# In this process, which on Ray may serve one run after another.
_OPENED: dict[str, BlackBox] = {}


@dataclass(frozen=True)
class Model:
    """The black box as it is sent to a worker, which opens it once.

    Attributes:
        reference: what `open_model` takes; a name is opened there, an object is pickled.
        device: where it runs.
    """

    reference: BlackBoxLike
    device: str | None = None

    def open(self) -> BlackBox:
        """The black box."""
        black_box = open_model(self.reference, self.device)
        if isinstance(black_box, Detector):
            raise InputError(
                f"expected a black box that scores classes, got the detector {black_box.name}, "
                "whose outputs are boxes of one image. Explain its images with iassa explain."
            )
        return black_box


@dataclass(frozen=True)
class Failed:
    """What comes back of a task that failed.

    Attributes:
        error: one line.
        blame: what is at fault: the 'model', which cannot be opened, so that every other task would
            fail too; the 'input' of the task, which would fail again; else the 'run' of it.
    """

    error: str
    blame: Literal["model", "input", "run"] = "run"


class Task(ABC):
    """Something to do with a black box."""

    @abstractmethod
    def run(self, black_box: BlackBox) -> Any:
        """Do it."""


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """An image as the black box sees it whole.

    Attributes:
        size: (height, width) of the image file.
        scores: (K,) float64.
    """

    size: tuple[int, int]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoreImage(Task):
    """Ask about a whole image.

    Attributes:
        name: of the image.
        content: of its file.
    """

    name: str
    content: bytes

    def run(self, black_box: BlackBox) -> ScoredImage:
        """See `ScoredImage`."""
        photo = decode_image(self.content, self.name)
        return ScoredImage(photo.shape[:2], black_box(photo[None])[0].astype(np.float64))


@dataclass(frozen=True, eq=False)
class MakeItem(Task):
    """Explain and measure; see `evaluation.evaluate` for what its attributes are."""

    key: ItemKey
    content: bytes
    target: Target
    annotation: NDArray[np.bool_] | None
    contestant: Contestant
    protocol: Protocol

    def run(self, black_box: BlackBox) -> Item:
        """See `evaluate`."""
        return evaluate(
            self.key,
            self.content,
            self.target,
            self.annotation,
            self.contestant,
            self.protocol,
            black_box,
        )


def perform(task: Task, token: str, fetch: Callable[[], Model]) -> Any:
    """Do a task in this process, on one thread: as many workers as cores are faster than threads.

    One thread also makes every result the same to the bit, however many workers there are.

    Args:
        task: what to do.
        token: of the model; it is fetched and opened once for each.
        fetch: gives the model.

    Returns:
        The task's result, or `Failed`.
    """
    try:
        if token not in _OPENED:
            torch.set_num_threads(1)  # first: ONNX Runtime takes as many as torch has
            _OPENED[token] = fetch().open()
        black_box = _OPENED[token]
    except IassaError as error:
        return Failed(one_line(error), "model")
    except Exception as error:  # noqa: BLE001 - a user's model may do anything while it is opened
        return Failed(f"{type(error).__name__}: {one_line(error)}", "model")
    try:
        return task.run(black_box)
    except InputError as error:
        return Failed(one_line(error), "input")
    except IassaError as error:
        return Failed(one_line(error))
    except Exception as error:  # noqa: BLE001 - whatever it was, it is this task's alone
        return Failed(f"{type(error).__name__}: {one_line(error)}")


def one_line(error: Exception) -> str:
    """Its message without line breaks."""
    return " ".join(str(error).split())
