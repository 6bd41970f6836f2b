"""One case: an image, a black box and targets, opened by a first call or from saved evidence."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within, take
from iassa.errors import BlackBoxError, InputError, require
from iassa.estimators.effect import LARGEST, SMALLEST
from iassa.explanations.evidence import Evidence, ScoredRound
from iassa.explanations.explanation import Explanation
from iassa.explanations.original import Original, keep, size_of
from iassa.image import to_planes
from iassa.masks.baselines import BaselineLike, open_fills
from iassa.masks.rendering import Masks
from iassa.masks.superpixels import Segmentations
from iassa.methods.engine.budget import Budget
from iassa.models.black_box import BlackBox, until
from iassa.models.readout import Keep, Readout, open_readout
from iassa.models.targets import Target, TargetLike, list_targets, resolve_targets

BATCH_SIZE = Annotated[int | None, Within(1, 65_536)]
KEEP = Literal["all"] | Annotated[int, Within(0, 10**9)] | tuple[int, ...]
SEED = Annotated[int, Within(0, 2**64 - 1)]

# What a warning of `check_neighbours` ends with: an extended explanation keeps it.
DEPENDS = (
    "The score depends on the other images of the batch, or on chance. Ask about one image at a "
    "time: --batch-size 1 (batch_size=1)"
)
CHANGES = "The score changes from call to call. Switch off what is random, as dropout is"
AGAIN = ("at first", CHANGES)


@dataclass(frozen=True, eq=False)
class Case:
    """What a run is about: I, f(I) and the targets.

    Attributes:
        picture: (h, w, 3) float32, what is kept of the image as it was given; see `keep`.
        original: what that image was; None where it is the picture.
        source: path of its file, if it came from one.
        black_box: the one that scores this image.
        image: (3, height, width) float32, as the black box sees it, on its device.
        fills: (F, 3, height, width), what hidden pixels show, under each of F fills.
        targets: T of them.
        readout: what is kept of the black box's answers.
        class_names: names of the outputs that are kept; empty if the black box has none.
        readings: (C,) float64, what was kept of the answer for the whole image.
        seed: of all randomness.
        batch_size: the most images at a time; None for what the device likes.
        evidence: of the run that is continued: masks whose scores are there already.
        doubts: what `check_neighbours` found in that run.
    """

    picture: NDArray[np.float32]
    original: Original | None
    source: str | None
    black_box: BlackBox
    image: Tensor
    fills: Tensor
    targets: tuple[Target, ...]
    readout: Readout
    class_names: tuple[str, ...]
    readings: Tensor
    seed: int
    batch_size: int | None
    evidence: Evidence | None = None
    doubts: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image as the black box sees it, and so of the masks."""
        return (self.image.shape[1], self.image.shape[2])

    @property
    def photo_size(self) -> tuple[int, int]:
        """(height, width) of the image as it was given."""
        return size_of(self.picture, self.original)

    def hide(self, masks: Masks, fills: NDArray[np.uint8], out: Tensor) -> Tensor:
        """The image behind N masks, with the fills of these numbers (N,), in `out` (N, 3, H, W)."""
        if len(self.fills) == 1:
            return masks.blend(self.image, self.fills[0], out)
        torch.index_select(self.fills, 0, torch.from_numpy(fills).int().to(out.device), out=out)
        return masks.blend(self.image, out, out)

    @functools.cached_property
    def weights(self) -> Tensor:
        """(C, T) float64, the targets as a matrix over the readings."""
        return self.readout.weights(self.targets, self.readings)

    @functools.cached_property
    def offsets(self) -> Tensor:
        """(T,) float64, what the targets add."""
        return self.readings.new_tensor([target.offset for target in self.targets])

    def score(self, readings: Tensor) -> Tensor:
        """Scores (N, T) of the targets from readings (N, C), or (T,) from (C,).

        Raises:
            BlackBoxError: a score is too large for a map.
        """
        scores = readings @ self.weights + self.offsets
        sizes = scores.abs().view(-1, len(self.targets)).amax(0).tolist()
        for target, size in zip(self.targets, sizes, strict=True):
            require(
                size <= LARGEST,
                f"expected scores of at most {LARGEST:g} in size, got {size:.3g} for the target "
                f"{target.name}. A map is float32. Divide the scores by a constant.",
                BlackBoxError,
            )
        return scores

    def check_size(self) -> None:
        """Refuse scores of the whole image that are too large or too small for a map.

        A score of 0 is not too small: those of masked images may be of any size.

        Raises:
            BlackBoxError: one is too large, or all of them are too small.
        """
        _ = self.reference
        sizes = self.readings.abs() @ self.weights.abs() + self.offsets.abs()
        largest = float(sizes.max())
        require(
            largest == 0 or largest >= SMALLEST,
            f"expected scores of at least {SMALLEST:g} in size, got {largest:.3g} for the target "
            f"{self.targets[int(sizes.argmax())].name} in the whole image. A map is float32. "
            "Multiply the scores by a constant, or explain logits.",
            BlackBoxError,
        )

    @property
    def reference(self) -> Tensor:
        """f(I) of the targets, (T,) float64."""
        return self.score(self.readings)

    def scored_before(self, k: int) -> ScoredRound | None:
        """Round k of the run that is continued, from 0; None where it had no such round."""
        rounds = self.evidence.rounds if self.evidence is not None else ()
        return rounds[k] if k < len(rounds) else None

    def collect(
        self, rounds: tuple[ScoredRound, ...], segmentations: Segmentations | None
    ) -> Evidence:
        """The evidence of a run: its rounds, and what it takes to read them again."""
        return Evidence(
            size=self.size,
            num_outputs=self.readout.num_outputs,
            outputs=self.readout.outputs,
            functions=self.readout.digests,
            class_names=self.class_names,
            reference=self.readings.cpu().numpy(),
            superpixels="" if segmentations is None else segmentations.digest(),
            rounds=rounds,
        )


