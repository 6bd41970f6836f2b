"""The result: a map for each target, how sure it is, and all that is needed to make it again."""

from __future__ import annotations

import dataclasses
import functools
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.archives import pack_arrays, read_arrays, take_array
from iassa.checks import take
from iassa.errors import BlackBoxError, InputError, list_some, require
from iassa.explanations.evidence import Evidence
from iassa.explanations.original import Original, describe, pack, resize_maps, size_of, unpack
from iassa.explanations.plot import figure_png, overlay, sheet
from iassa.explanations.record import (
    RECORD,
    SCHEMA,
    Record,
    Round,
    list_earlier,
    picture_name,
    read_content,
    read_record,
    write_record,
)
from iassa.files import user_path, write_whole
from iassa.models.detections import TargetBoxes
from iassa.models.targets import Target, find_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pictures: TypeAlias = Literal["none", "sheet", "all", "named"]

# Fields that JSON holds as they are, and those that are lists or mappings there.
PLAIN = (
    *("model", "identity", "device", "seed"),
    *("calls", "seconds", "complete", "stopped"),
)
LISTED = ("scores", "rounds", "warnings", "versions")


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Which parts of an image a model relies on.

    Attributes:
        saliency: (T, h, w) float32, signed and in score units, at the size of `image`; `enlarge`
            gives that of the image as it was given.
        standard_error: (T, h, w) float32, in score units; infinite where no mask varied, and
            everywhere if the method has none.
        relative_errors: (T) standard error as a share of the map's peak, root mean square over the
            pixels above 0.3 of that peak; infinite while one of them has no error, or no mask
            has varied at some pixel, which may be as high.
        image: (h, w, 3) float32 in [0, 1], scaled down to 512 pixels on the longer side.
        targets: T of them.
        scores: (T) scores of the whole image.
        calls: model calls really made: one for each image that the black box was given.
        seconds: from the start of the run to this map.
        method: name and fields of the method.
        rounds: the history.
        seed: where all randomness came from.
        model: name of the black box.
        identity: of the black box, see `BlackBox.identity`.
        device: where it ran.
        source: path of the image file, None for an array.
        complete: False if the run was cut short: the map is that of the masks scored until then.
        stopped: why it ended: 'calls', 'seconds', 'tolerance', 'rounds', 'cancelled', 'failed';
            'running' for a map in between.
        warnings: what the user should know before trusting the map.
        versions: of iassa and what it computes with.
        boxes: what the outputs of a detector stand for, of which the targets are some; None of a
            black box that has scores of its own. They are in pixels of the image as it was given.
        original: of an image that was scaled down, what it was; None where `image` is the image.
        evidence: the masks and their scores; None where it was not saved, or
            where the method keeps none.
    """

    saliency: NDArray[np.float32]
    standard_error: NDArray[np.float32]
    relative_errors: tuple[float, ...]
    image: NDArray[np.float32]
    targets: tuple[Target, ...]
    scores: tuple[float, ...]
    calls: int
    seconds: float
    method: Mapping[str, Any]
    rounds: tuple[Round, ...]
    seed: int
    model: str
    identity: str
    device: str
    source: str | None
    complete: bool
    stopped: str
    warnings: tuple[str, ...]
    versions: Mapping[str, str]
    boxes: TargetBoxes | None = None
    original: Original | None = None
    evidence: Evidence | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the image as it was given."""
        return size_of(self.image, self.original)

    @property
    def relative_error(self) -> float:
        """The largest of the targets': what `tolerance` is about."""
        return max(self.relative_errors)

    def __repr__(self) -> str:
        """One line: no arrays."""
        names = list_some(
            f"{t.name} {s:.3g}" for t, s in zip(self.targets, self.scores, strict=True)
        )
        height, width = self.image_size
        return (
            f"Explanation({names}; {height} x {width}, {self.method['name']}, {self.calls} calls, "
            f"{self.seconds:.1f} s, {self.stopped})"
        )

    def enlarge(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps at the size of the image as it was given, by interpolation.

        A map of 12 megapixels takes 48 MB.

        Args:
            maps: (..., h, w) float32, such as `saliency[0]` or `standard_error`.

        Returns:
            (..., H, W) float32, infinite where the maps are infinite.
        """
        return resize_maps(torch.from_numpy(maps), self.image_size)

    def plot(self, target: int | str = 0) -> Figure:
        """The image, the map over it, and the standard error of the map.

        Args:
            target: which of the targets: its place, from 0, or its name.

        Returns:
            A matplotlib figure; a notebook shows it, `figure.savefig(path)` saves it.

        Raises:
            InputError: no such target.
        """
        target = find_target(target, self.targets)
        known = self.targets[target]
        error = self.relative_errors[target]
        known_to = f"; standard error {error:.0%} of the peak" if np.isfinite(error) else ""
        return overlay(
            self.image,
            self.saliency[target],
            self.standard_error[target],
            measures=self.method["measures"],
            title=f"{known.name}: {self.scores[target]:.3g}",
            caption=self._caption(known_to),
            outlines=self._boxes_of(known),
            size=self.image_size,
        )

    def plot_sheet(self) -> Figure:
        """The maps of all targets on one scale, of many the first 60, with the boxes of a detector.

        Returns:
            A matplotlib figure, as `plot`.
        """
        return sheet(
            self.image,
            self.saliency,
            [f"{t.name}: {s:.3g}" for t, s in zip(self.targets, self.scores, strict=True)],
            measures=self.method["measures"],
            caption=self._caption(""),
            outlines=[self._boxes_of(one) for one in self.targets],
            size=self.image_size,
        )

    def _boxes_of(self, target: Target) -> NDArray[np.float32]:
        """(n, 4), none for a target that is no box."""
        none = np.zeros((0, 4), np.float32)
        return none if self.boxes is None else self.boxes.boxes[list(target.indices)]

    def _caption(self, known_to: str) -> str:
        state = "" if self.complete else f", incomplete ({self.stopped})"
        return f"{self.method['name']}, {self.calls} calls of {self.model}{known_to}{state}"

    def as_dict(self) -> dict[str, Any]:
        """The content of `explanation.json`: all but the arrays."""
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in PLAIN},
            "image": {"path": self.source, **describe(self.image, self.original)},
            "method": dict(self.method),
            "targets": [
                {"name": t.name, "indices": list(t.indices), "weights": list(t.weights)}
                | ({"offset": t.offset} if t.offset else {})
                for t in self.targets
            ],
            "scores": list(self.scores),
            "relative_errors": [e if np.isfinite(e) else None for e in self.relative_errors],
            "warnings": list(self.warnings),
            "rounds": [dataclasses.asdict(one) for one in self.rounds],
            "versions": dict(self.versions),
            **({} if self.boxes is None else {"boxes": self.boxes.describe()}),
        }

    def save(self, directory: str | Path, *, pictures: Pictures = "all") -> Path:
        """Write the arrays and the record, whole or not at all, then the pictures.

        They are `explanation.npz`, `explanation.json`, what `draw` draws and, to go on from,
        `evidence.npz`. What an earlier explanation that was saved there left is removed.

        Args:
            directory: made if it is not there.
            pictures: see `draw`.

        Returns:
            The directory.

        Raises:
            InputError: it cannot be written, or holds files with names of ours that are of no
                explanation saved there, or no such choice of pictures.
        """
        take(pictures, Pictures, "pictures")
        directory = user_path(directory)
        earlier = list_earlier(directory)
        contents = {"explanation.npz": pack_arrays(self._arrays())}
        if self.evidence is not None:
            contents["evidence.npz"] = self.evidence.pack()
        record = write_record(self.as_dict(), contents)
        # The record first: it says of the others, after a kill too, that they are ours.
        write_whole(directory, {RECORD: record} | contents)
        for name in earlier - {RECORD, *contents}:
            (directory / name).unlink(missing_ok=True)
        for _ in self.draw(directory, pictures):
            pass
        return directory

    def draw(self, directory: str | Path, pictures: Pictures = "all") -> Iterator[Path]:
        """Write pictures, each whole, while the result is iterated over.

        Args:
            directory: made if it is not there.
            pictures: 'sheet' for `sheet.png`, all targets on one scale; 'all' for that, if there
                are several targets, and for `overlay-<k>.png` of each, which comes first; 'named'
                for the same with the class in their names, `overlay-<k>-<class>.png`; 'none'.

        Yields:
            The path of each.

        Raises:
            InputError: one cannot be written, or no such choice.
        """
        take(pictures, Pictures, "pictures")
        wanted: dict[str, Callable[[], Figure]] = {}
        for k, target in enumerate(self.targets if pictures in ("all", "named") else ()):
            name = picture_name(k, target.name if pictures == "named" else "")
            wanted[name] = functools.partial(self.plot, k)
        if pictures == "sheet" or len(wanted) > 1:
            wanted["sheet.png"] = self.plot_sheet
        for name, plot in wanted.items():
            write_whole(Path(directory), {name: figure_png(plot())})
            yield Path(directory) / name

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what `save` wrote. The files may be anyone's: nothing that they name is opened.

        Args:
            directory: that it was saved in. Its arrays may take 256 MB, or 16 times the file.

        Returns:
            The explanation.

        Raises:
            InputError: a file is missing, damaged, of another schema, holds what `save` would not
                write, or the two do not match.
        """
        directory = user_path(directory)
        record = read_record(directory)
        content = read_content(directory, "explanation.npz", record)
        evidence = None
        if (directory / "evidence.npz").exists():  # without it, an explanation can still be read
            evidence = Evidence.unpack(read_content(directory, "evidence.npz", record))
        saved = record.image
        try:
            arrays = read_arrays(content)
            image, original = unpack(saved.size, saved.digest, arrays)
            maps = (len(record.targets), *image.shape[:2])
            return cls(
                saliency=take_array(arrays, "saliency", maps, np.float32),
                standard_error=take_array(arrays, "standard_error", maps, np.float32),
                image=image,
                original=original,
                boxes=_restore_boxes(record, arrays),
                evidence=evidence,
                **_restore_fields(record),
            )
        except InputError as damage:
            raise InputError(
                f"cannot read explanation.npz in {directory}: {damage} Make it again."
            ) from damage

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "saliency": self.saliency,
            "standard_error": self.standard_error,
            **pack(self.image, self.original),
            **({} if self.boxes is None else {"class_scores": self.boxes.class_scores}),
        }


