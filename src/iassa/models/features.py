"""Sources of features for the attention: layers of a network, by name too, or no network at all."""

from __future__ import annotations

import copy
import functools
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from iassa.errors import InputError
from iassa.image import resize
from iassa.models import efficientnet_lite0
from iassa.models.references import import_attribute
from iassa.models.torch_module import evaluating

__all__ = ["FEATURES", "ColourPosition", "FeatureExtractor", "TorchLayers", "open_features"]


ONE_AT_A_TIME = threading.Lock()


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
        known = dict(self.module.named_modules())
        unknown = [name for name in self.layers if name not in known]
        if unknown or not self.layers:
            raise InputError(
                f"expected names of layers of {type(self.module).__name__}, got "
                f"{', '.join(map(repr, unknown)) or 'none'}. See module.named_modules()."
            )

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features of one image; see `FeatureExtractor`."""
        planes = image if self.input_size is None else resize(image, self.input_size)
        planes = planes if self.normalise is None else self.normalise(planes)
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                found[name] = output[0]

            return hook

        held = next(chain(self.module.parameters(), self.module.buffers()), planes)
        # The network may be shared: a hook must not hear the pass of another thread.
        with ONE_AT_A_TIME, evaluating(self.module), torch.inference_mode():
            handles = [
                self.module.get_submodule(name).register_forward_hook(keep(name))
                for name in self.layers
            ]
            try:
                self.module(planes[None].to(held.device))
            finally:
                for handle in handles:
                    handle.remove()
        for name in self.layers:
            if name not in found or found[name].ndim != 3:
                got = "nothing" if name not in found else f"shape {tuple(found[name].shape)}"
                raise InputError(
                    f"expected layer {name!r} to give feature maps (C, h, w), got {got}. "
                    "Name a convolutional layer that every forward pass runs."
                )
        return tuple(found[name].clone().to(image.device) for name in self.layers)


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

    position: float = 0.5
    input_size: tuple[int, int] = (56, 56)

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


@functools.cache
def _efficientnet_lite0(device: torch.device) -> FeatureExtractor:
    network = efficientnet_lite0.load_network()
    if device.type != "cpu":
        network = copy.deepcopy(network).to(device)
    return TorchLayers(
        network,
        efficientnet_lite0.LEVELS,
        efficientnet_lite0.INPUT_SIZE,
        efficientnet_lite0.normalise,
    )


FEATURES: Mapping[str, Callable[[torch.device], FeatureExtractor]] = {
    "efficientnet-lite0": _efficientnet_lite0,
    "colour-position": lambda device: ColourPosition(),
}


SOURCES = (
    f"{', '.join(FEATURES)}, none, FILE.onnx:tensor_a,tensor_b, package.module:attribute or an "
    "extractor"
)
ONNX_FILE = re.compile(r"\.onnx(?=[:?]|$)")


def is_source(source: str | FeatureExtractor) -> bool:
    """Whether `open_features` knows it.

    A reference to a file or an object is opened to see, so that a wrong one is refused where it
    enters, before a black box is asked.

    Raises:
        InputError: what a reference leads to cannot be used; the message says why.
    """
    if not isinstance(source, str) or source == "none" or source in FEATURES:
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
    if extractor is None:
        raise InputError(f"expected features from {SOURCES}, got {source!r}.")
    return extractor


def _open_reference(source: str) -> FeatureExtractor | None:
    """What a text that is no name of ours leads to; None if it has not the form of a reference."""
    file = ONNX_FILE.search(source)
    if file is not None:
        return _onnx_layers(source, _stamp(Path(source[: file.start()] + ".onnx")))
    return _python_object(source) if ":" in source else None


def _stamp(path: Path) -> tuple[object, ...]:
    """What changes with a file: relative to another folder it is another one."""
    try:
        status = path.stat()
    except OSError:
        return ()  # opening it will say what is wrong
    return (path.resolve(), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)  # each holds the weights of a network
def _onnx_layers(source: str, _stamp: tuple[object, ...]) -> FeatureExtractor:
    from iassa.models.onnx.features import OnnxLayers  # the package onnx, for those who use it

    return OnnxLayers.parse(source)


@functools.cache
def _python_object(source: str) -> FeatureExtractor:
    found = import_attribute(source)
    if not callable(found) or isinstance(found, nn.Module):
        raise InputError(
            f"expected {source} to be an extractor, image (3, H, W) -> feature maps (C, h, w), or "
            f"a factory of one, got {type(found).__name__}. Wrap a torch module in "
            "iassa.models.TorchLayers."
        )
    return cast("FeatureExtractor", found)
