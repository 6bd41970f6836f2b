"""Pictures: whole PNG files of sane size for every kind of map, that show what they say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from iassa.image import example_image
from iassa.plot import figure_png, overlay

CAT = example_image("cat")[::4, ::4]
ROWS, COLUMNS = np.mgrid[: CAT.shape[0], : CAT.shape[1]]
BUMP = np.exp(-((ROWS - 20) ** 2 + (COLUMNS - 90) ** 2) / 200).astype(np.float32)
NOISE = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)


EFFECT = {"measures": "effect"}


def drawn(image, saliency, title="Egyptian cat: 0.78", caption="rise, 1000 calls of a model"):
    picture = Image.open(
        io.BytesIO(figure_png(overlay(image, saliency, **EFFECT, title=title, caption=caption)))
    )
    picture.load()
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGB"), np.float32) / 255


@pytest.mark.parametrize(
    "saliency",
    [
        BUMP,
        0.2 + BUMP,
        BUMP - 0.5,
        -BUMP,
        np.zeros_like(BUMP),
        np.full_like(BUMP, 0.25),
        np.full_like(BUMP, -0.25),
        BUMP * np.float32(1e-44),  # subnormal
        BUMP * np.float32(-1e-44),
        BUMP * np.float32(3e38),
        BUMP * np.float32(-3e38),
        1 + BUMP * np.float32(1e-7),
    ],
)
def test_any_finite_map(saliency):
    height, width = drawn(CAT, saliency.astype(np.float32)).shape[:2]
    assert 300 < height < width < 3000


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5, 300), (300, 20), (2, 3)])
def test_any_size(size):
    height, width = size
    image = np.resize(CAT, (height, width, 3))
    for saliency in (NOISE[:height, :width], np.abs(NOISE[:height, :width])):
        picture = drawn(image, saliency)
        assert all(200 < length < 3000 for length in picture.shape[:2])


def test_left_is_the_image_and_right_is_dimmed():
    figure = overlay(CAT, BUMP - 0.1, **EFFECT, title="", caption="")
    left, right = figure.axes[:2]
    np.testing.assert_array_equal(left.images[0].get_array(), CAT)
    under, over = right.images
    np.testing.assert_array_equal(over.get_array(), BUMP - np.float32(0.1))
    grey = np.asarray(under.get_array())
    assert grey.max() <= 0.65 + 1e-6
    expected = 0.15 + 0.5 * (0.299 * CAT[..., 0] + 0.587 * CAT[..., 1] + 0.114 * CAT[..., 2])
    np.testing.assert_allclose(grey, expected, atol=1e-6)


def test_signed_maps_are_shown_about_zero():
    signed = overlay(CAT, BUMP - 0.25, **EFFECT, title="", caption="").axes[1].images[1]
    assert signed.get_clim() == (-0.75, 0.75)
    opacity = np.asarray(signed.get_alpha())
    assert opacity[np.abs(BUMP - 0.25) < 0.05].max() < 0.2  # small effects leave the image visible
    unsigned = (
        overlay(CAT, BUMP + 0.25, measures="mean score", title="", caption="").axes[1].images[1]
    )
    np.testing.assert_allclose(unsigned.get_clim(), (0.25 + BUMP.min(), 1.25))


def test_words_on_the_figure():
    figure = overlay(CAT, BUMP - 0.1, **EFFECT, title="tabby: 0.5", caption="rise, 64 calls")
    assert figure.get_suptitle() == "tabby: 0.5"
    assert figure.get_supxlabel() == "rise, 64 calls"
    assert figure.axes[2].get_ylabel() == "effect on the score"  # the colour bar


@pytest.mark.parametrize("name", [r"price $\foo$ in $: 1", "$x^$", "猫 🐈: 1", "a\nb\tc: 1", ""])
def test_any_name_is_text(name):
    assert drawn(CAT, BUMP, title=name, caption=name).shape[2] == 3


def test_a_long_title_keeps_its_ends_on_the_figure():
    title = " + ".join(f"class {k}" for k in range(99)) + ": 0.5"
    figure = overlay(CAT, BUMP, **EFFECT, title=title, caption="calls")
    shown = figure.get_suptitle()
    assert shown.startswith("class 0 + class 1")
    assert shown.endswith("class 98: 0.5")
    figure_png(figure)
    (text,) = [text for text in figure.texts if text.get_text() == shown]
    box = text.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_the_peak_stands_out():
    figure = overlay(np.full_like(CAT, 0.5), BUMP, **EFFECT, title="", caption="")
    picture = np.asarray(Image.open(io.BytesIO(figure_png(figure))).convert("RGB"), np.float32)
    right = figure.axes[1]
    column, row = right.transData.transform((90, 20))
    at_peak = picture[int(len(picture) - row), int(column)]
    column, row = right.transData.transform((10, 60))
    elsewhere = picture[int(len(picture) - row), int(column)]
    assert at_peak.sum() > 2 * elsewhere.sum()
