"""What a round costs on a GPU beside the forward passes, and whether its map is the CPU's.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --calls 64

A network of ResNet-50's shape with random weights scores one round of 1024 masks at 224 x 224, in
float32 and in bfloat16. Time inside of the network is measured around each of its calls, by events
of the device; the rest of the whole run is what iassa costs. Then a quarter of the calls is made
again on the CPU, by the same seed. On a CPU that is another batch size instead, and the command
only shows that the script works. It takes a few minutes.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import iassa
from iassa.files import write_whole

SIZE = (224, 224)
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride
CLASSES = 1000
OUTSIDE, DIFFERENCE = 0.10, 1e-3  # goals: share of time, share of the range of the map


def convolve(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution with batch norm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """The block of ResNet-50 (He et al., CVPR 2016, figure 5)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *(convolve(inputs, width, 1), nn.ReLU()),
            *(convolve(width, width, 3, stride), nn.ReLU()),
            convolve(width, 4 * width, 1),
        )
        same = stride == 1 and inputs == 4 * width
        self.shortcut = nn.Identity() if same else convolve(inputs, 4 * width, 1, stride)

    def forward(self, planes: Tensor) -> Tensor:
        """Planes to planes."""
        return torch.relu(self.branch(planes) + self.shortcut(planes))


class Network(nn.Module):
    """ResNet-50 with random weights, which keeps the time of each of its calls."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        layers: list[nn.Module] = [convolve(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        inputs = 64
        for width, blocks, stride in STAGES:
            for k in range(blocks):
                layers.append(Bottleneck(inputs, width, stride if k == 0 else 1))
                inputs = 4 * width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(inputs, CLASSES)
        self.marks: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self.passed = 0.0

    def forward(self, planes: Tensor) -> Tensor:
        """Planes (N, 3, H, W) to logits (N, K)."""
        if planes.device.type != "cuda":
            start = time.perf_counter()
            logits: Tensor = self.head(self.body(planes))
            self.passed += time.perf_counter() - start
            return logits
        make: Callable[..., torch.cuda.Event] = torch.cuda.Event
        begin, end = (make(enable_timing=True) for _ in range(2))
        begin.record()
        logits = self.head(self.body(planes))
        end.record()
        self.marks.append((begin, end))
        return logits

    def seconds(self) -> float:
        """Inside of it since the last call of this."""
        found: float = self.passed
        found += sum(begin.elapsed_time(end) for begin, end in self.marks) / 1000
        self.marks, self.passed = [], 0.0
        return found


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def explain(
    network: Network, device: torch.device, calls: int, batch_size: int
) -> tuple[NDArray[np.float32], float, float]:
    """The map of one round, the seconds that it took, and those inside of the network."""
    model = iassa.models.TorchModel(
        network.eval(), softmax=True, input_size=SIZE, device=device, name="ResNet-50, random"
    )
    method = iassa.methods.Iassa(round_calls=calls, max_rounds=1, features="colour-position")
    network.seconds()
    synchronise(device)
    start = time.perf_counter()
    made = iassa.explain(
        iassa.example_image("cat"), model, method=method, calls=calls + 1, batch_size=batch_size
    )
    synchronise(device)
    whole = time.perf_counter() - start
    assert made.calls == calls + 1
    return made.saliency[0], whole, network.seconds()


def peak_megabytes(device: torch.device) -> float:
    """Of the device's memory; on a CPU that of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(
    network: Network, device: torch.device, options: argparse.Namespace
) -> dict[str, float]:
    """Medians over the repeats; the peak is over all of them."""
    sizes = {"calls": options.calls, "batch_size": options.batch_size}
    explain(network, device, 32, options.batch_size)  # what is done once
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    runs = [explain(network, device, **sizes)[1:] for _ in range(options.repeats)]
    return {
        "s a round": statistics.median(whole for whole, _ in runs),
        "share outside the network": statistics.median(1 - own / whole for whole, own in runs),
        "peak memory, MB": peak_megabytes(device),
    }


def main() -> int:
    """Measure, print a table, write the figures.

    Returns:
        Exit status: 0 when done or skipped.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--calls", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).parent / "results" / "gpu.json"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("skipped: torch finds no GPU here, so nothing was measured. See --device.")
        return 0
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else "CPU: a trial of the script alone"
    # Of few calls: the map itself does not count.
    warnings.filterwarnings("ignore", category=iassa.WeakEvidenceWarning)
    figures = {}
    for dtype in (torch.float32, torch.bfloat16):
        network = Network().to(device, dtype)
        for title, value in measure(network, device, options).items():
            figures[f"{str(dtype).removeprefix('torch.')}: {title}"] = value
    network, fewer = Network(), max(32, options.calls // 4)
    one, *_ = explain(copy.deepcopy(network), device, fewer, options.batch_size)
    other, *_ = explain(network, torch.device("cpu"), fewer, max(1, options.batch_size // 3))
    assert np.ptp(other) > 0, "the network's scores do not differ: choose another seed"
    figures["difference to the CPU's map, of its range"] = float(
        np.abs(one - other).max() / np.ptp(other)
    )
    goals = {title: OUTSIDE for title in figures if "outside" in title}
    goals |= {title: DIFFERENCE for title in figures if "difference" in title}
    table = Table("figure", "measured", "at most", title=f"{options.calls} calls on {name}")
    for title, value in figures.items():
        goal = f"{goals[title]:g}" if title in goals else ""
        table.add_row(title, f"{value:.3g}" if value < 1000 else f"{value:.0f}", goal)
    Console(width=100).print(table)
    record = {"device": name, "torch": torch.__version__, "figures": figures, "goals": goals}
    record |= {"calls": options.calls, "batch size": options.batch_size}
    write_whole(
        options.results.parent, {options.results.name: json.dumps(record, indent=1).encode()}
    )
    print(options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
