"""Damaged images of every format and form that is read: `python tests/damaged_images.py 2000`."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

import iassa  # noqa: F401 - what it imports is no cost of an image
from damage import Reader, damage, print_judgement
from iassa.decoding import STORED, UPRIGHT, decode_mask, decode_picture, open_picture

SIZE = (37, 23)  # width and height
PNG = b"\x89PNG\r\n\x1a\n"


def write(picture: Image.Image, format_: str, **options: Any) -> bytes:
    """The content of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def tiff(picture: Image.Image, **options: Any) -> bytes:
    """The content of a TIFF of a form that Pillow does not write."""
    pixels, buffer = np.asarray(picture), io.BytesIO()
    if options.get("planarconfig"):
        pixels = np.moveaxis(pixels, 2, 0).copy()
    photometric = "minisblack" if picture.mode.startswith("I") else "rgb"
    tifffile.imwrite(buffer, pixels, photometric=photometric, **options)
    return buffer.getvalue()


def whole_files() -> list[bytes]:
    """A file of each form."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (*SIZE[::-1], 3), np.uint8))
    smooth = noise.resize((4, 4)).resize(SIZE)
    alpha = smooth.convert("RGBA")
    alpha.putalpha(noise.convert("L"))
    deep = Image.fromarray(rng.integers(0, 65536, SIZE[::-1]).astype(np.uint16))
    floats = Image.fromarray(rng.random(SIZE[::-1]).astype(np.float32))
    palette, bits, grey = smooth.quantize(16), smooth.convert("1"), smooth.convert("L")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "words " * 20, zip=True)
    text.add_itxt("Title", "words " * 20, zip=True)
    profile = {"exif": exif, "pnginfo": text, "icc_profile": rng.bytes(300)}
    frames: dict[str, Any] = {"save_all": True, "append_images": [noise, grey]}
    files = [write(one, "PNG") for one in (noise, alpha, palette, bits, deep, grey.convert("LA"))]
    files += [write(smooth, "PNG", **profile), write(palette, "PNG", transparency=3)]
    files += [write(smooth, "PNG", **frames), write(deep, "PNG", transparency=9)]
    files += [write(one, "JPEG", exif=exif) for one in (smooth, grey, smooth.convert("CMYK"))]
    files += [write(smooth, "JPEG", progressive=True), write(smooth, "MPO", **frames)]
    files += [write(smooth, "WEBP"), write(alpha, "WEBP", lossless=True, exif=exif)]
    files += [write(alpha, "WEBP", **frames)]
    codes = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_deflate")
    files += [write(smooth, "TIFF", compression=code) for code in codes]
    fax = ("group4", "group3", "tiff_ccitt")
    files += [write(bits, "TIFF", compression=code) for code in fax]
    files += [
        write(one, "TIFF", exif=exif) for one in (alpha, deep, floats, smooth.convert("CMYK"))
    ]
    files += [write(deep, "TIFF", compression="tiff_lzw")]
    files += [write(smooth, "TIFF", compression="tiff_lzw", big_tiff=True, strip_size=200)]
    files += [tiff(smooth, tile=(16, 32)), tiff(deep, tile=(16, 16), byteorder=">")]
    files += [tiff(smooth, planarconfig="separate"), tiff(noise, compression="zlib")]
    files += [write(one, "BMP") for one in (smooth, palette, bits, alpha)]
    files += [write(one, "GIF", **more) for one, more in ((palette, {}), (noise, frames))]
    files += [write(one, "PPM") for one in (smooth, grey, bits, deep)]
    files += [b"P3\n2 2\n200\n" + b"9 8 7 " * 4, b"P6\n2 2\n200\n" + bytes(12)]
    return files


def damage_image(number: int, rng: np.random.Generator) -> bytes:
    """One of the files, damaged; a PNG gets new checksums every other time."""
    made = damage(FILES[number % len(FILES)], FILES, rng)
    return renew_checksums(made) if made.startswith(PNG) and rng.random() < 0.5 else made


def renew_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they now hold."""
    made, place = bytearray(content), len(PNG)
    while place + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, place)
        end = place + 8 + length
        if end + 4 > len(made):
            break
        struct.pack_into(">I", made, end, zlib.crc32(made[place + 4 : end]))
        place = end + 4
    return bytes(made)


def readers(number: int) -> list[Reader]:
    """A damaged file, read as an image or as a mask. The first ones are whole."""
    whole = number < len(FILES)
    content = FILES[number] if whole else damage_image(number, np.random.default_rng(number))
    reading = STORED if number % 3 else UPRIGHT
    decode: Any = decode_mask if number % 5 == 0 else decode_picture

    def read() -> str:
        pixels: Any = open_picture(content, "a file", reading, decode)
        if decode is decode_mask:
            assert pixels.ndim == 2
            assert pixels.dtype == np.bool_
        else:
            assert pixels.shape[2] == 3
            assert pixels.dtype == np.float32
            assert pixels.min() >= 0
            assert pixels.max() <= 1
        return "whole" if whole else "an image"

    return [read]


FILES = whole_files()

if __name__ == "__main__":
    print_judgement(readers)
