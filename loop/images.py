"""Encoded image bytes -> pixels; a damaged or hostile file raises DataError."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from loop.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""Decoders that untrusted bytes may reach; none of them starts another program."""

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (decompression bombs)."""


def decode(data: bytes, name: str = "image") -> Image.Image:
    """The first frame as upright 8-bit RGB; transparency over white, 16-bit scaled to 8.

    A damaged EXIF block is ignored: the image keeps its stored orientation.

    Raises:
        DataError: not an image, truncated, or too large; the message names ``name``.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{name}: {image.width} x {image.height} pixels is too large")
        image.load()
        return _rgb(_upright(image))
    except UnidentifiedImageError:
        kind = "empty file" if not data else "not an image that can be read"
        raise DataError(f"{name}: {kind}") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large ({error})") from None
    except Exception as error:  # decoders raise many types on damaged bytes
        raise DataError(f"{name}: cannot be decoded ({error})") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the EXIF parser raises many types on damaged blocks
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        image = _eight_bit(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey values of 16 or 32 bits or floats, scaled to 8 bits by the range they seem to use."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    largest = values.max(initial=0)
    if image.mode == "F" and largest <= 1:
        white = 1.0
    elif image.mode.startswith("I;16") or largest > 255:
        white = 65535.0
    else:
        white = 255.0
    scaled = np.clip(values, 0, white) * (255.0 / white)
    return Image.fromarray(scaled.round().astype(np.uint8))


def browsable(data: bytes, name: str = "image") -> bytes:
    """Bytes that a browser shows: the bytes themselves, or a PNG of a TIFF.

    Raises:
        DataError: see ``decode``.
    """
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return data
    png = io.BytesIO()
    decode(data, name).save(png, format="PNG")
    return png.getvalue()


def squares(read: Callable[[str], bytes], uris: Sequence[str], side: int) -> NDArray[np.uint8]:
    """(N, side, side, 3) uint8: each image resized (bicubic) to a square, for training networks.

    Raises:
        DataError: an image cannot be decoded.
    """
    pixels = np.empty((len(uris), side, side, 3), dtype=np.uint8)
    for row, uri in enumerate(uris):
        image = decode(read(uri), uri)
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        pixels[row] = np.asarray(image)
    return pixels


def thumbnail(data: bytes, side: int = 96, name: str = "image") -> bytes:
    """A JPEG of at most ``side`` x ``side``; smaller images are enlarged by whole factors.

    Raises:
        DataError: see ``decode``.
    """
    image = decode(data, name)
    if max(image.size) < side:
        factor = max(1, side // max(image.size))
        size = image.width * factor, image.height * factor
        image = image.resize(size, Image.Resampling.NEAREST)
    else:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    image.save(jpeg, format="JPEG", quality=80)
    return jpeg.getvalue()
