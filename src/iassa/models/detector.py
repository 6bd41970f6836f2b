"""Detectors: black boxes that give boxes with class scores, and how one becomes scores (N, K).

A `Detector` is aimed at an image: the K boxes to be explained are chosen there, and from then on it
is a black box like any other, whose K outputs say how well each of these boxes is found again, by
D-RISE's score; see `iassa.models.detections`. One run explains all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from iassa.errors import BlackBoxError, InputError
from iassa.image import ImageLike, as_image, to_planes
from iassa.models.black_box import BlackBox, as_black_box_errors
from iassa.models.detections import Box, Detections, TargetBoxes, select
from iassa.models.identity import digest_code, digest_module
from iassa.models.torch_module import evaluating, place, warn_of_training

__all__ = ["AimedDetector", "Detector", "FunctionDetector", "TorchDetector"]

THRESHOLD = 0.25
OVERLAP = 0.5  # IoU of two boxes of a class above which they are taken for the same object
MOST = 100  # boxes of an image, as many as MS-COCO's measures look at
SMALLEST_IMAGE = 16  # pixels; on a larger one boxes within 2 pixels are shares of it


class Detector(BlackBox):
    """A detector as iassa asks it: subclass it and write `detect`.

    What it takes is said as for any `BlackBox`. `iassa.explain` aims it at the image by itself.

    Attributes:
        class_names: of the C classes; None if it has none.
        threshold: the least confidence of the boxes that are explained where none are given.
    """

    threshold: float = THRESHOLD

    @abstractmethod
    def detect(self, planes: Tensor) -> Sequence[Detections]:
        """What is found in planes (N, 3, H, W) float32 in [0, 1], for each; boxes in their pixels.

        The more boxes, the better, those of low scores and the near duplicates too: a box that is
        cut off at a threshold counts as 0 where it still had a score.
        """

    def score(self, planes: Tensor) -> Tensor:
        """Refused: what its outputs are, depends on the image.

        Raises:
            InputError: always.
        """
        del planes
        raise InputError(
            f"expected a detector that is aimed at an image, got {self.name}, which is not: its "
            "outputs are boxes of one image. Use its aim(image)."
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
                None for what is found in it with a confidence of `threshold` or more, at most 100,
                without those that overlap a better one of their class by more than half (IoU).
                That takes a call.

        Returns:
            The black box; its class names are those of the boxes.

        Raises:
            InputError: nothing is found, a box outside of the image, or an unknown class.
            BlackBoxError: the detector failed, or gave what are no detections.
        """
        photo = as_image(image)
        size = (photo.shape[0], photo.shape[1])
        if boxes is None:
            planes = to_planes(photo, self.input_size or size).to(self.device).contiguous()
            return self.first_call(planes, size)[0]
        if not isinstance(boxes, TargetBoxes):
            given = [box if isinstance(box, Box) else Box(*_corners(box)) for box in boxes]
            boxes = TargetBoxes.given(given, self.class_names)
        return AimedDetector(self, boxes, size)

    def first_call(
        self, image: Tensor, photo_size: tuple[int, int]
    ) -> tuple[AimedDetector, Tensor]:
        """Aim at what is found in the whole image; see `BlackBox.first_call`."""
        (found,) = self.look(image[None].clone())
        boxes = TargetBoxes.detected(self._choose(found, image, photo_size), self.class_names)
        aimed = AimedDetector(self, boxes, photo_size)
        return aimed, aimed.compare([found], image[None]).to(image.device)

    def look(self, planes: Tensor) -> Sequence[Detections]:
        """As `detect`, checked.

        Raises:
            BlackBoxError: it raised, or gave what are no detections.
        """
        with as_black_box_errors(self.name, len(planes)):
            found = self.detect(planes)
            if len(found) != len(planes) or not all(isinstance(d, Detections) for d in found):
                kinds = {type(d).__name__ for d in found}
                raise BlackBoxError(
                    f"expected {len(planes)} iassa.models.Detections, one for each image, got "
                    f"{len(found)} of {', '.join(sorted(kinds)) or 'none'} from the detector "
                    f"{self.name}."
                )
            most = max((d.class_scores.shape[1] for d in found), default=0)
            if self.class_names is not None and most > len(self.class_names):
                raise BlackBoxError(
                    f"expected {len(self.class_names)} class scores, as many as there are class "
                    f"names, got {most} from the detector {self.name}."
                )
        return found

    def _choose(self, found: Detections, image: Tensor, photo_size: tuple[int, int]) -> Detections:
        """The boxes to be explained, in pixels of the image as it was given."""
        height, width = image.shape[1:]
        low, high = found.boxes[:, :2], found.boxes[:, 2:]
        inside = np.all((high > 0) & (low < (height, width)), axis=1)
        chosen = select(found[inside], self.threshold, OVERLAP, MOST)
        if not len(chosen):
            best = f"a confidence of {found.confidence.max():.2g} at most" if len(found) else "none"
            raise InputError(
                f"expected {self.name} to detect something in the image with a confidence of "
                f"{self.threshold:g} or more, got {best}. Lower the threshold, or give a box of "
                "your own: --box, or boxes of aim()."
            )
        if chosen.boxes.max() <= 2 and min(height, width) >= SMALLEST_IMAGE:
            raise InputError(
                f"expected boxes in pixels of an image of {height} x {width} from {self.name}, got "
                f"none that reaches beyond {chosen.boxes.max():.2g}: shares of the image, it seems."
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
            detector: whom to ask.
            boxes: in pixels of the image as it was given.
            photo_size: its (height, width).

        Raises:
            InputError: a box without an area, or outside of the image.
        """
        low, high = np.maximum(boxes.boxes[:, :2], 0), np.minimum(boxes.boxes[:, 2:], photo_size)
        for box, visible in zip(boxes.boxes, np.all(high > low, axis=1), strict=True):
            if not visible:
                raise InputError(
                    f"expected boxes in the image of {photo_size[0]} x {photo_size[1]}, got "
                    f"{', '.join(f'{side:g}' for side in box)} as top, left, bottom, right."
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

    def first_call(self, image: Tensor, photo_size: tuple[int, int]) -> tuple[BlackBox, Tensor]:
        """See `BlackBox.first_call`."""
        if photo_size != self._photo_size:
            raise InputError(
                f"expected the image that {self.name} is aimed at, of {self._photo_size[0]} x "
                f"{self._photo_size[1]}, got one of {photo_size[0]} x {photo_size[1]}."
            )
        return super().first_call(image, photo_size)

    def score(self, planes: Tensor) -> Tensor:
        """How well each box is found in planes; see `BlackBox.score`."""
        return self.compare(self._detector.look(planes), planes)

    def compare(self, found: Sequence[Detections], planes: Tensor) -> Tensor:
        """(N, K) float64 of what is found in planes."""
        height, width = planes.shape[2:]
        scale = (height / self._photo_size[0], width / self._photo_size[1])
        scores = [self.boxes.compare(one, scale) for one in found]
        return torch.from_numpy(np.stack(scores))


class FunctionDetector(Detector):
    """Any function, images (N, H, W, 3) float32 NumPy -> N `Detections`.

    The array is the function's for the length of the call: the next batch is written over it.
    """

    def __init__(
        self,
        function: Callable[[NDArray[np.float32]], Sequence[Detections]],
        *,
        threshold: float = THRESHOLD,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        """Wrap a function; what it does not say of itself can be given.

        Args:
            function: the detector. Its boxes are in pixels of the images that it is shown.
            threshold: see `Detector`.
            name: what to call it; its own name if not given.
            class_names: names of the C classes.
            input_size: (height, width) that images are resized to before they are masked.

        Raises:
            InputError: a threshold that is none.
        """
        self._function = function
        self.threshold = check_threshold(threshold)
        self.name = name or str(getattr(function, "__qualname__", type(function).__qualname__))
        self.class_names = class_names
        self.input_size = input_size

    def identity(self) -> str:
        """Name and code, where it has one; what the code reads from elsewhere is not seen."""
        return f"{self.name} {digest_code(self._function)}".strip()

    def detect(self, planes: Tensor) -> Sequence[Detections]:
        """Detections in planes; see `Detector.detect`."""
        return self._function(planes.permute(0, 2, 3, 1).numpy())


class TorchDetector(Detector):
    """A torch module as torchvision's detectors are.

    It takes a list of planes (3, H, W), and gives for each a dictionary of `boxes` (n, 4) left,
    top, right, bottom, `labels` (n,) from 0 and `scores` (n,); other entries are left alone.
    Torchvision's own put a threshold and a suppression inside, which are worth to be opened:
    `box_score_thresh=0.01`, `box_nms_thresh=0.9`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        normalise: Callable[[Tensor], Tensor] | None = None,
        threshold: float = THRESHOLD,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
        input_size: tuple[int, int] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Wrap a module.

        Args:
            module: the network; it runs in eval mode, and is left in the mode it was in.
            normalise: from planes (N, 3, H, W) in [0, 1] to what it takes; None leaves them.
            threshold: see `Detector`.
            name: what to call it; its class if not given.
            class_names: names by label, that of a background too, if it has one.
            input_size: (height, width) that images are resized to before they are masked.
            device: where it is moved to, in place; None leaves it where it is.

        Raises:
            InputError: a threshold that is none.

        Warns:
            TrainingModeWarning: the module, or a part of it, is in training mode.
        """
        module, self.device = place(module, device)
        self._module = module
        self._normalise = normalise
        self._identity = ""
        self.threshold = check_threshold(threshold)
        self.name = name or type(module).__name__
        self.class_names = class_names
        self.input_size = input_size
        warn_of_training(module, self.name)

    def identity(self) -> str:
        """Name, weights and the code of `normalise`; see `identity.digest_module`."""
        if not self._identity:  # weights that are changed later need a detector of their own
            parts = [self.name, digest_module(self._module), digest_code(self._normalise)]
            self._identity = " ".join(filter(None, parts))
        return self._identity

    def detect(self, planes: Tensor) -> Sequence[Detections]:
        """Detections in planes; see `Detector.detect`."""
        with evaluating(self._module), torch.inference_mode():
            seen = planes if self._normalise is None else self._normalise(planes)
            found = self._module(list(seen))
        if not isinstance(found, list | tuple):
            raise InputError(
                f"expected a list of dictionaries, one for each image, got {type(found).__name__}. "
                "Write a function that makes Detections, for iassa.models.FunctionDetector."
            )
        number = None if self.class_names is None else len(self.class_names)
        return [_read_dictionary(one, number) for one in found]


def _read_dictionary(found: Any, num_classes: int | None) -> Detections:
    wanted = ("boxes", "labels", "scores")
    if not isinstance(found, Mapping) or not all(isinstance(found.get(k), Tensor) for k in wanted):
        got = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise InputError(
            f"expected a dictionary with tensors boxes, labels and scores for each image, got "
            f"{got or 'an empty one'}."
        )
    boxes, labels, scores = (found[key].detach().cpu() for key in wanted)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"expected boxes (n, 4), got shape {tuple(boxes.shape)}.")
    corners = boxes.float()[:, [1, 0, 3, 2]].numpy()
    return Detections.of_labels(corners, labels.numpy(), scores.float().numpy(), num_classes)


def check_threshold(threshold: float) -> float:
    """The threshold, if it is one.

    Raises:
        InputError: it is not.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"expected a threshold from 0 to 1, got {threshold}.")
    return float(threshold)


def _corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    try:
        top, left, bottom, right = (float(side) for side in box)
    except (TypeError, ValueError):
        raise InputError(
            f"expected a box as (top, left, bottom, right) or iassa.models.Box, got {box!r}."
        ) from None
    return top, left, bottom, right
