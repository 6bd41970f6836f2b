"""Scores of an image of which one part is shown, and any fill hides the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import CancelledError
from iassa.methods.engine.budget import Budget
from iassa.methods.engine.scoring import cap_batch
from iassa.models.black_box import BlackBox, ask
from iassa.models.readout import Readout
from iassa.models.targets import Target


@dataclass(frozen=True, eq=False)
class Question:
    """What a masked image scores.

    Attributes:
        shown: (h, w) bool, the part that is shown.
        fill: the number of the fill that hides the rest.
    """

    shown: NDArray[np.bool_]
    fill: int = 0

    def digest(self) -> bytes:
        """The same for questions about the same masked image; a whole image has no fill."""
        fill = -1 if self.shown.all() else self.fill
        return hashlib.sha256(np.packbits(self.shown).tobytes() + b"%d" % fill).digest()


class PartScores:
    """Asks a black box, a batch at a time, and counts. The same masked image costs one call."""

    def __init__(
        self,
        black_box: BlackBox,
        image: Tensor,
        fills: Sequence[Tensor],
        budget: Budget,
        batch_size: int | None,
        threads: int,
    ) -> None:
        """Nothing is asked yet.

        Args:
            black_box: that is asked.
            image: (3, h, w), as the black box sees it.
            fills: each (3, h, w).
            budget: counts the calls, reports progress and hears of a cancel.
            batch_size: the most images at a time; None for what the device likes.
            threads: of torch, for the black box.
        """
        self._black_box = black_box
        self._image = image
        self._fills = fills
        self._budget = budget
        self._threads = threads
        size = (image.shape[1], image.shape[2])
        self._batch_size = cap_batch(batch_size, size, image.device)
        self._outputs: int | None = None
        self._known: dict[bytes, Tensor] = {}

    def ask(self, questions: Sequence[Question]) -> Tensor:
        """Answers (N, K) float64 to N questions, on the CPU.

        Raises:
            BlackBoxError: see `iassa.models.black_box.ask`.
            CancelledError: the user ended it.
        """
        digests = [question.digest() for question in questions]
        pairs = zip(digests, questions, strict=True)
        unknown = {digest: one for digest, one in pairs if digest not in self._known}
        new = list(unknown)
        for start in range(0, len(new), self._batch_size):
            batch = new[start : start + self._batch_size]
            planes = torch.stack([self._render(unknown[digest]) for digest in batch])
            answers = ask(self._black_box, planes, self._outputs, self._threads).cpu()
            self._outputs = answers.shape[1]
            self._known.update(zip(batch, answers, strict=True))
            self._budget.spend(len(batch))
            if self._budget.stopped == "cancelled":
                raise CancelledError("cancelled before the map was verified; the map is as it was.")
        return torch.stack([self._known[digest] for digest in digests])

    def _render(self, question: Question) -> Tensor:
        shown = torch.from_numpy(question.shown).to(self._image.device)
        return torch.where(shown, self._image, self._fills[question.fill])


def score_targets(answers: Tensor, targets: Sequence[Target]) -> tuple[NDArray[np.float64], Tensor]:
    """Scores (N, T) of targets from answers (N, K), and the size (T,) of what they add up.

    Raises:
        BlackBoxError: a function of the scores failed.
    """
    outputs = sorted({index for target in targets for index in target.indices})
    functions = {t.name: t.function for t in targets if t.function is not None}
    readout = Readout(answers.shape[1], tuple(outputs), functions)
    readings = readout.read(answers)
    weights = readout.weights(targets, readings)
    offsets = readings.new_tensor([target.offset for target in targets])
    sizes = (readings.abs() @ weights.abs() + offsets.abs()).amax(0)
    return (readings @ weights + offsets).numpy(), sizes
