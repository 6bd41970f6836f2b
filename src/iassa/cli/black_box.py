"""The black box that a command asks: opened by its name, compared with images, aimed at boxes."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING, cast

import iassa
from iassa.cli.terminal import log_lines, warnings_as_lines
from iassa.errors import ImageWarning, InputError, TrainingModeWarning

if TYPE_CHECKING:
    from iassa.decoding import ImageFile
    from iassa.image import ImageLike
    from iassa.models.similarity import Measure


@contextmanager
def opened_model(
    model: str,
    device: str | None,
    quiet: bool,
    similar_to: Sequence[ImageFile] = (),
    measure: str | None = None,
    box: Sequence[str] | None = None,
    photos: Collection[ImageLike] = (),
) -> Iterator[iassa.models.BlackBox]:
    """The black box, for as long as a command asks it.

    Args:
        model: as `iassa.open_model` takes it.
        device: likewise.
        quiet: whether to print errors and warnings only.
        similar_to: images; the scores are then the similarity to each.
        measure: of similarity; needs `similar_to`.
        box: boxes, as `Box.parse` takes them; the scores are then how well a detector finds each.
        photos: the images to explain; with boxes exactly one.

    Raises:
        InputError: options that do not go together, or see `iassa.open_model`,
            `iassa.models.Similarity` and `iassa.models.Detector.aim`.
        BlackBoxError: the model failed.
    """
    if measure is not None and not similar_to:
        raise InputError(f"expected --measure {measure} with --similar-to IMAGE, got none.")
    if box:
        _check_box(model, similar_to, photos)
    boxes = [iassa.models.Box.parse(text) for text in box or []]
    log_lines(quiet)
    unsaid = (TrainingModeWarning, ImageWarning) if quiet else ()
    with ExitStack() as stack:
        # A module of the user may print while it is imported.
        with redirect_stdout(sys.stderr), warnings_as_lines(*unsaid):
            black_box = iassa.open_model(model, device)
            if isinstance(black_box, iassa.models.HttpModel):
                stack.enter_context(black_box)
            if similar_to:
                wanted = cast("Measure", measure or "cosine")
                black_box = iassa.models.Similarity(similar_to, black_box, measure=wanted)
            if boxes:
                black_box = _aim(black_box, photos, boxes)
        yield black_box


def _check_box(model: str, similar_to: Sequence[ImageFile], photos: Collection[ImageLike]) -> None:
    if similar_to:
        raise InputError(
            "expected --box or --similar-to, got both. A detector finds a box; a model of feature "
            "vectors compares images. Explain one, then the other."
        )
    if re.search(r"[?&]threshold=", model):
        raise InputError(
            "expected --box or the model option threshold, got both. A threshold selects boxes "
            "that a detector finds. Leave one out."
        )
    if len(photos) > 1:
        raise InputError(f"expected one image with --box, got {len(photos)}. Explain each alone.")


def _aim(
    black_box: iassa.models.BlackBox,
    photos: Collection[ImageLike],
    boxes: Sequence[iassa.models.Box],
) -> iassa.models.BlackBox:
    if not isinstance(black_box, iassa.models.Detector):
        raise InputError(
            f"expected --box with a detector, got {black_box.name}. Leave it out, or name the "
            "layout of the outputs: --model-option detector=LAYOUT."
        )
    (photo,) = photos
    return black_box.aim(photo, boxes)


def photo_reader(white: float | None, max_pixels: int | None) -> Callable[[str], ImageFile]:
    """What makes the image file of a path."""
    from iassa.cli.dataset_options import choose_reading
    from iassa.decoding import ImageFile

    return functools.partial(ImageFile, reading=choose_reading("images", None, white, max_pixels))


def described_as_before(
    name: str | None, saved: iassa.Explanation, similar_to: list[str] | None
) -> str:
    """The name of the model that was asked before.

    Raises:
        InputError: it is another than the default model, and was not named again.
    """
    from iassa.models import efficientnet_lite0

    known = efficientnet_lite0.FEATURES if similar_to else saved.model
    if name is None and known not in efficientnet_lite0.NAMES:
        raise InputError(
            "expected --model, --similar-to and --measure as `iassa explain` had them: the "
            f"explanation does not save how to open {saved.model}. Repeat them."
        )
    return name or known
