"""Pictures: whole PNG files of sane size for every kind of map, that show what they say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from iassa.explanations.plot import figure_png, overlay, sheet
from iassa.image import example_image
from rounding import steps

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
    left, right = (np.asarray(axes.images[0].get_array()) / 255 for axes in figure.axes[:2])
    np.testing.assert_allclose(left[..., :3], CAT, atol=0.5 / 255 + steps(8, 1.0))
    assert (left[..., 3] == 1).all()
    grey = 0.15 + 0.5 * (0.299 * CAT[..., 0] + 0.587 * CAT[..., 1] + 0.114 * CAT[..., 2])
    np.testing.assert_allclose(right, over(grey, BUMP - 0.1, 0.9), atol=2 / 255)


def over(grey, saliency, peak):
    """An effect in colours over grey, pixel by pixel."""
    colours = colormaps["berlin"]
    painted = np.ones((*saliency.shape, 4))
    for place in np.ndindex(saliency.shape):
        share = min(max(abs(saliency[place]) / (0.5 * peak), 0.15), 0.85)
        colour = np.array(colours(float(0.5 + saliency[place] / (2 * peak)))[:3])
        painted[place][:3] = share * colour + (1 - share) * grey[place]
    return painted


def test_signed_maps_are_shown_about_zero():
    white = np.ones_like(CAT)
    signed = overlay(white, BUMP - 0.25, **EFFECT, title="", caption="")
    assert signed.axes[2].get_ylim() == (-0.75, 0.75)  # the colour bar
    shown = np.asarray(signed.axes[1].images[0].get_array())
    small = np.abs(BUMP - 0.25) < 0.05
    assert shown[small, 0].min() > 0.8 * 0.65 * 255  # small effects leave the image visible
    unsigned = overlay(white, BUMP + 0.25, measures="mean score", title="", caption="")
    np.testing.assert_allclose(unsigned.axes[2].get_ylim(), (0.25 + BUMP.min(), 1.25))
    shown = np.asarray(unsigned.axes[1].images[0].get_array()) / 255
    peak = np.unravel_index(BUMP.argmax(), BUMP.shape)
    expected = 0.65 * np.array(colormaps["inferno"](1.0)[:3]) + 0.35 * 0.65
    np.testing.assert_allclose(shown[peak][:3], expected, atol=1 / 255)


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


# All targets on one scale.


@pytest.mark.parametrize("count", [1, 2, 5, 60, 61])
def test_a_sheet_shows_all_on_the_scale_of_the_highest(count):
    """Flat maps, so that what is drawn can be read off: one colour each, their values in turn."""
    values = np.linspace(-1, 3, count).astype(np.float32)
    maps = np.broadcast_to(values[:, None, None], (count, 30, 50))
    names = [f"class {k}: ${k}" for k in range(count)]
    figure = sheet(np.zeros((30, 50, 3), np.float32), maps, names, **EFFECT, caption="c")
    picture = Image.open(io.BytesIO(figure_png(figure)))
    assert max(picture.size) < 2500
    shown = min(count, 60)
    highest = float(abs(values[:60]).max())
    assert figure.axes[1].get_ylim() == (-highest, highest)  # the colour bar
    paper = np.asarray(figure.axes[0].images[0].get_array()) / 255
    for value, text in zip(values, figure.axes[0].texts, strict=False):
        column, row = text.get_position()
        of_map = paper[int(row) + 6 + 5, int(column) + 5]
        expected = over(np.full((1, 1), 0.15), np.full((1, 1), value), highest)[0, 0]
        np.testing.assert_allclose(of_map, expected, atol=2 / 255)
        assert (paper[int(row), int(column)] == 1).all()  # the paper above it
    assert [text.get_text() for text in figure.axes[0].texts] == names[:shown]
    noted = "c; the first 60 of 61 targets" if count == 61 else "c"
    assert figure.get_supxlabel() == noted


@pytest.mark.parametrize("size", [(1, 1), (300, 5), (3, 300)])
def test_a_sheet_of_any_size(size):
    maps = np.abs(np.resize(NOISE, (3, *size)))
    image = np.resize(CAT, (*size, 3))
    for measures in ("effect", "mean score"):
        figure = sheet(image, maps, ["a", "b", "c"], measures=measures, caption="c")
        assert all(60 < side < 2500 for side in Image.open(io.BytesIO(figure_png(figure))).size)


# The third panel: how well the map is known.


def panels(figure):
    """The axes that show a picture; the others are colour bars."""
    return [axes for axes in figure.axes if axes.images]


def with_error(saliency, error):
    image = np.zeros((*saliency.shape, 3), np.float32)
    figure = overlay(image, saliency, error, **EFFECT, title="t", caption="c")
    figure_png(figure)
    return panels(figure)


@pytest.mark.parametrize("error", [None, np.full_like(BUMP, np.inf)])
def test_an_error_that_is_not_known_has_no_panel(error):
    assert len(with_error(BUMP, error)) == 2


def test_the_third_panel_is_the_error_from_zero_up():
    shown = with_error(BUMP, 0.5 + 0.25 * BUMP)[2].images[0]
    np.testing.assert_array_equal(shown.get_array(), 0.5 + 0.25 * BUMP)
    assert shown.get_clim() == (0, pytest.approx(0.75))


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30])
def test_a_constant_error(value):
    shown = with_error(BUMP, np.full_like(BUMP, value))[2].images[0]
    assert shown.get_clim() == (0, np.float32(value) or 1)


def test_the_error_is_white_where_it_is_not_known_and_there_alone():
    error = np.where(COLUMNS < 40, np.inf, 0.5 + BUMP).astype(np.float32)
    shown = with_error(BUMP, error)[2].images[0]
    known = np.ma.filled(shown.get_array(), np.nan)
    np.testing.assert_array_equal(np.isnan(known), COLUMNS < 40)
    np.testing.assert_array_equal(known[:, 40:], error[:, 40:])
    assert shown.get_clim() == (0, error[:, 40:].max())


@pytest.mark.parametrize("size", [(1500, 2000), (5, 4000), (3000, 20)])
@pytest.mark.parametrize("known", ["a corner", "one half", "a lattice"])
def test_a_large_map_that_is_known_in_part(size, known):
    """It is drawn smaller, by a filter that reaches over many pixels."""
    error = np.full(size, np.inf, np.float32)
    place = {
        "a corner": np.s_[:1, :1],
        "one half": np.s_[:, size[1] // 2 :],
        "a lattice": np.s_[::7, ::5],
    }[known]
    error[place] = 2
    shown = with_error(np.resize(NOISE, size), error)[2].images[0]
    drawn_error = np.ma.filled(shown.get_array(), np.nan)
    there = drawn_error[np.isfinite(drawn_error)]
    assert len(there)
    np.testing.assert_allclose(there, 2, rtol=1e-5)
    np.testing.assert_allclose(shown.get_clim(), (0, 2), rtol=1e-5)
    if known == "one half":
        assert np.isfinite(drawn_error).mean() == pytest.approx(0.5, abs=0.15)


def test_the_borders_of_regions_are_drawn_where_they_are():
    region = np.zeros((10, 20), np.bool_)
    region[2:5, 6:10] = True
    inner = np.zeros((5, 10), np.bool_)  # of another size: what a model saw
    inner[1, 3:5] = True
    saliency = np.random.default_rng(0).random((60, 80)).astype(np.float32)
    figure = overlay(
        np.full((60, 80, 3), 0.5, np.float32),
        saliency,
        **EFFECT,
        title="cat",
        caption="rise",
        regions=[[region, inner], [region]],
        notes=["On the image: the outlined 7 %.", "w " * 300],
    )
    left, right, *_ = figure.axes
    solid, dots = [line for line in left.lines if line.get_color() == "white"]
    assert (solid.get_linestyle(), dots.get_linestyle()) == ("-", ":")
    assert len([line for line in right.lines if line.get_color() == "white"]) == 1
    # Each pixel of the regions is 6 rows or 12 high, 4 columns or 8 wide.
    for line, rows, columns in ((solid, (12, 30), (24, 40)), (dots, (12, 24), (24, 40))):
        x, y = line.get_data()
        np.testing.assert_allclose((y.min(), y.max()), np.array(rows) - 0.5, atol=6)
        np.testing.assert_allclose((x.min(), x.max()), np.array(columns) - 0.5, atol=4)
    texts = [text.get_text() for text in figure.texts]
    assert "On the image: the outlined 7 %." in texts
    assert sum("w w" in text for text in texts) > 2  # a long one is wrapped, not cut
    plain = overlay(np.full((60, 80, 3), 0.5, np.float32), saliency, **EFFECT, title="", caption="")
    assert figure.get_figheight() > plain.get_figheight()


def test_a_sheet_outlines_each_map_at_its_place():
    corner = np.zeros((6, 8), np.bool_)
    corner[:2, :2] = True
    maps = np.random.default_rng(0).random((2, 60, 80)).astype(np.float32)
    figure = sheet(
        np.full((60, 80, 3), 0.5, np.float32),
        maps,
        ["a", "b"],
        **EFFECT,
        caption="",
        regions=[[corner], [corner]],
    )
    first, second = [line for line in figure.axes[0].lines if line.get_color() == "white"]
    (ax, ay), (bx, by) = first.get_data(), second.get_data()
    np.testing.assert_allclose(ay, by)
    assert bx.min() - ax.min() > 100
