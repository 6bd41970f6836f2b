"""Processors that are asked what they do: those of transformers, and known functions."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BeitImageProcessor,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    EfficientNetImageProcessor,
    LevitImageProcessor,
    MobileNetV2ImageProcessor,
    MobileViTImageProcessor,
    Siglip2ImageProcessor,
    SiglipImageProcessor,
    ViTImageProcessor,
)
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from iassa.errors import InputError
from iassa.image import to_planes
from iassa.models.hugging_face.image_processor import measure_normalisation, measure_size
from rounding import steps

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = {"image_mean": MEAN, "image_std": STD}


@pytest.fixture(autouse=True, scope="module")
def no_notes():
    """That torchvision is not installed."""
    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    yield
    transformers.utils.logging.set_verbosity(level)


def process_of(processor):
    return lambda image: processor(image, return_tensors="pt")["pixel_values"][0].numpy()


WHOLE = {
    "vit": lambda: ViTImageProcessor(size={"height": 40, "width": 56}, **IMAGENET),
    "bicubic": lambda: DeiTImageProcessor(do_center_crop=False, resample=3, **IMAGENET),
    "lanczos": lambda: ViTImageProcessor(resample=1),
    "convnext of 384": lambda: ConvNextImageProcessor(size={"shortest_edge": 384}),
    "siglip": lambda: SiglipImageProcessor(),
    "beit": lambda: BeitImageProcessor(do_center_crop=False),
    "efficientnet": lambda: EfficientNetImageProcessor(**IMAGENET),
    "offset": lambda: EfficientNetImageProcessor(rescale_factor=1 / 127.5, rescale_offset=True),
    "blue first": lambda: MobileViTImageProcessor(
        do_center_crop=False, size={"height": 32, "width": 48}
    ),
    "no mean": lambda: ViTImageProcessor(do_normalize=False),
    "up to 255": lambda: ViTImageProcessor(do_normalize=False, do_rescale=False),
    "any size": lambda: ViTImageProcessor(do_resize=False, **IMAGENET),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_measured_does_as_the_processor(kind, seed):
    """On noise of the size it takes, which every filter leaves as it is."""
    process = process_of(WHOLE[kind]())
    found = measure_normalisation(process)
    size = measure_size(process, found)
    shape = (30, 50) if size == "any" else size
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    planes = to_planes(image.astype(np.float32) / 255, shape)
    expected = process(image)
    assert expected.shape == planes.shape
    mine = found.normalise(planes[None])[0].numpy()
    np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=steps(128, expected))


def classes():
    """The image processor of each kind of classifier that transformers has."""
    found = set()
    for kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        names = IMAGE_PROCESSOR_MAPPING_NAMES.get(kind) or {}
        found.add(names.get("pil") or names.get("torchvision"))
    return sorted(found - {None})


def test_each_class_of_transformers_is_matched_or_refused():
    """With its defaults, on noise: its own planes, or an error that says what to give."""
    matched, refused = set(), {}
    for name in classes():
        try:
            processor = getattr(transformers, name)()
        except ImportError:  # it needs torchvision or timm
            continue
        process = process_of(processor)
        try:
            found = measure_normalisation(process)
            size = measure_size(process, found)
        except (InputError, ValueError) as refusal:  # ImageGPT's needs clusters of colours
            refused[name] = str(refusal)
            continue
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        planes = torch.from_numpy(image).permute(2, 0, 1) / 255
        mine = found.normalise(planes[None])[0].numpy()
        expected = process(image)
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=steps(128, expected))
        matched.add(name.removesuffix("Pil"))
    assert {"ViTImageProcessor", "BeitImageProcessor", "ConvNextImageProcessor"} < matched
    assert {"EfficientNetImageProcessor", "SegformerImageProcessor"} < matched
    assert len(matched) + len(refused) > 20
    for text in refused.values():
        assert re.search("Give input_size|Write a function that asks|Clusters must be", text)


def test_means_and_stds_are_those_of_the_config():
    found = measure_normalisation(process_of(WHOLE["vit"]()))
    assert (found.mean, found.std, found.bgr) == (MEAN, STD, False)
    assert measure_size(process_of(WHOLE["vit"]()), found) == (40, 56)
    assert measure_normalisation(process_of(WHOLE["blue first"]())).bgr is True
    assert measure_size(process_of(WHOLE["any size"]()), found) == "any"


CROPS = {
    "mobilenet": (lambda: MobileNetV2ImageProcessor(), "input_size=224,224"),
    "clip": (lambda: CLIPImageProcessor(), "input_size=224,224"),
    "clip, small": (
        lambda: CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        "input_size=32,32",
    ),
    "deit": (lambda: DeiTImageProcessor(), "input_size=224,224"),
    "levit": (lambda: LevitImageProcessor(), "input_size=224,224"),
    "convnext": (lambda: ConvNextImageProcessor(size={"shortest_edge": 224}), "=224,224"),
    "a hair": (
        lambda: DeiTImageProcessor(size={"height": 230, "width": 230}, crop_size=224),
        "input_size=224,224",
    ),
    "proportions": (
        lambda: CLIPImageProcessor(do_center_crop=False),
        "((240, 360), (360, 240)) into [(224, 336), (336, 224)]. Give input_size=HEIGHT",
    ),
}


@pytest.mark.parametrize("kind", CROPS)
def test_crops_are_found_out_and_normalisation_read_all_the_same(kind):
    make, advice = CROPS[kind]
    processor = make()
    found = measure_normalisation(process_of(processor))
    np.testing.assert_allclose(found.mean, processor.image_mean, rtol=2e-6)
    np.testing.assert_allclose(found.std, processor.image_std, rtol=2e-6)
    with pytest.raises(InputError, match="crops, pads or keeps proportions") as refusal:
        measure_size(process_of(processor), found)
    assert advice in str(refusal.value)


def planes_of(image):
    return image.astype(np.float64).transpose(2, 0, 1) / 255


A_LINE = "subtracts a mean from each channel and divides it by a std, at all pixels, got [["
REFUSED = {
    "patches": (process_of(Siglip2ImageProcessor()), "got (256, 768)"),
    "grey": (lambda image: planes_of(image)[:1], "got (1, 72, 72)"),
    "a gamma": (lambda image: planes_of(image) ** 2.2, A_LINE),
    "a gamma of one channel": (lambda image: planes_of(image) ** [[[1]], [[1]], [[1.1]]], A_LINE),
    "negative": (lambda image: 1 - planes_of(image), A_LINE),
    "nothing": (lambda image: 0 * planes_of(image), A_LINE),
    "green first": (lambda image: planes_of(image)[[1, 0, 2]], A_LINE),
    "mixed": (lambda image: planes_of(image).mean(0) + planes_of(image), A_LINE),
    "pads": (lambda image: np.pad(planes_of(image), 2, constant_values=0.5)[2:5], A_LINE),
    "pads below": (lambda image: np.pad(planes_of(image), ((0, 0), (0, 2), (0, 0))), A_LINE),
    "shades": (lambda image: planes_of(image) * np.linspace(0.5, 1, 72), A_LINE),
    "nan": (lambda image: np.log(planes_of(image) - 2), "expected an image processor"),
    "far off": (lambda image: 900 * planes_of(image), "expected mean and std in units of range"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_no_normalisation_is_refused(kind):
    process, message = REFUSED[kind]
    with pytest.raises(InputError) as refusal:
        measure_normalisation(process)
    assert message in str(refusal.value)


GEOMETRY = {
    "flipped": lambda planes: planes[:, :, ::-1],
    "upside down": lambda planes: planes[:, ::-1],
    "turned": lambda planes: planes.transpose(0, 2, 1),
    "shifted": lambda planes: np.roll(planes, 30, axis=2),
    "left half": lambda planes: planes[:, :, : planes.shape[2] // 2],
}


@pytest.mark.parametrize("kind", GEOMETRY)
def test_other_geometry_is_refused(kind):
    def process(image):
        return GEOMETRY[kind](planes_of(image))

    found = measure_normalisation(process)
    with pytest.raises(InputError, match="resizes the whole image to one size"):
        measure_size(process, found)


triples = st.tuples(*[st.floats(0.01, 0.99)] * 3)


@given(mean=triples, std=triples, bgr=st.booleans())
def test_every_line_is_measured(mean, std, bgr):
    def process(image):
        planes = planes_of(image)[::-1] if bgr else planes_of(image)
        return (planes - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))

    found = measure_normalisation(process)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(found.std, std, rtol=1e-5)
    assert found.bgr is bgr
    assert measure_size(process, found) == "any"
