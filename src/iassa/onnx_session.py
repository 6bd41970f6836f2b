"""ONNX Runtime sessions, the same way for whatever runs a graph. The only user of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import torch

from iassa.errors import InputError

__all__ = ["open_session"]


def open_session(model: Path | bytes, folder: Path | None = None) -> Any:
    """Open a graph on the CPU.

    Args:
        model: an ONNX file, or what such a file holds.
        folder: where external data lies, for a model that is given by its bytes.

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        InputError: ONNX Runtime refuses the graph; the message is its reason, on one line.
    """
    options = onnxruntime.SessionOptions()
    # As many as torch: its own default leaves out the second thread of a core.
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait fight with torch's for the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # its warnings are of its own optimisations
    if folder is not None:
        key = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(key, str(folder))
    try:
        # Its fallback tries again with other providers, and says so on stdout, which is the user's.
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # it has its own kinds, which share no base
        raise InputError(" ".join(str(error).split())) from error
