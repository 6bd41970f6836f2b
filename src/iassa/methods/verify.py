"""Verify: ask the model whether the part that a map calls important is what the score needs.

In the map's own order, from its highest pixels on, two questions are asked of each target:

- which smallest part, shown alone, keeps 90 % of what the image adds to the score;
- which smallest part, hidden, loses 90 % of it.

What the image adds is the score of the whole image minus that of the fill alone, f(I) - f(fill).
Where the fill alone gives a probability of 0, this is the score itself. A logit, a distance or a
contrast has no zero of its own: 90 % of such a score would mean nothing. Where the image lowers
the score, as of 'not cat' in the picture of a cat, the map is read from its lowest pixels on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within, take, taking
from iassa.errors import list_some, require, shorten, show
from iassa.explanations.check import Check, Part, Statement
from iassa.explanations.explanation import Explanation
from iassa.explanations.regions import refuse_flat
from iassa.masks.baselines import (
    BaselineLike,
    Fill,
    is_built_in,
    list_fills,
    name_fill,
    open_fills,
    read_baseline,
)
from iassa.methods.engine.budget import Budget, Progress
from iassa.methods.engine.case import BATCH_SIZE, see_again
from iassa.methods.engine.claims import Claim, make_claims, narrow, shrink
from iassa.methods.engine.narrowing import QUESTIONS
from iassa.methods.engine.parts import PartScores, Question, score_targets
from iassa.methods.explain import check_size, check_targets, open_again
from iassa.models.black_box import BlackBox, one_thread
from iassa.models.opening import BlackBoxLike
from iassa.models.targets import Target, TargetLike, resolve_targets

REFINE = Annotated[int, Within(0, 10**6)]
DRIFT = 0.01  # of the score's size: more than single and half precision or another device change


@taking("explanation")
def verify(
    explanation: Explanation,
    black_box: BlackBoxLike,
    *,
    fills: BaselineLike | None = None,
    refine: int = 0,
    target: TargetLike | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    progress: Callable[[Progress], object] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Check:
    """Ask a black box about the parts that the maps call important.

    One target takes 35 calls or fewer with two fills: the whole image, each fill alone, and 8 for
    each part. Each target more takes 32. A search by bisection finds the smallest part where
    showing more never lowers the score. Scores need not be so: then there may be a smaller part.
    The model gave the reported score for the very part that was found.

    Args:
        explanation: of which the maps are checked; it stays as it is, see `with_check`.
        black_box: the one that was asked before, see `open_model`.
        fills: what hidden pixels show, as in `explain`: one, or several as in 'grey,blur'. None
            takes those of the map, and for a map of one fill 'blur' too, or 'grey' beside the blur.
        refine: the most calls to spend on smaller regions. They leave out superpixels at the edge,
            each time with another call that says that the statement still holds.
        target: the ones that were explained, where functions are among them: of these a saved
            explanation has the names alone, and imports none.
        batch_size: the most images at a time, as in `explain`.
        device: as in `explain`.
        progress: called after every batch.
        cancel: called after every batch; True ends it.

    Returns:
        What the model said, one statement for each target and fill.

    Raises:
        InputError: no explanation, another black box or image, targets to be named again, fills
            that look the same or that are to be named again, maps or scores that are all flat.
        BlackBoxError: the black box failed.
        CancelledError: cancelled.

    Example:
        >>> import numpy as np, iassa
        >>> image = np.full((24, 32, 3), 0.2, np.float32)
        >>> image[6:12, 8:16] = 1  # a bright patch, and a black box that looks at nothing else
        >>> brightness = lambda images: images[:, 6:12, 8:16].mean(axis=(1, 2, 3))[:, None]
        >>> explanation = iassa.explain(image, brightness, method="rise", calls=200)
        >>> check = iassa.verify(explanation, brightness, fills=[0.0, 0.1])
        >>> bool(check.statements[0][0].keeps.score >= 0.9), check.calls <= 35
        (True, True)
    """
    refine = take(refine, REFINE, "refine")
    batch_size = take(batch_size, BATCH_SIZE, "batch_size")
    opened = open_again(explanation, black_box, device)
    _check_maps(explanation, target)
    size = opened.size_for(explanation.image_size)
    image = see_again(explanation, (size[0], size[1]), opened)
    check_size(size, (image.shape[1], image.shape[2]))
    own = default_fills(own_fills(explanation)) if fills is None else fills
    known = read_baseline(own, "the check")
    names = [*map(name_fill, list_fills(known))]
    shown = open_fills(known, image, explanation.seed)
    most = 1 + len(shown) * (1 + 2 * sum(QUESTIONS) * len(explanation.targets)) + refine
    budget = Budget(most, None, progress, cancel, checked=True)
    with one_thread() as threads:
        parts = PartScores(opened, image, shown, budget, batch_size, threads)
        everything = np.ones(image.shape[1:], np.bool_)
        ends = [Question(everything), *(Question(~everything, f) for f in range(len(shown)))]
        answers = parts.ask(ends)
        targets = _find_targets(explanation, target, opened, answers[0])
        scores = _check_whole(explanation, *score_targets(answers, targets))
        claims = make_claims(explanation, image, scores)
        require(
            claims,
            f"expected a score that depends on the image, got {scores[0, 0]:.3g} for "
            f"{explanation.targets[0].name} with the image and {scores[1, 0]:.3g} without it: "
            "there is nothing to find. Explain another target, or hide by another fill.",
        )
        narrow(claims, parts, targets)
        before = budget.calls
        if refine:
            shrink(claims, parts, targets, image, before + refine, budget)
    return Check(
        statements=_state(explanation, names, scores, claims),
        calls=budget.calls,
        refine_calls=budget.calls - before,
    )


def _state(
    explanation: Explanation,
    fills: Sequence[str],
    scores: NDArray[np.float64],
    claims: Sequence[Claim],
) -> tuple[tuple[Statement, ...], ...]:
    found = {(c.target, c.fill, c.kind): Part(c.region, c.score) for c in claims}
    return tuple(
        tuple(
            Statement(
                target=target.name,
                fill=fill,
                whole=float(scores[0, t]),
                hidden=float(scores[1 + f, t]),
                keeps=found.get((t, f, "keeps")),
                loses=found.get((t, f, "loses")),
            )
            for f, fill in enumerate(fills)
        )
        for t, target in enumerate(explanation.targets)
    )


def default_fills(own: BaselineLike) -> tuple[Fill, ...]:
    """Those of a map; where it has one alone, another beside it."""
    fills = list_fills(read_baseline(own, "the check"))
    return fills if len(fills) > 1 else (*fills, "grey" if fills == ("blur",) else "blur")


def own_fills(explanation: Explanation) -> BaselineLike:
    """Those of the map.

    Raises:
        InputError: one is a file or an array, which nobody opens by its record.
    """
    own: Any = explanation.method["fields"].get("baseline")
    for one in own if isinstance(own, list | tuple) else [own]:
        require(
            is_built_in(one) if isinstance(one, str) else not isinstance(one, dict),
            f"expected the fills to be named, as one of the map's is {shorten(show(one))}, and "
            "nothing that a saved file names is opened. Name them: fills=..., or --baseline.",
        )
    fills: BaselineLike = own
    return fills


def _check_maps(explanation: Explanation, target: TargetLike | None) -> None:
    """Refuse what needs no call to see."""
    lost = [one.name for one in explanation.targets if one.is_function and one.function is None]
    require(
        target is not None or not lost,
        f"expected the targets to be named again, as of {list_some(lost)} the name alone is saved. "
        "Name all of them with --target package.module:function, or pass them with target=.",
    )
    refuse_flat(explanation.saliency, ": there is no part to ask about")


def _find_targets(
    explanation: Explanation, target: TargetLike | None, black_box: BlackBox, scores: Tensor
) -> tuple[Target, ...]:
    """The explanation's targets, with the functions that were named again."""
    if target is None:
        return explanation.targets
    named = resolve_targets(
        target, scores.numpy(), black_box.class_names, of_boxes=black_box.boxes is not None
    )
    evidence = explanation.evidence
    check_targets(named, explanation.targets, None if evidence is None else evidence.functions)
    return named


def _check_whole(
    explanation: Explanation, scores: NDArray[np.float64], sizes: Tensor
) -> NDArray[np.float64]:
    """The scores (1 + F, T), if the whole image scores what it did."""
    for t, (before, now) in enumerate(zip(explanation.scores, scores[0].tolist(), strict=True)):
        require(
            abs(now - before) <= DRIFT * max(float(sizes[t]), abs(before)),
            f"expected a score of {before:.3g} for {explanation.targets[t].name} in the whole "
            f"image, as was saved, got {now:.3g}: it is another model or another image, or the "
            "score changes from call to call. Explain again with this model.",
        )
    return scores
