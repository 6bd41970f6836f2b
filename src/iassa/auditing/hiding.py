"""What a model says of an image when it does not see the object, and when it sees nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from iassa.checks import take, taking
from iassa.errors import CancelledError, require
from iassa.explanations.explanation import Explanation
from iassa.image import resize
from iassa.masks.baselines import BaselineLike, open_fills
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.case import BATCH_SIZE, see_again
from iassa.methods.engine.parts import PartScores, Question, score_targets
from iassa.methods.explain import open_again
from iassa.methods.verify import own_fills
from iassa.metrics.overlap import as_annotation
from iassa.models.black_box import one_thread
from iassa.models.opening import BlackBoxLike
from iassa.models.targets import find_target

MANY = 10**6  # calls: what is asked is known


@dataclass(frozen=True)
class HiddenScores:
    """Scores of a target, each the mean over the fills of the map.

    Attributes:
        whole: of the whole image, as it was when it was explained.
        without_object: of the image with its object hidden.
        without_background: of the image with all but its object hidden.
        calls: that the last two took.
    """

    whole: float
    without_object: float
    without_background: float
    calls: int


@taking("explanation", "cancel")
def score_hidden(
    explanation: Explanation,
    black_box: BlackBoxLike,
    mask: ArrayLike,
    target: int | str = 0,
    *,
    fills: BaselineLike | None = None,
    batch_size: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> HiddenScores:
    """Ask a black box about the image of an explanation without its object, and with it alone.

    It takes two calls for each fill.

    Args:
        explanation: of the image.
        black_box: the one that was asked before, see `iassa.open_model`.
        mask: (H, W) bool, True on the object, at the size of the image as it was given. At the size
            that the black box sees, a pixel is of the object if half of it is; of a tiny object
            the pixels are that have most of it.
        target: of the explanation, no function: its place, from 0, or its name.
        fills: what hidden pixels show, as in `iassa.explain`; None takes those of the map.
        batch_size: the most images at a time, likewise.
        cancel: called after every batch; True ends it.

    Returns:
        The scores.

    Raises:
        InputError: another black box, no such target, or a mask of another shape or dtype, or an
            empty one.
        BlackBoxError: the black box failed.
        CancelledError: cancelled.
    """
    batch_size = take(batch_size, BATCH_SIZE, "batch_size")
    place = find_target(target, explanation.targets)
    wanted = explanation.targets[place]
    require(
        not wanted.is_function or wanted.function is not None,
        f"expected a target whose function is known, got {wanted.name} of a saved explanation. "
        "Explain again.",
    )
    opened = open_again(explanation, black_box, None)
    seen = opened.size_for(explanation.image_size)
    image = see_again(explanation, (seen[0], seen[1]), opened)
    known = own_fills(explanation) if fills is None else fills
    shown = open_fills(known, image, explanation.seed)
    part = _see_mask(as_annotation(mask, explanation.image_size), image)
    budget = Budget(MANY, None, None, cancel, checked=True)
    with one_thread() as threads:
        parts = PartScores(opened, image, shown, budget, batch_size, threads)
        questions = [Question(one, f) for one in (~part, part) for f in range(len(shown))]
        try:
            answers = parts.ask(questions)
        except CancelledError:
            raise CancelledError("cancelled before the object was hidden.") from None
        scores, _ = score_targets(answers, [wanted])
    without = scores[:, 0].reshape(2, len(shown)).mean(1)
    whole = explanation.scores[place]
    return HiddenScores(whole, float(without[0]), float(without[1]), budget.calls)


def _see_mask(mask: NDArray[np.bool_], image: Tensor) -> NDArray[np.bool_]:
    """The mask at the size of an image (3, h, w)."""
    covered = resize(torch.from_numpy(mask).float(), (image.shape[1], image.shape[2])).numpy()
    return np.asarray(covered >= min(0.5, float(covered.max())))
