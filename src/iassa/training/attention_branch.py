"""A classifier with an attention branch, whose attention can be taught.

Fukui, Hirakawa, Yamashita, Fujiyoshi: Attention Branch Network: Learning of Attention Mechanism for
Visual Explanation, CVPR 2019. A network is cut behind one of its layers, which has features g (C
planes of h x w). The attention branch makes K planes of them, one for each class. Their means are
scores of the classes, and a convolution of them, through a sigmoid, is the attention M. The rest of
the network, the perception branch, goes on with (1 + M) * g. Both branches learn the labels: the
loss is the sum of two cross-entropies.

Mitsuhara, Fukui, Sakashita, Ogata, Hirakawa, Yamashita, Fujiyoshi: Embedding Human Knowledge into
Deep Neural Network via Attention Map, VISAPP 2021. M is pulled towards a map M' that a person
edited, by a further term of the loss: a factor times the L2 norm of M' - M.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from iassa.checks import taking
from iassa.errors import InputError, list_choices, require, suggest
from iassa.models.torch_module import evaluating
from iassa.training.got import describe

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, eq=False)
class Attended:
    """What a network with an attention branch says of a batch.

    Attributes:
        logits: (N, K) of the perception branch: the network's answer.
        branch_logits: (N, K) of the attention branch.
        attention: (N, h, w) in (0, 1), at the size of the features.
        size: (H, W) of the images.
    """

    logits: Tensor
    branch_logits: Tensor
    attention: Tensor
    size: tuple[int, int]

    def loss(self, labels: Tensor) -> Tensor:
        """The cross-entropies of both branches, added.

        Args:
            labels: (N,) the numbers of the classes.

        Returns:
            ().

        Raises:
            InputError: labels of another shape or dtype.
        """
        require(
            isinstance(labels, Tensor)
            and labels.shape == self.logits.shape[:1]
            and labels.dtype in WHOLE,
            f"expected labels ({len(self.logits)},) in torch.int64, got {describe(labels)} in "
            f"{getattr(labels, 'dtype', 'no dtype')}. Give the number of the class of each image.",
        )
        labels = labels.long()
        perceived = functional.cross_entropy(self.logits, labels)
        return perceived + functional.cross_entropy(self.branch_logits, labels)

    def map_loss(self, wanted: Tensor) -> Tensor:
        """How far the attention is from maps that were saved, drawn or edited.

        Args:
            wanted: (N, H, W), one for each image, at the size of the images or of the features;
                bool, or from 0 to 1. Those of the images are averaged to the size of the features.
                A saved map gives `region(...)`. Or divide its positive part by its peak.

        Returns:
            () the mean over the images of the L2 norm of the difference.

        Raises:
            InputError: maps of another number or size, or with values beyond 0 and 1.
        """
        N, *features = self.attention.shape
        require(
            isinstance(wanted, Tensor)
            and wanted.ndim == 3
            and len(wanted) == N
            and tuple(wanted.shape[1:]) in (self.size, tuple(features)),
            f"expected maps as a tensor ({N}, {self.size[0]}, {self.size[1]}) or ({N}, "
            f"{features[0]}, {features[1]}), got {describe(wanted)}. Scale "
            "them to the size of the images.",
        )
        maps = wanted.to(self.attention)
        require(
            bool((maps >= 0).all() and (maps <= 1).all()),
            "expected maps from 0 to 1, got other values. Take map.clip(0) / map.max() of a saved "
            "one.",
        )
        pooled = functional.adaptive_avg_pool2d(maps[:, None], (features[0], features[1]))[:, 0]
        distances: Tensor = torch.linalg.vector_norm(pooled - self.attention, dim=(1, 2))
        return distances.mean()


class AttentionBranch(nn.Module):
    """A classifier that is given an attention branch.

    It holds the classifier itself, not a copy. Its output has `logits`, so that it is a black box
    as it stands: `iassa.models.TorchModel(network, softmax=True)`.

    Example:
        >>> network = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ...     nn.Linear(8, 5),
        ... )
        >>> images = torch.rand(4, 3, 24, 32)
        >>> attending = AttentionBranch(network, "1", images)
        >>> answer = attending(images)
        >>> tuple(answer.logits.shape), tuple(answer.attention.shape)
        ((4, 5), (4, 11, 15))
        >>> loss = answer.loss(torch.tensor([0, 1, 2, 3])) + 0.1 * answer.map_loss(images.mean(1))
    """

    @taking("after", "residual")
    def __init__(
        self, network: nn.Module, after: str, example: Tensor, *, residual: bool = True
    ) -> None:
        """Cut a network behind one of its layers, and run it once to see what flows there.

        Args:
            network: (N, C, H, W) to logits (N, K).
            after: the name of the submodule whose output, features (N, c, h, w), is attended to, as
                `network.named_modules()` gives it. It runs once for each batch.
            example: (N, C, H, W) images, as the network takes them. The branch is put on their
                device and has their dtype.
            residual: whether the network goes on with (1 + M) * g, or with M * g, which can take
                features away. Fukui et al. compare both and choose the first.

        Raises:
            InputError: no such submodule; one that runs not once, or whose output is no such
                features; a network whose output is no logits.
        """
        super().__init__()
        require(
            isinstance(network, nn.Module),
            f"expected a torch module to cut, got {describe(network)}. Give the network itself.",
        )
        _check_images(example)
        names = [name for name, _ in network.named_modules() if name]
        require(
            after in names,
            "expected the name of a submodule to cut behind, got "
            f"{after!r}{suggest(after, names)}. There are {list_choices(names)}.",
        )
        self.network, self.after, self.residual = network, after, residual
        seen: list[Tensor] = []

        def look(features: Tensor) -> Tensor:
            seen.append(features)
            return features

        with evaluating(network), torch.no_grad():
            logits = self._run(example, look)
        require(
            isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == len(example),
            f"expected logits ({len(example)}, K) of the network, got {describe(logits)}. Wrap it "
            "in a module that returns these alone.",
        )
        channels, classes = seen[0].shape[1], logits.shape[1]
        self.planes = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, classes, 1, bias=False),
            nn.BatchNorm2d(classes),
            nn.ReLU(),
        )
        self.score = nn.Conv2d(classes, classes, 1)
        self.attend = nn.Conv2d(classes, 1, 1)
        self.to(seen[0])

    def forward(self, images: Tensor) -> Attended:
        """Logits of both branches, and the attention; see `Attended`.

        Args:
            images: (N, C, H, W), as the network takes them.

        Raises:
            InputError: images of another type or number of axes.
        """
        _check_images(images)
        made: list[Tensor] = []

        def attend(features: Tensor) -> Tensor:
            planes = self.planes(features)
            attention: Tensor = self.attend(planes).sigmoid()
            made.extend((self.score(planes).mean((2, 3)), attention[:, 0]))
            return features * (1 + attention if self.residual else attention)

        logits = self._run(images, attend)
        return Attended(logits, made[0], made[1], (images.shape[2], images.shape[3]))

    def _run(self, images: Tensor, change: Callable[[Tensor], Tensor]) -> Any:
        """The network's output, with what flows behind the layer changed."""
        runs = 0

        def hook(_: nn.Module, __: Any, features: Any) -> Tensor:
            nonlocal runs
            runs += 1
            require(
                runs == 1,
                f"expected {self.after!r} to run once for each batch, got a second run. Cut behind "
                "another submodule.",
            )
            if not isinstance(features, Tensor) or features.ndim != 4:
                raise InputError(
                    f"expected features (N, c, h, w) of {self.after!r}, got {describe(features)}. "
                    "Cut behind another submodule."
                )
            return change(features)

        handle = self.network.get_submodule(self.after).register_forward_hook(hook)
        try:
            output = self.network(images)
        finally:
            handle.remove()
        require(
            runs == 1,
            f"expected {self.after!r} to run once for each batch, got no run. Cut behind another "
            "submodule.",
        )
        return output


def _check_images(images: object) -> None:
    require(
        isinstance(images, Tensor) and images.ndim == 4,
        f"expected images as a tensor (N, C, H, W), got {describe(images)}. Give a batch.",
    )
