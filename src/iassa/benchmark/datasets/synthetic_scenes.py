"""Scenes that are drawn, or laid on photographs, for black boxes whose right maps are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated as Ruled
from typing import Any

from iassa.benchmark.datasets.image_folder import ImageFolder
from iassa.benchmark.datasets.sample import Annotated, Dataset, Sample
from iassa.benchmark.synthetic.boxes import BOXES
from iassa.benchmark.synthetic.model import EDITION, read_regions, right_map
from iassa.benchmark.synthetic.scenes import (
    LEAST,
    SIZE,
    Scene,
    draw_scene,
    place_on_photograph,
)
from iassa.checks import Within, take
from iassa.decoding import STORED
from iassa.errors import InputError
from iassa.files import read_whole, user_path, write_whole
from iassa.image import decode_image

DRAWN = 3  # scenes, if no number is given


class SyntheticScenes(Dataset):
    """Scenes with ten categories each: the black boxes of `BOXES`, with their right maps.

    The scenes are PNG files in a folder of their own. What is missing there is written before the
    run begins; what is there is left as it is.
    """

    kind = "synthetic"
    categories = tuple(BOXES)

    def __init__(
        self, folder: Path, photographs: ImageFolder | None = None, scenes: int | None = None
    ) -> None:
        """Write the scenes that are not there yet.

        Args:
            folder: of the scenes.
            photographs: that the regions are laid on, one scene each; None to draw backgrounds.
            scenes: how many; None for all photographs, or three drawn scenes.

        Raises:
            InputError: there are fewer photographs, one cannot be read or becomes too small, or the
                folder cannot be written.
        """
        folder = user_path(folder)
        scenes = take(scenes, Ruled[int | None, Within(1)], "scenes")
        self.reading = STORED
        self._photographs = photographs
        sources = () if photographs is None else photographs.samples()
        if photographs is not None and scenes is not None and scenes > len(sources):
            raise InputError(f"expected {scenes} photographs, got {len(sources)}. Ask for fewer.")
        count = scenes or len(sources) or DRAWN
        names = [f"{each.name}.png" for each in sources] or [f"scene-{n}.png" for n in range(count)]
        self._samples = tuple(
            Sample(name, folder / name, number, self.categories)
            for number, name in enumerate(names[:count])
        )
        for sample in self._samples:
            if not sample.path.exists():
                scene = self._make(sample.index)
                write_whole(sample.path.parent, {sample.path.name: scene.png()})

    def samples(self) -> Sequence[Sample]:
        """All scenes, by number."""
        return self._samples

    def annotations(self, sample: Sample, size: tuple[int, int]) -> Iterator[Annotated]:
        """For each black box the pixels that speak for it, and its right map; see `Dataset`."""
        image = decode_image(read_whole(sample.path), sample.name, self.reading)
        regions = read_regions(image)
        for name, box in BOXES.items():
            right = right_map(box, regions)
            yield Annotated(name, right > 0, right=right)

    def describe(self) -> dict[str, Any]:
        """Edition and number of the scenes, and the photographs as `ImageFolder` describes them."""
        scenes = {"kind": self.kind, "edition": EDITION, "scenes": len(self._samples)}
        if self._photographs is None:
            return scenes
        return scenes | {"photographs": self._photographs.describe()["images"]}

    def _make(self, number: int) -> Scene:
        if self._photographs is None:
            return draw_scene(number, SIZE)
        source = self._photographs.samples()[number]
        content = read_whole(source.path)
        photograph = decode_image(content, source.name, self._photographs.reading)
        scene = place_on_photograph(photograph, number)
        height, width = scene.pixels.shape[:2]
        if min(height, width) < LEAST:
            raise InputError(
                f"expected a photograph whose scene has sides of {LEAST} pixels or more, got "
                f"{height} x {width} (height x width) of {source.path}. Leave it out."
            )
        return scene
