"""Evidence: the masks that were scored, as plans, and their scores.

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
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from iassa.errors import InputError, list_choices, list_some
from iassa.masks.plans import GridPlan, MaskPlan, SegmentPlan, WindowPlan
from iassa.models.readout import Readout, apply_function

FORMAT = 2  # of what `Evidence.pack` gives; 1 is that of evidence without a number
# The attributes of `Evidence` that are in the header as they are, and what JSON's values become.
PLAIN: dict[str, Any] = {
    "num_outputs": int,
    "outputs": tuple,
    "functions": dict,
    "class_names": tuple,
    "superpixels": str,
}
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
            **{name: kind(getattr(self, name)) for name, kind in PLAIN.items()},
        }
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        packed: dict[str, Any] = {name: _compact(array) for name, array in arrays.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **packed)
        return buffer.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """What `pack` packed.

        Raises:
            InputError: it is not that, or of another format.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = dict(archive)
            header = json.loads(arrays["header"].tobytes())
            if header.get("format", 1) != FORMAT:
                raise InputError(
                    f"expected evidence of format {FORMAT}, got {header.get('format', 1)}: "
                    "another version of iassa saved it. Explain again, or remove evidence.npz "
                    "to read the map alone."
                )
            for name, shape in header["bits"].items():
                arrays[name] = _bits(arrays[name], shape)
            height, width = header["size"]
            return cls(
                size=(height, width),
                reference=arrays["reference"].astype(np.float64),
                rounds=tuple(
                    _unpack_round(k, one, arrays) for k, one in enumerate(header["rounds"])
                ),
                **{name: kind(header[name]) for name, kind in PLAIN.items()},
            )
        except InputError:
            raise
        except Exception as damage:  # a damaged archive may raise anything
            raise InputError(f"cannot read the evidence: {damage}. Explain again.") from damage


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


def _unpack_round(k: int, layout: dict[str, Any], arrays: Mapping[str, Any]) -> ScoredRound:
    region = arrays.get(f"{k}/region")
    families = {}
    for name, family in layout["families"].items():
        kind = PLANS[family["plan"]]
        parts = {part: arrays[f"{k}/{name}/{part}"] for part in kind.PER_MASK}
        if "region" in {field.name for field in dataclasses.fields(kind)}:
            parts["region"] = region if family["confined"] else None
        readings = arrays[f"{k}/{name}/readings"].astype(np.float64)
        families[name] = Scored(kind(**parts), readings)
    keep = layout["keep_probability"]
    keep_probability = None if keep is None else (keep[0], keep[1])
    feedback = Feedback(region, keep_probability, arrays.get(f"{k}/ranks"))
    return ScoredRound(feedback, families, layout["seconds"])


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """Bits as bits, and double precision as single where nothing is lost."""
    if array.dtype == np.bool_:
        return np.packbits(array)
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    return single if np.array_equal(single.astype(np.float64), array) else array


def _bits(packed: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.bool_]:
    count = math.prod(shape)
    if len(packed) != math.ceil(count / 8):
        raise ValueError(f"{len(packed)} bytes of bits for shape {tuple(shape)}")
    return np.unpackbits(packed, count=count).astype(np.bool_).reshape(shape)
