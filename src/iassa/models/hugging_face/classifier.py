"""A classifier of Hugging Face's as a black box: by its name on the hub, or from a folder.

Loaded by transformers, which only this file imports. No code of the model's author is run, and
weights are read without unpickling what is not weights. Size and normalisation are those of the
model's image processor (see `image_processor`), but for its filter: images are resized by iassa's,
before they are masked. Softmax or sigmoid, and names of classes, are those of its config.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import InputError
from iassa.models.black_box import BlackBox
from iassa.models.conventions import Conventions, read_class_names
from iassa.models.hugging_face.image_processor import measure_normalisation, measure_size
from iassa.models.identity import digest_module
from iassa.models.torch_module import TorchModel

__all__ = ["HuggingFaceModel"]

log = logging.getLogger(__name__)

ON_HUB = re.compile(r"(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>.+))?")
CONFIGS = ("config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS = {
    "model*.safetensors": "model.safetensors.index.json",
    "pytorch_model*.bin": "pytorch_model.bin.index.json",
}
SECONDS_TO_ANSWER = 5.0
LONGEST_REASON = 300  # characters of an error of another library


class HuggingFaceModel(BlackBox):
    """A classifier of transformers, planes (N, 3, H, W) in [0, 1] -> scores (N, K)."""

    def __init__(
        self,
        source: str,
        said: Conventions | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        """Load the model, in float32 whatever it was saved in, and run it once on grey.

        Args:
            source: a folder written by `save_pretrained`, or a name on the hub, with '@' and a
                branch, tag or commit behind it where it is not the main branch. What is not in the
                cache of the hub's client is downloaded to it.
            said: what is not to be read from the model: `input_size`; `range`, `mean`, `std` and
                `bgr`, all of them as soon as one is said; `softmax` or `sigmoid`; `class_names`.
            device: where it runs.

        Raises:
            InputError: transformers is not installed; no such model, or no connection to the hub;
                not an image classifier, or weights are missing; an image processor that does not
                resize the whole image to one size, see `iassa.models.hugging_face.image_processor`.
        """
        said = said or Conventions()
        if said.layout is not None or said.output_name is not None:
            raise InputError(
                f"expected no layout or output_name, which a model of transformers has, got {said}."
            )
        if said.detector is not None or said.threshold is not None:
            raise InputError(
                f"expected no detector or threshold for a classifier of transformers, got {said}. "
                "Leave them out; for a detector, export it to ONNX or write an iassa Detector."
            )
        with _quiet():
            folder, commit = _find(source)
            module = _load(folder, source)
            conventions = _complete(said, module.config, folder, source)
        self._source = f"{source.partition('@')[0]}@{commit}" if commit else source
        self._said = said
        self._commit = commit
        self._conventions = conventions
        self._module = module
        self.name = source.partition("@")[0] if commit else folder.resolve().name
        self._network = TorchModel(
            module, normalise=conventions.normalise, name=self.name, device=device
        )
        self.device = self._network.device
        size = conventions.input_size
        self.input_size = None if size is None or size == "any" else size
        self.class_names = _class_names(said, module.config, source)
        self._weights = ""
        if self.input_size is not None:
            self._probe(self.input_size)

    @classmethod
    def parse(cls, text: str, device: torch.device | str = "cpu") -> HuggingFaceModel:
        """The adapter that a text names.

        Args:
            text: 'hf:NAME', 'hf:NAME@REVISION' or 'hf:FOLDER', and '?field=value&field=value'
                behind it; see `Conventions.parse`.
            device: see the class.

        Raises:
            InputError: see the class.
        """
        source, _, options = text.removeprefix("hf:").partition("?")
        return cls(source, Conventions.parse(options), device=device)

    def __reduce__(self) -> tuple[Callable[..., HuggingFaceModel], tuple[Any, ...]]:
        """Opened again, in the same commit: the weights need not travel."""
        return _reopen, (self._source, self._said, self.device)

    def identity(self) -> str:
        """Digest of the weights, the commit on the hub, and how images and scores are treated."""
        if not self._weights:
            self._weights = digest_module(self._module)
        return " ".join(filter(None, ["hf", self._weights, self._commit, str(self._conventions)]))

    def score(self, planes: Tensor) -> Tensor:
        """Scores of planes; see `BlackBox.score`."""
        return self._conventions.activate(self._network.score(planes))

    def _probe(self, size: tuple[int, int]) -> None:
        grey = torch.full((1, 3, *size), 0.5, device=self.device)
        try:
            self.score(grey)
        except Exception as error:  # a network may say of a wrong size whatever it likes
            raise InputError(
                f"expected {self.name} to run on an image of {size[0]} x {size[1]}, got: "
                f"{_reason(error)} Try another input_size."
            ) from error


def _reopen(source: str, said: Conventions, device: torch.device) -> HuggingFaceModel:
    return HuggingFaceModel(source, said, device=device)


def _find(source: str) -> tuple[Path, str]:
    """The folder of a model, and its commit on the hub; no commit if it is a folder of the user's.

    Raises:
        InputError: neither a folder nor a model on the hub.
    """
    if not source:
        raise InputError("expected hf:NAME or hf:FOLDER, got no name.")
    if Path(source).is_dir():
        return Path(source), ""
    match = ON_HUB.fullmatch(source)
    if match is None:
        raise InputError(
            f"no such folder: {source}, and not a name on the hub either. Check the path."
        )
    folder = _download(match["name"], match["revision"])
    return folder, folder.name


def _download(name: str, revision: str | None) -> Path:
    """The folder in the cache to which the files of a commit are downloaded; it has its name."""
    hub = _import_transformers("huggingface_hub")
    refusal = _why_unreachable(hub)

    def fetch(at: str | None, *patterns: str) -> Path:
        found = hub.snapshot_download(
            name, revision=at, allow_patterns=[*patterns], local_files_only=bool(refusal)
        )
        return Path(found)

    log.info("opening %s of the Hugging Face hub, downloaded the first time", name)
    try:
        folder = fetch(revision, *CONFIGS)
        for weights, index in WEIGHTS.items():
            fetch(folder.name, weights, index)
            if next(folder.glob(weights), None) is not None:
                break
    except Exception as error:  # not found, not allowed, no space, no connection
        asked = f"{name} at revision {revision}" if revision else name
        if refusal:
            raise InputError(
                f"cannot open {asked}: no such folder, not in the cache of the Hugging Face hub, "
                f"and {refusal}. Check the path or the connection."
            ) from None
        raise InputError(
            f"cannot open {asked}: no such folder, and from the Hugging Face hub: "
            f"{_reason(error)} Check the name, and `hf auth login` for what is not public."
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
    transformers = _import_transformers("transformers")
    try:
        module, report = transformers.AutoModelForImageClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers says of a broken model nearly anything
        raise InputError(
            f"expected an image classifier that transformers loads, got {source}: {_reason(error)} "
            "Check the folder: config.json and model.safetensors of save_pretrained."
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would fill them with random numbers
        raise InputError(
            f"expected all weights of a {type(module).__name__} in {source}, got none for "
            f"{', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}. Name a model that was "
            "trained to classify images."
        )
    return module


def _complete(said: Conventions, config: Any, folder: Path, source: str) -> Conventions:
    """What was said, and the rest as the model's files have it."""
    of_colours = (said.range, said.mean, said.std, said.bgr)
    colours_said = any(one is not None for one in of_colours)
    found = said
    if not colours_said or said.input_size is None:
        process = _processor(folder, source)
        try:
            line = measure_normalisation(process)
            size = said.input_size or measure_size(process, line)
        except InputError as error:
            raise InputError(f"{source}: {error}") from error
        found = dataclasses.replace(said if colours_said else line, input_size=size)
    softmax, sigmoid = bool(said.softmax), bool(said.sigmoid)
    if said.softmax is None and said.sigmoid is None:
        kind, single = config.problem_type, config.num_labels == 1
        # As the pipeline of transformers has it.
        sigmoid = kind == "multi_label_classification" or (single and kind != "regression")
        softmax = not sigmoid and kind != "regression"
    return dataclasses.replace(found, softmax=softmax, sigmoid=sigmoid, class_names=None)


