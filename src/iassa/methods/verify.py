"""Verify: ask the model whether the part that a map calls important is what the score needs.

In the map's own order, from its highest pixels on, two questions are asked of each target:

- which smallest part, shown alone, keeps 90 % of what the image adds to the score;
- which smallest part, hidden, loses 90 % of it.

What the image adds is the score of the whole image minus that of the fill alone, f(I) - f(fill).
Of a probability that the fill alone makes 0, that is the score itself. A logit, a distance or a
contrast has no zero of its own: there 90 % of the score would mean nothing. Where the image lowers
the score, as of 'not cat' in the picture of a cat, the map is read from its lowest pixels on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.checks import Within, take
from iassa.errors import list_some, require, shorten, show
from iassa.explanations.check import Check, Part, Statement
from iassa.explanations.explanation import Explanation
from iassa.image import to_planes
from iassa.masks.baselines import BaselineLike, FillImage, is_built_in, open_baseline, read_baseline
from iassa.methods.engine.budget import Budget, Progress
from iassa.methods.engine.case import BATCH_SIZE
from iassa.methods.engine.claims import Claim, make_claims, narrow, shrink
from iassa.methods.engine.narrowing import QUESTIONS
from iassa.methods.engine.parts import PartScores, Question, score_targets
from iassa.methods.explain import open_again
from iassa.models.black_box import BlackBox, one_thread
from iassa.models.identity import digest_code
from iassa.models.opening import BlackBoxLike
from iassa.models.targets import Target, TargetLike, resolve_targets

REFINE = Annotated[int, Within(0, 10**6)]
DRIFT = 0.01  # of the score's size: more than single and half precision or another device change
SAME = 1 / 510  # half a step of 8 bits: fills that differ by less look alike


def verify(
    explanation: Explanation,
    black_box: BlackBoxLike,
    *,
    fills: Sequence[BaselineLike] | None = None,
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
    showing more never lowers the score. Scores need not be so: then there may be a smaller part,
    but what is said of the one that was found is what the model gave for it.

    Args:
        explanation: of which the maps are checked; it stays as it is, see `with_check`.
        black_box: the one that was asked before, see `open_model`.
        fills: what hidden pixels show, one or more, in a list; see `iassa.masks.baselines`. None
            takes that of the map and 'blur', or 'grey' for a map made with the blur.
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
        InputError: another black box or image, targets to be named again, fills that look the same
            or that are to be named again, maps or scores that are all flat.
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
    image = _seen(explanation, opened)
    own = default_fills(_own_fill(explanation)) if fills is None else fills
    shown = open_fills(own, image, explanation)
    most = 1 + len(shown) * (1 + 2 * sum(QUESTIONS) * len(explanation.targets)) + refine
    budget = Budget(most, None, progress, cancel, checked=True)
    with one_thread() as threads:
        parts = PartScores(opened, image, [*shown.values()], budget, batch_size, threads)
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
        statements=_state(explanation, [*shown], scores, claims),
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


def default_fills(own: BaselineLike) -> tuple[BaselineLike, BaselineLike]:
    """That of a map, and another."""
    return own, "grey" if isinstance(own, str) and own == "blur" else "blur"


def _own_fill(explanation: Explanation) -> BaselineLike:
    """That of the map.

    Raises:
        InputError: it is a file or an array, which nobody opens by its record.
    """
    own: Any = explanation.method["fields"].get("baseline")
    known = not isinstance(own, dict) and (not isinstance(own, str) or is_built_in(own))
    require(
        known,
        f"expected the fills to be named, as the map's own is {shorten(show(own))}, and nothing "
        "that a saved file names is opened. Name two: fills=[..., 'blur'], or --baseline twice.",
    )
    fill: BaselineLike = tuple(own) if isinstance(own, list) else own
    return fill


def open_fills(
    fills: Sequence[BaselineLike], image: Tensor, explanation: Explanation
) -> dict[str, Tensor]:
    """What hidden pixels of an image show, each (3, h, w), by name.

    Raises:
        InputError: none, no fill, or two that look the same.
    """
    require(
        isinstance(fills, list | tuple) and len(fills) > 0,
        f"expected fills in a list, got {show(fills)}. Give two, as in ['grey', 'blur'].",
    )
    shown: dict[str, Tensor] = {}
    for one in fills:
        name = name_fill(one)
        planes = open_baseline(one, image, explanation.seed)
        for other, before in shown.items():
            require(
                float((planes - before).abs().max()) > SAME,
                f"expected fills that differ, got {other} and {name}, which show the same here: "
                "asked twice, the model says nothing new. Name another, as 'blur' or 'noise'.",
            )
        shown[f"{name} ({len(shown)})" if name in shown else name] = planes
    return shown


def name_fill(fill: BaselineLike) -> str:
    """A fill for people.

    Example:
        >>> [name_fill(fill) for fill in (0.5, 0.25, (1, 0, 0.5), "blur")]
        ['grey', 'grey 0.25', 'colour 1,0,0.5', 'blur']
    """
    known = read_baseline(fill, "the check")
    if isinstance(known, FillImage):
        return f"image {known.sha256[:8]}"
    if isinstance(known, str):
        return PurePath(known).name
    if isinstance(known, tuple):
        return f"colour {','.join(f'{one:g}' for one in known)}"
    return "grey" if known == 0.5 else f"grey {known:g}"


def _check_maps(explanation: Explanation, target: TargetLike | None) -> None:
    """Refuse what needs no call to see."""
    lost = [one.name for one in explanation.targets if one.is_function and one.function is None]
    require(
        target is not None or not lost,
        f"expected the targets to be named again, as of {list_some(lost)} the name alone is saved. "
        "Name all of them with --target package.module:function, or pass them with target=.",
    )
    require(
        any(one.min() < one.max() for one in explanation.saliency),
        "expected a map with a highest part, got one that is the same everywhere: there is no part "
        "to ask about. Explain with more calls, or another target.",
    )


def _seen(explanation: Explanation, black_box: BlackBox) -> Tensor:
    """The image (3, h, w) as the black box sees it, on its device."""
    size = tuple(black_box.size_for(explanation.image_size))
    if explanation.original is None:
        image = to_planes(explanation.image, (size[0], size[1]))
    else:
        image = torch.from_numpy(explanation.original.seen)
    got = tuple(image.shape[1:])
    require(
        got == size,
        f"expected a black box that looks at {got} pixels, as before, got one that looks at "
        f"{size}.",
    )
    return image.to(black_box.device).contiguous()


def _find_targets(
    explanation: Explanation, target: TargetLike | None, black_box: BlackBox, scores: Tensor
) -> tuple[Target, ...]:
    """The explanation's targets, with the functions that were named again."""
    if target is None:
        return explanation.targets
    named = resolve_targets(
        target, scores.numpy(), black_box.class_names, of_boxes=black_box.boxes is not None
    )
    plain = [[dataclasses.replace(t, function=None) for t in explanation.targets]]
    plain += [[dataclasses.replace(t, function=None) for t in named]]
    known = explanation.evidence.functions if explanation.evidence is not None else {}
    digests = {t.name: digest_code(t.function) for t in named if t.function is not None}
    require(
        plain[0] == plain[1] and all(digests[name] == known[name] for name in known),
        "expected the targets that were explained, "
        f"{list_some(t.name for t in explanation.targets)}, got {list_some(t.name for t in named)} "
        "or functions with another code. Name the same ones, or none.",
    )
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
