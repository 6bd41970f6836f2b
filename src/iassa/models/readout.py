"""The readout: which part of a black box's scores is kept, some outputs and functions of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.errors import BlackBoxError, describe_error, list_some, require
from iassa.models.answers import to_numbers
from iassa.models.identity import digest_code
from iassa.models.targets import Target, TargetFunction

Keep: TypeAlias = 'int | Literal["all"] | Sequence[int]'


@dataclass(frozen=True, eq=False)
class Readout:
    """What is kept of a black box's scores: some outputs, and the values of functions of all.

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
        values = [apply_function(*named, whole) for named in self.functions.items()]
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
        answer = function(scores.copy())
    except Exception as error:  # a user's function may raise anything
        raise BlackBoxError(
            f"the target {name} raised {describe_error(error)}. It maps (N, K) to (N,)."
        ) from error
    given = to_numbers(answer, "values (N,)", f"the target {name}")
    require(not given.is_complex(), f"expected real values from the target {name}.", BlackBoxError)
    values: NDArray[np.float64] = given.to(torch.float64).numpy()
    sound = values.shape == scores.shape[:1]
    got = "NaN or infinity" if sound else f"shape {values.shape}"
    require(
        sound and np.isfinite(values).all(),
        f"expected {len(scores)} finite numbers, one a row, from the target {name}, got {got}.",
        BlackBoxError,
    )
    return values


def open_readout(targets: Sequence[Target], scores: NDArray[np.float64], keep: Keep) -> Readout:
    """What to keep for some targets, and for others that `retarget` may need later.

    Args:
        targets: whose outputs and functions are kept.
        scores: (K,) of the whole image.
        keep: how many of the highest outputs of the whole image to keep as well, 'all', or which.

    Raises:
        InputError: there is no such output.
    """
    if isinstance(keep, Sequence) and keep != "all":
        named = [int(index) for index in keep]
        last = len(scores) - 1
        wrong = [index for index in named if not 0 <= index <= last]
        require(
            not wrong,
            f"expected keep_scores among the outputs 0 to {last}, got {list_some(wrong)}. Name "
            "outputs that there are.",
        )
    else:
        number = len(scores) if keep == "all" else keep
        named = np.argsort(-scores, kind="stable")[:number].tolist()
    outputs = {*named, *(index for target in targets for index in target.indices)}
    functions = {t.name: t.function for t in targets if t.function is not None}
    return Readout(len(scores), tuple(sorted(outputs)), functions)
