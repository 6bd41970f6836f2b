"""LIME (Ribeiro et al., KDD 2016): one linear model of all superpixels, near the whole image.

After `lime_image` of the `lime` package: superpixels are kept or hidden by the toss of a coin, and

    min over b, c of  sum_i w_i (f_i - b - x_i c)^2 + ridge |c|^2

is solved, x_i being the bits of sample i (1 = kept). Samples near the whole image, the first of
them, count more: w = sqrt(exp(-d^2 / kernel_width^2)), d the cosine distance of x_i to all ones,
1 - sqrt(kept / S) with `kept` of S superpixels kept. The map is c, at each pixel of the superpixel.

What differs from the package:

- Hidden superpixels show the `baseline`, grey by default. The package's default is the
  mean colour of each; as an array (H, W, 3) of such colours it can be given as the baseline.
- The image is segmented as the black box sees it, and at 224 x 224 pixels at most.
- The coins are tossed with this library's random numbers.

The package's selection of features does nothing with its defaults: of up to 100000 features it
takes those of the highest weights, which is all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from torch import Tensor

from iassa.checks import Within
from iassa.estimators.effect import Estimator
from iassa.estimators.local_regression import LocalRegression
from iassa.explanations.evidence import Feedback
from iassa.masks.grids import draw_segments
from iassa.masks.plans import MaskPlan
from iassa.masks.superpixels import Algorithm, Segmentations, segment_once
from iassa.methods.engine.loop import Method, Setting

KEEP_PROBABILITY = 0.5


@dataclass(frozen=True, kw_only=True)
class Lime(Method):
    """LIME for images, with the defaults of the `lime` package.

    Attributes:
        round_calls: masks drawn at a time, after which `iterate` yields a map.
        segmentation: 'quickshift', the package's, or 'slic'. Of an image of a few dozen pixels a
            side quickshift makes one segment.
        num_segments: about how many segments SLIC is to make; quickshift finds its own number.
        kernel_width: of the weight of a sample, in cosine distances.
        ridge: penalty on the coefficients, in samples of weight 1.
        baseline: what hidden pixels show; see `Method`.
    """

    name: ClassVar[str] = "lime"

    round_calls: Annotated[int, Within(16, 100_000)] = 256
    segmentation: Algorithm = "quickshift"
    # Sums over each group of masks are squares of it: 65 MB at 500.
    num_segments: Annotated[int, Within(2, 500)] = 100
    kernel_width: Annotated[float, Within(0.02, 1000)] = 0.25
    ridge: Annotated[float, Within(1e-9, 1e9)] = 1.0

    def plan(self, k: int, feedback: Feedback, setting: Setting) -> dict[str, MaskPlan]:
        """Subsets of superpixels of round k; see `Method.plan`."""
        assert setting.segmentations is not None
        keep = (KEEP_PROBABILITY, KEEP_PROBABILITY)
        number = setting.segmentations.num_segments
        rng = setting.rng(k, 0)
        return {"segment": draw_segments(self.round_calls, number, np.zeros(1, int), keep, rng)}

    def segmentations(self, image: Tensor) -> Segmentations:
        """One segmentation."""
        return segment_once(image, self.segmentation, self.num_segments)

    def estimator(self, setting: Setting) -> Estimator:
        """Weighted ridge regression on the bits."""
        assert setting.segmentations is not None
        return LocalRegression(
            setting.reference, setting.segmentations, self.kernel_width, self.ridge
        )
