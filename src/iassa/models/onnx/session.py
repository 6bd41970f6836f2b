"""ONNX Runtime sessions, the same way for whatever runs a graph. The only user of ONNX Runtime."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from iassa.errors import BlackBoxError, InputError, reason_of, require
from iassa.models.black_box import seconds_left, until

# Read at its import, and by no call afterwards: else it sends notes on models and errors to its
# makers, from a thread that no fork of this process has.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

CPU = torch.device("cpu")
TRIAL = 120.0  # seconds for one image, when a graph is opened
ENDING = 5.0  # seconds for a run that was told to end
SILENT = 4  # of its log: what fails is raised as well, what it warns of are its own optimisations
# What it puts before a reason: its name and a number, the file's name, a place in its own source.
BEFORE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed: ?"
    r"|/onnxruntime_src/\S+:\d+ [^()]*\([^()]*\)(?: const)? "
)


def open_session(path: Path, content: bytes | None = None, device: torch.device = CPU) -> Any:
    """Open a graph on one device; nothing falls back to another.

    Args:
        path: an ONNX file.
        content: a changed copy of that file, which is opened in its place; external data is read
            from beside the file.
        device: a CPU, or a GPU of CUDA, which takes the package onnxruntime-gpu.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        InputError: ONNX Runtime refuses the graph; the message is its reason, on one line. Or it
            has no such device.
    """
    providers = _providers(device)
    options = onnxruntime.SessionOptions()
    # As many as torch: its own default leaves out the second thread of a core.
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait fight with torch's for the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan of all memory for each shape of a batch takes a tenth more of it, and saves no time.
    options.enable_mem_pattern = False
    options.log_severity_level = SILENT
    if content is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(path.resolve().parent))
    try:
        # Its fallback tries again with other providers, and says so on stdout, which is the user's.
        # The path is not resolved: a link, as in the cache of a hub, has its weights beside it.
        session = onnxruntime.InferenceSession(
            content or path.absolute(), options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # it has its own kinds, which share no base
        raise InputError(
            f"expected an ONNX model that ONNX Runtime opens, got {path}: {_reason(error)}. Export "
            "it with the operators of ONNX itself, in an opset that the runtime has."
        ) from error
    first = next(iter(dict(providers)))
    if first not in session.get_providers():  # it goes on without one whose libraries are missing
        raise InputError(f"ONNX Runtime could not start {first} on {device}. Use device cpu.")
    return session


class _Run(threading.Thread):
    """One run of a graph in a thread of its own, so that the thread that waits can end it.

    Attributes:
        done: set when it is over.
        outcome: what it gave or raised; None until then.
    """

    def __init__(self, session: Any, outputs: Sequence[str], inputs: Mapping[str, Any]) -> None:
        super().__init__(daemon=True)
        self._call = (session, list(outputs), dict(inputs))
        self._options = onnxruntime.RunOptions()
        # Not `join`: after Ctrl-C, a second one would return at once.
        self.done = threading.Event()
        self.outcome: list[Any] | Exception | None = None
        self.start()

    def run(self) -> None:
        """Run the graph."""
        session, outputs, inputs = self._call
        try:
            self.outcome = session.run(outputs, inputs, self._options)
        except Exception as error:  # noqa: BLE001 - it has its own kinds, which share no base
            self.outcome = error
        self.done.set()

    def end(self) -> None:
        """End the run after the node that is computed now."""
        self._options.terminate = True
        self.done.wait(ENDING)


def run_session(session: Any, outputs: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
    """Outputs of a graph for a batch of images.

    Args:
        session: of `open_session`.
        outputs: names.
        inputs: by name.

    Raises:
        BlackBoxError: ONNX Runtime fails at it, or it runs beyond the time; see `until`.
    """
    started, left = time.perf_counter(), seconds_left()
    running = _Run(session, outputs, inputs)
    try:
        running.done.wait(None if left == float("inf") else max(0.0, left))
    finally:  # the time is up, or Ctrl-C
        if not running.done.is_set():
            running.end()
    count = max(len(each) for each in inputs.values())
    if time.perf_counter() - started >= left and not isinstance(running.outcome, list):
        raise BlackBoxError(
            f"expected an answer for {count} image(s), got none within {left:.0f} s. The graph may "
            "run for ever. Give more time, or fewer images with --batch-size."
        )
    if isinstance(running.outcome, Exception):
        # Often a shape was written down when it was exported with one image.
        raise BlackBoxError(
            f"ONNX Runtime fails on {count} image(s): {_reason(running.outcome)}. If it takes one "
            "image at a time, say --batch-size 1, or export it for any number."
        ) from running.outcome
    assert running.outcome is not None, "else the time is up"
    return running.outcome


@contextmanager
def checking_size(path: str | Path, size: tuple[int, int]) -> Iterator[None]:
    """Inside, a graph runs for the first time: whatever fails is laid to the size of its images.

    Args:
        path: of the graph, for the error.
        size: (height, width) of the images.

    Raises:
        InputError: it failed, or has no answer after `TRIAL` seconds.
    """
    try:
        with until(time.perf_counter() + TRIAL):
            yield
    except InputError:
        raise
    except Exception as error:  # an answer that cannot be read may raise whatever it likes
        raise InputError(
            f"expected {path} to run on an image of {size[0]} x {size[1]}, got: "
            f"{_reason(error)}. Try another input_size or layout."
        ) from error


def _reason(error: Exception) -> str:
    return reason_of(BEFORE.sub("", " ".join(str(error).split())))


def _providers(device: torch.device) -> list[tuple[str, dict[str, Any]]]:
    """What a session runs on: one, and nothing else to fall back to."""
    if device.type == "cpu":
        return [("CPUExecutionProvider", {})]
    available = onnxruntime.get_available_providers()
    require(
        device.type == "cuda" and "CUDAExecutionProvider" in available,
        f"expected a device that ONNX Runtime has here, got {device}; it has "
        f"{', '.join(available)}. Use device cpu, or install onnxruntime-gpu for cuda.",
    )
    # The CPU beside it is for the few operators, as those of shapes, that CUDA does not have.
    cuda = ("CUDAExecutionProvider", {"device_id": device.index or 0})
    return [cuda, ("CPUExecutionProvider", {})]
