"""Claims of a map, and how the model answers: a part keeps the score, or its loss loses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.estimators.saturation import is_flat
from iassa.explanations.check import PORTION
from iassa.explanations.explanation import Explanation
from iassa.explanations.regions import LevelSets, level_sets
from iassa.image import resize
from iassa.masks.superpixels import segment
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.narrowing import QUESTIONS, Narrowing
from iassa.methods.engine.parts import PartScores, Question, score_targets
from iassa.methods.engine.shrinking import Shrinking
from iassa.models.targets import Target

Kind: TypeAlias = Literal["keeps", "loses"]
KINDS: tuple[Kind, ...] = ("keeps", "loses")
SUPERPIXELS = 256
# The measures of maps that are signed: of others a low value means little, not 'against'.
SIGNED = ("effect", "mean score")


@dataclass(eq=False)
class Claim:
    """That a part keeps, shown alone, or loses, hidden, 90 % of what the image adds to a score.

    Attributes:
        target: its number.
        fill: its number.
        kind: 'keeps' or 'loses'.
        whole: score of the whole image.
        hidden: score of the fill alone.
        sets: level sets of the map, the first to show or to hide at first.
        heights: (h, w), what they are level sets of.
        search: among them.
        region: (h, w) bool, the smallest so far of which this holds.
        score: what the model gave for it.
    """

    target: int
    fill: int
    kind: Kind
    whole: float
    hidden: float
    sets: LevelSets
    heights: NDArray[np.floating]
    search: Narrowing = field(init=False)
    region: NDArray[np.bool_] = field(init=False)
    score: float = field(init=False)

    def __post_init__(self) -> None:
        self.search = Narrowing(self.sets.shares)
        self.take(self.sets[self.sets.last], self.whole if self.kind == "keeps" else self.hidden)

    def take(self, region: NDArray[np.bool_], score: float) -> None:
        """The smallest region so far of which this holds, and its score."""
        self.region, self.score = region, score

    def question(self, region: NDArray[np.bool_]) -> Question:
        """About a region, whether this holds of it."""
        return Question(region if self.kind == "keeps" else ~region, self.fill)

    def holds(self, score: float) -> bool:
        """Whether it does, by the answer."""
        left = (score - self.hidden) / (self.whole - self.hidden)
        return left >= PORTION if self.kind == "keeps" else left <= 1 - PORTION


def make_claims(
    explanation: Explanation, image: Tensor, scores: NDArray[np.float64]
) -> list[Claim]:
    """Two for each target and fill, but for a flat map or score.

    Args:
        explanation: with T maps.
        image: (3, h, w), as the black box sees it.
        scores: (1 + F, T) of the whole image, and of each fill alone.
    """
    claims = []
    signed = explanation.method["measures"] in SIGNED
    for t, one in enumerate(explanation.saliency):
        if one.min() == one.max():
            continue
        heights = resize(torch.from_numpy(one), (image.shape[1], image.shape[2])).numpy()
        whole = float(scores[0, t])
        for f, hidden in enumerate(scores[1:, t].tolist()):
            if is_flat(min(whole, hidden), max(whole, hidden)):
                continue
            order = -heights if signed and whole < hidden else heights
            sets = level_sets(order)
            claims += [Claim(t, f, kind, whole, hidden, sets, order) for kind in KINDS]
    return claims


def narrow(claims: Sequence[Claim], parts: PartScores, targets: Sequence[Target]) -> None:
    """Find the smallest level set of each claim, all searches side by side."""
    for count in QUESTIONS:
        asked = [(claim, number) for claim in claims for number in claim.search.ask(count)]
        if not asked:
            continue
        answers = parts.ask([claim.question(claim.sets[number]) for claim, number in asked])
        scores, _ = score_targets(answers, targets)
        for claim in claims:
            got = {n: scores[k, c.target] for k, (c, n) in enumerate(asked) if c is claim}
            claim.search.tell({number: claim.holds(score) for number, score in got.items()})
            if claim.search.found in got:
                found = claim.search.found
                claim.take(claim.sets[found], float(got[found]))


def shrink(
    claims: Sequence[Claim],
    parts: PartScores,
    targets: Sequence[Target],
    image: Tensor,
    most: int,
    budget: Budget,
) -> None:
    """Make the regions smaller, in turns, until so many calls are made."""
    labels = segment(image, (SUPERPIXELS,), (10.0,)).labels[0].cpu().numpy()
    shrinkings = [Shrinking(claim.region, labels, claim.heights) for claim in claims]
    while left := most - budget.calls:
        proposals = [(pair, pair[1].propose()) for pair in zip(claims, shrinkings, strict=True)]
        asked = [(pair, region) for pair, region in proposals if region is not None][:left]
        if not asked:
            return
        questions = [claim.question(region) for (claim, _), region in asked]
        scores, _ = score_targets(parts.ask(questions), targets)
        for k, ((claim, shrinking), region) in enumerate(asked):
            score = float(scores[k, claim.target])
            shrinking.tell(passes=claim.holds(score))
            if claim.holds(score):
                claim.take(region, score)
