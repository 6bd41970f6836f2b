"""The files of a saved explanation: a record, arrays beside it, and the sums that tie them.

They may be anyone's. `Record` says what the record holds; nothing else of it is used.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from iassa.archives import LARGEST, read_json
from iassa.checks import Within, take_json
from iassa.decoding import PILLOWS_MOST
from iassa.errors import InputError, list_some, plain, require, show
from iassa.files import refuse_special, write_whole

SCHEMA = 2
RECORD = "explanation.json"
BEGINS = b'{\n  "schema": '  # a record, of any version
FILES = re.compile(
    r"explanation\.(json|npz)|(evidence|check)\.npz|sheet\.png|overlay-\d+(-.+)?\.png"
)
LONGEST_CLASS = 40  # letters of it in the name of a picture; systems allow 255 bytes

Natural: TypeAlias = Annotated[int, Within(0)]
Positive: TypeAlias = Annotated[float, Within(0)]
Plain: TypeAlias = bool | int | float | str | None
# Of a hyperparameter: a nesting of some depth, as it is written down again.
Value: TypeAlias = Plain | tuple[Plain | tuple[Plain, ...], ...]
Parts: TypeAlias = Mapping[str, Value]  # of an array, as of a fill
Fields: TypeAlias = Mapping[str, Value | Parts | tuple[Value | Parts, ...]]


@dataclass(frozen=True)
class Round:
    """One round of the loop.

    Attributes:
        masks: number of masks scored, by family.
        region_share: share of the image that the most confined of the masks could hide: that of
            the region; 1 in a first round.
        score_mean: (T) mean score of the masked images.
        score_low: (T) lowest of them.
        score_high: (T) highest.
        seconds: spent on it.
    """

    masks: Mapping[str, Natural]
    region_share: Annotated[float, Within(0, 1)]
    score_mean: tuple[float, ...]
    score_low: tuple[float, ...]
    score_high: tuple[float, ...]
    seconds: Positive


@dataclass(frozen=True)
class Agreement:
    """How far the maps of a target under two fills agree; see `estimators.agreement`.

    Attributes:
        target: its name.
        fills: names of the two.
        correlation: Spearman's, of the maps; None where one is flat.
        interval: of 95 %; None where the errors of the maps are not known.
        expected: what the errors of the maps alone would leave of a correlation of 1; None where
            they are not known.
    """

    target: str
    fills: tuple[str, str]
    correlation: Annotated[float | None, Within(-1, 1)]
    interval: Annotated[tuple[float, float] | None, Within(-1, 1)]
    expected: Annotated[float | None, Within(0, 1)]

    @property
    def beyond_errors(self) -> bool:
        """Whether the maps disagree beyond their errors."""
        known = self.interval is not None and self.expected is not None
        return known and self.interval[1] < self.expected  # type: ignore[index, operator]

    def __str__(self) -> str:
        """As in 'grey and blur 0.81 [0.76, 0.85] (errors alone would leave 0.93)'."""
        first, second = self.fills
        found = "unknown" if self.correlation is None else f"{self.correlation:.2f}"
        low_high = "" if self.interval is None else " [{:.2f}, {:.2f}]".format(*self.interval)
        left = "" if self.expected is None else f" (errors alone would leave {self.expected:.2f})"
        return f"{first} and {second} {found}{low_high}{left}"


@dataclass(frozen=True)
class SavedImage:
    """Where the image came from, (height, width), and the digest of one that was scaled down."""

    path: str | None
    size: Annotated[tuple[int, int], Within(1)]
    digest: str | None = None

    def __post_init__(self) -> None:
        """Refuse a size that no image has: maps are enlarged to it.

        Raises:
            InputError: it has more pixels than any image that is opened.
        """
        require(
            math.prod(self.size) <= PILLOWS_MOST,
            f"expected image.size of at most {PILLOWS_MOST} pixels, got {show(self.size)}.",
        )


@dataclass(frozen=True)
class SavedMethod:
    """See `Explainer.as_dict`."""

    name: str
    measures: str
    fields: Fields


@dataclass(frozen=True)
class SavedTarget:
    """A `Target`, but for its function."""

    name: str
    indices: tuple[Natural, ...]
    weights: tuple[float, ...]
    offset: float = 0.0


@dataclass(frozen=True)
class SavedBox:
    """See `TargetBoxes.describe`."""

    name: str
    box: Annotated[tuple[float, float, float, float], Within(-1e9, 1e9)]
    confidence: float | None


@dataclass(frozen=True)
class SavedPart:
    """See `Part`; its region is in `check.npz`."""

    share: Annotated[float, Within(0, 1)]
    score: float


@dataclass(frozen=True)
class SavedStatement:
    """See `Statement`."""

    target: str
    fill: str
    whole: float
    hidden: float
    keeps: SavedPart | None
    loses: SavedPart | None


@dataclass(frozen=True)
class SavedCheck:
    """See `Check`, and the (height, width) of its regions."""

    calls: Natural
    refine_calls: Natural
    size: Annotated[tuple[int, int], Within(1)]
    statements: tuple[SavedStatement, ...]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What `explanation.json` holds; see `Explanation` and `Explanation.as_dict`."""

    model: str
    identity: str
    device: str
    seed: Natural
    calls: Natural
    seconds: Positive
    complete: bool
    stopped: str
    image: SavedImage
    method: SavedMethod
    targets: tuple[SavedTarget, ...]
    scores: tuple[float, ...]
    relative_errors: tuple[Annotated[float, Within(0)] | None, ...]
    warnings: tuple[str, ...]
    rounds: tuple[Round, ...]
    versions: Mapping[str, str]
    sha256: Mapping[str, str]
    boxes: tuple[SavedBox, ...] = ()
    check: SavedCheck | None = None
    fills: tuple[str, ...] = ()
    agreements: tuple[Agreement, ...] = ()

    def __post_init__(self) -> None:
        """Refuse numbers that do not belong together.

        Raises:
            InputError: they do not.
        """
        count = len(self.targets)
        require(count, "expected targets, got none.")
        lengths = {"scores": self.scores, "relative_errors": self.relative_errors}
        for k, one in enumerate(self.rounds):
            for name in ("score_mean", "score_low", "score_high"):
                lengths[f"rounds[{k}].{name}"] = getattr(one, name)
        for name, values in lengths.items():
            got = len(values)
            require(got == count, f"expected {name} of {count} targets, got {got}.")
        pairs = count * (len(self.fills) * (len(self.fills) - 1) // 2)
        got = len(self.agreements)
        require(got == pairs, f"expected {pairs} agreements of fills, got {got}.")
        for k, target in enumerate(self.targets):
            known = range(len(self.boxes)) if self.boxes else None
            require(
                len(target.indices) == len(target.weights)
                and (known is None or all(index in known for index in target.indices)),
                f"expected targets[{k}] with a weight for each of its indices, which are boxes if "
                f"there are any, got {list_some(target.indices)} and {list_some(target.weights)}.",
            )


def write_record(record: Mapping[str, Any], contents: Mapping[str, bytes]) -> bytes:
    """The content of `explanation.json`, with the SHA-256 of the files beside it."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    text = json.dumps({**record, "sha256": sums}, indent=2, allow_nan=False)
    return (text + "\n").encode()


def replace_saved(
    directory: Path, record: Mapping[str, Any], contents: Mapping[str, bytes]
) -> None:
    """Write a record and the files beside it, in the place of those of an earlier explanation.

    Raises:
        InputError: see `list_earlier` and `write_whole`.
    """
    earlier = list_earlier(directory)
    # The record first: it says of the others, after a kill too, that they are ours.
    write_whole(directory, {RECORD: write_record(record, contents), **contents})
    for name in earlier - {RECORD, *contents}:
        (directory / name).unlink(missing_ok=True)


def read_record(directory: Path) -> Record:
    """What `write_record` wrote.

    Raises:
        InputError: the file is missing, damaged, of another schema, or holds what none would.
    """
    if not (directory / RECORD).exists():
        raise InputError(
            f"expected a saved explanation in {directory}, got no {RECORD}. Name the folder that "
            "one was saved to."
        )
    content = _read_file(directory, RECORD, LARGEST + 1)
    try:
        record = read_json(content, RECORD)
    except InputError as damage:
        raise InputError(
            f"cannot read the explanation in {directory}: {damage} Make it again."
        ) from damage
    found = record.get("schema") if isinstance(record, dict) else type(record).__name__
    if found != SCHEMA:
        raise InputError(
            f"expected schema {SCHEMA} in {directory}, got {found}: it was saved by another "
            "version of iassa. Make it again."
        )
    try:
        made: Record = take_json(record, Record, "")
    except InputError as error:
        raise InputError(f"cannot use {RECORD} in {directory}: {error} Make it again.") from None
    return made


def read_content(directory: Path, name: str, record: Record) -> bytes:
    """A file beside the record, if it is the one that the record was written with.

    Raises:
        InputError: it cannot be read, or is another one.
    """
    content = _read_file(directory, name)
    if record.sha256.get(name) != hashlib.sha256(content).hexdigest():
        raise InputError(
            f"the {name} in {directory} is not the one that {RECORD} was written with: it is "
            "damaged, or of another run. Make it again."
        )
    return content


def _read_file(directory: Path, name: str, most: int = -1) -> bytes:
    path = directory / name
    refuse_special(path)
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as damage:
        raise InputError(
            f"cannot read {name} in {directory}: {damage.strerror}. Make it again."
        ) from damage


def list_earlier(directory: Path) -> set[str]:
    """The files of an explanation that was saved in a folder; a new one takes their place.

    Raises:
        InputError: the folder holds files with such names that are of no explanation saved there.
    """
    try:
        there = {
            path.name
            for path in directory.iterdir()
            if FILES.fullmatch(path.name) and not path.is_dir()
        }
    except OSError:
        return set()  # none is there; writing will say what else is wrong
    ours = set() if RECORD not in there else _listed(directory, there)
    strange = sorted(there - ours)
    require(
        not strange,
        f"expected {directory} without files of yours that have names of ours, got "
        f"{list_some(strange)}. Move them, or choose another folder.",
    )
    return ours


def _listed(directory: Path, there: set[str]) -> set[str]:
    """Those of some files that the record beside them is of.

    If it cannot be read, all but pictures with a class in their name, which may be copies; none if
    it is that of another program.
    """
    try:
        record = read_record(directory)
    except InputError:
        if not _looks_like_ours(_read_file(directory, RECORD, LARGEST + 1)):
            return set()
        return {name for name in there if not name.startswith("overlay-") or name.count("-") == 1}
    overlays = {
        name
        for k, target in enumerate(record.targets)
        for name in (picture_name(k), picture_name(k, target.name))
    }
    arrays = {name for name in record.sha256 if name.endswith(".npz")}
    return there & {RECORD, "sheet.png", *arrays, *overlays}


def _looks_like_ours(content: bytes) -> bool:
    """Whether a record that cannot be used was one of ours: as it was written, or written anew."""
    if content.startswith(BEGINS):
        return True
    try:
        record = read_json(content, RECORD)
    except InputError:
        return False
    return isinstance(record, dict) and {"schema", "method", "targets"} <= record.keys()


def picture_name(target: int, name: str = "") -> str:
    """The file of a target's picture, by its place and, if it is to be there, its name.

    Letters of ASCII that a shell or a system may take for something else become '-'.

    Example:
        >>> picture_name(0), picture_name(1, "tabby, tabby cat"), picture_name(2, "../\u732b")
        ('overlay-0.png', 'overlay-1-tabby-tabby-cat.png', 'overlay-2-\u732b.png')
    """
    words = re.sub(r"[^a-zA-Z0-9\u0080-\U0010ffff]+", "-", plain(name)).strip("-")
    return "-".join(filter(None, [f"overlay-{target}", words[:LONGEST_CLASS].strip("-")])) + ".png"
