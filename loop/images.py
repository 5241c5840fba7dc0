"""Encoded image bytes -> pixels; a damaged or hostile file raises DataError."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from loop.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
"""Decoders that untrusted bytes may reach; none of them starts another program."""

MAX_DECODED_BYTES = 720_000_000
"""Images that would need more memory are refused before they are decoded (decompression bombs); a
scan refuses no fewer."""
STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes per pixel of Pillow's modes that have fewer than 4."""
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""How the bytes of HEIC and HEIF begin, behind ``ftyp``; AVIF, which browsers show, is none."""
WEBP = 16
"""Bytes per pixel of a WebP, which is never decoded in parts: two canvases, and two copies."""
DEEP = ("I;16", "I;16B", "I;16L", "I", "F")
"""Pillow's modes of grey values with more than 8 bits."""
STRIP = 4_000_000
"""Pixels that are converted at once where a conversion needs many bytes per pixel."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


class Replaced(DataError):
    """An image is another one than when it was scanned."""

    def __init__(self, uri: str) -> None:
        super().__init__(
            f"{uri} is another image than when it was scanned; put the old file back, give the new "
            "one a name of its own, and repeat this; or take it out: coreloop exclude "
            f"'{uri}'"
        )


DEPTHS = (1023.0, 4095.0, 65535.0)
"""White of grey values of 10, 12 and 16 bits."""


def decode(
    data: bytes, name: str = "image", enough: int = 0, *, for_people: bool = False
) -> Image.Image:
    """The first frame as upright 8-bit RGB; transparency over white, 16-bit scaled to 8.

    A damaged EXIF block is ignored: the image keeps its stored orientation.

    Args:
        enough: pixels of the longer side that will do; JPEGs are decoded by a whole factor smaller
            then, which takes a fraction of the time. 0: all of them.
        for_people: pictures whose 16 bits hold 10 or 12 are as light as these say. Encoders see
            them by their 16 bits, so that dark pictures of a pool stay darker than others.

    Raises:
        DataError: not an image, truncated, or too large; the message names ``name``.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_formats())
        if decoded_bytes(image) > MAX_DECODED_BYTES:
            kind = image.format or image.mode
            raise DataError(f"{name}: {image.width} x {image.height} pixels ({kind}) is too large")
        if enough:
            image.draft("RGB", (enough, enough))
        image.load()
        _turn_upright(image)
        return _rgb(image, for_people)
    except UnidentifiedImageError:
        kind = "empty file" if not data else "not an image that can be read"
        raise DataError(f"{name}: {kind}") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: too large ({error})") from None
    except Exception as error:  # decoders raise many types on damaged bytes
        raise DataError(f"{name}: cannot be decoded ({error})") from None


@cache
def _formats() -> tuple[str, ...]:
    """``FORMATS``, and HEIF where the extra ``heic`` is installed."""
    try:
        import pillow_heif
    except ImportError:
        return FORMATS
    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def decoded_bytes(image: Image.Image) -> int:
    """Memory that an opened image takes as it is decoded and as RGB beside it, 4 bytes a pixel."""
    per_pixel = WEBP if image.format == "WEBP" else STORED.get(image.mode, 4) + 4
    return image.width * image.height * per_pixel


def _turn_upright(image: Image.Image) -> None:
    with suppress(Exception):  # the EXIF parser raises many types on damaged blocks
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image.Image, for_people: bool) -> Image.Image:
    if image.mode in DEEP:
        image = _eight_bit(image, for_people)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """A transparent image over white, strip by strip."""
    opaque = Image.new("RGB", image.size)
    for box in _strips(image):
        strip = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
        opaque.paste(Image.alpha_composite(white, strip).convert("RGB"), box)
    return opaque


def _eight_bit(image: Image.Image, for_people: bool) -> Image.Image:
    """Grey values of 16 or 32 bits or floats, scaled to 8 bits by the range they seem to use."""
    largest = max(float(_values(image, box).max(initial=0)) for box in _strips(image))
    if image.mode == "F" and largest <= 1:
        white = 1.0
    elif image.mode.startswith("I;16") or largest > 255:
        white = next(each for each in DEPTHS if largest <= each or each == DEPTHS[-1])
        white = white if for_people else DEPTHS[-1]
    else:
        white = 255.0
    grey = np.empty((image.height, image.width), dtype=np.uint8)
    for box in _strips(image):
        values = np.clip(_values(image, box), 0, white)
        grey[box[1] : box[3]] = (values * (255.0 / white)).round()
    return Image.fromarray(grey)


def _values(image: Image.Image, box: Box) -> NDArray[np.float64]:
    """(height, width) grey values of a part of an image, 0 where one is no number."""
    return np.nan_to_num(np.asarray(image.crop(box)).astype(np.float64))


def _strips(image: Image.Image) -> Iterator[Box]:
    """Boxes of some rows each, from the top."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def size_of(data: bytes, name: str = "image") -> tuple[int, int]:
    """Width and height as stored, from the file's head. Raises DataError: not an image."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS).size
    except Exception:  # decoders raise many types on damaged bytes
        raise DataError(f"{name}: not an image that can be read") from None


def browsable(data: bytes, name: str = "image") -> bytes:
    """Bytes that a browser shows: the bytes themselves, or a PNG of a TIFF, of a HEIC and of 16
    bits, of which browsers show the upper 8.

    Raises:
        DataError: see ``decode``.
    """
    tiff = data[:4] in (b"II*\0", b"MM\0*")
    heif = data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS
    deep = data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == b"\x10\x00"  # 16 bits, grey
    if not (tiff or heif or deep):
        return data
    png = io.BytesIO()
    decode(data, name, for_people=True).save(png, format="PNG")
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
    image = decode(data, name, enough=2 * side, for_people=True)
    if max(image.size) < side:
        factor = max(1, side // max(image.size))
        size = image.width * factor, image.height * factor
        image = image.resize(size, Image.Resampling.NEAREST)
    else:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    image.save(jpeg, format="JPEG", quality=80)
    return jpeg.getvalue()
