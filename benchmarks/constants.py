"""What each constant of `iassa` buys: maps with another value of it, one at a time.

    python benchmarks/constants.py --run DIR --images DIR --annotations FILE --limit 10
    iassa report DIR --reference iassa

Only the even half of the images is explained: constants are chosen on it. See `tuning_run`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

from iassa.estimators.kernel_regression import PRIOR, EffectWithKernelRegression, Prior
from iassa.methods import Iassa
from iassa.methods.engine.loop import Setting
from tuning_run import run_tuning, tuning_options


@dataclass(frozen=True, kw_only=True)
class IassaWithPrior(Iassa):
    """`iassa` with another prior of its kernel regression; see `Prior` for the fields."""

    name: ClassVar[str] = "iassa-with-prior"

    cells: int = PRIOR.cells[0]
    length: float = PRIOR.length
    likeness: float = PRIOR.likeness
    masks: int = PRIOR.masks

    def estimator(self, setting: Setting) -> EffectWithKernelRegression:
        """Slope and regression, as in `iassa`."""
        prior = Prior((self.cells, self.cells), self.length, self.likeness, self.masks)
        reference, size, share = setting.reference, setting.size, self.kernel_share
        return EffectWithKernelRegression(reference, size, setting.attention, share, prior)


METHODS = {
    "iassa": Iassa(),
    "keep_probability-0.3-0.7": Iassa(keep_probability=(0.3, 0.7)),
    "segment_counts-32+64": Iassa(segment_counts=(32, 64), fine_segment_counts=(64,)),
    "fine_segment_counts-all": Iassa(fine_segment_counts=(16, 32, 64, 128)),
    "compactness-10": Iassa(compactness=(10.0,)),
    "explore_every-2": Iassa(explore_every=2),
    "explore_every-8": Iassa(explore_every=8),
    "level_cells-14": Iassa(level_cells=14),
    "level_shown-0.05-0.5": Iassa(level_shown=(0.05, 0.5)),
    "level_shuffle-0.1": Iassa(level_shuffle=0.1),
    "level_shuffle-0.5": Iassa(level_shuffle=0.5),
    "threshold-0.1": Iassa(threshold=0.1),
    "threshold-0.4": Iassa(threshold=0.4),
    "temperature-0.05": Iassa(temperature=0.05),
    "temperature-0.2": Iassa(temperature=0.2),
    "positions-28": Iassa(positions=28),
    "kernel_share-0.6": Iassa(kernel_share=0.6),
    "cells-14": IassaWithPrior(cells=14),
    "length-0.071": IassaWithPrior(length=1 / 14),
    "likeness-1": IassaWithPrior(likeness=1.0),
    "masks-256": IassaWithPrior(masks=256),
    "masks-4096": IassaWithPrior(masks=4096),
}


if __name__ == "__main__":
    sys.exit(run_tuning(tuning_options(__doc__).parse_args(), METHODS))
