"""ONNX Runtime sessions, the same way for whatever runs a graph. The only user of ONNX Runtime."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from iassa.errors import BlackBoxError, InputError

# Read at its import, and by no call afterwards: else it sends notes on models and errors to its
# makers, from a thread that no fork of this process has.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

__all__ = ["open_session", "run_session"]

CPU = torch.device("cpu")
SILENT = 4  # of its log: what fails is raised as well, what it warns of are its own optimisations
# What it puts before a reason: its name and a number, the file's name, a place in its own source.
BEFORE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed: ?"
    r"|/onnxruntime_src/\S+:\d+ [^()]*\([^()]*\)(?: const)? "
)


def open_session(
    model: Path | bytes, folder: Path | None = None, device: torch.device = CPU
) -> Any:
    """Open a graph on one device; nothing falls back to another.

    Args:
        model: an ONNX file, or what such a file holds.
        folder: where external data lies, for a model that is given by its bytes.
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
    options.log_severity_level = SILENT
    if folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(folder))
    try:
        # Its fallback tries again with other providers, and says so on stdout, which is the user's.
        session = onnxruntime.InferenceSession(
            model, options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # it has its own kinds, which share no base
        raise InputError(_reason(error)) from error
    first = next(iter(dict(providers)))
    if first not in session.get_providers():  # it goes on without one whose libraries are missing
        raise InputError(f"ONNX Runtime could not start {first} on {device}. Use device cpu.")
    return session


def run_session(session: Any, outputs: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
    """What a graph makes of a batch of images.

    Args:
        session: of `open_session`.
        outputs: names.
        inputs: by name.

    Raises:
        BlackBoxError: ONNX Runtime fails at it.
    """
    try:
        found: list[Any] = session.run(list(outputs), dict(inputs))
    except Exception as error:  # as above
        count = max(len(each) for each in inputs.values())
        # Often a shape was written down when it was exported with one image.
        one = " If it takes one image at a time, say --batch-size 1, or export it for any number."
        raise BlackBoxError(
            f"ONNX Runtime fails on {count} image{'s' if count > 1 else ''}: "
            f"{_reason(error).rstrip('.')}.{one if count > 1 else ''}"
        ) from error
    return found


def _reason(error: Exception) -> str:
    return BEFORE.sub("", " ".join(str(error).split()))


def _providers(device: torch.device) -> list[tuple[str, dict[str, Any]]]:
    """What a session runs on: one, and nothing else to fall back to."""
    if device.type == "cpu":
        return [("CPUExecutionProvider", {})]
    there = onnxruntime.get_available_providers()
    if device.type != "cuda" or "CUDAExecutionProvider" not in there:
        raise InputError(
            f"expected a device that ONNX Runtime has here, got {device}; it has "
            f"{', '.join(there)}. Use device cpu, or install onnxruntime-gpu for cuda in the place "
            "of onnxruntime."
        )
    # The CPU beside it is for the few operators, as those of shapes, that CUDA does not have.
    cuda = ("CUDAExecutionProvider", {"device_id": device.index or 0})
    return [cuda, ("CPUExecutionProvider", {})]
