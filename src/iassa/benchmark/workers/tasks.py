"""A worker process performs tasks. Tasks and their results can be pickled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from iassa.errors import IassaError, InputError
from iassa.models.black_box import BlackBox
from iassa.models.opening import BlackBoxLike, open_model

# The black boxes of this process, by token. A process of Ray may serve one run after another.
_OPENED: dict[str, BlackBox] = {}


@dataclass(frozen=True)
class Model:
    """The black box as it is sent to a worker, which opens it once.

    Attributes:
        reference: what `open_model` takes. The worker opens a name; an object is pickled.
        device: where it runs; see `open_device`.
    """

    reference: BlackBoxLike
    device: str | None = None

    def open(self) -> BlackBox:
        """Open the black box.

        Raises:
            InputError: it cannot be opened.
        """
        return open_model(self.reference, self.device)


@dataclass(frozen=True)
class TaskFailure:
    """The result of a task that failed.

    Attributes:
        error: one line.
        blame: 'model' if the model cannot be opened, so that every other task would fail too;
            'input' if the task would fail again; 'run' otherwise.
    """

    error: str
    blame: Literal["model", "input", "run"] = "run"


class Task(ABC):
    """Work that needs a black box. Subclasses can be pickled."""

    @abstractmethod
    def run(self, black_box: BlackBox) -> Any:
        """Do the work and return its result, which can be pickled."""


def perform(task: Task, token: str, fetch: Callable[[], Model]) -> Any:
    """Perform a task in this process, on one thread.

    One worker for each core is faster than several threads in one worker. One thread also makes
    every result the same to the bit, however many workers there are.

    Args:
        task: what to do.
        token: names the model. The model is fetched and opened once for each token.
        fetch: returns the model.

    Returns:
        The task's result, or a `TaskFailure`.
    """
    try:
        if token not in _OPENED:
            torch.set_num_threads(1)  # first: ONNX Runtime takes as many as torch has
            _OPENED[token] = fetch().open()
        black_box = _OPENED[token]
    except IassaError as error:
        return TaskFailure(one_line(error), "model")
    except Exception as error:  # noqa: BLE001 - a user's model may do anything while it is opened
        return TaskFailure(f"{type(error).__name__}: {one_line(error)}", "model")
    return attempt(lambda: task.run(black_box))


def attempt(work: Callable[[], Any]) -> Any:
    """The result of some work, or a `TaskFailure` that says what it raised."""
    try:
        return work()
    except InputError as error:
        return TaskFailure(one_line(error), "input")
    except IassaError as error:
        return TaskFailure(one_line(error))
    except Exception as error:  # noqa: BLE001 - whatever it was, it is this task's alone
        return TaskFailure(f"{type(error).__name__}: {one_line(error)}")


def one_line(error: Exception) -> str:
    """The message of an error, without line breaks."""
    return " ".join(str(error).split())
