"""Detectors: black boxes that give boxes with class scores, and how one becomes scores (N, K).

`Detector.aim` chooses the K boxes to be explained in one image. It returns a black box like any
other: its K outputs say how well the detector finds each of these boxes again, by D-RISE's score,
see `iassa.models.detections`. One run explains all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from iassa.checks import Within, take
from iassa.errors import BlackBoxError, InputError, list_some, require, show
from iassa.image import ImageLike, as_image, to_planes
from iassa.models.answers import describe
from iassa.models.black_box import BlackBox, FunctionModel, as_black_box_errors
from iassa.models.detections import Box, Detections, TargetBoxes, select
from iassa.models.torch_module import TorchBlackBox, evaluating

THRESHOLD = 0.25
THRESHOLDS = Annotated[float, Within(0, 1)]
OVERLAP = 0.5  # IoU of two boxes of a class above which they are taken for the same object
MOST = 100  # boxes of an image, as many as MS-COCO's measures look at
SMALLEST_IMAGE = 16  # pixels; on a larger one boxes within 2 pixels are shares of it


class Detector(BlackBox):
    """A detector as iassa calls it: subclass it and write `detect`.

    It sets its input size and device as any `BlackBox` does. `iassa.explain` aims it by itself.

    Attributes:
        class_names: of the C classes; None if it has none.
        threshold: the least confidence of the boxes that are explained where none are given.
    """

    threshold: float = THRESHOLD

    @abstractmethod
    def detect(self, planes: Tensor) -> Sequence[Detections]:
        """N detections in planes (N, 3, H, W) float32 in [0, 1], boxes in pixels of the planes.

        The more boxes, the better, those of low scores and the near duplicates too: a box that is
        cut off at a threshold counts as 0 where it still had a score.
        """

    def score(self, planes: Tensor) -> Tensor:
        """Refused: the outputs of a detector depend on the image.

        Raises:
            InputError: always.
        """
        del planes
        raise InputError(
            f"expected a detector that is aimed at an image, got {self.name}. Use its aim(image)."
        )

    def aim(
        self,
        image: ImageLike,
        boxes: TargetBoxes | Sequence[Box | Sequence[float]] | None = None,
    ) -> AimedDetector:
        """A black box whose outputs are boxes in an image, for that image alone.

        Args:
            image: see `iassa.explain`.
            boxes: to be explained: `Box`es or (top, left, bottom, right), in pixels of the image;
                None for the detections with a confidence of `threshold` or more, at most 100,
                without those that overlap a better one of their class by more than half (IoU).
                That takes a call.

        Returns:
            The black box; its class names are those of the boxes.

        Raises:
            InputError: no detection, a box outside of the image, or an unknown class.
            BlackBoxError: the detector failed, or returned no `Detections`.
        """
        photo = as_image(image)
        size = (photo.shape[0], photo.shape[1])
        if boxes is None:
            planes = to_planes(photo, self.size_for(size)).to(self.device).contiguous()
            return self.first_call(planes, size)[0]
        if not isinstance(boxes, TargetBoxes):
            given = [box if isinstance(box, Box) else Box(*_corners(box)) for box in boxes]
            boxes = TargetBoxes.given(given, self.class_names)
        return AimedDetector(self, boxes, size)

    def first_call(
        self, image: Tensor, photo_size: tuple[int, int]
    ) -> tuple[AimedDetector, Tensor]:
        """Aim at the detections in the whole image; see `BlackBox.first_call`."""
        chosen, found = self.find(image, photo_size)
        if not len(chosen):
            surest = found.confidence.max(initial=0)
            best = f"a confidence of {surest:.2g} at most" if len(found) else "none"
            raise InputError(
                f"expected {self.name} to detect something with a confidence of {self.threshold:g} "
                f"or more, got {best}. Lower the threshold, or give --box, or boxes of aim()."
            )
        aimed = AimedDetector(self, TargetBoxes.detected(chosen, self.class_names), photo_size)
        return aimed, aimed.compare([found], image[None]).to(image.device)

    def find(self, image: Tensor, photo_size: tuple[int, int]) -> tuple[Detections, Detections]:
        """Look for the boxes of a whole image, in one call.

        Args:
            image: (3, H, W) float32 in [0, 1], on the device of the detector; left as it is.
            photo_size: (height, width) of the image as it was given.

        Returns:
            The boxes to be explained, in pixels of the image as it was given, by falling
            confidence, see `aim`; there may be none. And all detections, in pixels of `image`.

        Raises:
            InputError: boxes that are shares of the image.
            BlackBoxError: the detector failed, or returned no `Detections`.
        """
        (found,) = self.look(image[None].clone())
        return self._choose(found, image, photo_size), found

    def look(self, planes: Tensor) -> Sequence[Detections]:
        """As `detect`, checked.

        Raises:
            BlackBoxError: it raised, or returned no `Detections`.
        """
        with as_black_box_errors(self, planes):
            detections = self.detect(planes)
            listed = isinstance(detections, Collection)
            kinds = sorted({type(d).__name__ for d in detections}) if listed else []
            got = f"{len(detections)} of {list_some(kinds)}" if listed else ""
            require(
                kinds in ([], [Detections.__name__]) and listed and len(detections) == len(planes),
                f"expected {len(planes)} iassa.models.Detections, one for each image, got "
                f"{got or describe(detections)} from the detector {self.name}.",
                BlackBoxError,
            )
            most = max((d.class_scores.shape[1] for d in detections), default=0)
            number = None if self.class_names is None else len(self.class_names)
            require(
                number is None or most <= number,
                f"expected {number} class scores, as many as there are class names, got {most} "
                f"from the detector {self.name}.",
                BlackBoxError,
            )
        return detections

    def _choose(
        self, detections: Detections, image: Tensor, photo_size: tuple[int, int]
    ) -> Detections:
        """The boxes to be explained, in pixels of the image as it was given."""
        height, width = image.shape[1:]
        low, high = detections.boxes[:, :2], detections.boxes[:, 2:]
        inside = np.all((high > 0) & (low < (height, width)), axis=1)
        chosen = select(detections[inside], self.threshold, OVERLAP, MOST)
        farthest = chosen.boxes.max(initial=0)
        require(
            not len(chosen) or farthest > 2 or min(height, width) < SMALLEST_IMAGE,
            f"expected boxes in pixels of {height} x {width} from {self.name}, got none beyond "
            f"{farthest:.2g}. Multiply boxes that are shares of the image by its size.",
        )
        scale = np.array([photo_size[0] / height, photo_size[1] / width] * 2, np.float32)
        return Detections(chosen.boxes * scale, chosen.class_scores, chosen.objectness)


class AimedDetector(BlackBox):
    """A detector aimed at one image: its outputs are K boxes there.

    Attributes:
        boxes: what they are.
        class_names: names of them.
    """

    boxes: TargetBoxes

    def __init__(self, detector: Detector, boxes: TargetBoxes, photo_size: tuple[int, int]) -> None:
        """Use `Detector.aim`.

        Args:
            detector: the one to call.
            boxes: in pixels of the image as it was given.
            photo_size: its (height, width).

        Raises:
            InputError: a box without an area, or outside of the image.
        """
        low, high = np.maximum(boxes.boxes[:, :2], 0), np.minimum(boxes.boxes[:, 2:], photo_size)
        outside = boxes.boxes[~np.all(high > low, axis=1)].tolist()
        require(
            not outside,
            f"expected boxes in the image of {photo_size[0]} x {photo_size[1]}, got {outside} as "
            "top, left, bottom, right.",
        )
        self._detector = detector
        self._photo_size = photo_size
        self.boxes = boxes
        self.name = detector.name
        self.class_names = boxes.names
        self.input_size = detector.input_size
        self.device = detector.device

    def identity(self) -> str:
        """That of the detector, and a digest of the boxes."""
        return f"{self._detector.identity()} boxes {self.boxes.digest()}"

    def size_for(self, photo_size: tuple[int, int]) -> tuple[int, int]:
        """That of the detector; see `BlackBox.size_for`."""
        return self._detector.size_for(photo_size)

    def first_call(self, image: Tensor, photo_size: tuple[int, int]) -> tuple[BlackBox, Tensor]:
        """See `BlackBox.first_call`."""
        own = self._photo_size
        require(
            photo_size == own,
            f"expected the image that {self.name} is aimed at, {own}, got one of {photo_size}.",
        )
        return super().first_call(image, photo_size)

    def score(self, planes: Tensor) -> Tensor:
        """How well the detector finds each box in planes; see `BlackBox.score`."""
        return self.compare(self._detector.look(planes), planes)

    def compare(self, detections: Sequence[Detections], planes: Tensor) -> Tensor:
        """Scores (N, K) float64 of the boxes, by the detections in planes."""
        height, width = planes.shape[2:]
        scale = (height / self._photo_size[0], width / self._photo_size[1])
        scores = [self.boxes.compare(one, scale) for one in detections]
        return torch.from_numpy(np.stack(scores))


@dataclass(eq=False, repr=False)
class FunctionDetector(Detector, FunctionModel):
    """Any function, images (N, H, W, 3) float32 NumPy -> N `Detections`.

    The array is the function's for the length of the call: the next batch is written over it. Its
    boxes are in pixels of the images that it is shown.

    Attributes:
        threshold: see `Detector`. The others, function, name, class_names and input_size, are those
            of `FunctionModel`.

    Raises:
        InputError: a threshold beyond [0, 1].
    """

    _: KW_ONLY
    threshold: float = THRESHOLD

    def __post_init__(self) -> None:
        super().__post_init__()
        self.threshold = take(self.threshold, THRESHOLDS, "threshold")

    def detect(self, planes: Tensor) -> Sequence[Detections]:
        """Detections in planes; see `Detector.detect`."""
        detections: Sequence[Detections] = self.function(planes.permute(0, 2, 3, 1).numpy())
        return detections


@dataclass(eq=False, repr=False)
class TorchDetector(Detector, TorchBlackBox):
    """A torch module as torchvision's detectors are.

    It takes a list of planes (3, H, W), and gives for each a dictionary of `boxes` (n, 4) left,
    top, right, bottom, `labels` (n,) from 0 and `scores` (n,); other entries are left alone.
    Torchvision's own put a threshold and a suppression inside. Loosen both:
    `box_score_thresh=0.01`, `box_nms_thresh=0.9`.

    Attributes:
        threshold: see `Detector`. The others, module, normalise, name, class_names (by label, that
            of a background too, if it has one), input_size and device, are those of
            `TorchBlackBox`.

    Raises:
        InputError: a threshold beyond [0, 1], or weights in float16 on a CPU.
    """

    _: KW_ONLY
    threshold: float = THRESHOLD

    def __post_init__(self, device: torch.device | str | None) -> None:
        super().__post_init__(device)
        self.threshold = take(self.threshold, THRESHOLDS, "threshold")

    def detect(self, planes: Tensor) -> Sequence[Detections]:
        """Detections in planes; see `Detector.detect`."""
        with evaluating(self.module), torch.inference_mode():
            outputs = self.module(list(self.prepare(planes)))
        require(
            isinstance(outputs, list | tuple),
            f"expected a list of dictionaries, one for each image, got {type(outputs).__name__}. "
            "Write a function that makes Detections, for iassa.models.FunctionDetector.",
        )
        number = None if self.class_names is None else len(self.class_names)
        return [_read_dictionary(one, number) for one in outputs]


def _read_dictionary(output: Any, num_classes: int | None) -> Detections:
    parts = output if isinstance(output, Mapping) else {}
    got = list_some(parts) if parts else "an empty one"
    require(
        all(isinstance(parts.get(key), Tensor) for key in ("boxes", "labels", "scores")),
        "expected a dictionary with tensors boxes, labels and scores for each image, got "
        f"{got if isinstance(output, Mapping) else type(output).__name__}.",
    )
    boxes, labels, scores = (parts[key].detach().cpu() for key in ("boxes", "labels", "scores"))
    shape = tuple(boxes.shape)
    require(shape[1:] == (4,), f"expected boxes (n, 4), got shape {shape}.")
    corners = boxes.float()[:, [1, 0, 3, 2]].numpy()
    return Detections.of_labels(corners, labels.numpy(), scores.float().numpy(), num_classes)


def _corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    try:
        top, left, bottom, right = (float(side) for side in box)
    except (TypeError, ValueError):
        raise InputError(
            f"expected a box as (top, left, bottom, right) or iassa.models.Box, got {show(box)}."
        ) from None
    return top, left, bottom, right
