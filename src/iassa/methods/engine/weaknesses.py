"""What a user should know of the scores before trusting a map."""

from __future__ import annotations

import numpy as np

from iassa.errors import list_some
from iassa.estimators.effect import SMALLEST
from iassa.estimators.saturation import is_flat, is_gone, stays_sure
from iassa.explanations.fills import Fills
from iassa.masks.plans import WindowPlan
from iassa.methods.engine.budget import FEWEST_MASKS
from iassa.methods.engine.case import Case
from iassa.methods.engine.history import History

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
    "images with half of their pixels or more hidden score higher than the whole image: the "
    "visible image lowers the target's score; read the map where it is negative"
)
ROUNDED = (
    "all masked images score the same but for a millionth of it, which is the rounding of a model "
    "in float32: the map may be noise. Subtract a constant from the scores, or explain a contrast"
)
LOST = (
    f"the scores of all masked images are below {SMALLEST:g}, too small for a map of float32. "
    "Multiply the scores by a constant, or explain logits"
)
BARELY = 0.02  # of a likelihood: if no mask moves it further, it does not move
FEWEST_HIDDEN = 8  # masks that make a background


def weaknesses(case: Case, history: History, fills: Fills | None = None) -> tuple[str, ...]:
    """All that makes the map unreliable, each once, by the targets' names if there are several.

    Args:
        case: what the run is about.
        history: its rounds, at least one.
        fills: of several fills, their maps.
    """
    count = sum(sum(one.masks.values()) for one in history.rounds)
    if count < FEWEST_MASKS:
        return (f"only {count} masks were scored; the map is noise. Allow more calls or seconds",)
    plans = [one.plan for one in history.first.families.values()] if history.first else []
    found: dict[str, list[str]] = {}
    for t, target in enumerate(case.targets):
        for text in _weaknesses_of(case, t, history):
            found.setdefault(text, []).append(target.name)
    several = len(case.targets) > 1
    texts = [f"{list_some(names)}: {text}" if several else text for text, names in found.items()]
    cells = max((plan.num_cells or 0 for plan in plans), default=0)
    if count < cells:
        texts.append(
            f"only {count} masks for {cells} cells: the map is mostly noise. Allow more calls, or "
            "use fewer cells"
        )
    return (*texts, *(_disagreement(fills) if fills is not None else ()))


def _disagreement(fills: Fills) -> tuple[str, ...]:
    """What to say of maps that disagree under two fills, of the two that do so most."""
    apart = [one for one in fills.agreements if one.beyond_errors]
    if not apart:
        return ()
    worst = min(apart, key=lambda one: one.correlation or 0)
    targets = dict.fromkeys(one.target for one in apart)
    of = f"{list_some(targets)}: " if fills.saliency.shape[1] > 1 else ""
    text = (
        f"{of}the maps under different fills disagree beyond their errors: rank correlation of "
        f"{worst}. What only one of them shows may be the fill's doing: compare each fill's own map"
    )
    return (text,)


def _weaknesses_of(case: Case, t: int, history: History) -> list[str]:
    """Those of target t alone."""
    low, high = history.limits(t)
    whole = float(case.reference[t])
    if is_flat(low, high):
        return [FLAT if low == high else ROUNDED]
    texts = [LOST] if t in history.lost else []
    if _is_likelihood(case, t) and max(abs(whole - low), abs(high - whole)) <= BARELY * whole:
        texts.append(TOO_LITTLE)
    first = history.first
    # A window hides one place: few of them move the score, as they should.
    if first is None or all(isinstance(s.plan, WindowPlan) for s in first.families.values()):
        return texts
    scores, keep = first.scores[:, t], first.keep_probability
    if not texts and stays_sure(scores, whole):
        texts.append(TOO_LITTLE)
    elif is_gone(scores, whole):
        texts.append(TOO_MUCH)
    background = scores[(keep <= np.quantile(keep, 0.25)) & (keep <= 0.5)]
    if len(background) >= FEWEST_HIDDEN and background.mean() - whole > scores.std():
        texts.append(AGAINST)
    return texts


def _is_likelihood(case: Case, t: int) -> bool:
    """Whether target t is a likelihood: its outputs sum to 1, and nearly all of them were kept.

    Other scores have no scale that says how small a small change is.
    """
    target, number = case.targets[t], len(case.readout.outputs)
    answers = case.readings[:number]
    total = float(answers.sum())
    distribution = number > 1 and float(answers.min()) >= 0 and 0.9 <= total <= 1.001
    return distribution and bool(target.indices) and min(target.weights) > 0
