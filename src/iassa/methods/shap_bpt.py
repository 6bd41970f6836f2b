"""ShapBPT (Rashid et al., AAAI 2026): Owen values over a hierarchy of regions of the image.

`shap-partition` halves the image along its axes; here a binary partition tree of the image's own
colours says which regions belong together, see `masks/partition_tree.py`. From the root on, a
region R beside what is shown already, S, is divided into its parts A and B at two calls, f(S + A)
and f(S + B). What R adds, f(S + R) - f(S), is the mean over both orders in which its parts come:

    A adds f(S + A) - f(S) or f(S + R) - f(S + B), each with half of R's weight; B likewise.

Next the addition is divided whose size times its weight is largest. Where the calls end a region's
addition is divided evenly among its pixels. The values of all pixels sum to f(I) - f(baseline).

Own code, as the package `shap-bpt` has to be compiled. What differs from it:

- The leaves are pixels of the image at 128 x 128 pixels at most, no single pixels of a larger one.
- Hidden pixels show the `baseline`, any fill of this library.
- `step_calls` is 10 where the package has 64: each choice uses more scores.
- No call is made beyond the budget.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within
from iassa.masks.partition_tree import PartitionTree, grow_tree
from iassa.masks.superpixels import Segmentations, shrink
from iassa.methods.engine.budget import FEWEST_MASKS
from iassa.methods.engine.game import CoalitionGame, GameExplainer

MAX_PIXELS = 128 * 128  # of the leaves: 2 seconds to grow the tree
DIVISION = 2  # calls


@dataclass(frozen=True, eq=False)
class _Addition:
    """What a region adds to what is shown: it is divided among its parts, or its pixels.

    Attributes:
        node: of the tree.
        beside: nodes that are shown, too.
        without: (T,) scores of those alone.
        together: (T,) scores with the region.
        weight: its share in the value of the region.
    """

    node: int
    beside: tuple[int, ...]
    without: NDArray[np.float64]
    together: NDArray[np.float64]
    weight: float

    @property
    def size(self) -> float:
        """By which the next to be divided is chosen."""
        return float(np.abs(self.together - self.without).max()) * self.weight


@dataclass(frozen=True, kw_only=True)
class ShapBpt(GameExplainer):
    """Owen values over a binary partition tree: regions that matter are divided, others are not.

    A value is a pixel's own share of the score, f(I) - f(baseline) in all over the pixels that the
    black box looks at; it is the smaller the more pixels there are. Several targets share the
    calls, which go where any of them changes most, in its own units: a map beside others is not
    the one of a run of its own.

    A run that is cut short gives the map of the calls that were answered. Nothing is random: all
    seeds give the same map. The standard error is infinite: there is no estimate of the error.

    Attributes:
        step_calls: calls made at a time: even. With fewer, each choice uses more scores, and a GPU
            waits longer.
        baseline: what hidden pixels show; see `Explainer`.
    """

    name: ClassVar[str] = "shap-bpt"

    step_calls: Annotated[int, Within(2, 1000)] = 10

    def __post_init__(self) -> None:
        """Refuse hyperparameters that make no sense."""
        super().__post_init__()
        self._require("step_calls", self.step_calls % DIVISION == 0, "an even number")

    @property
    def fewest_calls(self) -> tuple[int, str]:
        """Those of any method."""
        return FEWEST_MASKS, "the whole image, the baseline and seven divisions of a region"

    def players(self, image: Tensor, calls: int) -> Segmentations:
        """The pixels of a small image."""
        pixels, enlarge = shrink(image, MAX_PIXELS)
        height, width = pixels.shape[:2]
        small = np.arange(height * width, dtype=np.int32).reshape(height, width)
        labels = torch.from_numpy(small[enlarge][None]).to(image.device)
        return Segmentations(labels, height * width, (height * width,))

    def attribute(self, game: CoalitionGame) -> NDArray[np.float64]:
        """Owen values (S, T); see `GameExplainer.attribute`."""
        return self._owen(game, game.calls_left(DIVISION))

    def salvage(self, game: CoalitionGame) -> NDArray[np.float64] | None:
        """What the steps that were answered say: the same is asked again."""
        game.rewind()
        answered = sum(map(len, game.answers[1:]))  # the first are the ends
        return self._owen(game, answered) if answered else None

    def _owen(self, game: CoalitionGame, calls: int) -> NDArray[np.float64]:
        tree = grow_tree(_lab(game.image))
        ends = np.array([[False], [True]]).repeat(game.num_players, axis=1)
        nothing, whole = game.play(ends)
        done: list[_Addition] = []
        waiting: list[tuple[float, int, _Addition]] = []
        count = itertools.count()  # of equals the older first

        def wait(addition: _Addition) -> None:
            if tree.parts_of(addition.node):
                heapq.heappush(waiting, (-addition.size, next(count), addition))
            else:
                done.append(addition)

        wait(_Addition(tree.root, (), nothing, whole, 1.0))
        while waiting and calls >= DIVISION:
            divisions = min(self.step_calls, calls) // DIVISION
            chosen = [heapq.heappop(waiting)[2] for _ in range(min(divisions, len(waiting)))]
            shown = [_show(tree, one, part) for one in chosen for part in tree.parts_of(one.node)]
            answers = game.play(np.stack(shown)).reshape(len(chosen), DIVISION, -1)
            calls -= len(shown)
            for one, (first, second) in zip(chosen, answers, strict=True):
                for addition in _divide(tree, one, first, second):
                    wait(addition)
        values = np.zeros((game.num_players, game.num_targets))
        for one in [*done, *(each for _, _, each in waiting)]:
            leaves = tree.leaves_of(one.node)
            values[leaves] += one.weight * (one.together - one.without) / len(leaves)
        return values

    def paint(self, values: Tensor, segmentations: Segmentations) -> Tensor:
        """Maps (T, H, W) from the values (S, T): a leaf's value is shared by its pixels."""
        labels = segmentations.labels[0].long()
        sizes = torch.bincount(labels.flatten(), minlength=len(values)).clamp(min=1)
        return super().paint(values / sizes[:, None], segmentations)


def _show(tree: PartitionTree, one: _Addition, part: int) -> NDArray[np.bool_]:
    """The coalition of a part and of what is shown beside."""
    shown = np.zeros(len(tree.leaves), np.bool_)
    for node in (*one.beside, part):
        shown[tree.leaves_of(node)] = True
    return shown


def _divide(
    tree: PartitionTree, one: _Addition, first: NDArray[np.float64], second: NDArray[np.float64]
) -> list[_Addition]:
    """What the parts add in both orders, from their scores, each beside what is shown."""
    a, b = tree.parts_of(one.node)
    half = one.weight / 2
    return [
        _Addition(a, one.beside, one.without, first, half),
        _Addition(b, one.beside, one.without, second, half),
        _Addition(a, (*one.beside, b), second, one.together, half),
        _Addition(b, (*one.beside, a), first, one.together, half),
    ]


def _lab(image: Tensor) -> NDArray[np.uint8]:
    """The small image (h, w, 3) in Lab, each of the three from 0 to 255, as the package has it."""
    from skimage.color import rgb2lab  # here, as the superpixels'

    pixels, _ = shrink(image, MAX_PIXELS)
    lab: NDArray[np.float64] = rgb2lab(pixels)
    scaled = (lab + np.array([0, 128, 128])) * np.array([255 / 100, 255 / 256, 255 / 256])
    small: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return small
