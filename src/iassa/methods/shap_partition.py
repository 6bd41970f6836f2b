"""SHAP's PartitionExplainer (Lundberg): Owen values over a hierarchy of patches of the image.

The image is halved along its longer side, and so on down to single pixels. From the whole image
on, the package looks where hiding and showing a patch changes the score most, and asks about its
two halves, shown alone and beside all of the rest: two calls a time. A patch's effect is divided
among its halves as a Shapley value divides it between two players; where the calls end, evenly
among its pixels. The values of all pixels sum to f(I) - f(baseline).

What differs from the package, run by hand with `shap.maskers.Image`:

- The tree ends with pixels; the package's ends with their three channels, each at a
  call.
- Hidden pixels show the `baseline`, any fill of this library.
- The whole image costs one call, and `max_evals` is chosen so that the budget is kept: the
  package exceeds it by up to a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within
from iassa.masks.superpixels import Segmentations
from iassa.methods.engine.budget import FEWEST_MASKS
from iassa.methods.engine.game import CoalitionGame
from iassa.methods.engine.shap_game import ShapExplainer, played

FREE = 2  # of `max_evals`, the package counts the baseline alone and the whole image


@dataclass(frozen=True, kw_only=True)
class ShapPartition(ShapExplainer):
    """Partition SHAP: patches that matter are divided, the others are not.

    A value is a pixel's own share of the score, f(I) - f(baseline) in all over the pixels that the
    black box looks at; it is the smaller the more pixels there are. Several targets share the
    calls, which go where any of them changes most, in its own units: a map beside others is not
    the one of a run of its own.

    A run that is cut short gives the map that as many calls would have given. The seed matters
    where patches tie. Memory grows with calls times pixels. The first run in a process takes some
    six seconds more, for the package compiles itself.

    The standard error is infinite: the method is deterministic, and has no estimate of its error.

    Attributes:
        step_calls: patches scored at a time, the package's `batch_size`: even. With fewer, each
            choice uses more scores, and a GPU waits longer.
        baseline: what hidden pixels show; see `Explainer`.
    """

    name: ClassVar[str] = "shap-partition"

    step_calls: Annotated[int, Within(2, 1000)] = 10

    def __post_init__(self) -> None:
        """Refuse hyperparameters that make no sense."""
        super().__post_init__()
        self._require("step_calls", self.step_calls % 2 == 0, "an even number")

    @property
    def fewest_calls(self) -> tuple[int, str]:
        """Where `_most_evaluations` still leaves a map that is more than noise."""
        spent_on = (
            f"the whole image, the baseline, {FEWEST_MASKS - 1} patches, and {self.step_calls} "
            "more as so many patches are scored at a time"
        )
        return FEWEST_MASKS + self.step_calls, spent_on

    def players(self, image: Tensor, calls: int) -> Segmentations:
        """Every pixel."""
        height, width = image.shape[1:]
        labels = torch.arange(height * width, dtype=torch.int32, device=image.device)
        return Segmentations(labels.view(1, height, width), height * width, (height * width,))

    def attribute(self, game: CoalitionGame) -> NDArray[np.float64]:
        """Owen values (S, T); see `GameExplainer.attribute`."""
        # A step begins while fewer than this were scored, and goes on to its end.
        return self._owen(game, game.calls_left(self.step_calls) - self.step_calls + 1)

    def salvage(self, game: CoalitionGame) -> NDArray[np.float64] | None:
        """What the package makes of the steps that were answered: it asks the same again."""
        answered = sum(map(len, game.answers)) - FREE
        if answered < 2:
            return None  # nothing but the ends: all pixels alike
        game.rewind()
        return self._owen(game, answered)

    def _owen(self, game: CoalitionGame, most: int) -> NDArray[np.float64]:
        """Run the package until it has scored at least so many patches."""
        with played(game) as shap:
            if game.num_players == 1:  # nothing to divide: the package has no tree for it
                both = game.play(np.array([[False], [True]]))
                return both[1:] - both[:1]
            tree = shap.maskers.Image(0, shape=(*game.image.shape[1:], 1)).clustering
            explainer = shap.PartitionExplainer(game.play, _AsItIs(tree))
            found = explainer(
                np.zeros((1, game.num_players)),
                max_evals=FREE + most,
                batch_size=self.step_calls,
                silent=True,
            )
        values: NDArray[np.float64] = found.values[0]
        return values


class _AsItIs:
    """A masker that gives the coalition itself: the game shows it to the black box."""

    immutable_outputs = True

    def __init__(self, clustering: NDArray[Any]) -> None:
        self.clustering = clustering
        self.shape = (1, len(clustering) + 1)

    def __call__(self, coalition: NDArray[np.bool_], _: NDArray[Any]) -> tuple[NDArray[np.bool_]]:
        return (coalition[None],)
