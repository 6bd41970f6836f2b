"""Find a shortcut with maps, feed them back, train again, and look again.

    python examples/closed_loop.py --out closed_loop.json

Two data sets of `shortcuts.py` give the label away in a part that is not the object. For each:

1. A network is trained on it, and its maps are made: how much of them lies off the objects?
2. The maps say what is not to count. Nobody draws a mask. A person answers one question:
   - decoy digits: 'is this the digit?', of each place that the maps of a class share (at most ten);
   - objects on textures: 'are these maps on the objects?', once. They are not, so the highest 80 %
     of each map are not to count. The person knows that an object fills less than 20 %.
   Here the answers come from the true masks, which are used for nothing else.
3. The network is trained again in each of three ways: on counterexamples, with the penalty of right
   reasons, and with an attention branch whose attention is pulled off what is not to count.
4. For comparison, the same with the true masks, and a network that never saw the shortcut.

'Recovered' is the share of what the shortcut cost: the gain of accuracy on images without the
shortcut, over the gain of the network that never saw it. It takes five minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, TensorDataset

import iassa
from iassa.auditing import find_shared_places, measure_places, off_object
from iassa.benchmark.report.statistics import Bootstrap
from iassa.files import check_writable
from iassa.training import Attended, AttentionBranch, Counterexamples, right_reasons
from shortcuts import SIDE, Images, Task, decoy_digits, textured_objects

BATCH = 50
RATE = 5e-3
PENALTY = 0.1  # weight of right reasons
PULL = 50.0  # weight of the map loss
CUT = "8"  # the layer that is attended to: the last one before the features are pooled
MARGIN = (
    0.5 / 14
)  # of an image, around a shared place: places are of whole cells, of which it has 14
BACKGROUND = 0.8  # of an image, where a person says that maps are on the background
LOOK = iassa.methods.Rise(baseline="mean", debiased=True)  # to measure and to find places: quick
LOOK_CLOSELY = iassa.methods.Iassa(baseline="grey")  # to find the outline of a small object: better
TASKS = (decoy_digits, textured_objects)
Loss: TypeAlias = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How much is done.

    Attributes:
        training: images to learn from.
        test: images that the accuracy is measured on.
        passes: over the training images.
        calls: for each map.
        explained: training images whose maps say what is not to count.
        audited: test images, with the shortcut, whose maps tell how much lies off the object.
    """

    training: int = 600
    test: int = 400
    passes: int = 8
    calls: int = 150
    explained: int = 200
    audited: int = 30


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network, and what was measured of it.

    Attributes:
        task: the data set.
        seed: of the images, the network and the maps.
        way: how the network was trained.
        source: who said what is not to count: 'maps', 'masks', or '' for nobody.
        accuracy: on test images with the shortcut.
        accuracy_without: without it.
        off: share of the positive saliency off the object, of each audited image.
        calls: model calls that were made to find what is not to count.
    """

    task: str
    seed: int
    way: str
    source: str
    accuracy: float
    accuracy_without: float
    off: tuple[float, ...]
    calls: int


@dataclass(frozen=True)
class Feedback:
    """What to train on again.

    Attributes:
        planes: (N, 3, 32, 32) images.
        labels: (N,) their classes.
        forbidden: (N, 32, 32) bool, what is not to count.
        source: who said so: 'maps' or 'masks'.
        calls: model calls that it took.
    """

    planes: Tensor
    labels: Tensor
    forbidden: Tensor
    source: str
    calls: int = 0

    def passes(self, setting: Setting) -> int:
        """As many as make the number of steps that all training images make."""
        return round(setting.passes * setting.training / len(self.labels))


def build(task: Task, seed: int) -> nn.Module:
    """A small convolutional network."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 4, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveMaxPool2d(task.cells), nn.Flatten()),
        nn.Linear(32 * task.cells**2, task.classes),
    )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def fit(model: nn.Module, dataset: Dataset[Any], passes: int, loss: Loss, seed: int) -> nn.Module:
    """Train a network; `loss` takes it and a batch."""
    torch.manual_seed(seed)
    loader = DataLoader(dataset, BATCH, shuffle=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=passes * len(loader)
    )
    for _ in range(passes):
        for batch in loader:
            optimiser.zero_grad()
            loss(model, *batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return model.eval()


def plain_loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy alone."""
    return cross_entropy(model(images), labels)


def right_reasons_loss(
    model: nn.Module, images: Tensor, labels: Tensor, forbidden: Tensor
) -> Tensor:
    """The cross-entropy, and the penalty where pixels are not to count."""
    images.requires_grad_()
    scores = model(images)
    return cross_entropy(scores, labels) + PENALTY * right_reasons(scores, images, forbidden)


def attention_loss(model: nn.Module, images: Tensor, labels: Tensor, forbidden: Tensor) -> Tensor:
    """The losses of both branches, and the pull of the attention off what is not to count."""
    answer: Attended = model(images)
    return answer.loss(labels) + PULL * answer.map_loss(~forbidden)


def train_plainly(task: Task, images: Images, setting: Setting, seed: int) -> nn.Module:
    """As if nobody knew."""
    dataset = TensorDataset(images.planes, images.labels)
    return fit(build(task, seed), dataset, setting.passes, plain_loss, seed)


def train_on_counterexamples(task: Task, said: Feedback, setting: Setting, seed: int) -> nn.Module:
    """On other ones in each pass, without the originals."""
    images = TensorDataset(said.planes, said.labels)
    made = Counterexamples(images, ~said.forbidden, copies=said.passes(setting), seed=seed)
    return fit(build(task, seed), made, 1, plain_loss, seed)


def train_for_right_reasons(task: Task, said: Feedback, setting: Setting, seed: int) -> nn.Module:
    """With the penalty on input gradients."""
    images = TensorDataset(said.planes, said.labels, said.forbidden)
    return fit(build(task, seed), images, said.passes(setting), right_reasons_loss, seed)


def train_attention(
    task: Task, said: Feedback, setting: Setting, seed: int, *, residual: bool
) -> nn.Module:
    """With an attention branch."""
    model = AttentionBranch(build(task, seed), CUT, said.planes[:2], residual=residual)
    images = TensorDataset(said.planes, said.labels, said.forbidden)
    return fit(model, images, said.passes(setting), attention_loss, seed)


WAYS: dict[str, Callable[[Task, Feedback, Setting, int], nn.Module]] = {
    "counterexamples": train_on_counterexamples,
    "right reasons": train_for_right_reasons,
    "attention branch, (1 + M) g": partial(train_attention, residual=True),
    "attention branch, M g": partial(train_attention, residual=False),
}


def explain(
    model: nn.Module, images: Images, number: int, method: iassa.methods.Method, calls: int
) -> list[iassa.Explanation]:
    """Maps of the logits of the right classes, for the first images."""
    black_box = iassa.models.TorchModel(model)
    with warnings.catch_warnings():  # each map is one of many, and weak ones are among them
        warnings.simplefilter("ignore", iassa.WeakEvidenceWarning)
        return [
            iassa.explain(
                images.planes[k].permute(1, 2, 0).numpy(),
                black_box,
                target=int(images.labels[k]),
                method=method,
                calls=calls,
                seed=k,
                batch_size=calls,
            )
            for k in range(number)
        ]


def find_wrong_places(task: Task, model: nn.Module, setting: Setting) -> Feedback:
    """What is not to count of the decoy digits: places that maps share, in all images."""
    images = task.training
    made = explain(model, images, setting.explained, LOOK, setting.calls)
    heights = np.array([measure_places(one.saliency[0]) for one in made])
    names = [str(int(label)) for label in images.labels[: len(made)]]
    wrong = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for place in find_shared_places(heights, names):
        box = np.array(place.box)
        if _mean_in(images.objects[0], box) < 0.5:  # what a person answers
            wrong[_pixels_of(box + MARGIN * np.array([-1, -1, 1, 1]))] = True
    calls = sum(one.calls for one in made)
    return Feedback(images.planes, images.labels, wrong.expand(len(images), -1, -1), "maps", calls)


def _pixels_of(box: NDArray[np.float64]) -> tuple[slice, slice]:
    top, left, bottom, right = np.round(SIDE * box.clip(0, 1)).astype(int)
    return slice(top, bottom), slice(left, right)


def _mean_in(mask: Tensor, box: NDArray[np.float64]) -> float:
    return float(mask[_pixels_of(box)].float().mean())


def find_wrong_regions(task: Task, model: nn.Module, setting: Setting) -> Feedback:
    """What is not to count of the objects on textures: the highest part of each map."""
    images, number = task.training, setting.explained
    made = explain(model, images, number, LOOK_CLOSELY, setting.calls)
    regions = torch.from_numpy(np.array([one.region(share=BACKGROUND) for one in made]))
    calls = sum(one.calls for one in made)
    return Feedback(images.planes[:number], images.labels[:number], regions, "maps", calls)


def measure_accuracy(model: nn.Module, images: Images) -> float:
    """The share of images whose highest logit is right."""
    with torch.no_grad():
        answer = model(images.planes)
    logits = answer.logits if isinstance(answer, Attended) else answer
    return float((logits.argmax(1) == images.labels).float().mean())


def audit(task: Task, model: nn.Module, setting: Setting) -> tuple[float, ...]:
    """The share of each map that is off the object."""
    made = explain(model, task.test, setting.audited, LOOK, setting.calls)
    objects = task.test.objects.numpy()
    return tuple(off_object(one, objects[k]).share for k, one in enumerate(made))


def close_loop(task: Task, setting: Setting, seed: int) -> Iterable[Row]:
    """All networks of a data set and a seed."""

    def measure(model: nn.Module, way: str, source: str = "", calls: int = 0) -> Row:
        return Row(
            task=task.name,
            seed=seed,
            way=way,
            source=source,
            accuracy=measure_accuracy(model, task.test),
            accuracy_without=measure_accuracy(model, task.test_without),
            off=audit(task, model, setting),
            calls=calls,
        )

    images = task.training
    yield measure(train_plainly(task, task.training_without, setting, seed), "never saw it")
    first = train_plainly(task, images, setting, seed)
    yield measure(first, "shortcut")
    find = find_wrong_places if task.cells > 1 else find_wrong_regions
    by_maps = find(task, first, setting)
    print(_compare(by_maps.forbidden, images.objects), file=sys.stderr)
    for said in (by_maps, Feedback(images.planes, images.labels, ~images.objects, "masks")):
        for way, train in WAYS.items():
            yield measure(train(task, said, setting, seed), way, said.source, said.calls)


def _compare(forbidden: Tensor, objects: Tensor) -> str:
    objects = objects[: len(forbidden)]
    lost = float((forbidden & objects).sum() / objects.sum())
    found = float((forbidden & ~objects).sum() / (~objects).sum())
    return f"the maps forbid {found:.0%} of what is off the objects, and {lost:.0%} of the objects"


def tabulate(rows: Sequence[Row]) -> str:
    """A Markdown table of each data set: means over the seeds, and the lowest and the highest."""
    lines = []
    for task in dict.fromkeys(row.task for row in rows):
        here = [row for row in rows if row.task == task]
        lines += [
            f"| {task} | from | with the shortcut | without | recovered | off the object | calls |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            _line([row for row in here if (row.way, row.source) == key], here)
            for key in dict.fromkeys((row.way, row.source) for row in here)
        ]
        lines.append("")
    return "\n".join(lines)


def _line(same: Sequence[Row], rows: Sequence[Row]) -> str:
    known = {(row.seed, row.way): row.accuracy_without for row in rows if not row.source}
    gains = []
    for row in same if same[0].source else ():
        low, high = known[row.seed, "shortcut"], known[row.seed, "never saw it"]
        gains.append((row.accuracy_without - low) / (high - low) if high > low else math.nan)
    shares = [share for row in same for share in row.off]
    images = [(row.seed, k) for row in same for k in range(len(row.off))]
    off = Bootstrap().estimate_means(np.array(shares)[:, None], images)[0]
    cells = (
        *(same[0].way, same[0].source),
        *(_spread([row.accuracy for row in same]), _spread([row.accuracy_without for row in same])),
        _spread(gains) if gains else "",
        f"{off.mean:.2f} [{off.low:.2f}, {off.high:.2f}]",
        f"{np.mean([row.calls for row in same]):.0f}" if same[0].source == "maps" else "",
    )
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f} to {max(values):.2f})"


def run(setting: Setting, seeds: Sequence[int], out: Path | None = None) -> list[Row]:
    """All data sets and seeds; what is done is in the file at once."""
    rows: list[Row] = []
    for seed in seeds:
        for make in TASKS:
            task = make(setting.training, setting.test, seed)
            for row in close_loop(task, setting, seed):
                rows.append(row)
                print(_line([row], rows), file=sys.stderr, flush=True)
                if out is not None:
                    out.write_text(json.dumps([asdict(one) for one in rows], indent=1))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--out", type=Path, help="a JSON file for all that was measured")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"expected --seeds of 1 or more, got {options.seeds}. Change it.")
    if options.out is not None:
        try:
            check_writable(options.out.parent)
        except iassa.InputError as error:
            parser.error(str(error))
    print(tabulate(run(Setting(), range(options.seeds), options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
