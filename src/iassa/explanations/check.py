"""What a model said of parts of an image that a map calls important: statements that were checked.

A part is shown alone, or hidden from the rest. The score then says whether the map is right about
it. `iassa.methods.verify` asks; this is the answer, as data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from iassa.archives import check_promise, pack_arrays, read_arrays, take_array
from iassa.errors import counted, require
from iassa.explanations.record import SavedCheck, SavedPart

PORTION = 0.9  # of what the image adds to the score: what is kept, or lost
NOTICEABLE = 0.05  # of the score: a fill that gives less goes without saying
CONTENT = "check.npz"


@dataclass(frozen=True, eq=False)
class Part:
    """A part of an image that the model was asked about.

    Attributes:
        region: (h, w) bool, of the image as the model sees it.
        score: of the target, as the model gave it with just this region shown, or just it hidden.
    """

    region: NDArray[np.bool_]
    score: float

    @property
    def share(self) -> float:
        """Of the image's pixels."""
        return float(self.region.mean())


@dataclass(frozen=True, kw_only=True, eq=False)
class Statement:
    """What the model said of one map with one fill.

    The image adds `whole - hidden` to the score of the fill alone; it may be negative.

    Attributes:
        target: its name.
        fill: what hidden pixels showed.
        whole: score of the whole image.
        hidden: score of the fill alone, the image wholly hidden.
        keeps: the smallest level set found that alone keeps 90 % of what the image adds, and the
            score of it alone. None where there is nothing to find: the score or the map is flat.
        loses: the smallest one found whose hiding loses 90 % of that, and the score of the rest.
    """

    target: str
    fill: str
    whole: float
    hidden: float
    keeps: Part | None
    loses: Part | None

    def __str__(self) -> str:
        """One sentence, without the target and the fill."""
        if self.keeps is None or self.loses is None:
            return (
                f"nothing to find: the image gives {self.whole:.3g}, the fill alone "
                f"{self.hidden:.3g}, or the map is the same everywhere"
            )
        alone, rest = (percent(part.share) for part in (self.keeps, self.loses))
        same = np.array_equal(self.keeps.region, self.loses.region)
        without = "them" if same else f"the dotted {rest},"
        left = f"{self.loses.score:.3g} is left"
        if self.hidden > self.whole:  # the image lowers the score
            left = f"it is {self.loses.score:.3g}"
        text = (
            f"the outlined {alone} alone give {self.keeps.score:.3g} of {self.whole:.3g}; "
            f"without {without} {left}"
        )
        if abs(self.hidden) > NOTICEABLE * abs(self.whole):
            text += f" (the fill alone gives {self.hidden:.3g})"
        return text


def percent(share: float) -> str:
    """A share, to two digits.

    Example:
        >>> [percent(share) for share in (0.0704, 0.994, 0.00236)]
        ['7 %', '99 %', '0.24 %']
    """
    return f"{100 * share:.0f} %" if share >= 0.02 else f"{100 * share:.2g} %"


