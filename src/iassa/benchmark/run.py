"""A run: every method on every entry of a dataset, into a store that a kill cannot harm.

The driver, this process, reads the images and is the only writer; workers explain and measure. What
is in the store is not done again, so the same command goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from iassa.benchmark.choosing import choose_selection
from iassa.benchmark.contestant import Contestant
from iassa.benchmark.datasets import Dataset, Sample
from iassa.benchmark.evaluation import MakeItem, other_output
from iassa.benchmark.outcome import Outcome, Tally
from iassa.benchmark.protocol import Protocol
from iassa.benchmark.scoring import Stage, read_image
from iassa.benchmark.selection import entry_key
from iassa.benchmark.store.records import (
    Entry,
    Failure,
    Item,
    ItemKey,
    asked_entries,
    left_out,
    list_reasons,
)
from iassa.benchmark.store.store import Store
from iassa.benchmark.workers.local import LocalWorkers, NumWorkers
from iassa.benchmark.workers.ray_workers import RayWorkers
from iassa.benchmark.workers.tasks import Model, TaskFailure, one_line
from iassa.checks import Within, take
from iassa.errors import InputError
from iassa.files import check_apart, user_path
from iassa.models.opening import BlackBoxLike

PUT_BACK = "Put back what was there when the run began, or begin another run."


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
    """Run methods on a dataset, or continue a run.

    Entries with the highest scores come first. So a run that is stopped early has explained what
    the black box is surest of.

    Args:
        dataset: images and annotations.
        folder: of the run; it is made if it does not exist.
        contestants: the methods. A later call on the same folder may add others.
        model: the black box; see `open_model`. Each worker opens it. An object that cannot be
            pickled needs a name instead.
        device: where the model runs; see `open_device`.
        classes: which outputs stand for a category; see `category_targets`.
        target: one target to explain in each image, whatever its category; see `resolve_targets`.
            None for the classes of the category, or 'top-1' in a dataset without categories.
        min_score: the score of the whole image that an entry needs; None for any.
        half: 'both', or the images at 'even' or 'odd' places of the dataset only. Choose settings
            on one half and report on the other.
        limit: the most entries to explain; None for all. It may differ from call to call.
        seeds: each entry is explained once with each seed.
        protocol: how maps are measured; RISE's protocol if not given.
        workers: processes on this machine.
        ray: address of a Ray cluster that replaces them; see `RayWorkers`.
        command: the command line, which the report quotes.
        progress: called after every image and item.
        cancel: called before every task. True ends the run after the tasks in flight.

    Returns:
        How many items there are, and which images and items failed.

    Raises:
        InputError: an argument cannot be used, the run folder has another configuration or is in
            use, or no entry is to be explained.
        BlackBoxError: the black box failed on the first whole images.
    """
    workers = take(workers, NumWorkers, "workers")
    limit = take(limit, Annotated[int | None, Within(1, 10**9)], "limit")
    seeds = take(seeds, Annotated[tuple[int, ...], Within(0, 2**64 - 1)], "seeds")
    target = None if target is None else str(take(target, str | int, "target"))
    min_score = take(min_score, float | None, "min_score")
    folder = user_path(folder)
    refuse_among(folder, dataset)
    black_box = Model(model, device).open()
    # The device that it is on here, so that no worker takes another.
    sent = Model(model, device or str(black_box.device))
    protocol = (protocol or Protocol()).at(black_box.input_size)
    selection = choose_selection(dataset, black_box, classes, target, min_score, half)
    configuration = {
        "dataset": dataset.describe(),
        "model": {"name": black_box.name, "identity": black_box.identity()},
        **selection.describe(),
        "seeds": list(seeds),
        "metrics": asdict(protocol),
        "methods": {each.label: each.definition() for each in contestants},
    }
    pool = LocalWorkers(sent, workers) if ray is None else RayWorkers(sent, ray)
    with pool, Store.open(folder, configuration, selection.list_changed_images) as store:
        known = store.images()
        missing = [name for name in dataset.missing if name not in known]
        last = {"limit": limit, "command": command, "missing": missing}
        store.remember(last)
        dataset.prepare()
        show, stop = progress or (lambda _: None), cancel or (lambda: False)
        job = _Job(store, selection, pool, show, stop)
        unscored = job.score_images()
        if unscored:
            store.remember(last | {"unscored": {each.key.entry: each.error for each in unscored}})
        return job.make_items(contestants, protocol, seeds, limit, unscored)


@dataclass(frozen=True, eq=False)
class _Job(Stage):
    """The two stages of a run: score the whole images, then make the items."""

    def make_items(
        self,
        contestants: Sequence[Contestant],
        protocol: Protocol,
        seeds: Sequence[int],
        limit: int | None,
        unscored: Sequence[Failure],
    ) -> Outcome:
        """Make the items that the store lacks."""
        entries = self.store.entries()
        excluded = left_out(entries)
        chosen = asked_entries(entries, limit)
        wanted = {
            ItemKey(entry.key, each.label, seed): each
            for entry in chosen
            for each in contestants
            for seed in seeds
        }
        if not wanted and not self.cancel():
            reasons = {each.error: [each.key.entry] for each in unscored} | excluded
            raise InputError(
                f"expected an entry to explain, got none: {list_reasons(reasons)}. Change the "
                "minimum score, the target, the classes or the data. The folder can be used again."
            )
        finished = self.store.finished()
        left = {key: each for key, each in wanted.items() if key not in finished}
        failures: list[Failure] = []
        made = 0

        def show(last: Item | None = None) -> None:
            done = len(wanted) - len(left) + made
            self.progress(Tally("items", done, len(wanted), len(failures), last))

        def fail(key: ItemKey, error: str) -> None:
            failures.append(Failure(key, error))
            self.store.add_failure(failures[-1])
            show()

        for task, result in self.perform(self._item_tasks(chosen, left, protocol, fail)):
            if isinstance(result, TaskFailure):
                fail(task.key, result.error)
            else:
                self.store.add(result)
                made += 1
                show(result)
        return Outcome(
            items=len(wanted) - len(left) + made,
            wanted=len(wanted),
            made=made,
            failures=(*unscored, *failures),
            excluded=excluded,
            missing=self.selection.dataset.missing,
            cancelled=self.cancel() and made + len(failures) < len(left),
        )

    def _item_tasks(
        self,
        chosen: Sequence[Entry],
        left: Mapping[ItemKey, Contestant],
        protocol: Protocol,
        fail: Callable[[ItemKey, str], None],
    ) -> Iterator[MakeItem]:
        """Items to make. All items of one entry are together, so its image is read once.

        `fail` gets the items whose image or annotation is not what it was when the run began.
        """
        samples = {sample.name: sample for sample in self.selection.dataset.samples()}
        digests = self.store.images()
        by_key = {entry.key: entry for entry in chosen}
        for name, keys in groupby(left, key=attrgetter("entry")):
            entry = by_key[name]
            if self.cancel():
                return
            try:
                content, annotation, right = self._material(entry, samples, digests)
                aim = self.selection.aim(samples[entry.image], entry)
            except InputError as error:
                for key in keys:
                    fail(key, one_line(error))
                continue
            for key in keys:
                if self.cancel():
                    return
                asked = (entry.target, annotation, left[key], protocol)
                other = other_output(key, entry.target, self.selection.num_outputs)
                reading = self.selection.dataset.reading
                yield MakeItem(key, content, *asked, reading, right, aim, other)

    def _material(
        self, entry: Entry, samples: Mapping[str, Sample], digests: Mapping[str, str]
    ) -> tuple[bytes, NDArray[np.bool_] | None, NDArray[np.float32] | None]:
        """The image file of an entry, its annotation, and its right map where that is known.

        Raises:
            InputError: one of them is gone, cannot be read, or has changed since the run began.
        """
        if entry.image not in samples:
            raise InputError(f"the image {entry.image} has gone. {PUT_BACK}")
        sample = samples[entry.image]
        content, digest = read_image(sample)
        if digest != digests.get(entry.image):
            raise InputError(f"{sample.path} is not as it was when the run began. {PUT_BACK}")
        for each in self.selection.annotations(sample, entry.size):
            if entry_key(sample.name, each.category, each.number) == entry.key:
                return content, each.annotation, each.right
        if entry.annotated is not None:
            raise InputError(f"the annotation of {entry.key} has gone. {PUT_BACK}")
        return content, None, None


def refuse_among(folder: Path, dataset: Dataset) -> None:
    """Refuse a run folder among the images; see `check_apart`. COCO's file names its images."""
    sample = dataset.samples()[0]
    if dataset.kind != "coco":
        images = sample.path.resolve().parents[sample.name.count("/")]
        check_apart(folder, "a run", {"the images": images})
