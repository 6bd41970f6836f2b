"""What a user should know of the scores before trusting a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iassa.estimators.saturation import is_flat, is_gone, stays_sure
from iassa.explanations.evidence import ScoredRound
from iassa.explanations.explanation import Round
from iassa.masks.plans import WindowPlan
from iassa.methods.engine.budget import FEWEST_MASKS
from iassa.methods.engine.case import Case, first_scores

__all__ = ["weaknesses"]

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


def weaknesses(
    case: Case, rounds: Sequence[ScoredRound], history: Sequence[Round]
) -> tuple[str, ...]:
    """All that makes the map say little, each once, by the targets' names if there are several.

    Args:
        case: what the run is about.
        rounds: the masks and their readings; none if the method keeps none.
        history: the rounds in numbers.
    """
    scored = sum(sum(one.masks.values()) for one in history)
    if scored < FEWEST_MASKS:
        return (f"only {scored} masks were scored; the map is noise. Allow more calls or seconds",)
    # A window hides one place: that few of them tell is what they are for.
    plans = [one.plan for one in rounds[0].families.values()] if rounds else []
    telling = any(not isinstance(plan, WindowPlan) for plan in plans)
    first = first_scores(case, rounds) if telling else None
    found: dict[str, list[str]] = {}
    for t, target in enumerate(case.targets):
        for text in _weaknesses_of(case, t, first, history):
            found.setdefault(text, []).append(target.name)
    several = len(case.targets) > 1
    texts = [f"{', '.join(names)}: {text}" if several else text for text, names in found.items()]
    cells = max((plan.num_cells or 0 for plan in plans), default=0)
    if scored < cells:
        texts.append(
            f"{scored} masks for {cells} cells leave the map to chance. Allow more calls, or have "
            "fewer cells"
        )
    return tuple(texts)


def _weaknesses_of(
    case: Case,
    t: int,
    first: tuple[NDArray[np.float64], NDArray[np.float32]] | None,
    history: Sequence[Round],
) -> list[str]:
    """Those of target t alone; `first` are the first round's scores, if they tell of it."""
    low = min(one.score_low[t] for one in history)
    high = max(one.score_high[t] for one in history)
    whole = float(case.reference[t])
    if is_flat(low, high):
        return [FLAT]
    texts = []
    if _is_likelihood(case, t) and max(abs(whole - low), abs(high - whole)) <= BARELY * whole:
        texts.append(TOO_LITTLE)
    if first is None:
        return texts
    scores, keep = first[0][:, t], first[1]
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
