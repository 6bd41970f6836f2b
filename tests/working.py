"""Black boxes and tasks that worker processes of the tests import by name."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

import iassa
from iassa.benchmark.workers.tasks import Task
from iassa.models import FunctionDetector, FunctionModel

WEIGHTS = np.random.default_rng(5).normal(size=(6, 8, 4))


def brightness(images):
    """Four outputs, each a weighted sum of 6 x 8 places in the image: any size will do."""
    rows = np.linspace(0, images.shape[1] - 1, 6).astype(int)
    columns = np.linspace(0, images.shape[2] - 1, 8).astype(int)
    grey = images.mean(axis=3)[:, rows][:, :, columns]
    return np.tensordot(grey, WEIGHTS, 2)


COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]], np.float32)


def colours(images):
    """The share of each of five colours among the pixels that have one; writes what it was asked.

    Grey has none. As a probability it is 1 for an image with one colour.
    """
    if "COUNT" in os.environ:
        with Path(os.environ["COUNT"]).open("a") as file:
            file.write("x" * len(images))
    near = np.stack([1 - np.abs(images - colour).max(axis=3) for colour in COLOURS], axis=1)
    areas = near.clip(0.6, 1).mean(axis=(2, 3)) - 0.6
    return areas / (areas.sum(axis=1, keepdims=True) + 1e-3)


small_colours = FunctionModel(colours, input_size=(48, 64))
detector = FunctionDetector(colours, class_names=["cat"])


def moody(images):
    """As `brightness`, but for masked images of wide photographs while a file is there."""
    sulks = Path(os.environ["MOOD"]).exists()
    if sulks and images.shape[2] > 70 and len(images) > 1:
        raise RuntimeError("not today")
    return brightness(images)


def counted(images):
    """As `brightness`; writes a letter for each image into a file."""
    with Path(os.environ["COUNT"]).open("a") as file:
        file.write("x" * len(images))
    return brightness(images)


def broken(images):
    """Fails, but for the one image that it is asked about to count its outputs."""
    if np.ptp(images) > 0:
        raise OSError("gone")
    return brightness(images)


def choosy(images):
    """As `brightness`, but fails on whole images that are wide while a file is there."""
    wide = images.shape[2] > 70 and np.ptp(images) > 0
    if Path(os.environ["MOOD"]).exists() and len(images) == 1 and wide:
        raise RuntimeError("not today")
    return brightness(images)


def find_patches(images):
    """A box around each red patch, a dog, and each green one, a cat; as sure as it is bright."""
    if "COUNT" in os.environ:
        with Path(os.environ["COUNT"]).open("a") as file:
            file.write("x" * len(images))
    found = []
    for image in images:
        boxes, labels, scores = [], [], []
        for label, (channel, other) in enumerate(((0, 1), (1, 0))):
            seen = image[..., channel] - image[..., other]
            for rows, columns in ndimage.find_objects(ndimage.label(seen > 0.1)[0]):
                boxes.append((rows.start, columns.start, rows.stop, columns.stop))
                labels.append(label)
                scores.append(seen[rows, columns].mean())
        found.append(iassa.models.Detections.of_labels(boxes, labels, scores, 2))
    return found


def find_nothing(images):
    """No boxes."""
    return [iassa.models.Detections(np.zeros((0, 4)), np.zeros((0, 2))) for _ in images]


def patches():
    """The detector of patches."""
    return iassa.models.FunctionDetector(find_patches, name="patches", class_names=("dog", "cat"))


def nameless():
    """The same without names of its classes."""
    return iassa.models.FunctionDetector(find_patches, name="nameless")


def choosy_colours(images):
    """As `colours`, with the mood of `choosy`."""
    choosy(images)
    return colours(images)


def talkative(images):
    """As `brightness`, with a warning each time, and one that only programmers see."""
    warnings.warn("the moon is full", stacklevel=2)
    warnings.warn("old", DeprecationWarning, stacklevel=2)
    return brightness(images)


def slow(images):
    """As `brightness`, but a batch takes long enough to be interrupted."""
    time.sleep(0.04)
    return brightness(images)


@dataclass(frozen=True)
class Echo(Task):
    """Gives back a value, with the process that it ran in."""

    value: int
    seconds: float = 0.0

    def run(self, black_box):
        time.sleep(self.seconds)
        return self.value, os.getpid(), black_box.name


@dataclass(frozen=True)
class Raise(Task):
    """Raises an error."""

    error: Exception

    def run(self, black_box):
        raise self.error


@dataclass(frozen=True)
class Die(Task):
    """Kills its process, the first `times` times that it is tried."""

    trace: Path
    times: int

    def run(self, black_box):
        with self.trace.open("a") as file:
            file.write("x")
        tries = len(self.trace.read_text())
        if tries <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return tries


class Bomb:
    """Kills the process that pickles it, as a lack of memory does there."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)
        return int, ()


@dataclass(frozen=True)
class Explode(Task):
    """Has a result that kills its process while it is sent."""

    def run(self, black_box):
        return Bomb()


@dataclass(frozen=True)
class Span(Task):
    """Takes a while, and says in which process, from when to when."""

    seconds: float

    def run(self, black_box):
        start = time.time()
        time.sleep(self.seconds)
        return os.getpid(), start, time.time()


@dataclass(frozen=True)
class Which(Task):
    """Which black box it was given, in which process."""

    def run(self, black_box):
        return os.getpid(), id(black_box)


@dataclass(frozen=True)
class Environment(Task):
    """What a variable of the environment is in a worker, None if it is not set."""

    name: str

    def run(self, black_box):
        return os.environ.get(self.name)


@dataclass(frozen=True)
class Threads(Task):
    """How many threads a worker computes with."""

    def run(self, black_box):
        import torch

        return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], threading.active_count()
