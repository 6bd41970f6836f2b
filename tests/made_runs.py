"""Items of a benchmark run that are made of a number, so that any process knows what they hold."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from iassa.benchmark.store.records import Entry, Item, ItemKey, Snapshot
from iassa.benchmark.store.store import Store
from iassa.explanations.evidence import Evidence
from iassa.metrics import Curve
from iassa.models.targets import Target

CONFIGURATION = {
    "dataset": "made",
    "metrics": {"pixels_per_step": 896, "threshold": 0.3},
    "methods": {"a": {"method": "iassa", "level_share": 0.5}, "b": {"method": "rise"}},
}
SIZE = (15, 22)
SIZE_ADDED = (120, 161)


def make_key(number):
    return ItemKey(f"images/{number // 2:03d}.jpg dog", "ab"[number % 2], number)


def make_item(number, size=SIZE, snapshots=3):
    rng = np.random.default_rng(number)
    taken = []
    for k in range(snapshots):
        steps = int(rng.integers(3, 9))
        curves = {
            name: Curve(rng.normal(size=steps), np.linspace(0, 1, steps))
            for name in ("deletion", "insertion")
        }
        smooth = rng.normal(size=size).cumsum(0).cumsum(1) * 10.0 ** rng.integers(-9, 9)
        taken.append(
            Snapshot(
                budget=None if k == 1 else 250 * (k + 1),
                rounds=k,
                calls=250 * (k + 1) - 1,
                saliency=(smooth - smooth.min() * (number % 2)).astype(np.float32),
                relative_error=math.inf if k == 0 else float(rng.random()),
                metrics={name: float(rng.normal()) for name in ("f1", "insertion", "sparsity")},
                curves=curves if k else {},
            )
        )
    return Item(
        key=make_key(number),
        calls=1000,
        metric_calls=140,
        seconds=float(rng.random()),
        metric_seconds=2.0,
        warnings=("the score barely moves", "ungünstig") if number % 2 else (),
        evidence=rng.bytes(5000) if number % 4 else None,
        snapshots=tuple(taken),
    )


def make_entries(image, count=3):
    """Of image number `image`, the later images the earlier in the dataset."""
    return [
        Entry(
            key=f"images/{image:03d}.jpg {category}",
            image=f"images/{image:03d}.jpg",
            image_index=1000 - image,
            size=SIZE,
            category=category,
            target=Target(category, (3, 1, 4), (1.0, 1 / 3, -1e-9)),
            score=1 / (7 + image),
            annotated=None if category == "cat" else 0.1,
            excluded="too small" if category == "emu" else "",
        )
        for category in ("dog", "cat", "emu")[:count]
    ]


def add(folder, first, added):
    """Adds items without end, and sends the number of each that was added."""
    with Store.open(folder, CONFIGURATION) as store:
        done = store.finished()
        for number in itertools.count(first):
            if make_key(number) in done:
                continue
            entries = make_entries(number)
            if entries[0].image not in store.images():
                store.add_image(entries[0].image, entries, "0f")
            store.add(make_item(number, size=SIZE_ADDED))
            added.send(number)


@contextmanager
def adding(folder, first=0):
    """A process that adds items; it is killed at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["iassa.benchmark.workers.tasks"])  # as those of local workers
    told, added = context.Pipe(duplex=False)
    writer = context.Process(target=add, args=(folder, first, added))
    writer.start()
    added.close()
    try:
        yield writer, told
    finally:
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL  # it did not end by itself


def assert_stored(store, item, whole=True):
    """That an item is in a store, to the bit but for its maps."""
    found = next(one for one in store.items(with_curves=True) if one.key == item.key)
    for name in ("calls", "metric_calls", "seconds", "metric_seconds", "warnings"):
        assert getattr(found, name) == getattr(item, name), name
    assert store.evidence(item.key) == item.evidence
    assert len(found.snapshots) == len(item.snapshots)
    for k, (got, made) in enumerate(zip(found.snapshots, item.snapshots, strict=True)):
        for name in ("budget", "rounds", "calls", "relative_error", "metrics"):
            assert getattr(got, name) == getattr(made, name), name
        assert set(got.curves) == set(made.curves)
        for name, curve in made.curves.items():
            np.testing.assert_array_equal(got.curves[name].scores, curve.scores)
            np.testing.assert_array_equal(got.curves[name].fractions, curve.fractions)
        if whole:
            saliency = store.saliency(item.key, k)
            assert saliency.dtype == np.float32
            assert saliency.shape == made.saliency.shape
            off = np.abs(saliency.astype(np.float64) - made.saliency).max()
            assert off == got.saliency_error <= np.ptp(made.saliency) / 1000


def contents(folder: Path) -> dict:
    """All that is in a run but times."""
    found = {}
    with Store.read(folder) as store:
        for item in store.items(with_curves=True):
            maps = [store.saliency(item.key, k).tobytes() for k in range(len(item.snapshots))]
            measured = [
                (
                    snapshot.budget,
                    snapshot.calls,
                    dict(snapshot.metrics),
                    {name: curve.scores.tobytes() for name, curve in snapshot.curves.items()},
                )
                for snapshot in item.snapshots
            ]
            packed = store.evidence(item.key)
            assert packed is not None
            rounds = Evidence.unpack(packed).rounds
            readings = [one.readings.tobytes() for r in rounds for one in r.families.values()]
            found[item.key] = (item.calls, measured, maps, readings)
    return found