def check_numbers(
    keep_scores: Keep, seed: int, batch_size: int | None
) -> tuple[Keep, int, int | None]:
    """The numbers of a run that `open_case` takes, whatever its image and black box are.

    Raises:
        InputError: one cannot be used.
    """
    return (
        take(keep_scores, KEEP, "keep_scores"),
        take(seed, SEED, "seed"),
        take(batch_size, BATCH_SIZE, "batch_size"),
    )


def open_case(
    photo: NDArray[np.float32],
    source: str | None,
    black_box: BlackBox,
    target: TargetLike,
    baseline: BaselineLike,
    budget: Budget,
    *,
    keep_scores: Keep,
    seed: int,
    batch_size: int | None,
) -> Case:
    """Ask about the whole image, one call, and find the targets in the answer.

    Args:
        photo: (H, W, 3) float32 in [0, 1].
        source: path of its file, if it came from one.
        black_box: the model.
        target: what to explain.
        baseline: what hidden pixels show.
        budget: that pays for the call.
        keep_scores: outputs to keep the scores of, see `open_readout`.
        seed: of all randomness.
        batch_size: the most images at a time; None for what the device likes.

    Raises:
        InputError: an argument that cannot be used, an unknown target, or an image in which a
            detector finds nothing.
        BlackBoxError: the black box failed, or its scores are of a size that no map can have.
    """
    keep_scores, seed, batch_size = check_numbers(keep_scores, seed, batch_size)
    wanted = list_targets(target)
    photo_size = (photo.shape[0], photo.shape[1])
    image = to_planes(photo, black_box.size_for(photo_size)).to(black_box.device).contiguous()
    fills = open_fills(baseline, image, seed)  # before a call is spent
    with until(budget.deadline):
        black_box, whole = black_box.first_call(image, photo_size)
    budget.spend(1)
    scores = whole[0].cpu().numpy()
    of_boxes = black_box.boxes is not None
    targets = resolve_targets(wanted, scores, black_box.class_names, of_boxes=of_boxes)
    readout = open_readout(targets, scores, keep_scores)
    names = black_box.class_names
    picture, original = keep(photo, image)
    case = Case(
        picture=picture,
        original=original,
        source=source,
        black_box=black_box,
        image=image,
        fills=fills,
        targets=targets,
        readout=readout,
        class_names=tuple(names[k] for k in readout.outputs) if names else (),
        readings=readout.read(whole)[0],
        seed=seed,
        batch_size=batch_size,
    )
    case.check_size()
    return case


