"""The black box that a command asks: opened by its name, compared with images, aimed at boxes."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Annotated, TextIO, cast

import typer
from rich.markup import escape

import iassa
from iassa.cli.terminal import messages
from iassa.errors import InputError
from iassa.models.http.endpoint import is_url, open_endpoint
from iassa.models.opening import BlackBoxLike
from iassa.models.similarity import MEASURES, Measure

__all__ = ["BoxTexts", "MeasureName", "SimilarTo", "opened"]

SimilarTo = Annotated[
    list[str] | None,
    typer.Option(
        metavar="IMAGE",
        help="Explain what makes an image similar to this one, in the place of a class; may be "
        "repeated, a call each beside --calls. --model then gives feature vectors.",
    ),
]
MeasureName = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(MEASURES),
        help=f"How --similar-to compares feature vectors; {MEASURES[0]} if not given.",
    ),
]
BoxTexts = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TOP,LEFT,BOTTOM,RIGHT[:CLASS]",
        help="A box for a detector to explain, in pixels of the image, in the place of those "
        "that it finds; may be repeated.",
    ),
]


@contextmanager
def opened(
    model: str,
    device: str | None,
    quiet: bool,
    *,
    similar_to: Sequence[str] | None = None,
    measure: str | None = None,
    box: Sequence[str] | None = None,
    photos: Collection[str] = (),
) -> Iterator[iassa.models.BlackBox]:
    """The model, for as long as it is asked.

    Args:
        model: as `iassa.open_model` takes it.
        device: likewise.
        quiet: whether to say no more than errors and warnings.
        similar_to: images to compare with: what is asked is then the similarity to each.
        measure: how; needs images to compare with.
        box: boxes, as `Box.parse` takes them: what is asked is then how well a detector finds
            each of them.
        photos: what is to be explained; with boxes it is one, as they are of one image.

    Raises:
        InputError: options that do not go together, or see `iassa.open_model`,
            `iassa.models.Similarity` and `iassa.models.Detector.aim`.
        BlackBoxError: the model failed.
    """
    if measure is not None and not similar_to:
        raise InputError(f"expected --measure {measure} with --similar-to IMAGE, got none.")
    if box and similar_to:
        raise InputError(
            "expected --box or --similar-to, got both: a box is found by a detector, images are "
            "compared by a model of feature vectors. Explain one, then the other."
        )
    if box and re.search(r"[?&]threshold=", model):
        raise InputError(
            "expected --box or --threshold, got both: a threshold is for the boxes that a detector "
            "finds. Leave one out."
        )
    boxes = [iassa.models.Box.parse(text) for text in box or []]
    if boxes and len(photos) > 1:
        raise InputError(
            f"expected one image with --box, got {len(photos)}. Explain each by itself."
        )
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if not quiet:
        logging.getLogger("iassa").setLevel(logging.INFO)
    with ExitStack() as stack:
        source: BlackBoxLike = model
        if is_url(model):
            source = stack.enter_context(open_endpoint(model))
        # A module of the user's may print while it is imported.
        with redirect_stdout(sys.stderr), _telling_of_training(quiet):
            black_box = iassa.open_model(source, device)
            if similar_to:
                wanted = cast("Measure", measure or MEASURES[0])
                black_box = iassa.models.Similarity(similar_to, black_box, measure=wanted)
            if boxes:
                (photo,) = photos
                black_box = _aim(black_box, photo, boxes)
        yield black_box


@contextmanager
def _telling_of_training(quiet: bool) -> Iterator[None]:
    """Say that a network is in training mode as other warnings are said, without a line of code."""
    show = warnings.showwarning

    def tell(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, iassa.TrainingModeWarning):
            show(message, category, filename, lineno, file, line)
        elif not quiet:
            messages.print(f"[yellow]warning:[/] {escape(str(message))}")

    with warnings.catch_warnings():
        warnings.showwarning = tell
        yield


def _aim(
    black_box: iassa.models.BlackBox, photo: str, boxes: Sequence[iassa.models.Box]
) -> iassa.models.BlackBox:
    if not isinstance(black_box, iassa.models.Detector):
        raise InputError(
            f"expected --box with a detector, got {black_box.name}. Leave it out, or say the "
            "layout of its outputs with --detector."
        )
    return black_box.aim(photo, boxes)
