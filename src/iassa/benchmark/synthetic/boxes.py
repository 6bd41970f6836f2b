"""The ten black boxes, as functions of how much is seen of each region, and their right maps.

The right map of a box f gives each pixel the value of Aumann and Shapley (*Values of Non-Atomic
Games*, 1974): pixels are shown one after another in random order, and each gets the mean of what it
adds. Where a region R enters f by the share v of it that is seen, a pixel of R gets

    1 / |R|  *  integral over t from 0 to 1 of  df/dv_R (t, ..., t),

the gradient along the way from all hidden to all shown. docs/synthetic.md derives it for each box.
Of a linear box it is the weight. AND, OR and k-of-n are multilinear in v: there it is Shapley's
value of the region among the regions, shared out evenly (Owen, *Multilinear Extensions of Games*,
1972).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

PARTS = ("part 1", "part 2", "part 3", "part 4", "part 5")  # of the object
DRAWN = (*PARTS, "distractor", "rival", "texture")  # apart from each other, on the background
PLACES = ("border", "upper half")  # whatever is there
REGIONS = (*DRAWN, *PLACES)
JOINED = PARTS[:3]  # what AND and OR are about
NEEDED = 3  # of the five parts
AGAINST = 0.5  # weight of the distractor
STEEPNESS, START = 12.0, 4.0  # of the saturated box: half of the object gives it 0.88


@dataclass(frozen=True)
class KnownBox:
    """A black box whose right map is known.

    Attributes:
        name: of its output and of its category.
        about: what it is, for tables.
        score: what is seen of each of `REGIONS`, (N, R) float64 in [0, 1], to scores (N,).
        right: the sum of the right map over a region; regions that are not named have none.
    """

    name: str
    about: str
    score: Callable[[Tensor], Tensor]
    right: Mapping[str, float]


def _of(seen: Tensor, *regions: str) -> Tensor:
    return seen[:, [REGIONS.index(each) for each in regions]]


def _object(seen: Tensor) -> Tensor:
    return _of(seen, *PARTS).mean(1)


def _all(seen: Tensor) -> Tensor:
    return _of(seen, *JOINED).prod(1)


def _any(seen: Tensor) -> Tensor:
    return 1 - (1 - _of(seen, *JOINED)).prod(1)


def _some(seen: Tensor) -> Tensor:
    """The chance that `NEEDED` parts or more are there, if each is with the chance of its share."""
    chances = seen.new_zeros(len(seen), len(PARTS) + 1)  # of 0, 1, ... parts
    chances[:, 0] = 1
    for share in _of(seen, *PARTS).unbind(1):
        more = torch.nn.functional.pad(chances[:, :-1], (1, 0))
        chances = chances + share[:, None] * (more - chances)
    return chances[:, NEEDED:].sum(1)


def _distracted(seen: Tensor) -> Tensor:
    return _object(seen) - AGAINST * _of(seen, "distractor")[:, 0]


def _contrast(seen: Tensor) -> Tensor:
    """The difference of a softmax of two logits: 4 times the object, and 2 times the rival."""
    return torch.tanh(2 * _object(seen) - _of(seen, "rival")[:, 0])


def _saturated(seen: Tensor) -> Tensor:
    return torch.sigmoid(STEEPNESS * _object(seen) - START)


def _share(region: str) -> Callable[[Tensor], Tensor]:
    return lambda seen: _of(seen, region)[:, 0]


def _evenly(value: float, regions: tuple[str, ...]) -> dict[str, float]:
    return dict.fromkeys(regions, value / len(regions))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


_GAIN = _logistic(STEEPNESS - START) - _logistic(-START)

BOXES: dict[str, KnownBox] = {
    box.name: box
    for box in (
        KnownBox("linear", "share of the object that is seen", _object, _evenly(1, PARTS)),
        KnownBox("and", "all of three parts", _all, _evenly(1, JOINED)),
        KnownBox("or", "any of three parts", _any, _evenly(1, JOINED)),
        KnownBox("k-of-n", "three of five parts or more", _some, _evenly(1, PARTS)),
        KnownBox(
            "distractor",
            "the object, less half of the distractor",
            _distracted,
            _evenly(1, PARTS) | {"distractor": -AGAINST},
        ),
        KnownBox(
            "contrast",
            "the object's class less its rival's, after a softmax",
            _contrast,
            _evenly(2 * math.tanh(1), PARTS) | {"rival": -math.tanh(1)},
        ),
        KnownBox("texture", "a texture in three places", _share("texture"), {"texture": 1.0}),
        KnownBox(
            "saturated",
            "the object, of which half is nearly enough",
            _saturated,
            _evenly(_GAIN, PARTS),
        ),
        KnownBox("border", "the border, whatever is there", _share("border"), {"border": 1.0}),
        KnownBox("upper-half", "the upper half", _share("upper half"), {"upper half": 1.0}),
    )
}
