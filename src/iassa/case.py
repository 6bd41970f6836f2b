"""One case: an image, a black box, targets; how it is opened and what is concluded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.baselines import BaselineLike, open_baseline
from iassa.black_box import Adapter, ask
from iassa.budget import FEWEST_MASKS, Budget
from iassa.errors import InputError
from iassa.evidence import Evidence, Keep, Readout, ScoredRound, open_readout
from iassa.explanation import Explanation, Round, versions
from iassa.image import resize, to_planes
from iassa.masks import WindowPlan
from iassa.saturation import is_flat, is_gone, stays_sure
from iassa.targets import Target, TargetLike, resolve_targets

__all__ = [
    "Case",
    "Finding",
    "MapAlone",
    "Question",
    "conclude",
    "first_scores",
    "open_case",
    "recall",
]

FLAT = "every masked image scores the same; there is nothing to explain"
TOO_LITTLE = (
    "the score barely moves for nearly all masks: the model stays sure. Hide more, with a lower "
    "keep_probability (iassa: adapt_keep_probability=True), or with another baseline"
)
TOO_MUCH = (
    "the score is gone for nearly all masks. Hide less, with a higher keep_probability (iassa: "
    "adapt_keep_probability=True), or with a milder baseline such as 'blur'"
)
AGAINST = (
    "images with half of their pixels or more hidden score higher than the whole image: what is "
    "seen speaks against the target, and the map shows where it is negative"
)
BARELY = 0.02  # of a likelihood: if no mask moves it further, it does not move
FEWEST_HIDDEN = 8  # masks that make a background


@dataclass(frozen=True, eq=False)
class Question:
    """What a run is asked, and what is known of it from an earlier one.

    Attributes:
        photo: (H, W, 3) float32, the image as it was given.
        source: path of its file, if it came from one.
        black_box: whom to ask.
        target: what to explain.
        keep: outputs to keep the scores of, see `open_readout`.
        seed: of all randomness.
        batch_size: the most images at a time; None for what the device likes.
        known: evidence of the run that is continued: masks that need not be asked about.
    """

    photo: NDArray[np.float32]
    source: str | None
    black_box: Adapter
    target: TargetLike
    keep: Keep
    seed: int
    batch_size: int | None
    known: Evidence | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense before a call is spent."""
        keep = self.keep
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
        question: what was asked.
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


class Finding(Protocol):
    """What was found for T targets, at the size of the masks."""

    @property
    def saliency(self) -> Tensor:
        """(T, H, W) float32, in score units."""

    @property
    def standard_error(self) -> Tensor:
        """(T, H, W) float32, in score units; infinite where it is not known."""

    @property
    def relative_errors(self) -> tuple[float, ...]:
        """See `Explanation.relative_errors`."""


@dataclass(frozen=True, eq=False)
class MapAlone:
    """A map of which no error is known.

    Attributes:
        saliency: (T, H, W) float32, in score units.
    """

    saliency: Tensor

    @property
    def standard_error(self) -> Tensor:
        """Infinite everywhere."""
        return torch.full_like(self.saliency, torch.inf)

    @property
    def relative_errors(self) -> tuple[float, ...]:
        """Infinite."""
        return (float("inf"),) * len(self.saliency)


def open_case(question: Question, baseline: BaselineLike, budget: Budget) -> Case:
    """Ask about the whole image, one call, and find the targets; or take both from what is known.

    Raises:
        InputError: a target that is unknown, or of outputs that were not kept.
        BlackBoxError: the black box failed.
    """
    photo, black_box, known = question.photo, question.black_box, question.known
    size = black_box.input_size or (photo.shape[0], photo.shape[1])
    image = to_planes(photo, size).to(black_box.device).contiguous()
    fill = open_baseline(baseline, image, question.seed)  # before a call is spent
    if known is None:
        whole = ask(black_box, image[None].clone())  # it may write to what it is shown
        budget.spend(1)
        scores = whole[0].cpu().numpy()
        targets = resolve_targets(question.target, scores, black_box.class_names)
        readout = open_readout(targets, scores, question.keep)
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


