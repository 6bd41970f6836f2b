"""Black boxes by name: what `--model` and `iassa.explain` accept, each kind in its own file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from iassa.checks import InputSize, fits, take
from iassa.errors import InputError, list_some, show
from iassa.models import efficientnet_lite0
from iassa.models.black_box import BlackBox, FunctionModel
from iassa.models.conventions import ONNX, Conventions, as_class_names
from iassa.models.http.endpoint import is_url, open_endpoint
from iassa.models.http.settings import HttpSettings
from iassa.models.references import import_attribute
from iassa.models.torch_module import TorchModel
from iassa.query import add_fields

HUGGING_FACE = "hf:"
RUN_IT = (
    "Write a function that loads it and scores images, and name it as package.module:function, see "
    "docs/models.md; or convert it to ONNX"
)
# What a file is, by its ending, and what to do. Those of torch hold weights without a network, or
# pickled code; `torch.export.load`, too, says that it unpickles.
OTHER_FILES = {
    (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors"): (
        "such files hold weights without one, or code that loading would run. Write a function "
        "that builds the network and loads the file (torch.load(..., weights_only=True), "
        "torch.jit.load(...)), and name it as package.module:function; or export it to ONNX. A "
        "folder of save_pretrained is hf:FOLDER."
    ),
    (".tflite",): f"a file of TensorFlow Lite. {RUN_IT}, with tf2onnx.",
    (".h5", ".hdf5", ".keras"): f"a file of Keras. {RUN_IT}, with model.export(format='onnx').",
    (".pb",): f"a graph of TensorFlow. {RUN_IT}, with tf2onnx.",
    (".xml",): f"a graph of OpenVINO. {RUN_IT} where it was trained.",
    (".ort",): f"ONNX Runtime's own form of a file. Name the .onnx that it was made of. {RUN_IT}.",
}

BlackBoxLike: TypeAlias = (
    "str | Path | BlackBox | nn.Module | Callable[[NDArray[np.float32]], ArrayLike]"
    " | tuple[nn.Module, Any]"
)


def open_device(device: str | torch.device | None) -> torch.device:
    """The device by name, checked to be there.

    Args:
        device: 'cpu', 'cuda', 'cuda:1', ...; None takes a GPU where torch sees one, else the CPU.

    Raises:
        InputError: no such device on this machine; nothing falls back to another.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reason = "devices are cpu, cuda, cuda:1, mps and the like"  # torch's own message names twenty
    try:
        found = torch.device(device)
        reason = ""
        # Sums are in float64, which not every device has; 'meta' makes tensors, computes nothing.
        torch.zeros(1, dtype=torch.float64, device=found).cpu()
    except (RuntimeError, AssertionError, ImportError, TypeError, ValueError) as error:
        reason = reason or str(error).splitlines()[0].partition(". ")[0].rstrip(".")
        raise InputError(
            f"expected a device that is here, got {show(device)}: {reason}. Leave it out, or say "
            "'cpu'."
        ) from None
    return found


def _same(wanted: torch.device, there: torch.device) -> bool:
    """Whether two devices are one; 'cuda' without a number is any of them."""
    numbers = (wanted.index, there.index)
    return wanted.type == there.type and (None in numbers or wanted.index == there.index)


def open_model(
    model: BlackBoxLike = "efficientnet-lite0", device: str | torch.device | None = None
) -> BlackBox:
    """Whatever a user has, as a black box.

    Args:
        model: a name, a callable, a torch module or a `BlackBox`. A name is

            - 'efficientnet-lite0', or 'efficientnet-lite0-features': its 1280 pooled features, for
              `iassa.models.Similarity`;
            - 'FILE.onnx' or 'FILE.onnx?range=0-1&softmax=yes', see `OnnxModel`, and `OnnxDetector`
              for a file that detects objects;
            - 'hf:NAME', 'hf:NAME@REVISION' or 'hf:FOLDER', a classifier of transformers; fields may
              follow a '?', see `HuggingFaceModel`;
            - a URL; settings may follow a '#', see `open_endpoint`;
            - 'package.module:attribute', a callable, a torch module, or a function without
              arguments that returns one. Naming it runs its code.

            A callable takes images (N, H, W, 3) float32 in [0, 1] and returns scores (N, K). A
            torch module takes planes (N, 3, H, W) float32 in [0, 1]. A pipeline of Hugging Face for
            image-classification, or a pair of its model and its image processor, is a
            `HuggingFaceModel`.
        device: where the default model and those of Hugging Face run, and where a torch module is
            moved to, see `open_device`. None leaves a module where it is, and runs an ONNX file on
            the CPU: ONNX Runtime has CUDA in a package of its own. A function runs where it likes,
            and gets NumPy arrays.

    Returns:
        The black box.

    Raises:
        InputError: no model of that name, an object that cannot be called, or a device on which
            the model does not run.
        BlackBoxError: a model server that does not say what it takes.
    """
    if isinstance(model, str | Path):
        return _open_by_name(str(model), device)
    if isinstance(model, nn.Module):
        return TorchModel(model, device=None if device is None else open_device(device))
    if isinstance(model, tuple) or any(
        kind.__module__.startswith("transformers.") and kind.__name__ == "Pipeline"
        for kind in type(model).__mro__
    ):
        from iassa.models.hugging_face.classifier import HuggingFaceModel

        return HuggingFaceModel(model, device=None if device is None else open_device(device))
    if not isinstance(model, BlackBox):
        if not callable(model):
            raise InputError(
                f"expected a black box, got {type(model).__name__}. Pass a callable, images "
                "(N, H, W, 3) -> scores (N, K), a torch module, or the name of a model."
            )
        model = FunctionModel(model)
    _take_attributes(model)
    if device is not None and not _same(open_device(device), model.device):
        raise InputError(
            f"{model.name} runs on {model.device}, got device {device}. Leave it out, or wrap a "
            "torch module with iassa.models.TorchModel(module, device=...)."
        )
    return model


