"""Images of every kind against pixel values worked by hand and against Pillow."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import EpsImagePlugin, Image

from iassa import decoding
from iassa.decoding import Reading
from iassa.errors import ImageWarning, InputError
from iassa.image import as_image, example_image, load_image, load_mask, resize
from rounding import steps

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14  # H != W, all different


def grey(values) -> np.ndarray:
    return np.repeat(np.array(values, np.float32)[:, :, None], 3, axis=2)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG file, written by hand: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    extra = b"".join(chunk(one[:4], one[4:]) for one in chunks)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def written(picture: Image.Image, path: Path, **options) -> Path:
    picture.save(path, **options)
    return path


def check_layout(image: np.ndarray) -> None:
    assert image.dtype == np.float32
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "gif", "webp", "ppm"])
def test_rgb_pixels_are_exact(tmp_path, suffix):
    picture = Image.fromarray(PIXELS)
    options = {"lossless": True} if suffix == "webp" else {}
    image = load_image(written(picture, tmp_path / f"a.{suffix}", **options))
    check_layout(image)
    np.testing.assert_array_equal(image, PIXELS.astype(np.float32) / 255)


def test_one_pixel(tmp_path):
    path = written(Image.new("RGB", (1, 1), (255, 0, 51)), tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(path), np.float32([[[1, 0, 0.2]]]))


def test_grey_palette_and_bilevel(tmp_path):
    values = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
    expected = grey(values) / np.float32(255)
    np.testing.assert_array_equal(
        load_image(written(Image.fromarray(values), tmp_path / "l.png")), expected
    )
    palette = Image.fromarray(values).convert("P")
    np.testing.assert_array_equal(load_image(written(palette, tmp_path / "p.png")), expected)
    bilevel = Image.fromarray(np.array([[0, 255, 0], [255, 255, 0]], np.uint8)).convert("1")
    np.testing.assert_array_equal(
        load_image(written(bilevel, tmp_path / "1.png")), grey([[0, 1, 0], [1, 1, 0]])
    )


def test_colour_palette(tmp_path):
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([2, 0, 1])
    path = written(palette, tmp_path / "p.png")
    np.testing.assert_array_equal(load_image(path), np.float32([[[0, 0, 1], [1, 0, 0], [0, 1, 0]]]))


def test_palette_with_a_transparent_entry_shows_white_there(tmp_path):
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([2, 0, 1])
    path = written(palette, tmp_path / "p.png", transparency=0)
    np.testing.assert_array_equal(load_image(path), np.float32([[[0, 0, 1], [1, 1, 1], [0, 1, 0]]]))


def test_colour_key_of_an_rgb_png_shows_white(tmp_path):
    path = tmp_path / "key.png"
    rows = bytes([0, 10, 20, 30, 40, 50, 60])
    path.write_bytes(png(2, 1, 8, 2, rows, b"tRNS" + struct.pack(">HHH", 10, 20, 30)))
    expected = np.float32([[[1, 1, 1], np.float32([40, 50, 60]) / 255]])
    np.testing.assert_array_equal(load_image(path), expected)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    alpha = np.array([[0, 128, 255], [255, 64, 0]], np.uint8)
    colour = np.array([[100, 100, 100], [30, 200, 7]], np.uint8)
    channels = [colour] * (1 if mode == "LA" else 3) + [alpha]
    picture = Image.merge(mode, [Image.fromarray(c) for c in channels])
    image = load_image(written(picture, tmp_path / "a.png"))
    share = alpha / 255
    expected = (colour * share + 255 * (1 - share)) / 255
    np.testing.assert_allclose(image, grey(expected), atol=0.51 / 255)
    np.testing.assert_array_equal(image[alpha == 0], 1)
    np.testing.assert_array_equal(image[alpha == 255], grey(colour / 255)[alpha == 255])


def test_cmyk_jpeg(tmp_path):
    picture = Image.new("CMYK", (24, 16), (255, 0, 0, 0))  # cyan
    picture.paste((0, 0, 0, 255), (8, 0, 24, 16))  # black, from column 8 on
    image = load_image(written(picture, tmp_path / "a.jpg", quality=100, subsampling=0))
    check_layout(image)
    assert image.shape == (16, 24, 3)
    np.testing.assert_allclose(image[:, :8], np.broadcast_to([0, 1, 1], (16, 8, 3)), atol=0.02)
    np.testing.assert_allclose(image[:, 8:], 0, atol=0.02)


def test_16_bit_grey_keeps_its_depth(tmp_path):
    values = np.array([[0, 1, 257], [32768, 65534, 65535]], np.uint16)
    expected = grey(values.astype(np.float32) / np.float32(65535))
    for suffix in ("png", "tiff"):
        path = written(Image.fromarray(values), tmp_path / f"a.{suffix}")
        with Image.open(path) as picture:
            assert picture.mode.startswith("I")  # the file is what the test is about
        np.testing.assert_array_equal(load_image(path), expected)
    assert len(np.unique(expected)) == 6


def test_16_bit_colour_png(tmp_path):
    values = np.array([[[0, 65535, 257], [32896, 51400, 9999]]], np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 16, 2, b"\0" + values.astype(">u2").tobytes()))
    np.testing.assert_allclose(load_image(path), values / 65535, atol=1 / 255)


def test_16_bit_png_with_alpha(tmp_path):
    values = np.array([[[0, 65535, 257, 65535], [9, 9, 9, 0]]], np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 16, 6, b"\0" + values.astype(">u2").tobytes()))
    np.testing.assert_allclose(load_image(path), [[[0, 1, 1 / 255], [1, 1, 1]]], atol=steps(8, 1.0))


def test_float_tiff(tmp_path):
    values = np.array([[0, 0.25, 1], [0.125, 0.5, 0.75]], np.float32)
    path = written(Image.fromarray(values), tmp_path / "a.tiff")
    np.testing.assert_array_equal(load_image(path), grey(values))


TWELVE = np.array([[0, 1, 257], [2048, 4094, 4000]])


@pytest.mark.parametrize(
    ("values", "suffix", "white"),
    [
        (TWELVE.astype(np.uint16), "png", 4095),  # 12 bits of 16
        (TWELVE.astype(np.uint16), "tiff", 4095),
        ((TWELVE // 16).astype(np.int32), "tiff", 255),  # 8 bits of 32
        ((TWELVE * 4).astype(np.uint16), "png", 16383),
    ],
)
def test_deep_grey_that_looks_black_is_told_and_can_be_read(tmp_path, values, suffix, white):
    path = written(Image.fromarray(values), tmp_path / f"a.{suffix}")
    brightest = f"brightest value is {values.max()}, of 65535 .* --white {white}"
    with pytest.warns(ImageWarning, match=brightest):
        np.testing.assert_array_equal(load_image(path), grey(values) / np.float32(65535))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = load_image(path, white=white)
    np.testing.assert_array_equal(image, grey(values) / np.float32(white))
    with pytest.warns(ImageWarning, match=brightest):
        as_image(Image.fromarray(values.astype(np.int32)))  # Pillow's mode I


def test_12_bits_of_16_bit_colour_are_told(tmp_path):
    values = np.array([[[0, 4095, 257], [9, 300, 4000]]], np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 16, 2, b"\0" + values.astype(">u2").tobytes()))
    with pytest.warns(ImageWarning, match="brightest value is 3855, of 65535"):  # 15 of 255
        load_image(path)


def test_dark_images_of_8_bits_and_bright_ones_of_16_are_not_told(tmp_path):
    dark = written(Image.fromarray(PIXELS // 16), tmp_path / "8.png")
    deep = np.array([[0, 9, 16384]], np.uint16)
    bright = written(Image.fromarray(deep), tmp_path / "16.png")
    black = written(Image.fromarray(deep * np.uint16(0)), tmp_path / "0.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in (dark, bright, black):
            load_image(path)


def test_white_below_the_brightest_and_no_white_are_refused(tmp_path):
    path = written(Image.fromarray(TWELVE.astype(np.uint16)), tmp_path / "a.png")
    with pytest.raises(InputError, match=r"in \[0, 4000\], got \[0, 4094\].*white"):
        load_image(path, white=4000)
    for white in (0, -1.5, np.nan, np.inf):
        with pytest.raises(InputError, match="expected white to be a number or None, above 0, got"):
            load_image(path, white=white)


def test_a_transparent_value_of_16_bit_grey_shows_white(tmp_path):
    values = np.array([[0, 1, 257], [32768, 257, 65535]], np.uint16)
    path = written(Image.fromarray(values), tmp_path / "a.png", transparency=257)
    expected = np.where(values == 257, 65535, values).astype(np.float32) / np.float32(65535)
    np.testing.assert_array_equal(load_image(path), grey(expected))
    np.testing.assert_array_equal(load_mask(path), [[False, True, False], [True, False, True]])


@pytest.mark.parametrize("wrong", [1.5, -0.25, np.nan, np.inf])
def test_float_tiff_out_of_range_is_refused(tmp_path, wrong):
    values = np.array([[0, 0.25, 1], [0.125, wrong, 0.75]], np.float32)
    path = written(Image.fromarray(values), tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff: expected grey values in \[0, 1\]"):
        load_image(path)


def test_32_bit_integers_out_of_range_are_refused(tmp_path):
    path = written(Image.fromarray(np.array([[0, 70000, 3]], np.int32)), tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"in \[0, 65535\], got \[0, 70000\]"):
        load_image(path)


# EXIF orientation -> what a viewer does to the stored pixels, on (H, W, 3).
ORIENTATIONS = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored[::-1].transpose(1, 0, 2),  # a quarter turn clockwise
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: stored[:, ::-1].transpose(1, 0, 2),  # a quarter turn anticlockwise
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(Image.fromarray(PIXELS), tmp_path / "a.png", exif=exif)
    expected = ORIENTATIONS[orientation](PIXELS).astype(np.float32) / 255
    np.testing.assert_array_equal(load_image(path), expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_stored_pixels_on_request_with_a_word_about_exif(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(Image.fromarray(PIXELS), tmp_path / "a.png", exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = load_image(path, upright=False)
    np.testing.assert_array_equal(image, PIXELS.astype(np.float32) / 255)
    told = [str(one.message) for one in caught]
    assert len(told) == (orientation != 1)
    assert all("a.png: EXIF would turn it, but" in text for text in told)


def test_a_phone_photo_is_upright(tmp_path):
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:, :8] = 255  # the left third, which orientation 6 turns to the top
    exif = Image.Exif()
    exif[0x0112] = 6
    path = written(Image.fromarray(stored), tmp_path / "a.jpg", quality=95, exif=exif)
    image = load_image(path)
    assert image.shape == (24, 16, 3)
    assert image[:7].min() > 0.9
    assert image[9:].max() < 0.1


def test_damaged_exif_loses_no_pixels(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    Image.fromarray(PIXELS).save(tmp_path / "b.jpg")
    np.testing.assert_array_equal(load_image(path), load_image(tmp_path / "b.jpg"))


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (5, 3), colour) for colour in ("red", "lime", "blue")]
    path = written(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(load_image(path), np.broadcast_to([1, 0, 0], (3, 5, 3)))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_truncated_jpeg(tmp_path, progressive, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "jpeg", progressive=progressive)
    path = tmp_path / "a.jpg"
    path.write_bytes(buffer.getvalue()[: int(share * buffer.tell())])
    with pytest.raises(InputError, match=r"a\.jpg"):
        load_image(path)


def test_truncated_and_damaged_png(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    path = written(Image.fromarray(noise), tmp_path / "a.png")
    whole = path.read_bytes()
    for length in (7, 20, 60, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.png"):
            load_image(path)
    path.write_bytes(whole[:100] + b"garbage" + whole[107:])
    with pytest.raises(InputError, match="damaged"):
        load_image(path)


@pytest.mark.parametrize("content", [b"", b"Dear diary,\n", b"\x89PNG\r\n\x1a\n", b"\0" * 1000])
def test_files_that_are_no_images(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match="empty" if not content else "no known image|damaged"):
        load_image(path)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(InputError, match="no such image"):
        load_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="folder"):
        load_image(tmp_path)
    with pytest.raises(InputError, match=r"no such image|cannot read"):
        load_image(written(Image.new("L", (2, 3)), tmp_path / "a.png") / "b.png")
    with pytest.raises(InputError, match="cannot read"):
        load_image(tmp_path / ("a" * 300 + ".png"))
    with pytest.raises(InputError, match="null byte"):
        load_image("a\0b.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(InputError, match="cannot read"):
        load_image(tmp_path / "loop.png")


SEEDS = {}
for _kind, _options in {"png": {}, "jpeg": {}, "gif": {}, "tiff": {}, "bmp": {}}.items():
    _buffer = io.BytesIO()
    Image.fromarray(PIXELS.repeat(4, 0).repeat(4, 1)).save(_buffer, _kind, **_options)
    SEEDS[_kind] = _buffer.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    content=st.sampled_from(list(SEEDS.values())),
    cut=st.none() | st.integers(0, 400),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
)
def test_any_damage_decodes_or_is_refused(tmp_path_factory, content, cut, damage):
    broken = bytearray(content)
    for place, value in damage:
        broken[place % len(broken)] = value
    path = tmp_path_factory.mktemp("damage") / "a.img"
    path.write_bytes(broken[:cut])
    refusal = ""
    try:
        check_layout(load_image(path))
    except InputError as error:
        refusal = str(error)
    assert not refusal or "a.img" in refusal


def blank(path: Path, side: int) -> Path:
    """A black 1-bit PNG of side x (side + 8) pixels, a few kB on disk and never in memory."""
    deflate = zlib.compressobj(9)
    row = b"\0" * (1 + (side + 8) // 8)
    rows = b"".join([*(deflate.compress(row) for _ in range(side)), deflate.flush()])
    path.write_bytes(png(side + 8, side, 1, 0, b"").replace(png_end(b""), png_end(rows)))
    return path


def png_end(compressed: bytes) -> bytes:
    """The last chunks, IDAT and IEND."""
    compressed = compressed or zlib.compress(b"", 9)
    ends = b""
    for kind, content in ((b"IDAT", compressed), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        ends += struct.pack(">I", len(content)) + kind + content + checksum
    return ends


def test_blank_is_a_valid_png(tmp_path):
    np.testing.assert_array_equal(load_image(blank(tmp_path / "a.png", 16)), np.zeros((16, 24, 3)))


def test_decompression_bombs_are_refused(tmp_path):
    path = blank(tmp_path / "bomb.png", 7072)
    assert path.stat().st_size < 500_000
    with pytest.raises(InputError, match=r"at most 50000000 pixels, got 7080 x 7072.*max_pixels=N"):
        load_image(path)
    pillow = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    side = int((1.2 * pillow) ** 0.5) // 8 * 8
    with pytest.raises(InputError, match=f"more pixels than the {pillow} that Pillow opens"):
        load_image(blank(path, side), max_pixels=pillow)


def test_the_limit_of_pixels_is_an_argument(tmp_path):
    path = blank(tmp_path / "a.png", 16)
    assert load_image(path, max_pixels=16 * 24).shape == (16, 24, 3)
    with pytest.raises(InputError, match=r"a.png: .*at most 383 pixels, got 24 x 16 \(width x hei"):
        load_image(path, max_pixels=383)
    with pytest.raises(InputError, match="at most 383 pixels"):
        load_mask(path, Reading(max_pixels=383))
    for most in (0, 178_956_971):
        with pytest.raises(InputError, match=r"max_pixels to be .* from 1 to 178956970"):
            load_image(path, max_pixels=most)


def test_colours_that_are_decoded_by_strips(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "STRIP", 100)  # pixels: seven rows of fourteen
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (23, 14, 4), np.uint8)
    for mode in ("RGB", "RGBA", "P", "CMYK", "LA", "1"):
        picture = Image.fromarray(pixels).convert(mode)
        shown = picture
        if picture.has_transparency_data:
            shown = Image.new("RGBA", picture.size, "white")
            shown.alpha_composite(picture.convert("RGBA"))
        expected = np.asarray(shown.convert("RGB")).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(as_image(picture), expected)
    values = rng.integers(0, 65536, (23, 14)).astype(np.uint16)
    expected = grey(values.astype(np.float32) / np.float32(65535))
    np.testing.assert_array_equal(as_image(Image.fromarray(values)), expected)
    values[-1, -1] = 60001
    with pytest.raises(InputError, match=r"in \[0, 60000\]"):
        load_image(written(Image.fromarray(values), tmp_path / "a.png"), white=60000)


@pytest.mark.thorough  # two hundred megabytes of pixels
def test_an_image_takes_sixteen_bytes_a_pixel(tmp_path):
    side = 7064
    picture = Image.new("RGBA", (side, side), (9, 99, 200, 30))
    path = written(picture, tmp_path / "large.png")
    code = """
