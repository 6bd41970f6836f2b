"""Models that cost next to nothing, for the live page: each is named as cheap_models:NAME."""

from __future__ import annotations

import time

import numpy as np

from iassa.models import Detections, FunctionDetector, FunctionModel

NAMES = ("bright left, left", "bright right", "dark", "tabby, tabby cat", "tiger cat", "lynx")


def score(images):
    """Means of the left and the right third, and what is left of 1 for four more."""
    third = images.shape[2] // 3
    left = images[:, :, :third].mean(axis=(1, 2, 3))
    right = images[:, :, -third:].mean(axis=(1, 2, 3))
    rest = (2 - left - right) / 2
    shares = [left / 2, right / 2, rest / 2, rest / 4, rest / 6, rest / 12]
    return np.stack(shares, axis=1)


def slow_score(images):
    """The same, so slow that a test can press a button meanwhile."""
    time.sleep(0.002 * len(images))
    return score(images)


class Failing:
    """Fails after so many images."""

    def __init__(self, after):
        self._left = after

    def __call__(self, images):
        self._left -= len(images)
        if self._left < 0:
            raise RuntimeError("the cable is out")
        return score(images)


def detect(images):
    """Two boxes, the surer the brighter they are."""
    height, width = images.shape[1:3]
    boxes = np.array([[0, 0, height / 2, width / 2], [height / 2, width / 2, height, width]])
    found = []
    for image in images:
        first = image[: height // 2, : width // 2].mean()
        second = image[height // 2 :, width // 2 :].mean()
        scores = np.array([[first, 0], [0, second]])
        found.append(Detections(boxes.astype(np.float32), scores.astype(np.float32)))
    return found


classifier = FunctionModel(score, name="cheap", class_names=NAMES, input_size=(32, 48))
slow = FunctionModel(slow_score, name="slow", class_names=NAMES, input_size=(32, 48))
detector = FunctionDetector(
    detect, name="boxes", class_names=("cat", "dog"), input_size=(32, 48), threshold=0.1
)


def failing():
    """Made anew wherever it is opened."""
    return FunctionModel(Failing(400), name="failing", class_names=NAMES, input_size=(32, 48))
