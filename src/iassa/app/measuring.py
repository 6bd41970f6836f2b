"""What the model says of parts of a map: one region, or the curves of building up and taking away.

The pictures beside the numbers are those that the model was shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from iassa.app.looking import QUALITY
from iassa.explanations.explanation import Explanation
from iassa.explanations.regions import choose_region, refuse_flat
from iassa.image import encode_jpeg, resize
from iassa.masks.baselines import open_fills
from iassa.methods.engine.case import see_again
from iassa.methods.engine.parts import score_targets
from iassa.metrics import Curve, causal_curve
from iassa.models import BlackBox
from iassa.models.black_box import ask, one_thread
from iassa.models.targets import Target, find_target

STEPS = 24  # of a curve
SHOWN = 320  # pixels of the longer side of the picture of a step


@dataclass(frozen=True, eq=False)
class Remains:
    """A region alone, and the image without it, as the model saw both.

    Attributes:
        whole: score of the whole image.
        kept: score of the region, while the rest is hidden.
        lost: score of the rest, while the region is hidden.
        pictures: JPEG files of the last two.
    """

    whole: float
    kept: float
    lost: float
    pictures: tuple[bytes, bytes]


@dataclass(frozen=True, eq=False)
class Curves:
    """The score while pixels come, and while they go, the most important ones first.

    Attributes:
        up: from what hides to the image.
        down: from the image to what hides.
        pictures: JPEG files of each step of both.
    """

    up: Curve
    down: Curve
    pictures: tuple[tuple[bytes, ...], tuple[bytes, ...]]

    def as_json(self) -> dict[str, Any]:
        """What the page draws."""
        return {
            "shares": self.up.fractions.tolist(),
            "up": {"scores": self.up.scores.tolist(), "area": self.up.area},
            "down": {"scores": self.down.scores.tolist(), "area": self.down.area},
        }


@dataclass(frozen=True, eq=False)
class _Seen:
    """The image of an explanation, its first fill and a map, at the size that the model sees."""

    image: NDArray[np.float32]
    hidden: NDArray[np.float32]
    saliency: NDArray[np.float32]
    target: Target


def measure_region(
    explanation: Explanation, target: int, share: float, black_box: BlackBox
) -> Remains:
    """Show the model the highest part of a map alone, and all but that part: two calls.

    Args:
        explanation: of the map.
        target: its place.
        share: of the image, that the part has.
        black_box: that was asked.

    Raises:
        InputError: no such target, or a flat map.
        BlackBoxError: the model failed.
    """
    seen = _see(explanation, target, black_box)
    region = choose_region(seen.saliency, share=share)[:, :, None]
    shown = [np.where(part, seen.image, seen.hidden) for part in (region, ~region)]
    scores = _reader(black_box, seen.target)(np.stack(shown))[:, 0]
    whole = explanation.scores[find_target(target, explanation.targets)]
    pictures = (_picture(shown[0], explanation), _picture(shown[1], explanation))
    return Remains(whole, float(scores[0]), float(scores[1]), pictures)


def measure_curves(explanation: Explanation, target: int, black_box: BlackBox) -> Curves:
    """The curves of a map, in 50 calls, with what the model was shown at each step.

    Raises:
        InputError: no such target, or a flat map.
        BlackBoxError: the model failed.
    """
    seen = _see(explanation, target, black_box)
    read = _reader(black_box, seen.target)
    shown: list[bytes] = []

    def watched(images: NDArray[np.float32]) -> NDArray[np.float64]:
        shown.extend(_picture(image, explanation) for image in images)
        return read(images)

    per_step = -(-seen.saliency.size // STEPS)
    ends = ((seen.hidden, seen.image), (seen.image, seen.hidden))
    up, down = (
        causal_curve(seen.saliency, watched, [1.0], start=start, end=end, pixels_per_step=per_step)
        for start, end in ends
    )
    steps = len(up.scores)
    return Curves(up, down, (tuple(shown[:steps]), tuple(shown[steps:])))


def _see(explanation: Explanation, target: int, black_box: BlackBox) -> _Seen:
    place = find_target(target, explanation.targets)
    saliency = explanation.saliency[place]
    refuse_flat([saliency])
    height, width = black_box.size_for(explanation.image_size)
    planes = see_again(explanation, (height, width), black_box)
    baseline = explanation.method["fields"]["baseline"]
    fill = open_fills(baseline, planes, explanation.seed)[0]
    image, hidden = (
        one.expand_as(planes).permute(1, 2, 0).cpu().numpy().copy() for one in (planes, fill)
    )
    resized = resize(torch.from_numpy(saliency), (image.shape[0], image.shape[1])).numpy()
    return _Seen(image, hidden, resized, explanation.targets[place])


def _reader(
    black_box: BlackBox, target: Target
) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """The score of a target in images (N, H, W, 3), as (N, 1)."""

    def read(images: NDArray[np.float32]) -> NDArray[np.float64]:
        planes = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(black_box.device)
        with one_thread() as threads:
            answers = ask(black_box, planes, threads=threads).cpu()
        scores, _ = score_targets(answers, [target])
        return scores

    return read


def _picture(image: NDArray[np.float32], explanation: Explanation) -> bytes:
    """A JPEG file of what the model was shown, in the proportions of the image as it was given."""
    height, width = explanation.saliency.shape[1:]
    longer = max(height, width)
    size = (max(1, width * SHOWN // longer), max(1, height * SHOWN // longer))
    picture = Image.fromarray(np.round(image * 255).astype(np.uint8))
    return encode_jpeg(picture.resize(size, Image.Resampling.BILINEAR), QUALITY)
