"""The maps under each of several fills, and how far they agree."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from iassa.archives import take_array
from iassa.errors import require
from iassa.explanations.record import Agreement, Record

NAMES = ("saliency", "standard_error")  # of the arrays, in the file behind 'fill_'


@dataclass(frozen=True, eq=False)
class Fills:
    """Each fill's own map. The map of the explanation is their mean.

    Attributes:
        names: of the F fills, as `--baseline` takes them; an array's is 'array' and its digest.
        saliency: (F, T, h, w) float32, as in `Explanation`, of the masks that showed the fill.
        standard_error: (F, T, h, w) float32 of these maps.
        agreements: of each target, of each pair of fills: target by target, pairs in the order of
            `itertools.combinations`.
    """

    names: tuple[str, ...]
    saliency: NDArray[np.float32]
    standard_error: NDArray[np.float32]
    agreements: tuple[Agreement, ...]

    def agreement(self, target: int = 0) -> Agreement:
        """That of the two fills whose maps of a target, by its place, agree least."""
        pairs = len(self.agreements) // self.saliency.shape[1]
        found = self.agreements[target * pairs : (target + 1) * pairs]
        return min(found, key=lambda one: 2.0 if one.correlation is None else one.correlation)

    def maps_of(self, target: int) -> dict[str, NDArray[np.float32]]:
        """Each fill's own map (h, w) of a target, by the fill's name."""
        return dict(zip(self.names, self.saliency[:, target], strict=True))

    def describe(self) -> dict[str, Any]:
        """What `explanation.json` holds of them."""
        return {
            "fills": list(self.names),
            "agreements": [dataclasses.asdict(one) for one in self.agreements],
        }

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What `explanation.npz` holds of them."""
        return {f"fill_{name}": getattr(self, name) for name in NAMES}

    @classmethod
    def restore(
        cls, record: Record, arrays: Mapping[str, NDArray[Any]], maps: tuple[int, ...]
    ) -> Self | None:
        """What was saved, of maps (T, h, w); None of an explanation under one fill.

        Raises:
            InputError: the arrays are not those of the record.
        """
        number = len(record.fills)
        if number == 0:
            extra = any(f"fill_{name}" in arrays for name in NAMES)
            require(not extra, "expected fills for the maps of fills, got none.")
            return None
        require(number > 1, f"expected several fills or none, got {number}.")
        own = {
            name: take_array(arrays, f"fill_{name}", (number, *maps), np.float32) for name in NAMES
        }
        return cls(names=record.fills, agreements=record.agreements, **own)