import resource, sys, iassa
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
iassa.load_image(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 17 * side * side


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 20 10
%%EndComments
showpage
"""


def test_postscript_starts_no_program(tmp_path, monkeypatch):
    marker = tmp_path / "started"
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {marker}\n", "utf-8")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # where it was found before
    path = tmp_path / "photo.png"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match=r"no known image: .*photo.png. Save it as one of PNG"):
        load_image(path)
    with Image.open(path) as picture, pytest.raises(InputError, match=r"got EPS. Pass its pixels"):
        as_image(picture)
    assert not marker.exists()


@pytest.mark.parametrize("format_", ["TGA", "ICO", "PCX", "SGI", "JPEG2000", "PDF"])
def test_other_formats_are_refused(tmp_path, format_):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path, format_)
    with pytest.raises(InputError, match=r"no known image: .*a.png. Save it as one of PNG, JPEG"):
        load_image(path)


def scans(count):
    """A progressive JPEG of 16 x 8 with so many scans, all but the first few the same."""
    buffer = io.BytesIO()
    Image.new("L", (16, 8), 100).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * (count - content.count(b"\xff\xda")) + content[-2:]


def test_a_jpeg_of_many_scans_is_refused():
    many = as_image(scans(100))
    np.testing.assert_array_equal(many, as_image(scans(6)))
    with pytest.raises(InputError, match=r"JPEG of at most 100 scans, got 101. Save it as PNG"):
        as_image(scans(101))


def test_tiles_larger_than_their_image_are_refused():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PIXELS, photometric="rgb", tile=(16, 16))
    np.testing.assert_array_equal(as_image(buffer.getvalue()) * 255, PIXELS)
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as file:
        sides = [file.pages[0].tags[tag].valueoffset for tag in (322, 323)]
    content = bytearray(buffer.getvalue())
    for place in sides:
        content[place : place + 2] = struct.pack("<H", 20000)
    with pytest.raises(InputError, match="tiles of at most 50000000 pixels in a TIFF, got 20000 x"):
        as_image(bytes(content))


def test_a_pipe_is_read_and_what_never_ends_is_refused(tmp_path):
    reader, writer = os.pipe()
    os.write(writer, blank(tmp_path / "a.png", 16).read_bytes())
    os.close(writer)
    assert load_image(f"/dev/fd/{reader}").shape == (16, 24, 3)
    os.close(reader)
    most = (1 << 24) + 8 * 384
    with pytest.raises(InputError, match=f"file of at most {most} bytes, got more in /dev/zero. S"):
        load_image("/dev/zero", max_pixels=384)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_float_arrays(dtype):
    values = np.array([[[0, 0.25, 0.5], [1, 0.75, 0.125], [0, 0, 1]]], dtype)
    image = as_image(values)
    check_layout(image)
    np.testing.assert_array_equal(image, values.astype(np.float32))
    assert image.flags.c_contiguous
    image[:] = 0.5  # a copy: what came in stays
    assert values[0, 1, 0] == 1


def test_8_bit_grey_and_strided_arrays():
    np.testing.assert_array_equal(as_image(PIXELS), PIXELS.astype(np.float32) / 255)
    np.testing.assert_array_equal(as_image(PIXELS[:, :, 0]), grey(PIXELS[:, :, 0]) / 255)
    np.testing.assert_array_equal(as_image([[0.0, 0.5]]), grey([[0, 0.5]]))
    turned = (PIXELS / 255).transpose(1, 0, 2)[::-1, :, ::-1]
    np.testing.assert_array_equal(as_image(turned), turned.astype(np.float32))
    assert as_image(turned).flags.c_contiguous
    np.testing.assert_array_equal(as_image(torch.full((2, 3, 3), 0.5)), np.full((2, 3, 3), 0.5))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((2, 3, 3), np.int64), "uint8 or floating point, got int64"),
        (np.zeros((2, 3, 3), np.uint16), "got uint16"),
        (np.zeros((2, 3, 3), bool), "got bool"),
        (np.zeros((2, 3, 3), complex), "got complex128"),
        (np.full((2, 3, 3), "a"), "got <U1"),
        (np.full((2, 3, 3), 255.0), r"in \[0, 1\], got \[255, 255\]"),
        (np.full((2, 3, 3), -1e-3), r"got \[-0.001, -0.001\]"),
        (np.full((2, 3, 3), np.nan), "NaN or infinity"),
        (np.full((2, 3), np.inf), "NaN or infinity"),
        (np.zeros((3, 2, 5)), r"shape \(3, 2, 5\)"),
        (np.zeros((1, 2, 3, 3)), r"shape \(1, 2, 3, 3\)"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros((2, 3, 1)), r"shape \(2, 3, 1\)"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((0, 3, 3)), r"shape \(0, 3, 3\)"),
        (np.zeros((4, 0)), r"shape \(4, 0, 3\)"),
        (None, "expected an image, got None. Some readers return it"),
        ("", "expected an image file, got ''"),
        ("https://a.example/cat.png", "It is a URL, and no image is fetched. Download it"),
        (Path("https://a.example/cat.png"), "It is a URL"),
        (b"", "got an empty file: the bytes"),
        (io.StringIO("text"), "expected bytes, got the open file open for text"),
        (0.5, r"shape \(\)"),
        ([[1.0, 2.0], [3.0]], "an array, got list"),
        (torch.zeros(2, 3, 3, requires_grad=True), "an array, got Tensor"),
        (Image.new("RGB", (0, 4)), r"size \(0, 4\)"),
        ("example:dog", "among cat, coffee, got 'dog'"),
    ],
)
def test_what_is_no_image_is_refused(value, message):
    with pytest.raises(InputError, match=message):
        as_image(value)


def test_bytes_open_files_and_paths_of_any_kind(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sub").mkdir()
    path = written(Image.fromarray(PIXELS), tmp_path / "sub" / "im.png")
    expected = PIXELS.astype(np.float32) / 255
    content = path.read_bytes()
    buffer = io.BytesIO()
    buffer.write(content)  # its end is where it stands
    for value in (content, bytearray(content), buffer, buffer, PurePosixPath(path), "~/sub/im.png"):
        np.testing.assert_array_equal(as_image(value), expected)
    with path.open("rb") as file:
        np.testing.assert_array_equal(as_image(file), expected)
        np.testing.assert_array_equal(as_image(file), expected)
    with pytest.raises(InputError, match=r"im\.png: I/O operation on closed file"):
        as_image(file)
    with path.open() as text, pytest.raises(InputError, match=r"im\.png open for text"):
        as_image(text)
    monkeypatch.chdir(tmp_path)
    for wrong in ("sub\\im.png", PureWindowsPath("sub/im.png")):
        with pytest.raises(
            InputError, match=r"no such image: sub\\im\.png\. There is sub/im\.png\."
        ):
            as_image(wrong)


def test_pillow_images(tmp_path):
    np.testing.assert_array_equal(as_image(Image.fromarray(PIXELS)), PIXELS.astype("f4") / 255)
    path = written(Image.fromarray(PIXELS.repeat(20, 0).repeat(20, 1)), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:-30])
    with Image.open(path) as truncated, pytest.raises(InputError, match="cannot decode"):
        as_image(truncated)


@settings(deadline=None)
@given(
    value=arrays.arrays(
        st.sampled_from([np.uint8, np.float16, np.float32, np.float64, np.int16, np.bool_]),
        arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
    )
)
def test_any_array_is_an_image_or_refused(value):
    good = value.size and (value.ndim == 2 or value.shape[2:] == (3,))
    good = good and (value.dtype == np.uint8 or value.dtype.kind == "f")
    if not (
        good
        and np.isfinite(value).all()
        and value.min() >= 0
        and value.max() <= (255 if value.dtype == np.uint8 else 1)
    ):
        with pytest.raises(InputError, match="expected"):
            as_image(value)
        return
    image = as_image(value)
    check_layout(image)
    assert image.shape[:2] == value.shape[:2]
    scaled = value / np.float32(255) if value.dtype == np.uint8 else value.astype(np.float32)
    np.testing.assert_array_equal(image if value.ndim == 3 else image[:, :, 0], scaled)


def test_examples():
    assert example_image("cat").shape == (300, 451, 3)
    assert as_image("example:coffee").shape == (400, 600, 3)
    check_layout(example_image("coffee"))


@pytest.mark.parametrize("size", [(5, 9), (40, 11), (64, 80), (1, 1), (23, 50)])
def test_resize_is_pillows_bilinear(size):
    plane = np.random.default_rng(0).random((23, 37), np.float32)
    resized = resize(torch.from_numpy(plane), size)
    height, width = size
    expected = Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
    assert resized.shape == size
    np.testing.assert_allclose(resized, np.asarray(expected), atol=steps(160, plane))


def test_resize_of_stacks():
    stack = torch.rand(2, 4, 6, 7, generator=torch.Generator().manual_seed(0))
    resized = resize(stack, (3, 9))
    assert resized.shape == (2, 4, 3, 9)
    torch.testing.assert_close(
        resized[1, 2], resize(stack[1, 2], (3, 9)), rtol=1.3e-6, atol=steps(16, stack)
    )
    assert resize(stack, (6, 7)) is stack


# Masks.

MARKED = np.array([[False, True, False], [True, True, False]])


@pytest.mark.parametrize("suffix", ["png", "tiff", "bmp"])
def test_mask_of_grey_is_what_is_not_black(tmp_path, suffix):
    values = MARKED * np.array([[9, 1, 9], [255, 128, 9]], np.uint8)
    mask = load_mask(written(Image.fromarray(values), tmp_path / f"a.{suffix}"))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, MARKED)


def test_mask_of_two_values_and_of_16_bits(tmp_path):
    bilevel = Image.fromarray(MARKED)
    assert bilevel.mode == "1"
    np.testing.assert_array_equal(load_mask(written(bilevel, tmp_path / "1.png")), MARKED)
    deep = Image.fromarray(MARKED * np.array([[9, 256, 9], [1, 65535, 9]], np.uint16))
    np.testing.assert_array_equal(load_mask(written(deep, tmp_path / "16.png")), MARKED)


def test_mask_of_a_palette_is_its_index_whatever_the_colour(tmp_path):
    palette = Image.new("P", (3, 2))
    palette.putpalette([255, 255, 255, 0, 0, 0, 9, 9, 9])  # index 1 is black
    palette.putdata((MARKED * np.array([[1, 1, 1], [2, 1, 1]])).reshape(-1).tolist())
    np.testing.assert_array_equal(load_mask(written(palette, tmp_path / "p.png")), MARKED)
    path = written(palette, tmp_path / "t.png", transparency=1)
    np.testing.assert_array_equal(load_mask(path), MARKED)


def test_mask_in_colour_is_what_is_not_black(tmp_path):
    values = np.zeros((2, 3, 3), np.uint8)
    values[0, 1, 2] = values[1, 0, 0] = values[1, 1, 1] = 1  # one channel is enough
    np.testing.assert_array_equal(
        load_mask(written(Image.fromarray(values), tmp_path / "c.png")), MARKED
    )


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_mask_with_alpha_is_what_is_neither_black_nor_transparent(tmp_path, mode):
    colour = np.array([[0, 7, 200], [1, 255, 0]], np.uint8)
    alpha = np.array([[255, 1, 0], [255, 255, 0]], np.uint8)
    channels = [colour] * (1 if mode == "LA" else 3) + [alpha]
    picture = Image.merge(mode, [Image.fromarray(c) for c in channels])
    np.testing.assert_array_equal(load_mask(written(picture, tmp_path / "a.png")), MARKED)


def test_mask_with_a_transparent_colour(tmp_path):
    values = np.array([[0, 7, 200], [1, 255, 200]], np.uint8)
    path = written(Image.fromarray(values), tmp_path / "key.png", transparency=200)
    np.testing.assert_array_equal(load_mask(path), MARKED)


def test_mask_is_turned_as_the_image_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    path = written(Image.fromarray(MARKED * np.uint8(255)), tmp_path / "t.png", exif=exif)
    np.testing.assert_array_equal(load_mask(path), np.rot90(MARKED, -1))
    assert load_image(path).shape[:2] == load_mask(path).shape


def test_mask_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="no such image"):
        load_mask(tmp_path / "none.png")
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no known image"):
        load_mask(tmp_path / "a.png")
