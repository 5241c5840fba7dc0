"""Encoded image bytes -> pixels: every odd file becomes a right picture or a DataError."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from loop.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The decoders that hostile bytes can reach; none of them starts another program."""

MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded (decompression bombs)."""


def decode(data: bytes, name: str = "image") -> Image.Image:
    """The first frame as upright 8-bit RGB; transparency on white, 16-bit scaled down.

    A damaged EXIF block is passed over: the picture stays as it is stored.

    Raises:
        DataError: not an image, truncated, or too large; names ``name``.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{name}: {image.width} x {image.height} pixels is too large")
        image.load()
        image = _upright(image)
        return _rgb(image)
    except UnidentifiedImageError:
        kind = "empty file" if not data else "not an image that can be read"
        raise DataError(f"{name}: {kind}") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large ({error})") from None
    except Exception as error:  # decoders fail in many ways on hostile bytes; each is one bad file
        raise DataError(f"{name}: cannot be decoded ({error})") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the EXIF parser fails in as many ways as there are damaged blocks
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        high = values.max(initial=0)
        top = 65535.0 if high > 255 or image.mode.startswith("I;16") else 255.0
        if image.mode == "F" and high <= 1:
            top = 1.0
        return Image.fromarray(
            (np.clip(values, 0, top) * (255.0 / top)).round().astype(np.uint8)
        ).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("RGB")


def browsable(data: bytes, name: str = "image") -> bytes:
    """The bytes, or a PNG of what no browser shows (TIFF).

    Raises:
        DataError: see ``decode``.
    """
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return data
    out = io.BytesIO()
    decode(data, name).save(out, format="PNG")
    return out.getvalue()


def squares(read: Callable[[str], bytes], uris: Sequence[str], side: int) -> NDArray[np.uint8]:
    """(N, side, side, 3) uint8: each image resized (bicubic) to a square, for training on pixels.

    Raises:
        DataError: an image cannot be decoded.
    """
    out = np.empty((len(uris), side, side, 3), dtype=np.uint8)
    for i, uri in enumerate(uris):
        image = decode(read(uri), uri)
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        out[i] = np.asarray(image)
    return out


def thumbnail(data: bytes, side: int = 96, name: str = "image") -> bytes:
    """A small JPEG for reports; pictures smaller than ``side`` are enlarged without blur.

    Raises:
        DataError: see ``decode``.
    """
    image = decode(data, name)
    if max(image.size) < side:
        factor = max(1, side // max(image.size))
        image = image.resize(
            (image.width * factor, image.height * factor), Image.Resampling.NEAREST
        )
    else:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="JPEG", quality=80)
    return out.getvalue()
