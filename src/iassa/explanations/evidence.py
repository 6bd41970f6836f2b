"""Evidence: the masks that were scored, as plans, and their scores.

It is what model calls are spent on, and all that a map is made of. A thousand masks take a tenth of
a megabyte, and from them the same run can be continued or another target explained at no cost.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from iassa.archives import check_promise, pack_arrays, read_arrays, read_json, take_array
from iassa.checks import Within, take_json
from iassa.errors import InputError, list_choices, list_some, require
from iassa.explanations.record import Natural
from iassa.masks.plans import CellPlan, GridPlan, MaskPlan, SegmentPlan, WindowPlan
from iassa.models.readout import Readout, apply_function

MOST_PIXELS = 2**26  # of masks: the image is enlarged to them
MOST_OUTPUTS = 10**7  # of a black box: as many scores are looked through for a target
FORMAT = 2  # of what `Evidence.pack` gives; 1 is that of evidence without a number
# The attributes of `Evidence` that are in the header as they are.
PLAIN = ("num_outputs", "outputs", "functions", "class_names", "superpixels")
PLANS: dict[str, type[MaskPlan]] = {
    plan.__name__: plan for plan in (GridPlan, CellPlan, SegmentPlan, WindowPlan)
}
# Types of the arrays of plans, their axes behind that of the masks, and their range.
PARTS: dict[str, tuple[type[np.generic], tuple[int | None, ...], Within | None]] = {
    "keep_probability": (np.float32, (), None),
    "cells": (np.bool_, (None, None), None),
    "shifts": (np.float32, (2,), None),
    "values": (np.float32, (None, None), Within(0, 1)),
    "bits": (np.bool_, (None,), None),
    "segmentation": (np.uint8, (), None),
    "windows": (np.int32, (4,), None),
}


@dataclass(frozen=True)
class _Family:
    """What the header says of the masks of one family in one round."""

    plan: Literal["GridPlan", "CellPlan", "SegmentPlan", "WindowPlan"]
    confined: bool


@dataclass(frozen=True)
class _Layout:
    """What the header says of a round."""

    keep_probability: Annotated[tuple[float, float], Within(0, 1)] | None
    families: Mapping[str, _Family]
    seconds: Annotated[float, Within(0)]


@dataclass(frozen=True)
class _Header:
    """What `Evidence.pack` says beside the arrays."""

    size: Annotated[tuple[int, int], Within(1)]
    rounds: tuple[_Layout, ...]
    bits: Mapping[str, tuple[Annotated[int, Within(0, 2**31)], ...]]
    num_outputs: Annotated[int, Within(1, MOST_OUTPUTS)]
    outputs: tuple[Natural, ...]
    functions: Mapping[str, str]
    class_names: tuple[str, ...]
    superpixels: str

    def __post_init__(self) -> None:
        """Refuse outputs that are not some of the black box's, ascending, named all or none.

        Raises:
            InputError: they are not.
        """
        pixels = math.prod(self.size)
        require(pixels <= MOST_PIXELS, f"expected masks of {MOST_PIXELS} pixels, got {pixels}.")
        ascending = list(self.outputs) == sorted({*self.outputs})
        require(
            ascending and max(self.outputs, default=0) < self.num_outputs,
            f"expected some of {self.num_outputs} outputs, got {list_some(self.outputs)}.",
        )
        names, outputs = len(self.class_names), len(self.outputs)
        require(names in (0, outputs), f"expected {outputs} names of outputs, got {names}.")


@dataclass(frozen=True, eq=False)
class Scored:
    """Masks of one family in one round, and their readings (N, C + F) float64."""

    plan: MaskPlan
    readings: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Feedback:
    """What the rounds before say about the next one's masks.

    Attributes:
        region: (H, W), where they are confined to; None for everywhere.
        keep_probability: smallest and largest, chosen from the scores; None for the method's own.
        ranks: (T, rows, columns) float32 of the cells of the maps, see `level_sets`; None where the
            method does not look at them.
    """

    region: NDArray[np.bool_] | None = None
    keep_probability: tuple[float, float] | None = None
    ranks: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class ScoredRound:
    """One round: what its masks were drawn by, the masks by family, and the seconds spent."""

    feedback: Feedback
    families: Mapping[str, Scored]
    seconds: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """All masks of a run and their readings.

    Attributes:
        size: (height, width) of the masks.
        num_outputs: K of the black box.
        outputs: the C outputs that were kept.
        functions: names of the F functions whose values were kept, and digests of their code.
        class_names: of the C outputs, synonyms after commas; empty if the black box has none.
        reference: (C + F,) float64 readings of the whole image.
        superpixels: digest of the segmentations that segment plans refer to; empty without any.
        rounds: in order.
    """

    size: tuple[int, int]
    num_outputs: int
    outputs: tuple[int, ...]
    functions: Mapping[str, str]
    class_names: tuple[str, ...]
    reference: NDArray[np.float64]
    superpixels: str
    rounds: tuple[ScoredRound, ...]

    def __len__(self) -> int:
        """Number of masks."""
        return sum(len(s.plan) for one in self.rounds for s in one.families.values())

    def names_of(self, outputs: Sequence[int]) -> tuple[str, ...]:
        """Class names of some of the outputs that were kept; none if the black box has none."""
        if not self.class_names:
            return ()
        return tuple(self.class_names[self.outputs.index(output)] for output in outputs)

    def read(self, readout: Readout) -> Self:
        """The same evidence as another readout would have kept it.

        A function of the same name and code has the values that it had.

        Raises:
            InputError: it needs outputs that were not kept.
            BlackBoxError: a function of the scores failed, or did not give N finite numbers.
        """
        lacking = sorted(set(readout.outputs) - set(self.outputs))
        complete = len(self.outputs) == self.num_outputs
        digests = readout.digests
        # Without code it is known by its name alone, which is good enough if nothing else is there.
        new = [
            name
            for name, digest in digests.items()
            if self.functions.get(name) != digest or (complete and not digest)
        ]
        if lacking or (new and not complete):
            what = f"class {list_some(lacking)}" if lacking else "all"
            raise InputError(
                f"expected a target of {self.kept}, got one that needs {what}. Ask for one of "
                "them, or explain again with keep_scores='all'."
            )
        names = tuple(self.functions)
        places = [self.outputs.index(output) for output in readout.outputs]

        def convert(readings: NDArray[np.float64]) -> NDArray[np.float64]:
            values = [
                apply_function(name, function, readings[:, : self.num_outputs])
                if name in new
                else readings[:, len(self.outputs) + names.index(name)]
                for name, function in readout.functions.items()
            ]
            return np.column_stack([readings[:, places], *values])

        def convert_round(one: ScoredRound) -> ScoredRound:
            families = {f: Scored(s.plan, convert(s.readings)) for f, s in one.families.items()}
            return dataclasses.replace(one, families=families)

        return dataclasses.replace(
            self,
            outputs=readout.outputs,
            functions=digests,
            class_names=self.names_of(readout.outputs),
            reference=convert(self.reference[None])[0],
            rounds=tuple(map(convert_round, self.rounds)),
        )

    @property
    def kept(self) -> str:
        """Which outputs, for people."""
        names = self.class_names or tuple(f"class {output}" for output in self.outputs)
        listed = list_choices(name.split(",")[0] for name in names)
        return f"the {len(names)} of {self.num_outputs} outputs whose scores were kept ({listed})"

    def pack(self) -> bytes:
        """The content of `evidence.npz`: bits as bits, readings as float32 where that is exact."""
        arrays: dict[str, NDArray[Any]] = {"reference": self.reference}
        header = {
            "format": FORMAT,
            "size": self.size,
            "rounds": [_pack_round(k, one, arrays) for k, one in enumerate(self.rounds)],
            "bits": {name: bits.shape for name, bits in arrays.items() if bits.dtype == np.bool_},
            **{name: getattr(self, name) for name in PLAIN},
        }
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        bits = sum(array.size for array in arrays.values() if array.dtype == np.bool_)
        return pack_arrays({name: _compact(array) for name, array in arrays.items()}, bits)

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """What `pack` packed.

        Raises:
            InputError: it is not that, or of another format.
        """
        try:
            return cls._restore(content)
        except (ValueError, KeyError) as damage:
            told = " ".join(str(damage).split())
            raise InputError(f"cannot read the evidence: {told} Explain again.") from damage

    @classmethod
    def _restore(cls, content: bytes) -> Self:
        arrays = read_arrays(content)
        said = read_json(take_array(arrays, "header", (None,), np.uint8).tobytes(), "its header")
        found = said.get("format", 1) if isinstance(said, dict) else None
        require(
            found == FORMAT,
            f"expected evidence of format {FORMAT}, got {found}: another version of iassa saved "
            "it. To read the map alone, remove evidence.npz.",
        )
        header: _Header = take_json(said, _Header, "")
        check_promise(sum(map(math.prod, header.bits.values())), len(content))
        bits = {name: _bits(arrays, name, shape) for name, shape in header.bits.items()}
        columns = len(header.outputs) + len(header.functions)
        rounds = enumerate(header.rounds)
        return cls(
            size=header.size,
            reference=_readings(arrays, "reference", (columns,)),
            rounds=tuple(_unpack_round(k, one, header, arrays | bits) for k, one in rounds),
            **{name: getattr(header, name) for name in PLAIN},
        )


def _pack_round(k: int, one: ScoredRound, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """What JSON holds of a round; its arrays are put into `arrays`."""
    feedback = one.feedback
    for name, array in (("region", feedback.region), ("ranks", feedback.ranks)):
        if array is not None:
            arrays[f"{k}/{name}"] = array
    families = {}
    for name, scored in one.families.items():
        for part in scored.plan.PER_MASK:  # all families of a round share its region
            arrays[f"{k}/{name}/{part}"] = getattr(scored.plan, part)
        arrays[f"{k}/{name}/readings"] = scored.readings
        families[name] = {"plan": type(scored.plan).__name__, "confined": scored.plan.confined}
    keep_probability = feedback.keep_probability
    return {"keep_probability": keep_probability, "families": families, "seconds": one.seconds}


def _unpack_round(
    k: int, layout: _Layout, header: _Header, arrays: Mapping[str, NDArray[Any]]
) -> ScoredRound:
    region = ranks = None
    if f"{k}/region" in arrays:
        region = take_array(arrays, f"{k}/region", header.size, np.bool_)
    if f"{k}/ranks" in arrays:
        ranks = take_array(arrays, f"{k}/ranks", (None,) * 3, np.float32, Within(0, 1))
    families = {}
    for name, family in layout.families.items():
        kind, place = PLANS[family.plan], f"{k}/{name}"
        count = len(take_array(arrays, f"{place}/keep_probability", (None,), np.float32))
        parts = {part: _part(arrays, place, part, count) for part in kind.PER_MASK}
        if "region" in {field.name for field in dataclasses.fields(kind)}:
            parts["region"] = region if family.confined else None
        columns = len(header.outputs) + len(header.functions)
        readings = _readings(arrays, f"{place}/readings", (count, columns))
        families[name] = Scored(kind(**parts), readings)
    feedback = Feedback(region, layout.keep_probability, ranks)
    return ScoredRound(feedback, families, layout.seconds)


def _part(arrays: Mapping[str, NDArray[Any]], place: str, part: str, count: int) -> Any:
    kind, shape, rule = PARTS[part]
    return take_array(arrays, f"{place}/{part}", (count, *shape), kind, rule)


def _readings(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    finite = Within(-sys.float_info.max, sys.float_info.max)
    return take_array(arrays, name, shape, (np.float32, np.float64), finite).astype(np.float64)


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """Bits as bits, and double precision as single where nothing is lost."""
    if array.dtype == np.bool_:
        return np.packbits(array)
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    return single if np.array_equal(single.astype(np.float64), array) else array


def _bits(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    count = math.prod(shape)
    packed = take_array(arrays, name, (math.ceil(count / 8),), np.uint8)
    return np.unpackbits(packed, count=count).view(np.bool_).reshape(shape)
