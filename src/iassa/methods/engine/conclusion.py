"""The conclusion of a run: from what was found to an `Explanation` of the image as it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.explanations.evidence import Evidence, ScoredRound
from iassa.explanations.explanation import Explanation, Round, versions
from iassa.image import resize
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.case import Case
from iassa.methods.engine.weaknesses import weaknesses

__all__ = ["Finding", "MapAlone", "conclude"]


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
        boxes=black_box.boxes,
        source=question.source,
        complete=budget.stopped in ("calls", "seconds", "tolerance", "rounds"),
        stopped=budget.stopped or "running",
        warnings=weaknesses(case, rounds or (), history) if budget.stopped else (),
        versions=versions(),
        evidence=evidence,
    )


def _enlarge(maps: Tensor, photo: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps of the masks' size at the size of the image, infinite where they are infinite."""
    size = (photo.shape[0], photo.shape[1])
    finite = maps.isfinite()
    enlarged = resize(torch.where(finite, maps, 0.0), size)
    if not finite.all():
        # The weights of a resize add up to 1 but for rounding.
        enlarged = torch.where(resize(finite.float(), size) < 0.999, torch.inf, enlarged)
    return enlarged.cpu().numpy()
