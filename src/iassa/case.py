"""One case: an image, a black box, targets; how it is opened and what is concluded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.baselines import BaselineLike, open_baseline
from iassa.black_box import Adapter, ask
from iassa.budget import FEWEST_MASKS, Budget
from iassa.explanation import Explanation, Round, versions
from iassa.image import resize, to_planes
from iassa.saliency import Effect
from iassa.targets import Target, TargetLike, resolve_targets

__all__ = ["Case", "conclude", "open_case"]

FLAT = "every masked image scores the same; there is nothing to explain"


@dataclass(frozen=True, eq=False)
class Case:
    """What a run is about: I, f(I) and the targets.

    Attributes:
        photo: (H, W, 3) float32, the image as it was given.
        source: path of its file, if it came from one.
        image: (3, height, width) float32, as the black box sees it, on its device.
        baseline: the same shape, what hidden pixels show.
        black_box: whom to ask.
        targets: T of them.
        weights: (K, T) float64, the targets as a matrix.
        reference: (T,) float64, the scores of the whole image.
        seed: of all randomness.
    """

    photo: NDArray[np.float32]
    source: str | None
    image: Tensor
    baseline: Tensor
    black_box: Adapter
    targets: tuple[Target, ...]
    weights: Tensor
    reference: Tensor
    seed: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image as the black box sees it, and so of the masks."""
        return (self.image.shape[1], self.image.shape[2])


def open_case(
    baseline: BaselineLike,
    photo: NDArray[np.float32],
    source: str | None,
    black_box: Adapter,
    target: TargetLike,
    budget: Budget,
    seed: int,
) -> Case:
    """Ask about the whole image, one call, and find the targets.

    Raises:
        InputError: a baseline that cannot be read, before the call; a target that is unknown.
        BlackBoxError: the black box failed.
    """
    size = black_box.input_size or (photo.shape[0], photo.shape[1])
    image = to_planes(photo, size).to(black_box.device).contiguous()
    fill = open_baseline(baseline, image, seed)
    whole = ask(black_box, image[None].clone())  # it may write to what it is shown
    budget.spend(1)
    targets = resolve_targets(target, whole[0].cpu().numpy(), black_box.class_names)
    weights = torch.zeros((whole.shape[1], len(targets)), dtype=torch.float64, device=whole.device)
    for column, one in enumerate(targets):
        weights[list(one.indices), column] = weights.new_tensor(one.weights)
    reference = (whole @ weights)[0]
    return Case(photo, source, image, fill, black_box, targets, weights, reference, seed)


def conclude(
    case: Case, method: Mapping[str, Any], effect: Effect, budget: Budget, history: list[Round]
) -> Explanation:
    """The result, or the map so far while the run goes on."""
    return Explanation(
        saliency=_enlarge(effect.saliency, case.photo),
        standard_error=_enlarge(effect.standard_error, case.photo),
        image=case.photo,
        targets=case.targets,
        scores=tuple(case.reference.tolist()),
        calls=budget.calls,
        seconds=budget.seconds,
        method=method,
        rounds=tuple(history),
        seed=case.seed,
        model=case.black_box.name,
        device=str(case.black_box.device),
        source=case.source,
        complete=budget.stopped in ("calls", "seconds", "rounds"),
        stopped=budget.stopped or "running",
        warnings=_weaknesses(case.targets, history) if budget.stopped else (),
        versions=versions(),
    )


def _weaknesses(targets: tuple[Target, ...], history: list[Round]) -> tuple[str, ...]:
    """What a user should know of the scores before trusting the map."""
    scored = sum(sum(one.masks.values()) for one in history)
    if scored < FEWEST_MASKS:
        return (f"only {scored} masks were scored; the map is noise. Allow more calls or seconds",)
    flat = []
    for t, target in enumerate(targets):
        low = min(one.score_low[t] for one in history)
        high = max(one.score_high[t] for one in history)
        if high - low <= 1e-6 * max(abs(low), abs(high)):
            flat.append(target.name)
    if not flat:
        return ()
    return (FLAT if len(targets) == 1 else f"{', '.join(flat)}: {FLAT}",)


def _enlarge(maps: Tensor, photo: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps of the masks' size at the size of the image, infinite where they are infinite."""
    size = (photo.shape[0], photo.shape[1])
    finite = maps.isfinite()
    enlarged = resize(torch.where(finite, maps, 0.0), size)
    if not finite.all():
        enlarged = torch.where(resize(finite.float(), size) < 1, torch.inf, enlarged)
    return enlarged.cpu().numpy()
