"""What hidden pixels show: fills against loops, blends bit for bit, maps that follow the fill."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import iassa
from iassa.errors import InputError, WeakEvidenceWarning
from iassa.masks.baselines import BLUR_SHARE, FILLS, open_baseline
from iassa.masks.grids import draw_grids
from iassa.masks.plans import GridPlan
from iassa.masks.rendering import Canvas, DenseMasks, HiddenWindows
from iassa.masks.windows import plan_windows, sliding_windows
from iassa.methods import Iassa, IassaPaper, Rise
from iassa.methods.registry import METHODS, open_method
from iassa.models.black_box import FunctionModel
from rounding import steps

Array = NDArray[np.float32]

SIZE = (18, 27)
PLACE = (7, 20, 1)  # row, column and channel that the black box below looks at


def random_image(seed: int, size: tuple[int, int] = SIZE) -> Array:
    return np.random.default_rng(seed).random((*size, 3), dtype=np.float32)


def random_planes(seed: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.from_numpy(random_image(seed, size)).permute(2, 0, 1).contiguous()


def opened(baseline: Any, image: torch.Tensor, seed: int = 0) -> Array:
    fill = open_baseline(baseline, image, seed)
    assert fill.shape == image.shape
    assert fill.dtype == torch.float32
    assert fill.is_contiguous()
    assert 0 <= float(fill.min()) <= float(fill.max()) <= 1
    return fill.numpy()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """An image file of another size than any image here."""
    pixels = np.random.default_rng(9).integers(0, 256, (40, 31, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "fill.png")
    return tmp_path / "fill.png"


KINDS: dict[str, Callable[[Path], Any]] = {
    **{name: lambda _, name=name: name for name in FILLS},
    "a grey": lambda _: 0.3,
    "a triple": lambda _: (0.2, 1.0, 0.6),
    "a colour": lambda _: "#3399fE",
    "an example": lambda _: "example:cat",
    "a file": lambda path: path,
    "an array": lambda _: random_image(3, (9, 14)),
}
kinds = pytest.mark.parametrize("kind", KINDS)


# --- what each shows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("baseline", "rgb"),
    [
        (0.25, (0.25, 0.25, 0.25)),
        (1, (1, 1, 1)),
        ((0, 0.5, 1.0), (0, 0.5, 1)),
        ("zero", (0, 0, 0)),
        ("grey", (0.5, 0.5, 0.5)),
        ("#000000", (0, 0, 0)),
        ("#FF8000", (1, 128 / 255, 0)),
        ("#0a0b0c", (10 / 255, 11 / 255, 12 / 255)),
    ],
)
def test_constants(baseline: Any, rgb: tuple[float, ...]) -> None:
    shown = opened(baseline, random_planes(0))
    np.testing.assert_array_equal(
        shown, np.broadcast_to(np.float32(rgb)[:, None, None], (3, *SIZE))
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_is_this_images_own(seed: int) -> None:
    image = random_planes(seed)
    shown = opened("mean", image)
    for channel in range(3):
        total = math.fsum(image[channel].flatten().tolist())
        expected = total / (SIZE[0] * SIZE[1])
        np.testing.assert_allclose(shown[channel], expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(40, 57), (57, 40), (24, 100), (1, 5)])
def test_the_blur_is_a_gaussian_of_a_share_of_the_shorter_side(
    size: tuple[int, int], seed: int
) -> None:
    """Weights of a Gaussian cut at four sigma, one axis at a time, over a reflected image."""
    image = random_planes(seed, size)
    sigma = BLUR_SHARE * min(size)
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    expected = image.numpy().astype(np.float64)
    for axis in (1, 2):
        margin = [(0, 0)] * 3
        margin[axis] = (reach, reach)
        padded = np.pad(expected, margin, mode="symmetric")
        length = expected.shape[axis]
        expected = sum(
            weight * np.take(padded, np.arange(k, k + length), axis)
            for k, weight in enumerate(weights)
        )
    np.testing.assert_allclose(opened("blur", image), expected, atol=steps(16, expected))


def test_the_blur_is_strong() -> None:
    """Of stripes of 8 pixels at 224 nothing is left, away from the borders."""
    stripes = (torch.arange(300) // 8 % 2).float().expand(3, 224, 300)
    assert opened("blur", stripes)[:, :, 100:200].std() < 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_noise_is_uniform_and_comes_from_the_seed_alone(seed: int) -> None:
    size = (90, 131)
    shown = opened("noise", random_planes(0, size), seed)
    np.testing.assert_array_equal(shown, opened("noise", random_planes(5, size), seed))
    assert not np.isclose(shown, opened("noise", random_planes(0, size), seed + 1)).all(0).any()
    share = np.histogram(shown, 10, (0, 1))[0] / shown.size
    error = math.sqrt(0.1 * 0.9 / shown.size)
    assert np.abs(share - 0.1).max() < 5 * error
    flat = shown.reshape(3, -1).astype(np.float64)
    neighbours = [np.corrcoef(flat)[0, 1], np.corrcoef(flat[0, 1:], flat[0, :-1])[0, 1]]
    assert np.abs(neighbours).max() < 5 / math.sqrt(flat.shape[1])


@pytest.mark.parametrize("size", [(40, 31), (20, 31), (13, 44)])
def test_a_file_is_resized_as_pillow_does(picture: Path, size: tuple[int, int]) -> None:
    with Image.open(picture) as file:
        expected = np.asarray(file.resize(size[::-1], Image.Resampling.BILINEAR)) / 255
    shown = opened(picture, random_planes(0, size))
    # Pillow rounds to 8 bits on the way.
    atol = steps(1, expected) if size == (40, 31) else 1.5 / 255
    np.testing.assert_allclose(shown, expected.transpose(2, 0, 1), atol=atol)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_an_array_of_the_size_of_the_image_is_shown_as_it_is(dtype: type) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    fill = pixels if dtype is np.uint8 else (pixels / 255).astype(dtype)
    shown = opened(fill, random_planes(0))
    np.testing.assert_allclose(shown, pixels.transpose(2, 0, 1) / 255, atol=steps(1, 1.0))


@kinds
def test_hidden_pixels_show_the_fill_at_the_size_of_the_model(kind: str, picture: Path) -> None:
    """A black box of a fixed size: what is not the image's own pixel is the fill's."""
    batches: list[Array] = []

    def look(images: Array) -> Array:
        batches.append(images.copy())
        return images[:, 3, 4]

    baseline = KINDS[kind](picture)
    box = FunctionModel(look, input_size=(12, 16))
    iassa.explain(
        random_image(1),
        box,
        method=IassaPaper(baseline=baseline, features="none"),
        target=0,
        calls=40,
        seed=6,
    )
    images = np.concatenate(batches)
    whole = images[0]
    fill = opened(baseline, torch.from_numpy(whole).permute(2, 0, 1), 6).transpose(1, 2, 0)
    own = (images == whole).all(3)
    assert own[0].all()
    assert not own[1:].all((1, 2)).any()
    np.testing.assert_array_equal(images[~own], np.broadcast_to(fill, images.shape)[~own])


# --- kept pixels are the image's own -------------------------------------------------------------


@kinds
@pytest.mark.parametrize("seed", range(3))
def test_a_mask_of_ones_gives_back_the_image_bit_for_bit(
    kind: str, seed: int, picture: Path
) -> None:
    image = random_planes(seed)
    fill = open_baseline(KINDS[kind](picture), image, seed)
    kept = GridPlan(
        np.full(5, 0.5, np.float32),
        np.ones((5, 6, 8), np.bool_),
        np.random.default_rng(seed).random((5, 2), dtype=np.float32),
        None,
    )
    nowhere = plan_windows(np.array([[4, 9, 4, 20], [0, 0, 0, 0]], np.int32), SIZE, rng(seed))
    for masks in (
        DenseMasks(torch.ones(5, *SIZE)),
        Canvas(SIZE, 5).render(kept),
        Canvas(SIZE, 2).render(nowhere),
    ):
        count = len(masks.windows) if isinstance(masks, HiddenWindows) else len(masks.values)
        out = torch.full((count, 3, *SIZE), torch.nan)
        blended = masks.blend(image, fill, out)
        assert torch.equal(blended, image.expand_as(blended))


@kinds
@pytest.mark.parametrize("seed", range(3))
def test_each_pixel_is_the_images_or_the_fills_where_the_mask_is_one_or_zero(
    kind: str, seed: int, picture: Path
) -> None:
    image = random_planes(seed)
    fill = open_baseline(KINDS[kind](picture), image, seed)
    region = rng(seed).random(SIZE) < 0.6
    grids = Canvas(SIZE, 9).render(draw_grids(9, (3, 5), (0.3, 0.7), rng(seed), region))
    windows = Canvas(SIZE, 9).render(plan_windows(sliding_windows(SIZE, 6, 4), SIZE, rng(seed))[:9])
    assert isinstance(grids, DenseMasks)
    assert isinstance(windows, HiddenWindows)
    for masks in (grids, DenseMasks(grids.values.round()), windows):
        values = masks.at(torch.arange(SIZE[0]), torch.arange(SIZE[1]))[:, None].expand(9, 3, *SIZE)
        blended = masks.blend(image, fill, torch.full((9, 3, *SIZE), torch.nan))
        for value, shown in ((1, image), (0, fill)):
            assert (values == value).any()
            there = values == value
            assert torch.equal(blended[there], shown.expand_as(blended)[there])


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- the map follows the fill ------------------------------------------------------------------


def one_value(images: Array) -> NDArray[np.float64]:
    row, column, channel = PLACE
    return images[:, row, column, channel].astype(np.float64)[:, None]


@kinds
@pytest.mark.parametrize("seed", range(3))
def test_the_map_of_one_value_is_scaled_by_its_distance_to_the_fill(
    kind: str, seed: int, picture: Path
) -> None:
    """f = b + m (i - b) at the place: with the same masks all maps are multiples of one."""
    image = random_image(seed)
    image[PLACE] = 0.9
    baseline = KINDS[kind](picture)
    fill = opened(baseline, torch.from_numpy(image).permute(2, 0, 1), seed)
    row, column, channel = PLACE
    shown = float(fill[channel, row, column])
    black, found = (
        iassa.explain(
            image,
            one_value,
            method=Rise(debiased=True, baseline=one),
            target=0,
            calls=200,
            seed=seed,
        )
        for one in (0.0, baseline)
    )
    expected = black.saliency * (0.9 - shown) / 0.9
    np.testing.assert_allclose(found.saliency, expected, atol=steps(64, black.saliency))
    assert found.scores == black.scores  # the whole image is asked for without a fill


def test_a_bright_place_counts_against_a_brighter_fill_and_not_at_all_against_its_own() -> None:
    image = np.full((*SIZE, 3), 0.25, np.float32)
    black, white = (
        iassa.explain(
            image, one_value, method=Rise(debiased=True, baseline=fill), target=0, calls=300
        )
        for fill in ("zero", "#ffffff")
    )
    np.testing.assert_allclose(white.saliency, -3 * black.saliency, atol=steps(32, white.saliency))
    assert black.saliency[0, PLACE[0], PLACE[1]] == pytest.approx(0.25, rel=0.1)
    for own in ("mean", image):
        with pytest.warns(WeakEvidenceWarning, match="every masked image scores the same"):
            flat = iassa.explain(
                image, one_value, method=Rise(debiased=True, baseline=own), target=0, calls=60
            )
        np.testing.assert_allclose(flat.saliency, 0, atol=steps(16, image))


@pytest.mark.parametrize("seed", [0, 4])
def test_noise_leaves_the_masks_as_they_are_and_is_the_same_behind_all(seed: int) -> None:
    """On white, black shows the masks; the noise solved for is one image in [0, 1)."""
    shown: dict[str, Array] = {}
    for baseline in ("zero", "noise"):
        batches: list[Array] = []

        def look(images: Array, batches: list[Array] = batches) -> NDArray[np.float64]:
            batches.append(images.copy())
            return one_value(images)

        white = np.ones((*SIZE, 3), np.float32)
        iassa.explain(white, look, method=Rise(baseline=baseline), target=0, calls=80, seed=seed)
        shown[baseline] = np.concatenate(batches)[1:].astype(np.float64)
    masks = shown["zero"]
    weight = 1 - masks
    solved = (shown["noise"] - masks)[weight > 0.5] / weight[weight > 0.5]
    place = np.broadcast_to(np.arange(masks[0].size).reshape(masks[0].shape), masks.shape)
    place = place[weight > 0.5]
    total, count = np.bincount(place, solved), np.bincount(place)
    assert (count > 5).all()
    np.testing.assert_allclose(solved, (total / count)[place], atol=steps(8, 1.0))
    assert -steps(8, 1.0) <= solved.min() < 0.01
    assert 0.99 < solved.max() <= 1 + steps(8, 1.0)


# --- the choice is a value and is in the record --------------------------------------------------


@kinds
@pytest.mark.parametrize("name", METHODS)
def test_the_record_opens_the_same_method(name: str, kind: str, picture: Path) -> None:
    method = open_method(name, baseline=KINDS[kind](picture))
    said = json.loads(json.dumps(method.as_dict(), allow_nan=False))
    if kind == "an array":
        assert said["fields"]["baseline"].keys() == {"shape", "sha256"}
        with pytest.raises(InputError, match="record of an array: pass that array"):
            open_method(said["name"], **said["fields"])
        said["fields"]["baseline"] = KINDS[kind](picture)
    again = open_method(said["name"], **said["fields"])
    assert again == method
    assert hash(again) == hash(method)
    assert again.as_dict() == method.as_dict()


@pytest.mark.parametrize("baseline", ["blur", 0.25, (0.1, 0.2, 0.3), "#abcdef"])
def test_a_choice_is_recorded_as_it_was_given(baseline: Any) -> None:
    found = iassa.explain(random_image(0), one_value, method=Rise(baseline=baseline), calls=20)
    assert found.method["fields"]["baseline"] == baseline


def test_an_array_is_compared_by_its_pixels_and_is_the_methods_own() -> None:
    pixels = random_image(0, (9, 14))
    one, same = Iassa(baseline=pixels), Iassa(baseline=pixels.astype(np.float64))
    assert one == same
    assert len({one, same, dataclasses.replace(one)}) == 1
    assert repr(one) == repr(same)
    assert len(repr(one)) < 1000
    before = one.as_dict()
    pixels[4, 5, 0] = 0
    assert one.as_dict() == before
    assert one != Iassa(baseline=pixels)
    assert one != Iassa(baseline=pixels.reshape(14, 9, 3))
    shown = opened(one.baseline, random_planes(0, (9, 14)))
    assert shown[0, 4, 5] == random_image(0, (9, 14))[4, 5, 0]


def test_the_hash_of_an_array_is_that_of_its_bytes() -> None:
    """Of two known pixels: `struct.pack('<6f', 0, 0.5, 1, 1, 1, 1)` through sha256sum."""
    pixels = np.array([[[0, 0.5, 1], [1, 1, 1]]], np.float32)
    recorded = Rise(baseline=pixels).as_dict()["fields"]["baseline"]
    assert recorded == {"shape": [1, 2, 3], "sha256": HASH}


HASH = "6ba1de47dcc8d184380bae052cb1daff4e12a02317870401a055642b4769a131"


# --- what is refused, and when -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("baseline", "advice"),
    [
        ("blurr", r"got 'blurr' \(nearest: blur\)\. If it is a file"),
        ("Zero", r"\(nearest: zero\)"),
        ("gray", r"\(nearest: grey\)"),
        ("photograph", r"If it is a file, write \./photograph\."),
        ("", "got ''"),
        ("#12345", "'#rrggbb'"),
        ("#12345g", "'#rrggbb'"),
        ("#1234567", "'#rrggbb'"),
        (None, "got None"),
        (True, "got True"),
        (-0.1, r"got -0\.1"),
        (1.5, r"in \[0, 1\]"),
        (255, "got 255"),
        (math.nan, "got nan"),
        ((), "one to 8 fills, got 0"),
        ((0.1, 1.2), r"got 1\.2"),
        ((0.1, 0.2, 1.2), r"got \(0\.1, 0\.2, 1\.2\)"),
        ("0.1,0.2,1.2", r"got \(0\.1, 0\.2, 1\.2\)"),
        ((0.1, 0.2, "blurr"), "nearest: blur"),
        ("grey,blurr", "got 'blurr'.*nearest: blur"),
        ("grey,", "got ''"),
        (["grey", ("blur", "zero")], "got"),
        ("grey,grey", "fills that differ, got grey, grey"),
        ([0.5, 0.5, "blur"], "fills that differ"),
        ([0.1 * k for k in range(9)], "one to 8 fills, got 9"),
        ({}, "got {}"),
    ],
)
@pytest.mark.parametrize("method", [Iassa, IassaPaper, Rise])
def test_what_is_no_baseline_is_refused_by_name(method: Any, baseline: Any, advice: str) -> None:
    with pytest.raises(InputError, match=f"expected baseline of {method.name} to be .*{advice}"):
        method(baseline=baseline)


@pytest.mark.parametrize(
    ("pixels", "fault"),
    [
        (np.zeros((4, 5, 4)), r"got shape \(4, 5, 4\)"),
        (np.zeros(4), r"got shape \(4,\)"),
        (np.full((4, 5, 3), 255.0), "Divide 8-bit values by 255"),
        (np.full((4, 5, 3), np.nan), "NaN"),
        (np.zeros((4, 5, 3), np.int64), "int64"),
        (np.zeros((0, 5, 3)), "got shape"),
    ],
)
def test_arrays_that_are_no_image_are_refused(pixels: Any, fault: str) -> None:
    with pytest.raises(InputError, match=f"baseline of rise: expected .*{fault}"):
        Rise(baseline=pixels)


@given(
    st.one_of(
        st.text(max_size=12),
        st.floats(),
        st.integers(),
        st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.floats(-0.5, 1.5)),
        st.lists(st.floats(0, 1), max_size=4),
        st.binary(max_size=4),
        st.sampled_from([*FILLS, "#00ff7f"]),
    )
)
def test_any_value_is_kept_as_it_is_or_refused(value: Any) -> None:
    refused = ""
    try:
        method = Rise(baseline=value)
    except InputError as error:
        refused = str(error)
    if refused:
        assert refused.startswith("expected baseline of rise to be ")
        return
    if isinstance(value, list):
        assert method.baseline == (tuple(value) if len(value) > 1 else value[0])
    else:
        assert method.baseline == value or "," in value
    said = json.loads(json.dumps(method.as_dict(), allow_nan=False))
    assert open_method("rise", **said["fields"]) == method


@pytest.mark.parametrize("path", ["none.png", "./none", "folder/none", "text.png", "example:dog"])
def test_a_file_that_cannot_be_read_costs_no_call(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("Dear diary,\n")
    calls = []

    def count(images: Array) -> NDArray[np.float64]:
        calls.append(len(images))
        return one_value(images)

    method = Rise(baseline=path)
    with pytest.raises(InputError, match=r"^baseline: .*(none|text\.png|dog)"):
        iassa.explain(random_image(0), count, method=method, calls=40)
    assert calls == []


@pytest.mark.parametrize("name", ["blur", "#ffffff", "example:cat"])
def test_a_path_is_always_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (5, 4), "red").save(tmp_path / "red.png")
    (tmp_path / "red.png").rename(tmp_path / name)
    method = Rise(baseline=Path(name))
    assert method.baseline == f"./{name}"
    assert opened(method.baseline, random_planes(0))[:, 2, 3].tolist() == [1, 0, 0]