def conclude(
    case: Case,
    method: Mapping[str, Any],
    finding: Finding,
    budget: Budget,
    rounds: Sequence[ScoredRound] | None,
    history: Sequence[Round],
    superpixels: str = "",
) -> Explanation:
    """The result, or the map so far while the run goes on; without evidence if `rounds` is None."""
    question = case.question
    black_box = question.black_box
    names = black_box.class_names
    kept_names = tuple(names[k] for k in case.readout.outputs) if names else ()
    if question.known is not None:
        kept_names = question.known.names_of(case.readout.outputs)
    evidence = None
    if rounds is not None:
        evidence = Evidence(
            size=case.size,
            num_outputs=case.readout.num_outputs,
            outputs=case.readout.outputs,
            functions=case.readout.digests,
            class_names=kept_names,
            reference=case.readings.cpu().numpy(),
            superpixels=superpixels,
            rounds=tuple(rounds),
        )
    return Explanation(
        saliency=_enlarge(finding.saliency, question.photo),
        standard_error=_enlarge(finding.standard_error, question.photo),
        relative_errors=finding.relative_errors,
        image=question.photo,
        targets=case.targets,
        scores=tuple(case.reference.tolist()),
        calls=budget.calls,
        seconds=budget.seconds,
        method=method,
        rounds=tuple(history),
        seed=question.seed,
        model=black_box.name,
        identity=black_box.identity(),
        device=str(black_box.device),
        source=question.source,
        complete=budget.stopped in ("calls", "seconds", "tolerance", "rounds"),
        stopped=budget.stopped or "running",
        warnings=_weaknesses(case, rounds or (), history) if budget.stopped else (),
        versions=versions(),
        evidence=evidence,
    )


def _weaknesses(
    case: Case, rounds: Sequence[ScoredRound], history: Sequence[Round]
) -> tuple[str, ...]:
    """What a user should know of the scores before trusting the map."""
    scored = sum(sum(one.masks.values()) for one in history)
    if scored < FEWEST_MASKS:
        return (f"only {scored} masks were scored; the map is noise. Allow more calls or seconds",)
    found: dict[str, list[str]] = {}
    for t, target in enumerate(case.targets):
        for text in _weaknesses_of(case, t, rounds, history):
            found.setdefault(text, []).append(target.name)
    several = len(case.targets) > 1
    texts = [f"{', '.join(names)}: {text}" if several else text for text, names in found.items()]
    families = rounds[0].families.values() if rounds else ()
    cells = max((one.plan.num_cells or 0 for one in families), default=0)
    if scored < cells:
        texts.append(
            f"{scored} masks for {cells} cells leave the map to chance. Allow more calls, or have "
            "fewer cells"
        )
    return tuple(texts)


def _weaknesses_of(
    case: Case, t: int, rounds: Sequence[ScoredRound], history: Sequence[Round]
) -> list[str]:
    """Those of target t alone."""
    low = min(one.score_low[t] for one in history)
    high = max(one.score_high[t] for one in history)
    whole = float(case.reference[t])
    if is_flat(low, high):
        return [FLAT]
    texts = []
    if _is_likelihood(case, t) and max(abs(whole - low), abs(high - whole)) <= BARELY * whole:
        texts.append(TOO_LITTLE)
    # A window hides one place: that few of them tell is what they are for.
    if not rounds or all(isinstance(s.plan, WindowPlan) for s in rounds[0].families.values()):
        return texts
    every, keep = first_scores(case, rounds)
    scores = every[:, t]
    if not texts and stays_sure(scores, whole):
        texts.append(TOO_LITTLE)
    elif is_gone(scores, whole):
        texts.append(TOO_MUCH)
    background = scores[(keep <= np.quantile(keep, 0.25)) & (keep <= 0.5)]
    if len(background) >= FEWEST_HIDDEN and background.mean() - whole > scores.std():
        texts.append(AGAINST)
    return texts


def _is_likelihood(case: Case, t: int) -> bool:
    """Whether target t is one, as far as can be told: of outputs that sum to 1, nearly all kept.

    Of other scores it cannot be said what little movement is.
    """
    target, number = case.targets[t], len(case.readout.outputs)
    answers = case.readings[:number]
    total = float(answers.sum())
    distribution = number > 1 and float(answers.min()) >= 0 and 0.9 <= total <= 1.001
    return distribution and bool(target.indices) and min(target.weights) > 0


def first_scores(
    case: Case, rounds: Sequence[ScoredRound]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Scores (N, T) and keep probabilities (N,) of the first round."""
    families = rounds[0].families.values()
    readings = np.concatenate([one.readings for one in families])
    keep_probability = np.concatenate([one.plan.keep_probability for one in families])
    return readings @ case.weights.cpu().numpy(), keep_probability


def _enlarge(maps: Tensor, photo: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps of the masks' size at the size of the image, infinite where they are infinite."""
    size = (photo.shape[0], photo.shape[1])
    finite = maps.isfinite()
    enlarged = resize(torch.where(finite, maps, 0.0), size)
    if not finite.all():
        # The weights of a resize add up to 1 but for rounding.
        enlarged = torch.where(resize(finite.float(), size) < 0.999, torch.inf, enlarged)
    return enlarged.cpu().numpy()
