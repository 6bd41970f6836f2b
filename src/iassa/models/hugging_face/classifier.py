"""A classifier of Hugging Face's as a black box: by its name on the hub, or from a folder.

Only this file imports transformers, which loads the model. It runs no code of the model's author,
and it reads weights without unpickling anything else. Size and normalisation are those of the
model's image processor (see `image_processor`), but for its filter: iassa resizes images before it
masks them. Softmax or sigmoid, and names of classes, are those of its config.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iassa.errors import InputError, list_some, require, show
from iassa.files import user_path
from iassa.models.activation import ActivatedModel
from iassa.models.conventions import Conventions, read_class_names
from iassa.models.hugging_face.image_processor import Process, measure_normalisation, measure_size
from iassa.models.identity import digest_module
from iassa.models.outputs import check_count
from iassa.models.torch_module import TorchModel

log = logging.getLogger(__name__)

# Read when the hub's client is imported: else its requests tell of this machine and its packages.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

ON_HUB = re.compile(r"(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>.+))?")
CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS = {
    "model*.safetensors": "model.safetensors.index.json",
    "pytorch_model*.bin": "pytorch_model.bin.index.json",
}
NOT_TAKEN = ("layout", "output_name", "detector", "threshold", "resize")
OFFLINE = {"local_files_only": True, "trust_remote_code": False}
SECONDS_TO_ANSWER = 5.0
LONGEST_REASON = 300  # characters of an error of another library


class HuggingFaceModel(ActivatedModel):
    """A classifier of transformers, planes (N, 3, H, W) in [0, 1] -> scores (N, K)."""

    def __init__(
        self,
        source: Any,
        conventions: Conventions | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        """Load the model, in float32 whatever it was saved in, and run it once on grey.

        Args:
            source: a folder written by `save_pretrained`, or a name on the hub, with '@' and a
                branch, tag or commit behind it where it is not the main branch. Files that are not
                in the cache of the hub's client are downloaded to it. Or what is loaded already, of
                the type that it has: a pipeline of the task image-classification, or a pair of a
                model and its image processor.
            conventions: in place of the model's own: `input_size`; `range`, `mean`, `std` and
                `bgr`, all of them as soon as one is given; `softmax` or `sigmoid`; `class_names`.
            device: where it runs; None leaves it where it is, on the CPU if it is loaded here.

        Raises:
            InputError: transformers is not installed; no such model, or no connection to the hub;
                not an image classifier, or weights are missing; an image processor that does not
                resize the whole image to one size, see `iassa.models.hugging_face.image_processor`.
        """
        given = conventions or Conventions()
        refused = [name for name in NOT_TAKEN if getattr(given, name) is not None]
        require(
            not refused,
            f"expected no {', '.join(refused)} for a classifier of transformers, got {given}. "
            "Leave it out; export a detector to ONNX, or write an iassa Detector.",
        )
        with _quiet():
            parts = _load_parts(source) if isinstance(source, str) else _take_parts(source)
            self._module, self._commit, self.name = parts.module, parts.commit, parts.name
            told = str(source) if isinstance(source, str) else parts.name
            self._conventions = _complete(given, self._module.config, parts.open_process, told)
        check_count(self._module.config.num_labels, self._conventions, told)
        self.class_names = _class_names(given, self._module.config, told)
        self._given = given
        self._source = f"{self.name}@{self._commit}" if self._commit else source
        self._network = TorchModel(
            self._module, normalise=self._conventions.normalise, name=self.name, device=device
        )
        self.device = self._network.device
        if isinstance(self._conventions.input_size, tuple):
            self.input_size = self._conventions.input_size
            self._probe(*self.input_size)

    @classmethod
    def parse(cls, text: str, device: torch.device | str = "cpu") -> HuggingFaceModel:
        """The model that a text names.

        Args:
            text: 'hf:NAME', 'hf:NAME@REVISION' or 'hf:FOLDER', and '?field=value&field=value'
                behind it; see `Conventions.parse`.
            device: see the class.

        Raises:
            InputError: see the class.
        """
        source, _, options = text.removeprefix("hf:").partition("?")
        return cls(source, Conventions.parse(options), device=device)

    def __reduce__(self) -> tuple[Any, ...]:
        """Opened again, in the same commit: the weights need not travel, if they were loaded."""
        reopen = functools.partial(HuggingFaceModel, device=self.device)
        return reopen, (self._source, self._given)

    @functools.cached_property
    def _weights(self) -> str:
        return digest_module(self._module)

    def identity(self) -> str:
        """Digest of the weights, the commit on the hub, and how images and scores are treated."""
        return " ".join(filter(None, ["hf", self._weights, self._commit, str(self._conventions)]))

    def outputs(self, planes: Tensor) -> Tensor:
        """Outputs of planes; see `ActivatedModel.outputs`."""
        return self._network.outputs(planes)

    def _probe(self, height: int, width: int) -> None:
        expected = f"{self.name} to run on an image of {height} x {width}"
        with _refusing(expected, "Try another input_size."):
            self.score(torch.full((1, 3, height, width), 0.5, device=self.device))


@dataclass(frozen=True)
class _Parts:
    """A classifier, how to open its image processor, its commit on the hub or '', and its name."""

    module: Any
    open_process: Callable[[], Process]
    commit: str
    name: str


def _load_parts(source: str) -> _Parts:
    """Those of a folder, or of a name on the hub."""
    folder, commit = _find(source)
    name = source.partition("@")[0] if commit else folder.resolve().name
    process = functools.partial(_open_processor, folder, source)
    return _Parts(_load(folder, source), process, commit, name)


def _take_parts(loaded: Any) -> _Parts:
    """Those of a pipeline, or of a pair of a model and its image processor.

    Raises:
        InputError: something else, or a pipeline of another task.
    """
    if isinstance(loaded, tuple):
        module, processor = loaded if len(loaded) == 2 else (None, None)
    else:
        task = getattr(loaded, "task", None)
        require(
            task == "image-classification",
            f"expected a pipeline of the task image-classification, got one of {task}. Write a "
            "function from images to scores, see docs/models.md.",
        )
        module, processor = loaded.model, loaded.image_processor
    if not (isinstance(module, nn.Module) and hasattr(module, "config") and callable(processor)):
        raise InputError(
            f"expected a model of transformers and its image processor, got {show(loaded)}."
        )
    name = Path(str(getattr(module.config, "name_or_path", "") or type(module).__name__)).name
    return _Parts(module, lambda: _process_by(processor), "", name)


def _find(source: str) -> tuple[Path, str]:
    """The folder of a model, and its commit on the hub; no commit if it is a folder of the user's.

    Raises:
        InputError: neither a folder nor a model on the hub.
    """
    require(source, "expected hf:NAME or hf:FOLDER, got no name.")
    if user_path(source).is_dir():
        return user_path(source), ""
    match = ON_HUB.fullmatch(source)
    if match is None:
        raise InputError(
            f"no such folder: {source}, and not a name on the hub either. Check the path."
        )
    folder = _download(match["name"], match["revision"])
    return folder, folder.name


def _download(name: str, revision: str | None) -> Path:
    """The folder in the cache to which the files of a commit are downloaded; it has its name."""
    hub = _import("huggingface_hub")
    offline = _why_unreachable(hub)
    fetch = functools.partial(hub.snapshot_download, name, local_files_only=bool(offline))
    log.info("opening %s of the Hugging Face hub, downloaded the first time", name)
    try:
        folder = Path(fetch(revision=revision, allow_patterns=CONFIGS))
        for weights in WEIGHTS.items():
            fetch(revision=folder.name, allow_patterns=weights)
            if any(folder.glob(weights[0])):
                break
    except Exception as error:  # not found, not allowed, no space, no connection
        asked = f"{name} at revision {revision}" if revision else name
        cause = f"not in the cache of the Hugging Face hub, and {offline}."
        if not offline:
            cause = f"and from the Hugging Face hub: {_reason(error)}"
        raise InputError(
            f"cannot open {asked}: no such folder, {cause} Check the name and the connection, and "
            "`hf auth login` for a model that is not public."
        ) from error
    return folder


def _why_unreachable(hub: Any) -> str:
    """Why the hub cannot be asked; empty if it can. Its client tries for half a minute."""
    if hub.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        hub.get_session().head(hub.constants.ENDPOINT, timeout=SECONDS_TO_ANSWER)
    except Exception as error:  # noqa: BLE001 - of the client's own library, or a proxy's
        return f"{hub.constants.ENDPOINT} cannot be reached: {_reason(error).rstrip('.')}"
    return ""


def _load(folder: Path, source: str) -> Any:
    """The classifier in a folder, with all of its weights.

    Raises:
        InputError: transformers cannot load it, or weights are missing.
    """
    advice = "Check the folder: config.json and model.safetensors of save_pretrained."
    with suppress(OSError, ValueError, AttributeError):
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if "Detection" in str(config.get("architectures")):
            advice = (
                "It detects objects: export it to ONNX, or put it into a function for "
                "iassa.models.FunctionDetector, see docs/detectors.md."
            )
    with _refusing(f"an image classifier that transformers loads in {source}", advice):
        auto = _import("transformers").AutoModelForImageClassification
        module, report = auto.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **OFFLINE
        )
    missing = sorted(report["missing_keys"])
    require(
        not missing,  # transformers would fill them with random numbers
        f"expected all weights of a {type(module).__name__} in {source}, got none for "
        f"{list_some(missing)}. Name a model that was "
        "trained to classify images.",
    )
    return module


def _complete(
    given: Conventions, config: Any, open_process: Callable[[], Process], source: str
) -> Conventions:
    """The conventions that were given, and the rest as the model's files have it."""
    size, found = given.input_size, given
    colours_given = any((given.range, given.mean, given.std, given.bgr is not None))
    if not colours_given or size is None:
        process = open_process()
        try:
            measured = measure_normalisation(process)
            size = size or measure_size(process, measured)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
        found = given if colours_given else measured
    softmax, sigmoid = given.softmax, given.sigmoid
    if softmax is None and sigmoid is None:
        kind, single = config.problem_type, config.num_labels == 1
        # As the pipeline of transformers has it.
        sigmoid = kind == "multi_label_classification" or (single and kind != "regression")
        softmax = not sigmoid and kind != "regression"
    return dataclasses.replace(
        found, input_size=size, softmax=bool(softmax), sigmoid=bool(sigmoid), class_names=None
    )


def _open_processor(folder: Path, source: str) -> Process:
    """The image processor of a model, from an image (H, W, 3) uint8 to planes (3, h, w)."""
    with _refusing(
        f"an image processor in {source}",
        "Give the settings in its place: input_size=224,224, and range=0-1 or mean=... and std=...",
    ):
        auto = _import("transformers").AutoImageProcessor
        return _process_by(auto.from_pretrained(folder, **OFFLINE))


def _process_by(processor: Any) -> Process:
    """An image processor of transformers as a function."""

    def process(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        with _refusing("an image processor that takes one image", "Give input_size, mean and std."):
            planes: Tensor = processor(image, return_tensors="pt")["pixel_values"]
            return planes[0].float().numpy()

    return process


def _class_names(given: Conventions, config: Any, source: str) -> tuple[str, ...]:
    count = config.num_labels
    if given.class_names is None:
        return tuple(str(config.id2label[number]) for number in range(count))
    names = read_class_names(given.class_names)
    require(
        len(names) == count,
        f"expected {count} class names, as many as {source} has scores, got {len(names)}. Give a "
        "file of names with class_names.",
    )
    return names


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"a model of Hugging Face needs {name}: pip install transformers."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and notes of transformers and the hub: this file checks what matters of them."""
    notes = _import("transformers").utils.logging
    with ExitStack() as undo:
        for one in (notes, _import("huggingface_hub").utils.logging):
            undo.callback(one.set_verbosity, one.get_verbosity())
            one.set_verbosity_error()
        if notes.is_progress_bar_enabled():
            undo.callback(notes.enable_progress_bar)
        notes.disable_progress_bar()  # the hub's as well
        yield


@contextmanager
def _refusing(expected: str, advice: str) -> Iterator[None]:
    """Whatever the library or the model raises inside, the input is at fault."""
    try:
        yield
    except Exception as error:
        raise InputError(f"expected {expected}, got: {_reason(error)} {advice}") from error


def _reason(error: Exception) -> str:
    """An error of another library in one line, as a sentence."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    return f"{text[:LONGEST_REASON]}{'...' if len(text) > LONGEST_REASON else '.'}"
