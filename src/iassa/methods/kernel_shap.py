"""Kernel SHAP (Lundberg and Lee, NeurIPS 2017), the package's KernelExplainer, on superpixels.

Shapley values as a regression: coalitions of superpixels are shown, those of few and of all but few
first, and a linear model is fitted to their scores under the Shapley kernel

    pi(x) = (S - 1) / (C(S, |x|) |x| (S - |x|)),  |x| of S superpixels shown

with its ends fixed, so that the values of all superpixels sum to f(I) - f(baseline). The map is
the value of the pixel's superpixel.

Of the package's defaults that of `l1_reg` matters: ten superpixels, chosen with a lasso, share the
whole effect, and the others have 0. `max_segments=None` gives all of them a value.

What differs from the package's image example: hidden superpixels show the `baseline`, the image is
segmented as the black box sees it, by SLIC as `lime` has it (compactness 10, a Gaussian of 1
pixel before; 30 and 3 there), and the budget is what `calls` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within
from iassa.errors import InputError
from iassa.masks.superpixels import Algorithm, Segmentations, segment_once
from iassa.methods.engine.game import CoalitionGame
from iassa.methods.engine.shap_game import ShapExplainer, played

ENDS = 2  # calls: the whole image, the baseline alone
MOST_BITS = 2**24  # of all coalitions; the package holds some forty bytes for each
EACH = 2  # coalitions for a superpixel to have a value: they come in pairs that say the same


@dataclass(frozen=True, kw_only=True)
class KernelShap(ShapExplainer):
    """Kernel SHAP on superpixels; it asks for all its coalitions before it makes a map.

    So a run that is cut short, by hand, by time or by a black box that fails, has no map: it raises
    `CancelledError`, `InputError` or `BlackBoxError`. Each target has the values of a run of its
    own. Few superpixels have few coalitions: the run ends once all of them are scored.

    The standard error is infinite: the package has none.

    Attributes:
        segmentation: 'slic' or 'quickshift', see `segment_once`.
        num_segments: about how many segments SLIC is to make; quickshift finds its own number.
        max_segments: superpixels that have a value, the package's `l1_reg='num_features(...)'`;
            None for all.
        baseline: what hidden pixels show; see `Explainer`.
    """

    name: ClassVar[str] = "kernel-shap"

    segmentation: Algorithm = "slic"
    num_segments: Annotated[int, Within(2, 500)] = 50
    max_segments: Annotated[int | None, Within(1, 500)] = 10

    @property
    def fewest_calls(self) -> tuple[int, str]:
        """Two for each superpixel that is to have a value: at least one superpixel."""
        segments = self.max_segments or 1
        spent_on = f"the whole image, the baseline, {EACH} for each of {segments} superpixels"
        return ENDS + EACH * segments, spent_on

    def players(self, image: Tensor, calls: int) -> Segmentations:
        """Superpixels."""
        return segment_once(image, self.segmentation, self.num_segments)

    def attribute(self, game: CoalitionGame) -> NDArray[np.float64]:
        """Shapley values (S, T); see `GameExplainer.attribute`."""
        players = game.num_players
        fewest = EACH * min(players, self.max_segments or players)
        needed = min(fewest, 2**players - 2)
        samples = game.calls_left(needed)
        if samples < needed:
            raise InputError(
                f"expected a budget of at least {ENDS + fewest} calls for {self.name} (the whole "
                f"image, the baseline, {EACH} for each of {players} superpixels), got "
                f"{ENDS + samples}."
            )
        samples = min(samples, 2**players - 2)
        if samples * players > MOST_BITS:
            raise InputError(
                f"expected a budget of at most {ENDS + MOST_BITS // players} calls for "
                f"{self.name} with {players} superpixels, got {ENDS + samples}: it holds all "
                "coalitions at once. Allow fewer calls, or ask for fewer superpixels."
            )
        with played(game) as shap:
            explainer = shap.KernelExplainer(game.play, np.zeros((1, players)))
            found = explainer.shap_values(
                np.ones((1, players)),
                nsamples=samples,
                l1_reg=f"num_features({self.max_segments})" if self.max_segments else False,
                silent=True,
            )
        values: NDArray[np.float64] = found[0]
        return values
