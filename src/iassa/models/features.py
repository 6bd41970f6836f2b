"""Sources of features for the attention: layers of a network, by name too, or no network at all."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from iassa.checks import InputSize, Within, take, take_fields
from iassa.errors import IassaError, InputError, describe_error, list_some, require
from iassa.files import user_path
from iassa.image import resize
from iassa.models.answers import describe
from iassa.models.efficientnet_lite0 import INPUT_SIZE, LEVELS, load_network, normalise
from iassa.models.references import import_attribute
from iassa.models.torch_module import evaluating

ONE_AT_A_TIME = threading.Lock()
MOST_CHANNELS = 4096  # which attention turns to their principal directions, in the cube of them
MOST_FEATURES = 2**25  # at all positions: attention holds three copies of them
FEATURE_SIZES = Within(1e-9, 1e15)  # whose products float32 can hold


@runtime_checkable
class FeatureExtractor(Protocol):
    """Features of one image at several levels."""

    def __call__(self, image: Tensor) -> Sequence[Tensor]:
        """Feature maps (C_l, h_l, w_l), fine to coarse, of an image (3, H, W) in [0, 1]."""


@dataclass(frozen=True)
class TorchLayers:
    """The outputs of named layers of a torch module.

    Attributes:
        module: any network that takes planes (N, 3, height, width); put in eval mode while it runs.
        layers: names as in `module.named_modules()`, fine to coarse.
        input_size: (height, width) that the image is resized to; None leaves it as it is.
        normalise: from planes in [0, 1] to what the module was trained on; None leaves them.
    """

    module: nn.Module
    layers: tuple[str, ...]
    input_size: tuple[int, int] | None = None
    normalise: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_size", take(self.input_size, InputSize, "input_size"))
        layers = dict(self.module.named_modules())
        unknown = [name for name in self.layers if name not in layers]
        require(
            self.layers and not unknown,
            f"expected names of layers of {type(self.module).__name__}, got "
            f"{list_some(map(repr, unknown))}. See module.named_modules().",
        )

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features of one image; see `FeatureExtractor`."""
        planes = image if self.input_size is None else resize(image, self.input_size)
        planes = planes if self.normalise is None else self.normalise(planes)
        outputs: dict[str, Tensor] = {}

        def keep(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name] = output[0]

        held = next(chain(self.module.parameters(), self.module.buffers()), planes)
        # The network may be shared: a hook must not hear the pass of another thread.
        with ONE_AT_A_TIME, evaluating(self.module), torch.inference_mode(), ExitStack() as hooks:
            for name in self.layers:
                layer = self.module.get_submodule(name)
                hooks.enter_context(layer.register_forward_hook(partial(keep, name)))
            self.module(planes[None].to(held.device))
        for name in self.layers:
            got = f"shape {tuple(outputs[name].shape)}" if name in outputs else "nothing"
            require(
                name in outputs and outputs[name].ndim == 3,
                f"expected layer {name!r} to give feature maps (C, h, w), got {got}. Name a "
                "convolutional layer that every forward pass runs.",
            )
        return tuple(outputs[name].clone().to(image.device) for name in self.layers)


@dataclass(frozen=True)
class ColourPosition:
    """Colour and place of each pixel, for whoever has no network: attention to what looks alike.

    One level of seven channels, all within [-1, 1]: the colour about mid-grey, and the place as
    cosine and sine of up to a quarter turn in each direction, so that their product falls with the
    distance. `position` weighs place against colour.

    Attributes:
        position: weight of the place.
        input_size: (height, width) at which the image is looked at.
    """

    position: Annotated[float, Within(0, 1000)] = 0.5
    input_size: Annotated[tuple[int, int], Within(1, 224)] = (56, 56)

    def __post_init__(self) -> None:
        take_fields(self)

    def __call__(self, image: Tensor) -> tuple[Tensor]:
        """Features of one image; see `FeatureExtractor`."""
        colour = 2 * resize(image, self.input_size) - 1
        height, width = self.input_size
        quarter = torch.pi / 2
        down = (torch.arange(height, device=image.device) / height * quarter)[:, None]
        right = (torch.arange(width, device=image.device) / width * quarter)[None, :]
        place = [down.cos(), down.sin(), right.cos(), right.sin()]
        planes = [self.position * plane.expand(height, width) for plane in place]
        return (torch.cat([colour, torch.stack(planes)]),)


@cache
def _efficientnet_lite0(device: torch.device) -> FeatureExtractor:
    network = load_network()
    if device.type != "cpu":
        network = copy.deepcopy(network).to(device)
    return TorchLayers(network, LEVELS, INPUT_SIZE, normalise)


FEATURES: Mapping[str, Callable[[torch.device], FeatureExtractor]] = {
    "efficientnet-lite0": _efficientnet_lite0,
    "colour-position": lambda device: ColourPosition(),
}
SOURCES = (
    f"{', '.join(FEATURES)}, none, FILE.onnx:tensor_a,tensor_b, package.module:attribute or an "
    "extractor"
)
ONNX_FILE = re.compile(r"\.onnx(?=[:?]|$)", re.IGNORECASE)