class RunFailedError(BlackBoxError):
    """The black box failed in a run that had a map by then.

    Attributes:
        explanation: the map of the masks that were scored before the failure, marked incomplete.
    """

    def __init__(self, message: str, explanation: Explanation) -> None:
        super().__init__(message, explanation)
        self.explanation = explanation

    @classmethod
    def after(cls, failure: BlackBoxError, explanation: Explanation) -> Self:
        """The same failure with the map; raise it from what caused the failure."""
        error = cls(str(failure), explanation)
        error.images = failure.images
        return error

    def __str__(self) -> str:
        return str(self.args[0])


def _restore_boxes(record: Record, arrays: Mapping[str, NDArray[Any]]) -> TargetBoxes | None:
    if not record.boxes:
        require("class_scores" not in arrays, "expected boxes for class_scores, got none.")
        return None
    class_scores = take_array(arrays, "class_scores", (len(record.boxes), None), np.float32)
    return TargetBoxes.restore([*map(dataclasses.asdict, record.boxes)], class_scores)


def _restore_fields(record: Record) -> dict[str, Any]:
    """Fields of an explanation that the record holds."""
    return {
        **{name: getattr(record, name) for name in (*PLAIN, *LISTED)},
        "method": dataclasses.asdict(record.method),
        "source": record.image.path,
        "targets": tuple(
            Target(t.name, t.indices, t.weights, offset=t.offset) for t in record.targets
        ),
        "relative_errors": tuple(np.inf if e is None else e for e in record.relative_errors),
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what a map depends on."""
    names = ("iassa", "numpy", "torch", "onnxruntime", "scikit-image")
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }
