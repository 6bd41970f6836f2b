"""Mosaics of a user's images: the model is asked about each image once, and the answers are kept.

The answers are a run of their own, without items, in a folder of that of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from iassa.benchmark.choosing import choose_selection
from iassa.benchmark.datasets import ImageFolder, Mosaics
from iassa.benchmark.datasets.mosaics import QUARTERS, Single, compose
from iassa.benchmark.outcome import Tally
from iassa.benchmark.run import refuse_among
from iassa.benchmark.scoring import Stage
from iassa.benchmark.store.records import Entry, left_out, list_reasons
from iassa.benchmark.store.store import Store
from iassa.benchmark.workers.local import LocalWorkers, NumWorkers
from iassa.benchmark.workers.ray_workers import RayWorkers
from iassa.benchmark.workers.tasks import Model
from iassa.checks import Within, take
from iassa.errors import (
    CancelledError,
    ImageWarning,
    InputError,
    counted,
    list_some,
    require,
    warn,
)
from iassa.files import user_path
from iassa.models.black_box import BlackBox
from iassa.models.detector import Detector
from iassa.models.opening import BlackBoxLike

ANSWERS, PICTURES = "answers", "mosaics"  # folders in that of the run
MIN_SCORE = 0.5  # a class that the model is sure of, where scores are probabilities
QUARTER = (224, 224)  # where the model takes images of any size


def compose_mosaics(
    images: ImageFolder,
    folder: Path,
    *,
    model: BlackBoxLike = "efficientnet-lite0",
    device: str | None = None,
    min_score: float = MIN_SCORE,
    number: int | None = None,
    seed: int = 0,
    workers: int = 1,
    ray: str | None = None,
    progress: Callable[[Tally], object] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Mosaics:
    """Ask the model for the class of each image, and compose mosaics of four classes each.

    Each image is in one mosaic at most. The answers are in `answers` of the folder: an image is
    asked about once, whatever is killed. The same arguments give the same mosaics.

    Args:
        images: of four classes at least.
        folder: of the run that is to explain the mosaics, apart from the images.
        model: the black box; see `run`, and also for `device`, `workers`, `ray`, `progress` and
            `cancel`.
        device: where the model runs.
        min_score: least score of an image's highest class, when the image is alone.
        number: of mosaics; None for as many as the images give.
        seed: draws which images are together.
        workers: processes on this machine.
        ray: address of a Ray cluster that replaces them.
        progress: called after every image.
        cancel: called before every image.

    Returns:
        The dataset; its pictures are written when the run begins.

    Raises:
        InputError: the model has no classes; there are fewer than four images, of four classes, or
            images for fewer mosaics; an image cannot be read; see also `run`.
        BlackBoxError: the black box failed on the first images.
        CancelledError: `cancel` ended it. The same call goes on.
    """
    workers = take(workers, NumWorkers, "workers")
    number = take(number, Annotated[int | None, Within(1, 10**6)], "number of mosaics")
    seed = take(seed, Annotated[int, Within(0, 2**64 - 1)], "seed")
    min_score = take(min_score, float, "min_score")
    folder = user_path(folder)
    black_box = _open(images, folder, Model(model, device))
    sent = Model(model, device or str(black_box.device))
    pool = LocalWorkers(sent, workers) if ray is None else RayWorkers(sent, ray)
    with pool:
        entries, digests = _ask(images, folder / ANSWERS, black_box, pool, progress, cancel)
    singles = [
        Single(entry.image, digests[entry.image], entry.target)
        for entry in entries
        if not entry.excluded and entry.score >= min_score
    ]
    mosaics = compose(singles, seed)
    _check_enough(mosaics, singles, entries, min_score, number)
    height, width = black_box.input_size or (2 * QUARTER[0], 2 * QUARTER[1])
    made_by = {"seed": seed, "min_score": min_score, "calls": len(entries)}
    quarter = (-(-height // 2), -(-width // 2))
    return Mosaics(folder / PICTURES, images, mosaics[:number], quarter, made_by)


def _open(images: ImageFolder, folder: Path, model: Model) -> BlackBox:
    """The black box, if a run of mosaics can begin with it."""
    samples = images.samples()
    require(
        len(samples) >= QUARTERS,
        f"expected {QUARTERS} images or more for a mosaic, got {list_some(s.name for s in samples)}"
        " alone. Add some.",
    )
    refuse_among(folder, images)
    black_box = model.open()
    require(
        not isinstance(black_box, Detector),
        f"expected a model that scores classes for mosaics, got the detector {black_box.name}. "
        "Name another, or say `iassa benchmark coco`.",
    )
    return black_box


def _ask(
    images: ImageFolder,
    folder: Path,
    black_box: BlackBox,
    pool: LocalWorkers | RayWorkers,
    progress: Callable[[Tally], object] | None,
    cancel: Callable[[], bool] | None,
) -> tuple[list[Entry], dict[str, str]]:
    """An entry for each image, of its highest class, and the digests of the images."""
    selection = choose_selection(images, black_box, "auto", None, None, "both")
    configuration = {
        "dataset": images.describe(),
        "model": {"name": black_box.name, "identity": black_box.identity()},
        **selection.describe(),
    }
    stop = cancel or (lambda: False)

    def show(tally: Tally) -> None:
        if progress is not None:
            progress(replace(tally, stage="single images"))

    with Store.open(folder, configuration, selection.list_changed_images) as store:
        failures = Stage(store, selection, pool, show, stop).score_images()
        if stop():
            raise CancelledError("interrupted; the answers so far are kept.")
        if failures:
            raise InputError(
                f"cannot ask about {counted(len(failures), 'image')}: {failures[0].key.entry}: "
                f"{failures[0].error} The same command tries again; or take it out of the folder."
            )
        return store.entries(), store.images()


def _check_enough(
    mosaics: Sequence[tuple[Single, ...]],
    singles: Sequence[Single],
    entries: Sequence[Entry],
    min_score: float,
    number: int | None,
) -> None:
    """Say which images cannot be used, and refuse too few mosaics."""
    unusable = left_out(entries)
    low = sum(not entry.excluded for entry in entries) - len(singles)
    found = list_some(dict.fromkeys(one.target.name for one in singles))
    less = f"; {counted(low, 'image')} with a lower score" if low else ""
    lost = f"; left out: {list_reasons(unusable)}" if unusable else ""
    if not mosaics:
        raise InputError(
            f"expected images of {QUARTERS} classes, each with a score of {min_score:g} or more, "
            f"got {counted(len(singles), 'image')} of {found}{less}{lost}. Add images of other "
            "classes, or lower --min-score."
        )
    require(
        number is None or number <= len(mosaics),
        f"expected images for {number} mosaics, got some for {len(mosaics)}: "
        f"{counted(len(singles), 'image')} of {found}{less}{lost}. Ask for fewer, or add images.",
    )
    if unusable:
        warn(f"left out {list_reasons(unusable)}", ImageWarning)