def is_built_in(source: str) -> bool:
    """Whether a name leads to no file and no code of a user's."""
    return source in ("none", *FEATURES)


def is_source(source: str | FeatureExtractor) -> bool:
    """Whether `open_features` can open it.

    A reference to a file or an object is opened to see, so that a wrong one is refused where it
    enters, before the first call.

    Raises:
        InputError: what a reference leads to cannot be used; the message says why.
    """
    if not isinstance(source, str) or is_built_in(source):
        return True
    return _open_reference(source) is not None


def open_features(source: str | FeatureExtractor, device: torch.device) -> FeatureExtractor | None:
    """A source of features by name.

    Args:
        source: a name in `FEATURES`, 'none', a reference, or an extractor, returned as it is.
            References are 'FILE.onnx:tensor_a,tensor_b', as `OnnxLayers.parse` reads it, and
            'package.module:attribute', an extractor or a factory of one without arguments, whose
            code is run. A process opens each once, a file again when it has changed.
        device: where a network named in `FEATURES` is to run.

    Returns:
        The extractor; None for 'none'.

    Raises:
        InputError: no such name, or a reference that cannot be used.
    """
    if not isinstance(source, str):
        return source
    if source == "none":
        return None
    if source in FEATURES:
        return FEATURES[source](device)
    extractor = _open_reference(source)
    require(extractor is not None, f"expected features from {SOURCES}, got {source!r}.")
    return extractor


def extract(source: str | FeatureExtractor, image: Tensor, positions: int) -> tuple[Tensor, ...]:
    """Features of an image, checked where they enter.

    Args:
        source: as `open_features` takes it.
        image: (3, H, W) float32 in [0, 1]; the extractor gets a copy.
        positions: that attention is taken over.

    Returns:
        Maps (C_l, h_l, w_l) float32 on the device of the image; none of the source 'none'.

    Raises:
        InputError: the source cannot be opened, raised, or gave something else than finite maps
            of a size that attention can use.
    """
    extractor = open_features(source, image.device)
    if extractor is None:
        return ()
    name = source if isinstance(source, str) else type(source).__name__
    try:
        levels = extractor(image.clone())
    except IassaError:
        raise
    except Exception as error:  # an extractor of the user's may raise anything
        raise InputError(f"the features {name} raised {describe_error(error)}.") from error
    require(
        isinstance(levels, list | tuple) and levels,
        f"expected a list of feature maps (C, h, w) from {name}, got {describe(levels)}. Return "
        "a list, also of one map.",
    )
    checked = tuple(_check_level(level, name) for level in levels)
    channels = sum(min(len(level), level[0].numel()) for level in checked)
    most = min(MOST_CHANNELS, MOST_FEATURES // positions)
    require(
        channels <= most,
        f"expected at most {most} channels from {name} at {positions} positions, got {channels}. "
        "Return fewer levels or channels, or take fewer positions.",
    )
    return tuple(level.to(image.device) for level in checked)


def _check_level(level: object, name: str) -> Tensor:
    real = isinstance(level, Tensor) and not level.is_complex() and level.layout == torch.strided
    if not isinstance(level, Tensor) or not real or level.ndim != 3 or 0 in level.shape:
        odd = f" of {level.dtype}" if isinstance(level, Tensor) and not real else ""
        raise InputError(
            f"expected feature maps (C, h, w) of real numbers from {name}, got {describe(level)}"
            f"{odd}. Return torch tensors of one image, without the axis of the batch."
        )
    features = level.detach().float()
    size = float(features.abs().max())
    require(
        size == 0 or FEATURE_SIZES.holds(size),
        f"expected features that are finite, and {FEATURE_SIZES} in size, from {name}, got "
        f"{size:.3g}. Scale them, or replace what is not finite.",
    )
    return features


def _open_reference(source: str) -> FeatureExtractor | None:
    """The extractor that a reference leads to; None for a text of another form."""
    file = ONNX_FILE.search(source)
    if file is not None:
        return _onnx_layers(source, _stamp(user_path(source[: file.end()])))
    return _python_object(source) if ":" in source else None


def _stamp(path: Path) -> tuple[object, ...]:
    """Changes with a file, and with the folder that its path is relative to."""
    try:
        status = path.stat()
    except OSError:
        return ()  # opening it will say what is wrong
    return (path.resolve(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)  # each holds the weights of a network
def _onnx_layers(source: str, _stamp: tuple[object, ...]) -> FeatureExtractor:
    from iassa.models.onnx.features import OnnxLayers  # the package onnx, for those who use it

    return OnnxLayers.parse(source)


@cache
def _python_object(source: str) -> FeatureExtractor:
    extractor = import_attribute(source)
    require(
        callable(extractor) and not isinstance(extractor, nn.Module),
        f"expected {source} to be an extractor, image (3, H, W) -> maps (C, h, w), got "
        f"{type(extractor).__name__}. Wrap a torch module in iassa.models.TorchLayers.",
    )
    return cast("FeatureExtractor", extractor)
