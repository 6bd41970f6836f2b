"""A run: every method on every entry of a dataset, into a store that a kill cannot harm.

The driver, this process, reads the images and is the only writer; workers explain and measure. What
is in the store is not done again, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.configuration import tell_changed_images
from iassa.benchmark.contestant import Contestant
from iassa.benchmark.datasets import CategoryTargets, Dataset, Sample, category_targets
from iassa.benchmark.evaluation import Protocol
from iassa.benchmark.store.records import Entry, Failure, Item, ItemKey, asked_entries
from iassa.benchmark.store.store import Store
from iassa.benchmark.workers.local import LocalWorkers
from iassa.benchmark.workers.ray_workers import RayWorkers
from iassa.benchmark.workers.tasks import (
    Failed,
    MakeItem,
    Model,
    ScoredImage,
    ScoreImage,
    Task,
    one_line,
)
from iassa.errors import BlackBoxError, InputError
from iassa.models.black_box import BlackBox
from iassa.models.opening import BlackBoxLike
from iassa.models.targets import Target, resolve_targets

__all__ = ["Outcome", "Tally", "run"]

GREY_SIZE = (224, 224)  # of a grey image, to ask a black box how many outputs it has
WHOLE = "whole image"  # in the place of a method, where an image could not be scored
HOPELESS = 3  # images that fail before any goes well
BACK = "Put it back, or begin another run."
HALVES = {"both": (0, 1), "even": (0,), "odd": (1,)}


@dataclass(frozen=True)
class Tally:
    """How far a run is, told after every image that is scored and every item that is made.

    Attributes:
        stage: 'images', while the whole images are scored, or 'items'.
        done: of this stage, those of earlier runs of the command included.
        total: of this stage.
        failed: items that failed.
        last: the last item that was made, if one was.
    """

    stage: str
    done: int
    total: int
    failed: int = 0
    last: Item | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        items: that are in the store, of those that were asked for.
        wanted: how many were asked for.
        made: of them, by this call.
        failures: those that failed; the same command tries them again.
        excluded: how many entries are not explained, by reason.
        missing: images of the dataset that are not there.
        cancelled: whether it was stopped before its end.
    """

    items: int
    wanted: int
    made: int
    failures: tuple[Failure, ...]
    excluded: dict[str, int]
    missing: tuple[str, ...]
    cancelled: bool