def reopen_case(
    explanation: Explanation,
    known: Evidence,
    black_box: BlackBox,
    target: TargetLike,
    baseline: BaselineLike,
    batch_size: int | None = None,
) -> Case:
    """The case of an explanation and its evidence, for targets among the outputs that were kept.

    Args:
        explanation: of the run that is continued.
        known: its evidence.
        black_box: the one that was asked.
        target: what to explain.
        baseline: what hidden pixels show.
        batch_size: the most images at a time; None for what the device likes.

    Raises:
        InputError: a target that is unknown, or of outputs that were not kept.
        BlackBoxError: a function of the scores failed, or scores are of a size that no map has.
    """
    batch_size = take(batch_size, BATCH_SIZE, "batch_size")
    targets = resolve_among_kept(target, known, of_boxes=explanation.target_boxes is not None)
    outputs = {*known.outputs, *(index for one in targets for index in one.indices)}
    functions = {one.name: one.function for one in targets if one.function is not None}
    readout = Readout(known.num_outputs, tuple(sorted(outputs)), functions)
    known = known.read(readout)
    image = see_again(explanation, known.size, black_box)
    picture, original = explanation.image, explanation.original
    if original is None:
        picture, original = keep(picture, image)  # as it was saved before, it may be large
    case = Case(
        picture=picture,
        original=original,
        source=explanation.source,
        black_box=black_box,
        image=image,
        fills=open_fills(baseline, image, explanation.seed),
        targets=targets,
        readout=readout,
        class_names=known.class_names,
        readings=torch.from_numpy(known.reference).to(image.device),
        seed=explanation.seed,
        batch_size=batch_size,
        evidence=known,
        doubts=tuple(text for text in explanation.warnings if text.endswith((DEPENDS, CHANGES))),
    )
    case.check_size()
    return case


def see_again(explanation: Explanation, size: tuple[int, int], black_box: BlackBox) -> Tensor:
    """The image of an explanation as its black box saw it, (3, h, w), on the device of that.

    Args:
        explanation: of the image.
        size: (height, width) that it had; what was seen of an image that was scaled down is saved.
        black_box: the one that was asked.
    """
    if explanation.original is None:
        image = to_planes(explanation.image, size)
    else:
        image = torch.from_numpy(explanation.original.seen)
    return image.to(black_box.device).contiguous()


def resolve_among_kept(
    target: TargetLike, known: Evidence, *, of_boxes: bool
) -> tuple[Target, ...]:
    """Targets, as `resolve_targets` finds them, by the whole image's scores that were kept.

    Raises:
        InputError: a target that is unknown here.
    """
    scores = np.full(known.num_outputs, -np.inf)
    scores[list(known.outputs)] = known.reference[: len(known.outputs)]
    names = [""] * known.num_outputs
    for output, name in zip(known.outputs, known.class_names, strict=False):
        names[output] = name
    try:
        given = names if known.class_names else None
        return resolve_targets(target, scores, given, of_boxes=of_boxes)
    except InputError as error:
        if len(known.outputs) == known.num_outputs:
            raise
        # A class is unknown here, too, if it was not kept: its name was not either.
        raise InputError(f"{error} Only {known.kept} can be asked for.") from None
