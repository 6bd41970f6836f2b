"""What a black box costs beside the model: its scores against the bare call, image for image.

    python benchmarks/black_boxes.py [--only torch]

The two run in turn on the same batch, so that a machine whose speed drifts does so for both; the
ratio of the CPU time of each pair is taken, and the median quoted. Another kind of black box is
another function in `KINDS`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import iassa
from iassa.files import write_whole
from iassa.models import efficientnet_lite0
from iassa.models.efficientnet_lite0 import exported_graph
from iassa.models.onnx.session import open_session

BATCH = 16
PASSES = 4  # of a batch, in each half of a pair
GOAL = 1.03


@dataclass(frozen=True)
class Pair:
    """A model by itself and as a black box.

    Attributes:
        name: what is measured.
        bare: one batch, as the model takes it, to its raw outputs.
        asked: the same batch, from planes in [0, 1] to scores.
    """

    name: str
    bare: Callable[[], object]
    asked: Callable[[], object]


def onnx_pairs(folder: Path) -> list[Pair]:
    """EfficientNet-Lite0: a graph that takes [0, 1], and one that is normalised outside."""
    planes = torch.rand(
        (BATCH, 3, *efficientnet_lite0.INPUT_SIZE), generator=torch.Generator().manual_seed(0)
    )
    plain = folder / "plain.onnx"
    torch.onnx.export(
        efficientnet_lite0.load_network(),
        (planes[:2],),
        plain,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    shown = efficientnet_lite0.normalise(planes).numpy()
    return [
        _onnx_pair(
            "onnx, all in the graph",
            iassa.models.OnnxModel(exported_graph(), range=(0, 1), output_name="probabilities"),
            exported_graph(),
            planes.numpy(),
            planes,
        ),
        _onnx_pair(
            "onnx, mean, std and softmax",
            iassa.models.OnnxModel(
                plain, range=(0, 255), mean=(127,) * 3, std=(128,) * 3, softmax=True
            ),
            plain,
            shown,
            planes,
        ),
    ]


def _onnx_pair(
    name: str, black_box: iassa.models.BlackBox, path: Path, shown: object, planes: torch.Tensor
) -> Pair:
    session = open_session(path)
    feed = {session.get_inputs()[0].name: shown}
    return Pair(name, lambda: session.run(None, feed), lambda: black_box.score(planes))


def torch_pairs(folder: Path) -> list[Pair]:
    """EfficientNet-Lite0 in torch and a small ViT of transformers, planes normalised outside."""
    planes = torch.rand(
        (BATCH, 3, *efficientnet_lite0.INPUT_SIZE), generator=torch.Generator().manual_seed(0)
    )
    network = efficientnet_lite0.load_network()
    made = iassa.models.TorchModel(network, normalise=efficientnet_lite0.normalise, softmax=True)
    return [
        _torch_pair(
            "torch, mean, std and softmax", made, network, efficientnet_lite0.normalise(planes)
        ),
        _torch_pair(
            "torch, autocast",
            iassa.models.TorchModel(network, autocast=torch.bfloat16),
            network,
            planes,
            torch.bfloat16,
        ),
        _hugging_face_pair(folder, planes),
    ]


def _torch_pair(
    name: str,
    black_box: iassa.models.BlackBox,
    module: torch.nn.Module,
    shown: torch.Tensor,
    autocast: torch.dtype | None = None,
) -> Pair:
    def bare() -> object:
        with torch.inference_mode(), torch.autocast("cpu", autocast, enabled=autocast is not None):
            return module(shown)

    # What the black box normalises is what the bare module is shown normalised.
    planes = torch.rand(shown.shape, generator=torch.Generator().manual_seed(0))
    return Pair(name, bare, lambda: black_box.score(planes))


def _hugging_face_pair(folder: Path, planes: torch.Tensor) -> Pair:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768
    )
    module: Any = ViTForImageClassification(config)
    module.eval()
    module.save_pretrained(folder / "vit")
    ViTImageProcessor().save_pretrained(folder / "vit")
    black_box = iassa.open_model(f"hf:{folder / 'vit'}", "cpu")
    return _torch_pair("hf, a tiny ViT", black_box, module, 2 * planes - 1)


KINDS: dict[str, Callable[[Path], list[Pair]]] = {"onnx": onnx_pairs, "torch": torch_pairs}


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of all threads of this process for some passes."""
    start = time.process_time()
    for _ in range(PASSES):
        work()
    return time.process_time() - start


def ratios(pair: Pair, repeats: int) -> list[float]:
    """CPU time as a black box over that of bare calls before and after."""
    pair.bare()
    pair.asked()
    found = []
    for _ in range(repeats):
        before = cpu_seconds(pair.bare)
        middle = cpu_seconds(pair.asked)
        found.append(middle / ((before + cpu_seconds(pair.bare)) / 2))
    return found


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", choices=[*KINDS], default=None)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "black_boxes.json"
    )
    options = parser.parse_args()
    record: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in [options.only] if options.only else KINDS:
            for pair in KINDS[kind](Path(folder)):
                record[pair.name] = ratios(pair, options.repeats)
    table = Table(
        "black box", "median", "quartiles", "at most", title=f"black box / bare, {BATCH} images"
    )
    for name, found in record.items():
        low, middle, high = statistics.quantiles(found, n=4)
        table.add_row(name, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", f"{GOAL:.2f}")
    Console(width=100).print(table)
    content = {"ratios": record, "goal": GOAL, "batch": BATCH, "torch": torch.__version__}
    write_whole(
        options.results.parent, {options.results.name: json.dumps(content, indent=1).encode()}
    )


if __name__ == "__main__":
    main()
