"""Pictures: whole PNG files of sane size for every kind of map, that show what they say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from iassa.errors import InputError
from iassa.explanations.drawing import Colours, figure_png, overlay, overlay_on, sheet
from iassa.explanations.drawing.colours import find_unsure
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
    grey = 0.1 + 0.62 * (0.299 * CAT[..., 0] + 0.587 * CAT[..., 1] + 0.114 * CAT[..., 2])
    np.testing.assert_allclose(right, over(grey, BUMP - 0.1, 0.9), atol=2 / 255)


def over(grey, saliency, peak):
    """An effect in colours over grey, pixel by pixel."""
    colours = colormaps["RdBu_r"]
    painted = np.ones((*saliency.shape, 4))
    for place in np.ndindex(saliency.shape):
        share = 0.68 * min(abs(saliency[place]) / (0.6 * peak), 1)
        colour = np.array(colours(float(0.5 + 0.4 * saliency[place] / peak))[:3])
        painted[place][:3] = share * colour + (1 - share) * grey[place]
    return painted


def test_signed_maps_are_shown_about_zero():
    white = np.ones_like(CAT)
    signed = overlay(white, BUMP - 0.25, **EFFECT, title="", caption="")
    assert signed.axes[2].get_ylim() == (-0.75, 0.75)  # the colour bar
    shown = np.asarray(signed.axes[1].images[0].get_array())
    small = np.abs(BUMP - 0.25) < 0.05
    assert shown[small, 0].min() > 0.8 * 0.72 * 255  # small effects leave the image visible
    unsigned = overlay(white, BUMP + 0.25, measures="mean score", title="", caption="")
    np.testing.assert_allclose(unsigned.axes[2].get_ylim(), (0.25 + BUMP.min(), 1.25))
    shown = np.asarray(unsigned.axes[1].images[0].get_array()) / 255
    peak = np.unravel_index(BUMP.argmax(), BUMP.shape)
    expected = 0.68 * np.array(colormaps["inferno"](1.0)[:3]) + 0.32 * 0.72
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
    assert elsewhere.max() - elsewhere.min() < 3  # grey
    assert at_peak[0] > 1.5 * at_peak[1:].max()  # red


# All targets on one scale.


@pytest.mark.parametrize("count", [1, 2, 5, 60, 61])
def test_a_sheet_shows_all_on_the_scale_of_the_highest(count):
    """Flat maps, so that what is drawn can be read off: one colour each, their values in turn."""
    values = np.linspace(-1, 3, count).astype(np.float32)
    maps = np.broadcast_to(values[:, None, None], (count, 30, 50))
    names = [f"class {k}: ${k}" for k in range(count)]
    figure = sheet(np.zeros((30, 50, 3), np.float32), maps, names=names, **EFFECT, caption="c")
    picture = Image.open(io.BytesIO(figure_png(figure)))
    assert max(picture.size) < 2500
    shown = min(count, 60)
    highest = float(abs(values[:60]).max())
    assert figure.axes[1].get_ylim() == (-highest, highest)  # the colour bar
    paper = np.asarray(figure.axes[0].images[0].get_array()) / 255
    for value, text in zip(values, figure.axes[0].texts, strict=False):
        column, row = text.get_position()
        of_map = paper[int(row) + 6 + 5, int(column) + 5]
        expected = over(np.full((1, 1), 0.1), np.full((1, 1), value), highest)[0, 0]
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
        figure = sheet(image, maps, names=["a", "b", "c"], measures=measures, caption="c")
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
        names=["a", "b"],
        **EFFECT,
        caption="",
        regions=[[corner], [corner]],
    )
    first, second = [line for line in figure.axes[0].lines if line.get_color() == "white"]
    (ax, ay), (bx, by) = first.get_data(), second.get_data()
    np.testing.assert_allclose(ay, by)
    assert bx.min() - ax.min() > 100


# What is not sure is hatched.


def hatched(axes, colours, saliency, image):
    """The pixels of a panel that are not what the map alone would be painted as."""
    shown = np.asarray(axes.images[0].get_array())
    return (shown != colours.paint(image, saliency)).any(axis=2)


def test_a_map_is_hatched_where_its_error_is_above_a_third_of_the_peak_and_only_there():
    error = np.where(COLUMNS < 60, 0.31, 0.29).astype(np.float32)
    error[:30, :20] = np.inf
    image = np.zeros_like(CAT)
    figure = overlay(image, BUMP / BUMP.max(), error, **EFFECT, title="", caption="c")
    colours = Colours.over(BUMP / BUMP.max(), "effect")
    there = hatched(figure.axes[1], colours, BUMP / BUMP.max(), image)
    assert not there[:, 60:].any()
    assert 0.1 < there[:, :60].mean() < 0.5  # lines, and the map between them
    assert 0.1 < there[:30, :20].mean() < 0.5  # where it is not known
    assert figure.get_supxlabel() == "c; hatched: standard error above 30 % of the peak"


@pytest.mark.parametrize("error", [0.29, np.inf])
def test_a_map_that_is_sure_or_of_a_method_without_errors_is_not_hatched(error):
    image = np.zeros_like(CAT)
    saliency = BUMP / BUMP.max()
    figure = overlay(image, saliency, np.full_like(BUMP, error), **EFFECT, title="", caption="c")
    assert not hatched(figure.axes[1], Colours.over(saliency, "effect"), saliency, image).any()
    assert figure.get_supxlabel() == "c"


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(0, 2, width=32),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_what_is_unsure_is_what_a_loop_finds(height, width, scale, signed, seed):
    rng = np.random.default_rng(seed)
    saliency = rng.normal(size=(height, width)).astype(np.float32)
    error = (scale * rng.random((height, width))).astype(np.float32)
    error[rng.random((height, width)) < 0.2] = np.inf
    peak = max(abs(v) for v in saliency.ravel().astype(float))
    if not signed:
        peak = float(saliency.max()) - float(saliency.min())
    expected = [not float(one) <= 0.3 * peak for one in error.ravel()]
    if np.isinf(error).all():
        expected = [False] * error.size
    found = find_unsure(saliency, error, signed=signed)
    assert found.ravel().tolist() == expected


def test_a_sheet_hatches_each_map_by_its_own_peak():
    maps = np.stack([BUMP, 0.1 * BUMP])
    error = np.full_like(maps, 0.1)
    figure = sheet(np.zeros_like(CAT), maps, error, names=["a", "b"], **EFFECT, caption="c")
    white = (np.asarray(figure.axes[0].images[0].get_array())[..., :3] == 235).all(axis=2)
    middle = white.shape[1] // 2
    assert not white[:, : middle - 5].any()
    assert white[:, middle + 5 :].any()
    assert figure.get_supxlabel().startswith("c; hatched")


# The photograph stays visible, and keeps its shape.


def test_the_photograph_is_seen_through_the_strongest_colour():
    """Black and white stripes below the peak of an effect and of a mean score."""
    image = np.zeros_like(CAT)
    image[::2] = 1
    flat = np.ones_like(BUMP)
    for measures in ("effect", "mean score"):
        shown = Colours.over(flat, measures).paint(image, flat)[..., :3].astype(float)
        light, dark = shown[::2].mean(), shown[1::2].mean()
        assert light - dark > 0.15 * 255


@pytest.mark.parametrize("size", [(20, 300), (300, 20), (5, 200), (60, 80)])
def test_an_image_is_never_stretched(size):
    image = np.resize(CAT, (*size, 3))
    maps = np.resize(NOISE, (2, *size))
    one = overlay(image, maps[0], np.ones_like(maps[0]), **EFFECT, title="", caption="")
    figure_png(one)
    for axes in panels(one):
        place = axes.get_window_extent()  # of what is drawn, the aspect applied
        assert place.height / place.width == pytest.approx(size[0] / size[1], rel=0.02)
    alone = sheet(image, maps[:1], names=["a"], **EFFECT, caption="")
    paper = np.asarray(alone.axes[0].images[0].get_array())
    drawn = (paper[..., :3] != 255).any(axis=2)
    height, width = drawn.any(axis=1).sum(), drawn.any(axis=0).sum()
    assert height / width == pytest.approx(size[0] / size[1], rel=0.02, abs=0.003)


# On axes of the user's.


def test_a_map_on_axes_of_the_users():
    figure = Figure(figsize=(6, 3))
    mine, other = figure.subplots(1, 2)
    found = overlay_on(
        mine,
        CAT,
        BUMP,
        np.zeros_like(BUMP),
        **EFFECT,
        title="price $x$: 0.5",
        outlines=[(1, 2, 5, 8)],
        size=CAT.shape[:2],
        regions=[[BUMP > 0.5]],
    )
    assert found is figure
    assert mine.get_title() == "price $x$: 0.5"
    expected = Colours.over(BUMP, "effect").paint(CAT, BUMP)
    np.testing.assert_array_equal(mine.images[0].get_array(), expected)
    assert len(mine.patches) == 2
    assert len(mine.lines) == 2
    assert not other.images
    (bar,) = [axes for axes in figure.axes if axes not in (mine, other)]
    assert bar.get_ylabel() == "effect on the score"
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf")  # words and lines as vectors, no picture of them
    assert buffer.getvalue().startswith(b"%PDF")
    assert b"/Type /Font" in buffer.getvalue()


def test_the_colour_bar_is_as_high_as_the_map():
    for image in (CAT, CAT.transpose(1, 0, 2)):
        figure = Figure(figsize=(7, 4), layout="constrained")
        saliency = np.zeros(image.shape[:2], np.float32)
        saliency[0, 0] = 1
        mine, other = figure.subplots(1, 2)
        given = (image, saliency, np.zeros_like(saliency))
        place = {"outlines": (), "size": image.shape[:2], "regions": ()}
        overlay_on(mine, *given, **EFFECT, title="", **place)
        figure.savefig(io.BytesIO())  # places the axes
        (bar,) = [axes for axes in figure.axes if axes not in (mine, other)]
        high, wanted = (axes.get_window_extent().height for axes in (bar, mine))
        assert high == pytest.approx(wanted, rel=0.15)
        assert bar.get_tightbbox().x1 <= other.get_tightbbox().x0


def test_what_is_no_axes_is_refused():
    several = Figure().subplots(1, 2)
    nowhere = {"title": "", "outlines": (), "size": (1, 1), "regions": ()}
    with pytest.raises(InputError, match="expected axes of matplotlib, got ndarray"):
        overlay_on(several, CAT, BUMP, BUMP, **EFFECT, **nowhere)


def test_axes_that_were_removed_are_refused():
    figure = Figure()
    gone = figure.subplots()
    gone.remove()
    with pytest.raises(InputError, match="expected axes of a figure, got axes that were removed"):
        overlay_on(gone, CAT, BUMP, BUMP, **EFFECT, title="", outlines=(), size=(1, 1), regions=())