def _take_attributes(model: BlackBox) -> None:
    """Put what a black box of the user's says of itself into the form of its annotations.

    Raises:
        InputError: it says something else.
    """
    if not fits(model.class_names, tuple[str, ...] | None):
        model.class_names = as_class_names(model.class_names)
    if not fits(model.input_size, InputSize):
        model.input_size = take(model.input_size, InputSize, f"input_size of {model.name}")


def _open_by_name(model: str, device: str | torch.device | None) -> BlackBox:
    if model in efficientnet_lite0.NAMES:
        return efficientnet_lite0.open_default(open_device(device), model)
    if is_url(model):
        return open_model(open_endpoint(model), device)
    # Imported here, since transformers and the package onnx take their time.
    if model.startswith(HUGGING_FACE):
        from iassa.models.hugging_face.classifier import HuggingFaceModel

        return HuggingFaceModel.parse(model, open_device(device))
    if ONNX.fullmatch(model):
        from iassa.models.onnx.detector import open_onnx

        return open_onnx(model, "cpu" if device is None else open_device(device))
    _refuse_file(model)
    if ":" in model and "/" not in model:
        name, _, fields = model.partition("?")
        if fields:
            _refuse_fields(name, [fields])
        return open_model(cast("Any", import_attribute(model)), device)
    raise InputError(
        f"unknown model {model!r}. Use {', '.join(efficientnet_lite0.NAMES)}, FILE.onnx, hf:NAME, "
        "hf:FOLDER, a URL or package.module:attribute."
    )


def _refuse_file(model: str) -> None:
    """Refuse a file of another kind than ONNX, by its ending."""
    for endings, advice in OTHER_FILES.items():
        if model.partition("?")[0].lower().endswith(endings):
            raise InputError(f"expected a network, got {model}: {advice}")


def _refuse_fields(model: str, typed: Sequence[str]) -> NoReturn:
    raise InputError(
        f"expected {list_some(typed)} for an ONNX file, hf:NAME or a URL, got model {model}, which "
        "takes images in [0, 1] and describes itself. Leave them out. A model of your own is "
        "described where it is wrapped: iassa.models.TorchModel(module, input_size=..., "
        "normalise=..., softmax=...), see docs/torch.md, or iassa.models.FunctionModel, see "
        "docs/models.md."
    )


def add_conventions(model: str, typed: Sequence[str]) -> str:
    """The name of a model with more fields in it: a text that `open_model` opens anywhere.

    Args:
        model: as `open_model` takes it.
        typed: each 'field=value' as a person types it: fields of `HttpSettings` for a URL, of
            `Conventions` for all others.

    Raises:
        InputError: a model that takes no such fields, a field that the name has already, or a
            value that cannot be read.

    Example:
        >>> add_conventions("net.onnx?softmax=yes", ["range=0-255"])
        'net.onnx?range=0..255&softmax=yes'
    """
    if is_url(model):
        url, _, settings = model.partition("#")
        return f"{url}#{add_fields(HttpSettings, settings, typed)}"
    file = None if model.startswith(HUGGING_FACE) else ONNX.fullmatch(model)
    if file is None and not model.startswith(HUGGING_FACE):
        _refuse_file(model)
        _refuse_fields(model, typed)
    path, _, options = model.partition("?")
    if file is not None:
        path, options = file["path"], file["options"] or ""
    return f"{path}?{add_fields(Conventions, options, typed)}"
