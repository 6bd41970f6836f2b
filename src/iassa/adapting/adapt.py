"""The verb: from a folder of images to a file of features."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from iassa.adapting.checkpoint import describe_run, load_part, part_of, remove_part, save_part
from iassa.adapting.exporting import export_features
from iassa.adapting.judging import Judgement, judge_features
from iassa.adapting.network import STRIDES, Levels
from iassa.adapting.pictures import Pictures, count_needed, read_pictures
from iassa.adapting.training import Adaptation, Step, Training
from iassa.checks import taking
from iassa.errors import counted, require
from iassa.files import check_writable, is_there, user_path
from iassa.models.efficientnet_lite0 import INPUT_SIZE
from iassa.models.opening import open_device

PER_CLUSTER = 10  # positions, at least, of the coarsest level


@dataclass(frozen=True)
class Adapted:
    """What became of an adaptation.

    Attributes:
        out: the file that `features=` takes.
        saved: whether it was written.
        images: how many it was trained on.
        epochs: how many were made; `Adaptation(epochs=...)` of as many gives the same features.
        seconds: of training.
        judgements: whether it helped; of superpixels, and of objects where there are masks.
    """

    out: Path
    saved: bool
    images: int
    epochs: int
    seconds: float
    judgements: tuple[Judgement, ...]

    @property
    def worse(self) -> bool:
        """Whether the last judgement, that of objects if there are masks, is 'worse'."""
        return bool(self.judgements) and self.judgements[-1].verdict == "worse"


@taking("settings", "even_if_worse", "overwrite", "progress", "cancel")
def adapt_features(
    images: str | Path,
    out: str | Path,
    settings: Adaptation | None = None,
    *,
    masks: str | Path | None = None,
    even_if_worse: bool = False,
    overwrite: bool = False,
    device: str | torch.device | None = None,
    progress: Callable[[Step], object] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Adapted:
    """Adapt the features of attention to the images of a domain, without labels.

    The embedded EfficientNet-Lite0 takes over half of the images' statistics, and is then trained
    for some epochs, if wanted, by DeepCluster (Caron et al., 2018) on positions. The training is
    saved after each epoch, beside the file, and the same call goes on from there. It then gives the
    bits of one that was never interrupted, on the same machine's CPU with as many threads of torch.
    On a GPU they differ by rounding.

    Args:
        images: a folder of images of any sizes.
        out: the ONNX file to make. `features='my-features.onnx'` of a method reads it.
        settings: how; `Adaptation()` if None.
        masks: a folder of PNGs of the same names, which mark objects. They are for the judgement
            alone.
        even_if_worse: write the file also where the features got worse.
        overwrite: write over a file of this name, and begin anew.
        device: to train on; a GPU where there is one, if None.
        progress: called after each batch.
        cancel: called after each batch; True ends it. The epoch in flight is lost.

    Returns:
        What became of it. Where the features got worse `saved` is false, and the training is kept:
        the same call with `even_if_worse` writes it at once.

    Raises:
        InputError: an argument or an image that cannot be used; or a checkpoint of another call.
        CancelledError: it was cancelled.
        IassaError: see `export_features`.
    """
    settings = settings or Adaptation()
    out = user_path(out, "the file to write")
    named = user_path(images, "the folder of images")
    marked = None if masks is None else user_path(masks, "the folder of masks")
    _check_out(out, overwrite=overwrite)
    where = open_device(device)
    pictures = read_pictures(named, marked, settings.seed)
    if settings.epochs:
        _check_number(pictures, settings)
    check_writable(out.parent)  # last: it makes the folder
    if overwrite:
        remove_part(out)
    run = describe_run(settings, pictures.digest)
    training = Training(settings, pictures.planes, where)
    state = load_part(out, run)
    if state is not None:
        training.load(state)
    require(
        training.epoch <= settings.epochs,
        f"expected at least {counted(training.epoch, 'epoch')}, as many as {part_of(out)} has, got "
        f"{settings.epochs}. Ask for as many, or say --overwrite to begin anew.",
    )
    _train(
        training,
        settings,
        progress or (lambda _: None),
        cancel or (lambda: False),
        lambda: save_part(out, run, training.state),
    )
    judgements = judge_features(Levels().to(where), training.levels, pictures)
    done = Adapted(
        *(out, True, len(pictures.planes), training.epoch, training.seconds, tuple(judgements))
    )
    if done.worse and not even_if_worse:
        return dataclasses.replace(done, saved=False)
    export_features(training.levels, _history(done, run), out)
    remove_part(out)
    return done


def _train(
    training: Training,
    settings: Adaptation,
    show: Callable[[Step], object],
    cancel: Callable[[], bool],
    save: Callable[[], None],
) -> None:
    """Epochs until there are enough, or the next one would take too long."""
    last = 0.0
    while training.epoch < settings.epochs:
        expected = training.seconds + (last or training.seconds / max(1, training.epoch))
        late = settings.minutes is not None and expected > 60 * settings.minutes
        if training.epoch and late:
            break
        before = training.seconds
        training.run_epoch(show, cancel)
        last = training.seconds - before
        save()


def _check_out(out: Path, *, overwrite: bool) -> None:
    require(
        out.suffix.lower() == ".onnx",
        f"expected a file named *.onnx to write, got {out}. Give it that ending.",
    )
    require(
        overwrite or not is_there(out),
        f"expected a file that is not there yet, got {out}. Choose another one, or say --overwrite "
        "(overwrite=True).",
    )
    for path in (out, part_of(out)):
        require(
            not path.is_dir(),
            f"expected a file to write, got a folder: {path}. Choose another name.",
        )


def _check_number(pictures: Pictures, settings: Adaptation) -> None:
    height, width = INPUT_SIZE
    of_each = (height // STRIDES[-1]) * (width // STRIDES[-1])
    needed = PER_CLUSTER * settings.clusters
    there = len(pictures.planes) + len(pictures.held_out)
    require(
        len(pictures.planes) * of_each >= needed,
        f"expected at least {count_needed(needed, of_each)} images for {settings.clusters} "
        f"clusters, got {there}. Add images, or take fewer clusters: "
        f"--clusters {len(pictures.planes) * of_each // PER_CLUSTER}.",
    )


def _history(done: Adapted, run: dict[str, Any]) -> dict[str, Any]:
    """What the file says of itself."""
    judged = {one.what: [round(one.before, 6), round(one.after, 6)] for one in done.judgements}
    return {**run, "images_trained_on": done.images, "epochs": done.epochs, "judged": judged}
