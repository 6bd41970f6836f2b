"""`iassa explain` of a folder: its images, the workers that explain them, what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

import iassa
from iassa.cli.options import Saving
from iassa.cli.terminal import (
    BAD,
    SOME_FAILED,
    about,
    complain,
    graceful_interrupt,
    messages,
    say,
    show_json,
    show_path,
    status_of,
    warn,
    words,
)
from iassa.errors import counted, list_some, require
from iassa.files import folder_name

if TYPE_CHECKING:
    from iassa.gallery.entry import Entry
    from iassa.gallery.explaining import Asking
    from iassa.gallery.making import Made
    from iassa.gallery.photos import Photo, Photos
    from iassa.models.black_box import BlackBox
    from iassa.models.opening import BlackBoxLike

MOST = 1000  # workers


@dataclass(frozen=True)
class Workers:
    """Who explains the images of a gallery: the values of the options of these names."""

    workers: int
    ray: str | None

    @property
    def elsewhere(self) -> bool:
        """Whether other processes do."""
        return self.workers != 1 or self.ray is not None


def find_gallery(images: Sequence[Path], example: str | None, workers: Workers) -> Photos | None:
    """The images of a gallery; None where only files are named, and no workers.

    Raises:
        InputError: see `find_photos`; no number of workers; or workers for a bundled photograph.
    """
    got = workers.workers
    require(1 <= got <= MOST, f"expected --workers from 1 to {MOST}, got {got}. Change it.")
    require(
        not (example and workers.elsewhere),
        "expected --workers and --ray with images of yours, got --example. Leave them out.",
    )
    if example or not images:
        return None
    from iassa.gallery.photos import find_photos, names_several

    return find_photos(images) if workers.elsewhere or any(map(names_several, images)) else None


def explain_gallery(
    photos: Photos,
    out: Path | None,
    workers: Workers,
    saving: Saving,
    asking: Asking,
    model: BlackBoxLike,
    black_box: BlackBox,
    settings: Mapping[str, Any],
    differs: Callable[[str, iassa.Explanation], str],
) -> None:
    """Explain the images of a gallery, and exit with what became of them.

    Args:
        photos: the images.
        out: folder of the gallery; explanations/NAME if None, by the folder of the images.
        workers: who does it.
        saving: what is written and printed.
        asking: what is done with each image.
        model: the black box as a worker opens it.
        black_box: the same, opened in this process.
        settings: by which the gallery is known again, beside the model and the version.
        differs: see `make_all`.

    Raises:
        typer.Exit: always; see `make_all`.
    """
    from iassa.gallery.folder import Gallery
    from iassa.gallery.making import Watching, make_gallery
    from iassa.gallery.pool import open_pool

    known = {"name": black_box.name, "identity": black_box.identity()}
    configuration = {"iassa": iassa.__version__, "model": known, **settings}
    folder = out or Path("explanations") / folder_name(photos.folder)
    for file in photos.repeated:
        warn(f"{file} is named more than once. It is explained once.")
    what = "images" if workers.elsewhere else "batch"
    with (
        Gallery(folder, configuration, overwrite=saving.overwrite) as gallery,
        graceful_interrupt(saving.quiet, what) as interrupts,
        redirect_stdout(sys.stderr),  # a black box may print
        gallery_bar(len(photos.photos), saving, _describe) as show,
    ):
        cancel: Callable[[], bool] = lambda: bool(interrupts)  # noqa: E731
        with open_pool(workers.workers, workers.ray, model, black_box, cancel) as pool:
            made = make_gallery(
                gallery,
                photos.photos,
                asking,
                pool,
                Watching(show, be_silent if saving.quiet else remark_line, warn, cancel),
                lambda photo, there: differs(str(photo.path), there),
            )
    _finish(made, photos.photos, folder, saving, interrupts)


def remark_line(photo: Photo, text: str) -> None:
    """Print a warning about an image."""
    with about(str(photo.path)):
        warn(text)


def be_silent(*_: object) -> None:
    """Print nothing."""


@contextmanager
def gallery_bar(
    total: int, saving: Saving, describe: Callable[[Entry], str]
) -> Iterator[Callable[[Photo, Entry | str], None]]:
    """A progress bar: images done, time gone and left, and how many failed; or a line for each.

    Args:
        total: images.
        saving: what is printed.
        describe: what the line of an image that is done says.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    terminal = messages().is_terminal
    with Progress(
        *("images", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        *(TimeRemainingColumn(), words("{task.fields[note]}")),
        console=messages(),
        disable=saving.quiet or not terminal,
    ) as bar:
        task = bar.add_task("", total=total, note="")
        failed = 0

        def show(photo: Photo, result: Entry | str) -> None:
            nonlocal failed
            failed += isinstance(result, str)
            bar.update(task, advance=1, note=f"{failed} failed" if failed else "")
            if not saving.quiet and not terminal:
                done = f"{int(bar.tasks[0].completed)}/{total} {photo.path}"
                say(f"{done}: {'failed' if isinstance(result, str) else describe(result)}")

        yield show


def _describe(result: Entry) -> str:
    error = "not known" if result.error is None else f"{result.error:.1%} of the peak"
    more = f" and {result.further} more" if result.further else ""
    return f"{result.target}: {result.score:.3g}{more}, standard error {error}"


def _finish(
    made: Made, photos: Sequence[Photo], folder: Path, saving: Saving, interrupts: list[int]
) -> None:
    """Print what became of the images, the failures last, and exit with it."""
    from iassa.explanations.record import RECORD
    from iassa.gallery.photos import INDEX

    if saving.as_json:
        for photo in photos:
            if photo in made.entries:
                show_json(json.loads((folder / photo.folder / RECORD).read_text("utf-8")))
    else:
        show_path(folder / INDEX)
    if not saving.quiet:
        count = counted(len(photos), "image")
        say(f"{len(made.entries)} of {count}, {len(made.new)} of them new, in {folder}")
    failures = {str(photo.path): text for photo, text in made.failures.items()}
    exit_with(failures, len(made.entries), len(photos), interrupts, "explained")


def exit_with(
    failures: Mapping[str, str], done: int, total: int, interrupts: list[int], what: str
) -> NoReturn:
    """Print why images failed, and exit with what became of all.

    Args:
        failures: the errors, by image.
        done: images that are done.
        total: all images.
        interrupts: signals that ended the work.
        what: images are that are done.

    Raises:
        typer.Exit: always; see `make_all`.
    """
    alike: dict[str, list[str]] = {}
    for image, error in failures.items():
        alike.setdefault(error, []).append(image)
    for error, names in alike.items():
        with about(list_some(names)):
            complain(error)
    left = total - done - len(failures)
    if interrupts:
        if left:
            complain(
                f"interrupted; {counted(left, 'image')} not {what} yet. The same command goes on "
                "from here."
            )
        raise typer.Exit(status_of(interrupts))
    if failures:
        complain(
            f"{len(failures)} of {counted(total, 'image')} failed. The same command tries them "
            "again."
        )
    raise typer.Exit(BAD if failures and not done else SOME_FAILED if failures else 0)
