"""One case: an image, a black box, targets; and how it is opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import InputError
from iassa.explanations.evidence import Evidence, ScoredRound
from iassa.image import to_planes
from iassa.masks.baselines import BaselineLike, open_baseline
from iassa.methods.engine.budget import Budget
from iassa.models.black_box import BlackBox
from iassa.models.readout import Keep, Readout, open_readout
from iassa.models.targets import Target, TargetLike, resolve_targets

__all__ = ["Case", "Question", "first_scores", "open_case", "recall"]


@dataclass(frozen=True, eq=False)
class Question:
    """What a run is asked, and what is known of it from an earlier one.

    Attributes:
        photo: (H, W, 3) float32, the image as it was given.
        source: path of its file, if it came from one.
        black_box: whom to ask.
        target: what to explain.
        keep_scores: outputs to keep the scores of, see `open_readout`.
        seed: of all randomness.
        batch_size: the most images at a time; None for what the device likes.
        known: evidence of the run that is continued: masks that need not be asked about.
    """

    photo: NDArray[np.float32]
    source: str | None
    black_box: BlackBox
    target: TargetLike
    keep_scores: Keep
    seed: int
    batch_size: int | None
    known: Evidence | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense before a call is spent."""
        keep = self.keep_scores
        if keep != "all" and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 0):
            raise InputError(
                f"expected a number of outputs to keep, 0 or more, or 'all', got {keep!r}."
            )
        if self.seed < 0:
            raise InputError(f"expected a seed of 0 or more, got {self.seed}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"expected a batch size of 1 or more, got {self.batch_size}.")


@dataclass(frozen=True, eq=False)
class Case:
    """What a run is about: I, f(I) and the targets.

    Attributes:
        question: what was asked, of the black box as it is asked about this image.
        image: (3, height, width) float32, as the black box sees it, on its device.
        baseline: the same shape, what hidden pixels show.
        targets: T of them.
        readout: what is kept of the black box's answers.
        weights: (C, T) float64, the targets as a matrix over that.
        readings: (C,) float64, what was kept of the answer for the whole image.
        rounds: known already.
    """

    question: Question
    image: Tensor
    baseline: Tensor
    targets: tuple[Target, ...]
    readout: Readout
    weights: Tensor
    readings: Tensor
    rounds: tuple[ScoredRound, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image as the black box sees it, and so of the masks."""
        return (self.image.shape[1], self.image.shape[2])

    @property
    def reference(self) -> Tensor:
        """f(I) of the targets, (T,) float64."""
        return self.readings @ self.weights


def open_case(question: Question, baseline: BaselineLike, budget: Budget) -> Case:
    """Ask about the whole image, one call, and find the targets; or take both from what is known.

    Raises:
        InputError: a target that is unknown, or of outputs that were not kept; or a detector finds
            nothing.
        BlackBoxError: the black box failed.
    """
    photo, black_box, known = question.photo, question.black_box, question.known
    size = black_box.input_size or (photo.shape[0], photo.shape[1])
    image = to_planes(photo, size).to(black_box.device).contiguous()
    fill = open_baseline(baseline, image, question.seed)  # before a call is spent
    if known is None:
        black_box, whole = black_box.first_call(image, (photo.shape[0], photo.shape[1]))
        question = dataclasses.replace(question, black_box=black_box)
        budget.spend(1)
        scores = whole[0].cpu().numpy()
        targets = resolve_targets(question.target, scores, black_box.class_names)
        readout = open_readout(targets, scores, question.keep_scores)
        readings, rounds = readout.read(whole)[0], tuple[ScoredRound, ...]()
    else:
        targets, readout, known = recall(question.target, known)
        readings, rounds = torch.from_numpy(known.reference).to(image.device), known.rounds
    weights = readout.weights(targets, readings)
    return Case(question, image, fill, targets, readout, weights, readings, rounds)


def recall(target: TargetLike, known: Evidence) -> tuple[tuple[Target, ...], Readout, Evidence]:
    """Targets among the outputs that were kept, and the evidence as they read it.

    Raises:
        InputError: a target that is unknown, or of outputs that were not kept.
        BlackBoxError: a function of the scores failed.
    """
    scores = np.full(known.num_outputs, -np.inf)
    scores[list(known.outputs)] = known.reference[: len(known.outputs)]
    names = [""] * known.num_outputs
    for output, name in zip(known.outputs, known.class_names, strict=False):
        names[output] = name
    try:
        targets = resolve_targets(target, scores, names if known.class_names else None)
    except InputError as error:
        if len(known.outputs) == known.num_outputs:
            raise
        # A class is unknown here, too, if it was not kept: its name was not either.
        raise InputError(f"{error} Only {known.kept} can be asked for.") from None
    readout = Readout(
        known.num_outputs,
        tuple(sorted({*known.outputs, *(index for t in targets for index in t.indices)})),
        {t.name: t.function for t in targets if t.function is not None},
    )
    return targets, readout, known.read(readout)


def first_scores(
    case: Case, rounds: Sequence[ScoredRound]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Scores (N, T) and keep probabilities (N,) of the first round."""
    families = rounds[0].families.values()
    readings = np.concatenate([one.readings for one in families])
    keep_probability = np.concatenate([one.plan.keep_probability for one in families])
    return readings @ case.weights.cpu().numpy(), keep_probability
