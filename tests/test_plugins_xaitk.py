"""iassa as xaitk-saliency finds and calls it; in the environment of `make test-plugins`."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import iassa
import pages

pytest.importorskip("xaitk_saliency", reason="see make test-plugins")

from smqtk_classifier.interfaces.classify_image import ClassifyImage
from smqtk_core.configuration import configuration_test_helper, from_config_dict, to_config_dict
from smqtk_descriptors.interfaces.image_descriptor_generator import ImageDescriptorGenerator
from smqtk_detection.interfaces.detect_image_objects import DetectImageObjects
from smqtk_image_io import AxisAlignedBoundingBox
from xaitk_saliency import (
    GenerateImageClassifierBlackboxSaliency,
    GenerateImageSimilarityBlackboxSaliency,
    GenerateObjectDetectorBlackboxSaliency,
)

from iassa.plugins.xaitk import IassaClassifier, IassaDetector, IassaSimilarity

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # smqtk warns of what it lacks
SIZE = (20, 28)
LEFT, RIGHT = (slice(4, 12), slice(4, 12)), (slice(6, 16), slice(16, 26))
KINDS = {
    IassaClassifier: GenerateImageClassifierBlackboxSaliency,
    IassaDetector: GenerateObjectDetectorBlackboxSaliency,
    IassaSimilarity: GenerateImageSimilarityBlackboxSaliency,
}


def picture(dtype=np.uint8, channels=3):
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[LEFT], image[RIGHT] = 220, 200
    image = image if dtype == np.uint8 else (image / 255).astype(dtype)
    return image[:, :, 0] if channels == 1 else image


def brightness(image, place):
    whole = 255.0 if image.dtype == np.uint8 else 1.0
    return float(image[place].mean()) / whole


class Configured:
    def get_config(self):
        return {}


class Classifier(Configured, ClassifyImage):
    def __init__(self):
        self.forms = set()

    def get_labels(self):
        return ["left", "right"]

    def classify_images(self, images):
        for image in images:
            self.forms.add((image.shape, image.dtype.name))
            yield {"right": brightness(image, RIGHT), "left": brightness(image, LEFT)}


class Detector(Configured, DetectImageObjects):
    def detect_objects(self, images):
        for image in images:
            found = []
            for (rows, columns), scores in ((LEFT, (1.0, 0.0)), (RIGHT, (0.0, 1.0))):
                light = brightness(image, (rows, columns))
                box = AxisAlignedBoundingBox((columns.start, rows.start), (columns.stop, rows.stop))
                found.append((box, dict(zip("ab", (light * one for one in scores), strict=True))))
            yield found


class Describer(Configured, ImageDescriptorGenerator):
    def generate_arrays_from_images(self, images):
        for image in images:
            yield np.array([brightness(image, LEFT), brightness(image, RIGHT), 0.1])


def inside(one, place):
    mask = np.zeros(SIZE, np.bool_)
    mask[place] = True
    return one[mask].mean() - np.abs(one[~mask]).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_xaitk_finds_it_and_its_configuration_makes_the_same_again(kind):
    assert kind in KINDS[kind].get_impls()
    made = kind(method="rise", calls=60, seed=3, fields={"baseline": "blur", "grid_size": 5})
    for one in configuration_test_helper(made):
        assert one.get_config() == made.get_config()
    text = json.dumps(to_config_dict(made))
    again = from_config_dict(json.loads(text), KINDS[kind].get_impls())
    assert type(again) is kind
    assert again.get_config() == made.get_config()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_classifier_sees_images_of_the_same_form_and_has_a_map_for_each_label(dtype, channels):
    classifier = Classifier()
    image = picture(dtype, channels)
    maps = IassaClassifier(calls=300)(image, classifier)
    assert maps.shape == (2, *SIZE)
    assert np.abs(maps).max() == 1
    assert inside(maps[0], LEFT) > 0.2
    assert inside(maps[1], RIGHT) > 0.2
    assert classifier.forms == {(image.shape, image.dtype.name)}


def test_a_detector_has_a_map_for_each_detection():
    boxes = np.array([[4, 4, 12, 12], [16, 6, 26, 16]])
    scores = np.array([[1.0, 0.0], [0.0, 1.0]])
    maps = IassaDetector(calls=300)(picture(), boxes, scores, Detector())
    assert maps.shape == (2, *SIZE)
    assert inside(maps[0], LEFT) > 0.2
    assert inside(maps[1], RIGHT) > 0.2
    halved = IassaDetector(calls=300)(picture(), boxes, scores, Detector(), np.array([1.0, 0.5]))
    ratio = np.abs(maps[1]).max() / np.abs(maps[0]).max()
    assert np.abs(halved[1]).max() / np.abs(halved[0]).max() == pytest.approx(ratio / 2, rel=1e-4)
    none = IassaDetector()(picture(), np.zeros((0, 4)), np.zeros((0, 2)), Detector())
    assert none.shape == (0, *SIZE)


def test_similarity_has_a_map_for_each_query():
    queries = [picture(), np.full((30, 28, 3), 40, np.uint8)]
    queries[1][RIGHT] = 255
    maps = IassaSimilarity(calls=300)(picture(), queries, Describer())
    assert maps.shape == (2, *SIZE)
    assert maps[1][RIGHT].mean() > maps[1][LEFT].mean()


def test_what_is_wrong_is_said():
    with pytest.raises(iassa.InputError, match="unknown method"):
        IassaClassifier(method="nothing")
    with pytest.raises(iassa.InputError, match="cannot use these fields"):
        IassaClassifier(fields={"nothing": 1})


def test_the_page_runs():
    (block,) = pages.blocks("docs/plugins.md", "xaitk-saliency")
    names = {"image": picture(), "classifier": Classifier()}
    pages.run_python(block, names)
    assert names["maps"].shape == (2, *SIZE)


def test_without_it_one_line_says_what_to_install():
    code = (
        "import sys; sys.modules['xaitk_saliency'] = None\nimport iassa\n"
        "try: import iassa.plugins.xaitk\n"
        "except iassa.InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install xaitk-saliency" in done.stdout
