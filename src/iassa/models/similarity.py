"""Similarity to other images as a black box: what in an image makes it like them.

The paper's co-saliency for retrieval: in the place of a class score, how near the feature vector of
a masked image is to that of a query image. Each query is an output, so that they are targets like
classes are: several cost no more than one, by index or by name, as groups and as contrasts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iassa.decoding import ImageFile
from iassa.errors import BlackBoxError, list_some, require
from iassa.image import ImageLike, as_image, to_planes
from iassa.models.black_box import BlackBox, ask
from iassa.models.detector import AimedDetector, Detector
from iassa.models.identity import digest_arrays
from iassa.models.opening import BlackBoxLike, open_model

Measure: TypeAlias = Literal["cosine", "euclidean"]
MEASURES: tuple[str, ...] = get_args(Measure)

log = logging.getLogger(__name__)


class Similarity(BlackBox):
    """How like each of Q query images an image is, (N, Q), by the features that a black box gives.

    It takes images as the black box does. It can be pickled where that can.
    """

    def __init__(
        self,
        queries: ImageLike | Sequence[ImageLike] | Mapping[str, ImageLike],
        embedder: BlackBoxLike = "efficientnet-lite0-features",
        *,
        measure: Measure = "cosine",
        device: str | torch.device | None = None,
    ) -> None:
        """Ask for the features of the queries: one call each, beside those of any run.

        Args:
            queries: an image (a path, a Pillow image or an array, see `as_image`), a list or tuple
                of them, or a mapping from names to them. A file's name is that of its output, with
                its folder where two share it; an array is called 'query 0' and so on.
            embedder: a black box whose K outputs are a feature vector; see `open_model`.
            measure: 'cosine' of the angle between two vectors, or 'euclidean': minus their
                distance.
            device: where the embedder is to run; see `open_model`.

        Raises:
            InputError: no query, one that is no image or is given twice, another measure, a
                detector, or, for cosine, a query whose features are all zero.
            BlackBoxError: the embedder failed, or its vectors differ in length.

        Example:
            >>> import numpy as np
            >>> red, grey = np.zeros((4, 6, 3)), np.full((4, 6, 3), 0.5)
            >>> red[..., 0] = 1
            >>> like = Similarity({"red": red, "grey": grey}, lambda images: images.mean((1, 2)))
            >>> like(np.stack([red, grey]).astype(np.float32)).astype(float).round(2).tolist()
            [[1.0, 0.58], [0.58, 1.0]]
        """
        choices = " or ".join(MEASURES)
        require(measure in MEASURES, f"expected measure {choices}, got {measure!r}.")
        photos = {name: as_image(image) for name, image in _by_name(queries).items()}
        self._measure = measure
        self._embedder = open_model(embedder, device)
        require(
            not isinstance(self._embedder, Detector | AimedDetector),
            f"expected a black box of feature vectors, got the detector {self._embedder.name}, "
            "whose outputs are boxes of one image. Name one that gives features of any image.",
        )
        self._digest = digest_arrays(photos.values())
        self._queries = self._embed(photos)
        given = isinstance(queries, Mapping)
        self.class_names = tuple(photos) if given else _shorten(tuple(photos))
        self.name = f"{self._embedder.name} compared by {measure} with {list_some(photos)}"
        self.input_size = self._embedder.input_size
        self.device = self._embedder.device

    def identity(self) -> str:
        """The measure, a digest of the queries' pixels, and the embedder's identity."""
        return f"{self._measure} to {self._digest} by {self._embedder.identity()}"

    def score(self, planes: Tensor) -> Tensor:
        """Similarities (N, Q) float64; see `BlackBox.score`.

        Raises:
            BlackBoxError: the embedder failed, or, for cosine, features are all zero.
        """
        features = ask(self._embedder, planes, self._queries.shape[1])
        if self._measure == "euclidean":
            columns = [-(features - query).norm(dim=1) for query in self._queries]
        else:
            units = _normalise(features)
            zeros = int(units.isnan().any(dim=1).sum())
            require(
                zeros == 0,
                f"expected features with an angle from {self._embedder.name}, got all zero for "
                f"{zeros} of {len(planes)} images. Measure euclidean, or hide by another baseline.",
                BlackBoxError,
            )
            columns = [(units * query).sum(dim=1) for query in self._queries]
        return torch.stack(columns, dim=1)  # a query at a time: the same to the bit beside others

    def _embed(self, photos: Mapping[str, NDArray[np.float32]]) -> Tensor:
        """The queries' feature vectors (Q, D), of length 1 for cosine."""
        vectors: list[Tensor] = []
        for name, photo in photos.items():
            size = self._embedder.input_size or (photo.shape[0], photo.shape[1])
            planes = to_planes(photo, size)[None].to(self._embedder.device).contiguous()
            length = vectors[0].shape[1] if vectors else None
            vector = ask(self._embedder, planes, length)
            if self._measure == "cosine":
                vector = _normalise(vector)
            require(
                not vector.isnan().any(),
                f"expected features with an angle, got all zero for {name} from "
                f"{self._embedder.name}. Measure euclidean, or compare with another image.",
            )
            vectors.append(vector)
        log.info("%s: %d calls for what is compared with", self._embedder.name, len(vectors))
        return torch.cat(vectors)


def _normalise(vectors: Tensor) -> Tensor:
    """Vectors (N, D) at length 1, whatever their size; NaN for one that is zero."""
    scaled = vectors / vectors.abs().amax(dim=1, keepdim=True)
    units: Tensor = scaled / scaled.norm(dim=1, keepdim=True)
    return units


def _by_name(
    queries: ImageLike | Sequence[ImageLike] | Mapping[str, ImageLike],
) -> dict[str, ImageLike]:
    """Queries by the names that tell them apart: paths as they were given."""
    if isinstance(queries, Mapping):
        items = [(str(name), image) for name, image in queries.items()]
    else:
        several = queries if isinstance(queries, list | tuple) else [queries]
        items = [
            (str(one) if isinstance(one, str | PurePath | ImageFile) else f"query {k}", one)
            for k, one in enumerate(several)
        ]
    # A file's name need not be UTF-8; results are.
    images = [(name.encode(errors="replace").decode(), image) for name, image in items]
    names = Counter(name for name, _ in images)
    again = [name for name, count in names.items() if count > 1]
    got = f"{list_some(again)} twice" if again else "one without a name" if names else "none"
    sound = len(names) > 0 and not again and "" not in names
    require(sound, f"expected images to compare with, each once, got {got}.")
    return dict(images)


def _shorten(paths: Sequence[str]) -> tuple[str, ...]:
    """Names of files without their folders, but where two would be alike."""
    short = [Path(path).name for path in paths]
    counts = Counter(short)
    return tuple(
        name if counts[name] == 1 else path for name, path in zip(short, paths, strict=True)
    )
