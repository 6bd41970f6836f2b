"""What is kept of a black box's answers: a few of its outputs, and functions of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import BlackBoxError
from iassa.models.identity import digest_code
from iassa.models.targets import Target, TargetFunction

__all__ = ["Keep", "Readout", "apply_function", "open_readout"]

Keep: TypeAlias = 'int | Literal["all"]'


@dataclass(frozen=True, eq=False)
class Readout:
    """What is kept of a black box's answers: some outputs, and the values of functions of all.

    Attributes:
        num_outputs: K.
        outputs: C of them, ascending.
        functions: F functions of all outputs, by name.
    """

    num_outputs: int
    outputs: tuple[int, ...]
    functions: Mapping[str, TargetFunction] = field(default_factory=dict)

    @property
    def columns(self) -> int:
        """C + F."""
        return len(self.outputs) + len(self.functions)

    @property
    def digests(self) -> dict[str, str]:
        """Of the functions' code, by name; see `digest_code`."""
        return {name: digest_code(function) for name, function in self.functions.items()}

    def read(self, answers: Tensor) -> Tensor:
        """Readings (N, C + F) of answers (N, K) float64.

        Raises:
            BlackBoxError: a function of the scores failed, or did not give N finite numbers.
        """
        kept = answers[:, list(self.outputs)]
        if not self.functions:
            return kept
        whole = answers.cpu().numpy()
        values = [
            apply_function(name, function, whole) for name, function in self.functions.items()
        ]
        return torch.cat([kept, torch.from_numpy(np.stack(values, 1)).to(kept)], dim=1)

    def weights(self, targets: Sequence[Target], like: Tensor) -> Tensor:
        """The targets as a matrix (C + F, T): f = readings @ weights."""
        weights = like.new_zeros((self.columns, len(targets)))
        place = {output: row for row, output in enumerate(self.outputs)}
        names = list(self.functions)
        for column, target in enumerate(targets):
            if target.is_function:
                weights[len(place) + names.index(target.name), column] = 1.0
            for index, weight in zip(target.indices, target.weights, strict=True):
                weights[place[index], column] = weight
        return weights


def apply_function(
    name: str, function: TargetFunction, scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values (N,) of a target's function of scores (N, K), checked."""
    try:
        values = np.asarray(function(scores.copy()), np.float64)
    except Exception as error:  # whatever a user's function raises is one thing here
        raise BlackBoxError(
            f"the target {name} raised {type(error).__name__}: {error}. It takes scores (N, K) "
            "and gives (N,)."
        ) from error
    if values.shape != scores.shape[:1] or not np.isfinite(values).all():
        got = "NaN or infinity" if values.shape == scores.shape[:1] else f"shape {values.shape}"
        raise BlackBoxError(
            f"expected {len(scores)} finite numbers, one for each row of scores, from the target "
            f"{name}, got {got}."
        )
    return values


def open_readout(targets: Sequence[Target], scores: NDArray[np.float64], keep: Keep) -> Readout:
    """What to keep for some targets, and for others that may be asked about later.

    Args:
        targets: whose outputs and functions are kept.
        scores: (K,) of the whole image.
        keep: how many of the highest outputs of the whole image to keep as well, or 'all'.
    """
    number = len(scores) if keep == "all" else keep
    outputs = {int(k) for k in np.argsort(-scores, kind="stable")[:number]}
    functions: dict[str, TargetFunction] = {}
    for target in targets:
        outputs.update(target.indices)
        if target.function is not None:
            functions[target.name] = target.function
    return Readout(len(scores), tuple(sorted(outputs)), functions)
