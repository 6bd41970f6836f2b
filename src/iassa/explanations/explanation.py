"""The result: a map for each target, how sure it is, and all that is needed to make it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from iassa.archives import pack_arrays
from iassa.checks import take
from iassa.errors import list_some, require
from iassa.explanations.check import CONTENT, Check
from iassa.explanations.evidence import Evidence
from iassa.explanations.fills import Fills
from iassa.explanations.loading import PLAIN, load_fields
from iassa.explanations.original import Original, describe, pack, resize_maps, size_of
from iassa.explanations.pictures import Pictures, render
from iassa.explanations.record import SCHEMA, Round, replace_saved
from iassa.explanations.regions import (
    SMALLEST,
    RegionBox,
    box_component,
    choose_region,
    split_region,
)
from iassa.files import user_path, write_whole
from iassa.models.detections import TargetBoxes
from iassa.models.targets import Target, find_target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        target_boxes: what the outputs of a detector stand for, of which the targets are some; None
            of a black box that has scores of its own. They are in pixels of the image as it was
            given.
        fills: where hidden pixels showed several fills, each one's own map, and how far they agree:
            `saliency` is their mean. None under one fill.
        original: of an image that was scaled down, what it was; None where `image` is the image.
        evidence: the masks and their scores; None where it was not saved, or
            where the method keeps none.
        check: what `iassa.verify` said of the maps; None before, see `with_check`.
        deviations: (G, T, rows, columns) float32, what leaving out each of G groups of masks
            changes in the maps, at the pixels of a lattice, see `iassa.estimators.jackknife`; not
            finite where that is not known. It is not saved: None of an explanation that was
            loaded, until `iassa.retarget` makes its maps again from the evidence.
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
    target_boxes: TargetBoxes | None = None
    fills: Fills | None = None
    original: Original | None = None
    evidence: Evidence | None = None
    check: Check | None = None
    deviations: NDArray[np.float32] | None = None

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

    def with_check(self, check: Check) -> Self:
        """The same with what `iassa.verify` said of it: it is drawn, saved and loaded with it."""
        names = [one[0].target for one in check.statements]
        require(
            names == [target.name for target in self.targets],
            f"expected a check of these maps, got one of {list_some(names)}. Verify this one.",
        )
        return dataclasses.replace(self, check=check)

    def region(
        self,
        target: int | str = 0,
        *,
        share: float | None = None,
        mass: float | None = None,
        level: float | None = None,
        full_size: bool = False,
    ) -> NDArray[np.bool_]:
        """The highest part of a map, by one of three rules: at 0.3 of the peak without any.

        Args:
            target: its place, from 0, or its name.
            share: so much of the image.
            mass: so much of the sum of all positive pixels.
            level: all from this share of the peak on.
            full_size: whether at the size of the image as it was given, as of `enlarge`.

        Returns:
            (h, w) bool, at the size of `saliency`, or (H, W). Pixels of one height come together,
            so that a share or a mass may be a little more.

        Raises:
            InputError: no such target, or see `choose_region`.
        """
        saliency = self.saliency[find_target(target, self.targets)]
        whole = self.enlarge(saliency) if full_size else saliency
        return choose_region(whole, share=share, mass=mass, level=level)

    def boxes(
        self,
        target: int | str = 0,
        *,
        share: float | None = None,
        mass: float | None = None,
        level: float | None = None,
        smallest: float = SMALLEST,
    ) -> tuple[RegionBox, ...]:
        """The boxes of the connected components of `region`, the largest first.

        Args:
            target: as of `region`, and likewise share, mass and level.
            share: see there.
            mass: see there.
            level: see there.
            smallest: the fewest pixels of a component, as a share of those of the largest one.

        Returns:
            In pixels of the image as it was given, with mean and peak of the saliency.

        Raises:
            InputError: see `region` and `split_region`.
        """
        region = self.region(target, share=share, mass=mass, level=level)
        saliency = self.saliency[find_target(target, self.targets)]
        parts = split_region(region, smallest)
        return tuple(box_component(part, saliency, self.image_size) for part in parts)

    def plot(self, target: int | str = 0, *, axes: Axes | None = None) -> Figure:
        """The image, the map over it, and the standard error of the map.

        Args:
            target: which of the targets: its place, from 0, or its name.
            axes: to draw the map alone on, with its name and a colour bar; None for a new figure.

        Returns:
            A matplotlib figure. A notebook shows it; `figure.savefig("map.pdf")` saves it, with
            words and lines as vectors.

        Raises:
            InputError: no such target, or `axes` is not axes of a figure.
        """
        from iassa.explanations.drawing import overlay, overlay_on  # here: half a second to import

        place = find_target(target, self.targets)
        shown: dict[str, Any] = {
            "measures": self.method["measures"],
            "title": self._title(place),
            "outlines": self._boxes_of(place),
            "size": self.image_size,
            "regions": self.check.regions(place) if self.check else (),
        }
        maps = (self.image, self.saliency[place], self.standard_error[place])
        if axes is not None:
            return overlay_on(axes, *maps, **shown)
        error = self.relative_errors[place]
        known_to = f"; standard error {error:.0%} of the peak" if np.isfinite(error) else ""
        if self.fills is not None:
            known_to += f"; maps under {self.fills.agreement(place)}"
        return overlay(
            *maps,
            **shown,
            caption=self._caption(known_to),
            notes=self.check.notes(place) if self.check else (),
            under={} if self.fills is None else self.fills.maps_of(place),
        )

    def plot_sheet(self) -> Figure:
        """The maps of all targets on one scale, of many the first 60, with the boxes of a detector.

        Returns:
            A matplotlib figure, as `plot`.
        """
        from iassa.explanations.drawing import sheet

        several = range(len(self.targets))
        return sheet(
            self.image,
            self.saliency,
            self.standard_error,
            names=[self._title(place) for place in several],
            measures=self.method["measures"],
            caption=self._caption(self.check.sheet_note() if self.check else ""),
            outlines=[self._boxes_of(place) for place in several],
            size=self.image_size,
            regions=[self.check.regions(k)[0][:1] for k in several] if self.check else (),
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, the scores, what it cost, why it stopped."""
        from iassa.explanations.drawing import show_html

        names = [target.name for target in self.targets]
        return show_html(
            self.plot() if len(names) == 1 else self.plot_sheet(),
            list(zip(names, self.scores, self.relative_errors, strict=True)),
            f"{self.calls} calls in {self.seconds:.1f} s",
            self.stopped,
            self.warnings,
        )

    def _title(self, place: int) -> str:
        return f"{self.targets[place].name}: {self.scores[place]:.3g}"

    def _boxes_of(self, place: int) -> NDArray[np.float32]:
        """(n, 4), none for a target that is no box."""
        if self.target_boxes is None:
            return np.zeros((0, 4), np.float32)
        return self.target_boxes.boxes[list(self.targets[place].indices)]

    def _caption(self, known_to: str) -> str:
        image = "" if self.source is None else f"{Path(self.source).name}: "
        state = "" if self.complete else f", incomplete ({self.stopped})"
        return f"{image}{self.method['name']}, {self.calls} calls of {self.model}{known_to}{state}"

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
            **({} if self.target_boxes is None else {"boxes": self.target_boxes.describe()}),
            **({} if self.check is None else {"check": self.check.describe()}),
            **({} if self.fills is None else self.fills.describe()),
        }

    def save(self, directory: str | Path, *, pictures: Pictures = "all") -> Path:
        """Write the arrays and the record, whole or not at all, then the pictures.

        They are `explanation.npz`, `explanation.json`, what `draw` draws, to go on from
        `evidence.npz`, and of a map that was verified `check.npz`. What an earlier explanation that
        was saved there left is removed.

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
        contents = {"explanation.npz": pack_arrays(self._arrays())}
        if self.evidence is not None:
            contents["evidence.npz"] = self.evidence.pack()
        if self.check is not None:
            contents[CONTENT] = self.check.pack()
        replace_saved(directory, self.as_dict(), contents)
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
        for name, picture in self.render(pictures):
            write_whole(Path(directory), {name: picture})
            yield Path(directory) / name

    def render(self, pictures: Pictures = "all") -> Iterator[tuple[str, bytes]]:
        """The name and the content of each file that `draw` writes, with the same error."""
        names = [target.name for target in self.targets]
        return render(names, pictures, self.plot, self.plot_sheet)

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
        return cls(**load_fields(user_path(directory)))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        boxes = self.target_boxes
        return {
            "saliency": self.saliency,
            "standard_error": self.standard_error,
            **pack(self.image, self.original),
            **({} if boxes is None else {"class_scores": boxes.class_scores}),
            **({} if self.fills is None else self.fills.arrays()),
        }