def _processor(folder: Path, source: str) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The image processor of a model, from an image (H, W, 3) uint8 to planes (3, h, w)."""
    transformers = _import_transformers("transformers")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise InputError(
            f"expected an image processor in {source}, got: {_reason(error)} Say what it would do: "
            "input_size=224,224, and range=0-1 or mean=... and std=..."
        ) from error

    def process(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        planes: Tensor = processor(image, return_tensors="pt")["pixel_values"]
        return planes[0].float().numpy()

    return process


def _class_names(said: Conventions, config: Any, source: str) -> tuple[str, ...]:
    if said.class_names is None:
        return tuple(str(config.id2label[number]) for number in range(config.num_labels))
    names = read_class_names(said.class_names)
    if len(names) != config.num_labels:
        raise InputError(
            f"expected {config.num_labels} class names, as many as {source} has scores, got "
            f"{len(names)}. Give a file of names with class_names."
        )
    return names


def _import_transformers(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"a model of Hugging Face needs {name}: pip install 'iassa[hf]'."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and notes of transformers and the hub: what matters of them is checked here."""
    notes = _import_transformers("transformers").utils.logging
    of_hub = _import_transformers("huggingface_hub").utils.logging
    levels = [(one, one.get_verbosity()) for one in (notes, of_hub)]
    bars = notes.is_progress_bar_enabled()
    for one, _ in levels:
        one.set_verbosity_error()
    notes.disable_progress_bar()  # the hub's as well
    try:
        yield
    finally:
        for one, level in levels:
            one.set_verbosity(level)
        if bars:
            notes.enable_progress_bar()


def _reason(error: Exception) -> str:
    """An error of another library in one line, as a sentence."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    return f"{text[:LONGEST_REASON]}{'...' if len(text) > LONGEST_REASON else '.'}"
