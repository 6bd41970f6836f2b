"""Evidence: the masks that were scored, as plans, and what the black box said of them.

It is what model calls are spent on, and all that a map is made of. A thousand masks take a tenth of
a megabyte, and from them the same run can be continued or another target explained at no cost.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, get_type_hints

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError
from iassa.masks.plans import GridPlan, MaskPlan, SegmentPlan, WindowPlan
from iassa.models.readout import Readout, apply_function

__all__ = ["Evidence", "Feedback", "Scored", "ScoredRound"]


PLANS: dict[str, type[MaskPlan]] = {
    plan.__name__: plan for plan in (GridPlan, SegmentPlan, WindowPlan)
}


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
            what = f"class {', '.join(map(str, lacking[:5]))}" if lacking else "all"
            raise InputError(
                f"expected a target of {self.kept}, got one that needs {what}. Ask for one of "
                "them, or explain again with keep_scores='all'."
            )
        names = tuple(self.functions)
        places = [self.outputs.index(output) for output in readout.outputs]

        def convert(readings: NDArray[np.float64]) -> NDArray[np.float64]:
            columns = [readings[:, places]]
            for name, function in readout.functions.items():
                if name in new:
                    value = apply_function(name, function, readings[:, : self.num_outputs])
                else:
                    value = readings[:, len(self.outputs) + names.index(name)]
                columns.append(value[:, None])
            return np.concatenate(columns, axis=1)

        rounds = tuple(
            ScoredRound(
                one.feedback,
                {f: Scored(s.plan, convert(s.readings)) for f, s in one.families.items()},
                one.seconds,
            )
            for one in self.rounds
        )
        return dataclasses.replace(
            self,
            outputs=readout.outputs,
            functions=digests,
            class_names=self.names_of(readout.outputs),
            reference=convert(self.reference[None])[0],
            rounds=rounds,
        )

    @property
    def kept(self) -> str:
        """Which outputs, for people."""
        names = self.class_names or tuple(f"class {output}" for output in self.outputs)
        shown = [name.split(",")[0] for name in names[:12]]
        listed = ", ".join(shown) + (", ..." if len(names) > 12 else "")
        return f"the {len(names)} of {self.num_outputs} outputs whose scores were kept ({listed})"

    def pack(self) -> bytes:
        """The content of `evidence.npz`: bits as bits, readings as float32 where that is exact."""
        arrays: dict[str, NDArray[Any]] = {"reference": _narrow(self.reference)}
        layout = []
        for k, one in enumerate(self.rounds):
            families = {}
            where = one.feedback.region
            if where is not None:
                arrays[f"{k}/region"] = np.packbits(where)
            if one.feedback.ranks is not None:
                arrays[f"{k}/ranks"] = _pack_ranks(one.feedback.ranks)
            for name, scored in one.families.items():
                shapes = {}
                for part, array in _parts(scored.plan).items():
                    shapes[part] = list(array.shape)
                    bits = array.dtype == np.bool_
                    arrays[f"{k}/{name}/{part}"] = np.packbits(array) if bits else array
                arrays[f"{k}/{name}/readings"] = _narrow(scored.readings)
                confined = getattr(scored.plan, "region", None) is not None
                kind = type(scored.plan).__name__
                families[name] = {"plan": kind, "shapes": shapes, "confined": confined}
            region = None if where is None else list(where.shape)
            keep = one.feedback.keep_probability
            drawn = {"region": region, "keep_probability": keep}
            layout.append({**drawn, "families": families, "seconds": one.seconds})
        header = {
            "size": list(self.size),
            "num_outputs": self.num_outputs,
            "outputs": list(self.outputs),
            "functions": dict(self.functions),
            "class_names": list(self.class_names),
            "superpixels": self.superpixels,
            "rounds": layout,
        }
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """What `pack` packed.

        Raises:
            InputError: it is not that.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                header = json.loads(arrays["header"].tobytes())
                rounds = tuple(
                    _unpack_round(k, one, arrays) for k, one in enumerate(header["rounds"])
                )
                return cls(
                    size=(header["size"][0], header["size"][1]),
                    num_outputs=header["num_outputs"],
                    outputs=tuple(header["outputs"]),
                    functions=dict(header["functions"]),
                    class_names=tuple(header["class_names"]),
                    reference=arrays["reference"].astype(np.float64),
                    superpixels=header["superpixels"],
                    rounds=rounds,
                )
        except Exception as damage:  # a damaged archive may raise anything
            raise InputError(f"cannot read the evidence: {damage}. Explain again.") from damage


def _parts(plan: MaskPlan) -> dict[str, NDArray[Any]]:
    """The arrays of a plan but its region, which all families of a round share."""
    values = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
    return {name: value for name, value in values.items() if name in plan.PER_MASK}


def _unpack_round(k: int, layout: dict[str, Any], arrays: Mapping[str, Any]) -> ScoredRound:
    region = None
    if layout["region"] is not None:
        region = _bits(arrays[f"{k}/region"], layout["region"])
    families = {}
    for name, family in layout["families"].items():
        kind = PLANS[family["plan"]]
        parts: dict[str, Any] = {}
        for part, shape in family["shapes"].items():
            array = arrays[f"{k}/{name}/{part}"]
            is_bits = "bool" in str(get_type_hints(kind)[part])
            parts[part] = _bits(array, shape) if is_bits else array
        if "region" in {f.name for f in dataclasses.fields(kind)}:
            # Runs of before there were others had all masks of a round in its region.
            parts["region"] = region if family.get("confined", True) else None
        readings = arrays[f"{k}/{name}/readings"].astype(np.float64)
        families[name] = Scored(kind(**parts), readings)
    keep = layout["keep_probability"]
    ranks = _unpack_ranks(arrays[f"{k}/ranks"]) if f"{k}/ranks" in arrays else None
    feedback = Feedback(region, None if keep is None else (keep[0], keep[1]), ranks)
    return ScoredRound(feedback, families, layout["seconds"])


def _pack_ranks(ranks: NDArray[np.float32]) -> NDArray[Any]:
    """Two planes of bytes, as ranks are halves of a whole number of cells and neighbours alike.

    Ranks that would lose something are left as they are.
    """
    halves = np.round(ranks.astype(np.float64) * 2 * max(1, ranks[0].size - 1))
    if halves.max(initial=0) >= 2**14:
        return ranks
    steps = np.diff(halves.astype(np.int64), axis=-1, prepend=0)
    folded = np.where(steps < 0, -2 * steps - 1, 2 * steps)  # 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
    packed = np.stack([folded >> 8, folded & 255]).astype(np.uint8)
    return packed if np.array_equal(_unpack_ranks(packed), ranks) else ranks


def _unpack_ranks(packed: NDArray[Any]) -> NDArray[np.float32]:
    if packed.dtype != np.uint8:
        return packed
    folded = packed[0].astype(np.int64) * 256 + packed[1]
    halves = np.where(folded % 2, -(folded + 1) // 2, folded // 2).cumsum(axis=-1)
    ranks: NDArray[np.float64] = halves / 2 / max(1, halves[0].size - 1)
    return ranks.astype(np.float32)


def _bits(packed: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.bool_]:
    count = math.prod(shape)
    if len(packed) != math.ceil(count / 8):
        raise ValueError(f"{len(packed)} bytes of bits for shape {tuple(shape)}")
    return np.unpackbits(packed, count=count).astype(np.bool_).reshape(shape)


def _narrow(values: NDArray[np.float64]) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return single if np.array_equal(single.astype(np.float64), values) else values
