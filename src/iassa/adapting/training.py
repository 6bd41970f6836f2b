"""DeepCluster on positions: cluster features, learn the clusters' numbers in views, repeat.

Caron et al. (2018) cluster images; attention compares places, so places are clustered here, at each
level of the network on its own: clusters of all levels at once would make the fine levels as coarse
as the others. Each epoch gives every position of its images the number of its cluster, a
pseudo-label. A classifier then finds that number again at the matching position of a view. It
begins with the clusters' centres as its weights, as no number means the same in the next epoch. As
there, rare clusters weigh as much as common ones. The statistics of the normalisations are settled
before and stay, as batches are small.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from iassa.adapting.clustering import Clusters, find_clusters
from iassa.adapting.network import STRIDES, Levels, arrange, describe, describe_all
from iassa.adapting.views import CHANGES, Domain, change_colours, draw_place
from iassa.checks import Within, take_fields
from iassa.errors import CancelledError

MOST_IMAGES = 128  # of an epoch: their features take 75 MB
VIEWS = 4  # of an image in an epoch
VIEW_SIZE = 160  # pixels along a side
BATCH = 8  # views
HEAD_RATE = 10  # times the learning rate, for the classifier, which is new in each epoch


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """How features are adapted.

    Attributes:
        views: the domain, which says what may change from view to view; see `CHANGES`.
        epochs: of DeepCluster, at most; 0 settles the statistics alone. Their number decides the
            result, whatever the time.
        minutes: of them, at most. No epoch begins that would end later, judged by the last one;
            the first is always made. None for any time.
        clusters: of the positions of each level.
        settling: share of the domain in the statistics of the normalisations, before all epochs;
            the rest is ImageNet's.
        learning_rate: of AdamW.
        temperature: of the softmax over the clusters, which divides cosines.
        seed: of all randomness.
    """

    views: Domain = "photo"
    epochs: Annotated[int, Within(0, 10_000)] = 2
    minutes: Annotated[float | None, Within(0, above=True)] = 10.0
    clusters: Annotated[int, Within(2, 1000)] = 32
    settling: Annotated[float, Within(0, 1)] = 0.5
    learning_rate: Annotated[float, Within(0, 0.1, above=True)] = 3e-5
    temperature: Annotated[float, Within(0.01, 10)] = 0.1
    seed: Annotated[int, Within(0, 2**32 - 1)] = 0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        take_fields(self)


@dataclass(frozen=True)
class Step:
    """How far an adaptation is, after a batch of views.

    Attributes:
        epoch: that it belongs to, from 1.
        epochs: at most.
        step: of the epoch, from 1.
        steps: of each epoch.
        loss: cross-entropy of the batch, the mean over the levels; it falls within an epoch, and
            may rise with new clusters.
        seconds: of training so far, those before an interruption included.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float


def settle(levels: Levels, planes: Tensor, share: float) -> None:
    """Put means and variances of a domain, by a share, in the place of ImageNet's, in each layer.

    Li et al., *Revisiting Batch Normalization for Practical Domain Adaptation*, 2016, replace all
    of them; half was better on drawn textures.

    Args:
        levels: the network, which is changed.
        planes: (N, 3, H, W) uint8, of the domain.
        share: of the domain.
    """
    if share == 0:
        return
    norms = [one for one in levels.modules() if isinstance(one, nn.BatchNorm2d)]
    before = [[kept.clone() for kept in _statistics(norm)] for norm in norms]
    for norm in norms:
        norm.momentum = None  # which makes it the plain mean over batches
        norm.reset_running_stats()
        norm.train()
    describe_all(levels, planes, BATCH)
    levels.eval()
    for norm, kept in zip(norms, before, strict=True):
        for found, known in zip(_statistics(norm), kept, strict=True):
            found.mul_(share).add_(known, alpha=1 - share)


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