def run(
    dataset: Dataset,
    folder: Path,
    contestants: Sequence[Contestant],
    *,
    model: BlackBoxLike = "efficientnet-lite0",
    device: str | None = None,
    classes: str = "auto",
    target: str | None = None,
    min_score: float | None = None,
    half: str = "both",
    limit: int | None = None,
    seeds: Sequence[int] = (0,),
    protocol: Protocol | None = None,
    workers: int = 1,
    ray: str | None = None,
    command: str = "",
    progress: Callable[[Tally], object] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Outcome:
    """Run methods on a dataset, or go on with it.

    Entries with the highest scores come first, so that a run that is stopped early has explained
    what the black box is surest of.

    Args:
        dataset: images and annotations.
        folder: of the run; made if it is not there.
        contestants: the methods. Others may be added by a later call on the same folder.
        model: the black box, opened in each worker; see `open_model`. A name rather than an
            object, where the object cannot be pickled.
        device: where it runs; see `open_device`.
        classes: which outputs stand for a category; see `category_targets`.
        target: what is explained in each image, whatever its category: one target, see
            `resolve_targets`. None for the classes of the category, or 'top-1' in a dataset without
            categories.
        min_score: of the whole image, that an entry must have to be explained; None for any.
        half: 'both', or the images at 'even' or 'odd' places of the dataset only: choose settings
            on one half, report on the other.
        limit: the most entries to explain; None for all. It may differ from call to call.
        seeds: each entry is explained once with each.
        protocol: how maps are measured; RISE's protocol if not given.
        workers: processes on this machine.
        ray: address of a Ray cluster, in the place of them; see `RayWorkers`.
        command: what was typed, for the report to tell how to make the run again.
        progress: told after every image and item.
        cancel: asked before every task; True ends the run after those in flight.

    Returns:
        What became of it.

    Raises:
        InputError: an argument that cannot be used, a run folder of another configuration or in
            use, no entry to explain.
        BlackBoxError: the black box failed on a whole image.
    """
    if half not in HALVES:
        raise InputError(f"expected half to be one of {', '.join(HALVES)}, got {half!r}.")
    if workers < 1:
        raise InputError(f"expected one worker at least, got {workers} workers.")
    if limit is not None and limit < 1:
        raise InputError(f"expected a limit of one entry at least, got a limit of {limit}.")
    if not seeds or min(seeds) < 0:
        raise InputError(f"expected a seed at least, each 0 or more, got seeds {list(seeds)}.")
    if min_score is not None and not np.isfinite(min_score):
        raise InputError(f"expected a minimum score that is a number, got {min_score}.")
    _check_apart(folder, dataset)
    black_box = Model(model, device).open()
    # The device that it is on here, so that no worker takes another.
    sent = Model(model, device or str(black_box.device))
    protocol = protocol or Protocol()
    protocol = replace(protocol, size=protocol.size or black_box.input_size)
    num_outputs = _num_outputs(black_box)
    targets: CategoryTargets | None = None
    if target is None and any(dataset.categories):
        names = black_box.class_names
        targets = category_targets(dataset.categories, names, num_outputs, classes)
    wanted = target or "top-1"
    _resolve(wanted, np.zeros(num_outputs), black_box)  # a mistake in it is found before it is kept
    configuration = {
        "dataset": dataset.describe(),
        "model": {"name": black_box.name, "identity": black_box.identity()},
        "targets": {"wanted": wanted} if targets is None else targets.describe(),
        "min_score": min_score,
        "half": half,
        "seeds": list(seeds),
        "metrics": protocol.as_dict(),
        "methods": {each.label: each.definition() for each in contestants},
    }
    open_workers = LocalWorkers(sent, workers) if ray is None else RayWorkers(sent, ray)

    def tell_images(known: Collection[str]) -> str:
        return tell_changed_images(known, [sample.name for sample in dataset.samples()], half)

    with open_workers as done_by, Store.open(folder, configuration, tell_images) as store:
        known = store.images()
        missing = [name for name in dataset.missing if name not in known]
        last = {"limit": limit, "command": command, "missing": missing}
        store.remember(last)
        stop = cancel or (lambda: False)
        job = _Job(store, dataset, black_box, done_by, HALVES[half], progress, stop)
        unscored = job.score_images(targets, wanted, min_score)
        if unscored:
            store.remember(last | {"unscored": {each.key.entry: each.error for each in unscored}})
        return job.make_items(contestants, protocol, seeds, limit, unscored)


@dataclass(frozen=True, eq=False)
class _Job:
    """The two stages of a run, and what both need."""

    store: Store
    dataset: Dataset
    black_box: BlackBox
    workers: LocalWorkers | RayWorkers
    parities: tuple[int, ...]
    progress: Callable[[Tally], object] | None
    cancel: Callable[[], bool]

    def score_images(
        self,
        targets: CategoryTargets | None,
        wanted: str,
        min_score: float | None,
    ) -> list[Failure]:
        """Ask about every whole image, and store what there is to explain in it.

        Returns:
            Images that could not be scored; the same command tries them again.
        """
        samples = {s.name: s for s in self.dataset.samples() if s.index % 2 in self.parities}
        known = self.store.images()
        total, done = len(samples), len(known.keys() & samples.keys())
        digests: dict[str, str] = {}
        failures: list[Failure] = []
        hopeless = 0

        def fail(name: str, error: str) -> None:
            failures.append(Failure(ItemKey(name, WHOLE, 0), error))

        for task, result in self._perform(self._unscored(samples, known, digests, fail)):
            assert isinstance(task, ScoreImage)  # they are what was asked for
            sample = samples[task.name]
            if isinstance(result, Failed) and result.blame == "run":  # it may go well next time
                fail(sample.name, result.error)
                hopeless += 1
                if hopeless >= HOPELESS and not done:
                    raise BlackBoxError(f"{sample.path}: {result.error}")
                continue
            if isinstance(result, Failed):
                entries = [_excluded(sample, "", result.error)]
            else:
                entries = self._entries(sample, result, targets, wanted, min_score)
            if sample.name in known:
                self.store.replace_image(sample.name, entries, digests[sample.name])
            else:
                self.store.add_image(sample.name, entries, digests[sample.name])
                done += 1
            if self.progress is not None:
                self.progress(Tally("images", done, total, len(failures)))
        return failures

    def _unscored(
        self,
        samples: Mapping[str, Sample],
        known: Mapping[str, str],
        digests: dict[str, str],
        fail: Callable[[str, str], None],
    ) -> Iterator[Task]:
        """Images to ask about, whose digests are put into `digests`.

        Those that could not be used are among them, once they are other files. `fail` is told of
        images that cannot be read.
        """
        unusable = {entry.image for entry in self.store.entries() if _blames_file(entry)}
        for name, sample in samples.items():
            if (name in known and name not in unusable) or self.cancel():
                continue
            try:
                content = _read(sample)
            except InputError as error:
                fail(name, one_line(error))
                continue
            digests[name] = _digest(content)
            if digests[name] != known.get(name):
                yield ScoreImage(name, content)

    def _perform(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        for task, result in self.workers.run(tasks):
            if isinstance(result, Failed) and result.blame == "model":
                raise InputError(f"a worker cannot open the model: {result.error}")
            yield task, result

    def _entries(
        self,
        sample: Sample,
        whole: ScoredImage,
        targets: CategoryTargets | None,
        wanted: str,
        min_score: float | None,
    ) -> list[Entry]:
        try:
            annotated = list(self.dataset.annotations(sample, whole.size))
        except InputError as error:
            return [_excluded(sample, "", str(error), whole.size)]
        found: list[tuple[str, float | None, str]] = [
            (each.category, float(each.annotation.mean()), each.excluded) for each in annotated
        ]
        if not annotated and any(self.dataset.categories):
            return [_excluded(sample, "", "nothing is annotated in it", whole.size)]
        if not annotated:
            found = [("", None, "")]
        entries = []
        for category, share, excluded in found:
            if targets is not None and category not in targets.targets:
                excluded = excluded or f"{category}: {targets.without[category]}"
            if excluded:
                entries.append(_excluded(sample, category, excluded, whole.size))
                continue
            if targets is None:
                target = _resolve(wanted, whole.scores, self.black_box)
            else:
                target = targets.targets[category]
            score = float(whole.scores[list(target.indices)] @ np.array(target.weights))
            entries.append(
                Entry(
                    key=_key(sample, category),
                    image=sample.name,
                    image_index=sample.index,
                    size=whole.size,
                    category=category,
                    target=target,
                    score=score,
                    annotated=share,
                    excluded=_judge(score, min_score),
                )
            )
        return entries

    def make_items(
        self,
        contestants: Sequence[Contestant],
        protocol: Protocol,
        seeds: Sequence[int],
        limit: int | None,
        unscored: Sequence[Failure],
    ) -> Outcome:
        """Explain and measure all that the store lacks."""
        entries = self.store.entries()
        excluded = Counter(entry.excluded for entry in entries if entry.excluded)
        chosen = asked_entries(entries, limit)
        keys = {
            ItemKey(entry.key, each.label, seed)
            for entry in chosen
            for each in contestants
            for seed in seeds
        }
        if not keys and not self.cancel():
            excluded.update(failure.error for failure in unscored)
            reasons = "; ".join(f"{count}: {reason}" for reason, count in excluded.items())
            raise InputError(
                f"expected an entry to explain, got none. {reasons or 'No images.'} Begin again in "
                "another folder, with another minimum score, target or classes."
            )
        finished = self.store.finished() & keys
        failures: list[Failure] = []
        made = 0

        def show(last: Item | None = None) -> None:
            if self.progress is not None:
                done = len(finished) + made
                self.progress(Tally("items", done, len(keys), len(failures), last))

        def fail(key: ItemKey, error: str) -> None:
            failures.append(Failure(key, error))
            self.store.add_failure(failures[-1])
            show()

        tasks = self._tasks(chosen, contestants, protocol, seeds, finished, fail)
        for task, result in self._perform(tasks):
            assert isinstance(task, MakeItem)  # they are what was asked for
            if isinstance(result, Failed):
                fail(task.key, result.error)
            else:
                self.store.add(result)
                made += 1
                show(result)
        return Outcome(
            items=len(finished) + made,
            wanted=len(keys),
            made=made,
            failures=(*unscored, *failures),
            excluded=dict(excluded),
            missing=self.dataset.missing,
            cancelled=self.cancel() and len(finished) + made + len(failures) < len(keys),
        )

    def _tasks(
        self,
        chosen: Sequence[Entry],
        contestants: Sequence[Contestant],
        protocol: Protocol,
        seeds: Sequence[int],
        finished: AbstractSet[ItemKey],
        fail: Callable[[ItemKey, str], None],
    ) -> Iterator[Task]:
        """What is left to do, an image read when its first item is.

        `fail` is told of items whose image or annotation is not what the run began with.
        """
        samples = {sample.name: sample for sample in self.dataset.samples()}
        digests = self.store.images()
        for entry in chosen:
            left = [
                (key, each)
                for each in contestants
                for key in (ItemKey(entry.key, each.label, seed) for seed in seeds)
                if key not in finished
            ]
            if not left or self.cancel():
                continue
            try:
                content, annotation = self._material(entry, samples, digests)
            except InputError as error:
                for key, _ in left:
                    fail(key, one_line(error))
                continue
            for key, contestant in left:
                if self.cancel():
                    return
                yield MakeItem(key, content, entry.target, annotation, contestant, protocol)

    def _material(
        self, entry: Entry, samples: dict[str, Sample], digests: dict[str, str]
    ) -> tuple[bytes, NDArray[np.bool_] | None]:
        """The file of an entry's image, and its annotation.

        Raises:
            InputError: one of them is gone, cannot be read, or is not what the run began with.
        """
        if entry.image not in samples:
            raise InputError(
                f"expected the image {entry.image}, with which the run began, got none. {BACK}"
            )
        sample = samples[entry.image]
        content = _read(sample)
        if _digest(content) != digests[entry.image]:
            raise InputError(
                f"expected {sample.path} as it was when the run began, got another content. {BACK}"
            )
        for each in self.dataset.annotations(sample, entry.size):
            if each.category == entry.category:
                return content, each.annotation
        if entry.annotated is not None:
            raise InputError(
                f"expected the annotation of {entry.key}, with which the run began, got none. "
                f"{BACK}"
            )
        return content, None


def _resolve(wanted: str, scores: NDArray[np.float64], black_box: BlackBox) -> Target:
    targets = resolve_targets(wanted, scores, black_box.class_names)
    if len(targets) != 1 or targets[0].is_function:
        raise InputError(f"expected one target of outputs, got {wanted!r}. Use top-1, say.")
    return targets[0]


def _check_apart(folder: Path, dataset: Dataset) -> None:
    """Refuse a run among the images: its report would be more of them."""
    sample = dataset.samples()[0]
    images = sample.path.resolve().parents[sample.name.count("/")]
    if dataset.kind != "coco" and folder.resolve().is_relative_to(images):
        raise InputError(
            f"expected a run apart from the images, got {folder} inside of {images}. Choose "
            "another folder."
        )


def _num_outputs(black_box: BlackBox) -> int:
    if black_box.class_names is not None:
        return len(black_box.class_names)
    size = black_box.input_size or GREY_SIZE
    return int(black_box(np.full((1, *size, 3), 0.5, np.float32)).shape[1])


def _read(sample: Sample) -> bytes:
    try:
        return sample.path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {sample.path}: {error.strerror or error}. Check it, then run the same "
            "command again."
        ) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _key(sample: Sample, category: str) -> str:
    return f"{sample.name} {category}" if category else sample.name


def _excluded(sample: Sample, category: str, reason: str, size: tuple[int, int] = (0, 0)) -> Entry:
    return Entry(
        key=_key(sample, category),
        image=sample.name,
        image_index=sample.index,
        size=size,
        category=category,
        target=Target(category),
        score=0.0,
        excluded=reason,
    )


def _blames_file(entry: Entry) -> bool:
    """Whether an image was left out whole, before it came to scores: as one that is damaged."""
    return bool(entry.excluded and entry.key == entry.image and not entry.target.indices)


def _judge(score: float, min_score: float | None) -> str:
    low = min_score is not None and score < min_score
    return f"score below the minimum of {min_score:g}" if low else ""
