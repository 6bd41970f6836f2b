"""The network that is adapted: the levels of the embedded EfficientNet-Lite0, and no more of it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from iassa.image import resize
from iassa.models.efficientnet_lite0 import INPUT_SIZE, LEVELS, load_network, normalise

STRIDES = (4, 8, 16, 32)  # of `LEVELS`
NAMES = tuple(f"level_{stride}" for stride in STRIDES)  # of the tensors of the file


class Levels(nn.Module):
    """Planes (N, 3, H, W) in [0, 1] to feature maps (N, C_l, h_l, w_l), fine to coarse."""

    def __init__(self) -> None:
        super().__init__()
        network = copy.deepcopy(load_network())
        last = [int(name.rpartition(".")[2]) for name in LEVELS]
        stem, norm = network.get_submodule("_conv_stem"), network.get_submodule("_bn0")
        blocks = [*network.get_submodule("_blocks").children()][: last[-1] + 1]
        self.stem = nn.Sequential(stem, norm, network.get_submodule("_swish"))
        self.blocks = nn.ModuleList(blocks)
        self._last = last
        self.eval()

    def forward(self, planes: Tensor) -> tuple[Tensor, ...]:
        """The maps of each level."""
        maps = self.stem(normalise(planes))
        found = []
        for place, block in enumerate(self.blocks):
            maps = block(maps)
            if place in self._last:
                found.append(maps)
        return tuple(found)


def arrange(levels: Levels, order: torch.memory_format) -> Levels:
    """The network with its weights in an order of memory: training takes a quarter less in one."""
    network: Any = levels  # torch's types do not know the argument
    arranged: Levels = network.to(memory_format=order)
    return arranged


def describe(levels: Levels, planes: Tensor) -> list[Tensor]:
    """What attention compares: the features of each level, of length 1 at every position.

    Args:
        levels: the network.
        planes: (N, 3, H, W) in [0, 1].
    """
    return [normalize(level, dim=1) for level in levels(planes)]


def describe_all(levels: Levels, planes: Tensor, batch: int) -> list[Tensor]:
    """The same of uint8 planes (N, 3, H, W) of any size, a batch at a time, on the CPU."""
    device = next(levels.parameters()).device
    found: list[list[Tensor]] = []
    with torch.inference_mode():
        for some in torch.split(planes, batch):
            seen = resize(some.to(device).float() / 255, INPUT_SIZE)
            found.append([level.cpu() for level in describe(levels, seen)])
    return [torch.cat(batches).clone() for batches in zip(*found, strict=True)]