@dataclass(frozen=True, kw_only=True, eq=False)
class Check:
    """What the model said of the maps of an explanation.

    Attributes:
        statements: of each target, in their order, one for every fill.
        calls: model calls that this took, all of them.
        refine_calls: those of them that went into smaller regions.
    """

    statements: tuple[tuple[Statement, ...], ...]
    calls: int
    refine_calls: int

    def lines(self) -> list[str]:
        """A sentence for each statement, with its target and fill."""
        return [f"{one.target}, hidden by {one.fill}: {one}" for one in self._all]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def count(self) -> str:
        """What it took, as '235 calls, 200 of them for smaller regions'."""
        shrunk = f", {self.refine_calls} of them for smaller regions" if self.refine_calls else ""
        return counted(self.calls, "call") + shrunk

    def regions(self, target: int) -> list[list[NDArray[np.bool_]]]:
        """What is outlined in a picture of a target, on the image and on the map.

        It is the part that keeps and the part that loses, (h, w) each, by the first fill and by the
        second.
        """
        parts = [[part for part in _parts(one).values() if part] for one in self._drawn(target)]
        return [[part.region for part in of_one] for of_one in parts]

    def sheet_note(self) -> str:
        """What is outlined in the picture of all targets, to go on with after a caption."""
        return f"; outlined: what keeps the score, hidden by {self.statements[0][0].fill}"

    def notes(self, target: int) -> list[str]:
        """The sentences below that picture, those of fills that are not drawn among them."""
        statements = self.statements[target]
        if len(statements) == 1:
            return [f"Hidden by {one.fill}: {one}" for one in statements]
        pairs = zip(("On the image", "On the map"), statements, strict=False)
        drawn = [f"{place}, hidden by {one.fill}: {one}" for place, one in pairs]
        others = [f"Hidden by {one.fill}: {one}" for one in statements[2:]]
        return drawn + [re.sub("the (outlined|dotted)", "the best", one) for one in others]

    def _drawn(self, target: int) -> list[Statement]:
        statements = self.statements[target]
        return [statements[0], statements[min(1, len(statements) - 1)]]

    def describe(self) -> dict[str, Any]:
        """What `explanation.json` holds of it, beside `pack`."""
        return {
            "calls": self.calls,
            "refine_calls": self.refine_calls,
            "size": list(self._size),
            "statements": [
                {
                    **{name: getattr(one, name) for name in ("target", "fill", "whole", "hidden")},
                    **{name: _describe(part) for name, part in _parts(one).items()},
                    "says": str(one),
                }
                for one in self._all
            ],
        }

    @property
    def _all(self) -> list[Statement]:
        """Target after target."""
        return [one for of_target in self.statements for one in of_target]

    @property
    def _size(self) -> tuple[int, ...]:
        """(height, width) of the regions; (1, 1) without any."""
        regions = [part.region for one in self._all for part in _parts(one).values() if part]
        return regions[0].shape if regions else (1, 1)

    def pack(self) -> bytes:
        """The regions as the content of an NPZ file, bits as bits."""
        none = np.zeros(self._size, np.bool_)
        regions = [
            none if part is None else part.region
            for one in self._all
            for part in _parts(one).values()
        ]
        return pack_arrays({"regions": np.packbits(np.stack(regions))})

    @classmethod
    def restore(cls, saved: SavedCheck, content: bytes, targets: Sequence[str]) -> Self:
        """What `describe` and `pack` gave.

        Args:
            saved: of the record.
            content: of the file with the regions.
            targets: names of the explanation's.

        Raises:
            InputError: they do not belong together.
        """
        names = [one.target for one in saved.statements]
        fills = len(names) // max(1, len(targets))
        require(
            fills and names == [name for name in targets for _ in range(fills)],
            "expected statements of all targets, one for every fill, got others.",
        )
        shape = (len(names), 2, *saved.size)
        bits = math.prod(shape)
        check_promise(bits, len(content))
        packed = take_array(read_arrays(content), "regions", (-(-bits // 8),), np.uint8)
        regions = np.unpackbits(packed, count=bits).view(np.bool_).reshape(shape)
        made = [
            Statement(
                target=one.target,
                fill=one.fill,
                whole=one.whole,
                hidden=one.hidden,
                keeps=_restore(one.keeps, regions[k, 0]),
                loses=_restore(one.loses, regions[k, 1]),
            )
            for k, one in enumerate(saved.statements)
        ]
        return cls(
            statements=tuple(
                tuple(made[first : first + fills]) for first in range(0, len(made), fills)
            ),
            calls=saved.calls,
            refine_calls=saved.refine_calls,
        )


def _parts(one: Statement) -> Mapping[str, Part | None]:
    return {"keeps": one.keeps, "loses": one.loses}


def _describe(part: Part | None) -> dict[str, float] | None:
    return None if part is None else {"share": part.share, "score": part.score}


def _restore(saved: SavedPart | None, region: NDArray[np.bool_]) -> Part | None:
    if saved is None:
        return None
    part = Part(region, saved.score)
    require(
        abs(part.share - saved.share) < 1e-9,
        f"expected a region of a share of {saved.share:g}, as its statement says, got "
        f"{part.share:g}.",
    )
    return part