class Training:
    """A network on its way, between epochs.

    Attributes:
        levels: the network.
        epoch: how many are done.
        seconds: that they took.
    """

    def __init__(self, settings: Adaptation, planes: Tensor, device: torch.device) -> None:
        """Begin with the embedded network, its statistics on the way to those of the images.

        Args:
            settings: how.
            planes: (N, 3, H, W) uint8, to train on.
            device: to train on.
        """
        self.levels = arrange(Levels().to(device), torch.channels_last)
        settle(self.levels, planes[:MOST_IMAGES], settings.settling)
        self.levels.requires_grad_(True)
        self.epoch = 0
        self.seconds = 0.0
        self._settings, self._planes, self._device = settings, planes, device
        self._optimiser = _optimiser(self.levels.parameters(), settings.learning_rate)

    @property
    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on, tensors and numbers, beside what it began with."""
        return {
            "levels": self.levels.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from the state of another training of the same settings and images."""
        self.levels.load_state_dict(state["levels"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.seconds = int(state["epoch"]), float(state["seconds"])

    def run_epoch(self, show: Callable[[Step], object], cancel: Callable[[], bool]) -> None:
        """Cluster, then learn the clusters' numbers.

        Raises:
            CancelledError: `cancel` said so after a batch. The training cannot go on.
        """
        began, before = time.perf_counter(), self.seconds
        settings = self._settings
        rng = np.random.default_rng((settings.seed, 1 + self.epoch))
        planes = self._planes[np.sort(rng.permutation(len(self._planes))[:MOST_IMAGES])]
        found = self._label(planes, rng)
        heads = [nn.Parameter(one.centres.to(self._device)) for one in found]
        head_optimiser = _optimiser(heads, settings.learning_rate * HEAD_RATE)
        batches = [*_batches(len(planes), rng)]
        for number, batch in enumerate(batches, 1):
            views, wanted = self._draw_views(planes, found, batch, rng)
            losses = [
                self._ask(level, head, one.weights.to(self._device), labels)
                for level, head, one, labels in zip(
                    describe(self.levels, views), heads, found, wanted, strict=True
                )
            ]
            loss = torch.stack(losses).mean()
            for optimiser in (self._optimiser, head_optimiser):
                optimiser.zero_grad()
            torch.autograd.backward(loss)
            for optimiser in (self._optimiser, head_optimiser):
                optimiser.step()
            self.seconds = before + time.perf_counter() - began
            value = float(loss.detach())
            place = (self.epoch + 1, settings.epochs, number, len(batches))
            show(Step(*place, value, self.seconds))
            if cancel():
                raise CancelledError("cancelled before the end of the epoch.")
        self.epoch += 1

    def _ask(self, features: Tensor, head: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of the clusters (n, h, w) of positions (n, C, h, w) of one level."""
        products = torch.einsum("nchw,kc->nkhw", features, normalize(head, dim=1))
        return cross_entropy(products / self._settings.temperature, labels, weights)

    def _label(self, planes: Tensor, rng: np.random.Generator) -> list[Clusters]:
        """The clusters of each level. On the CPU, where sums have one order."""
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        number = self._settings.clusters
        return [
            find_clusters(features, number, generator)
            for features in describe_all(self.levels, planes, BATCH)
        ]

    def _draw_views(
        self,
        planes: Tensor,
        found: Sequence[Clusters],
        batch: NDArray[np.intp],
        rng: np.random.Generator,
    ) -> tuple[Tensor, list[Tensor]]:
        """Views (n, 3, 160, 160) of some images, and the clusters (n, h, w) of each level there."""
        changes = CHANGES[self._settings.views]
        views, places = [], []
        for one in batch:
            image = planes[one].float() / 255
            place = draw_place(changes, (image.shape[1], image.shape[2]), rng)
            views.append(change_colours(place.show(image, VIEW_SIZE), changes, rng))
            places.append((one, place))
        wanted = [
            torch.stack(
                [place.look_up(level.labels[one], VIEW_SIZE // stride) for one, place in places]
            ).to(self._device)
            for level, stride in zip(found, STRIDES, strict=True)
        ]
        stacked = torch.stack(views).to(self._device).to(memory_format=torch.channels_last)
        return stacked, wanted


def _optimiser(parameters: Any, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)


def _batches(number: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Which images are shown, `BATCH` at a time: each `VIEWS` times in all."""
    order = rng.permutation(np.repeat(np.arange(number), VIEWS))
    yield from np.array_split(order, -(-len(order) // BATCH))
