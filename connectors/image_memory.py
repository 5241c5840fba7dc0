"""Memory that an encoded image takes once it is decoded, told by its header."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_DECODED_BYTES = 720_000_000
"""Images that would need more memory are refused before they are decoded (decompression bombs),
when they are scanned and when they are embedded."""
STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes per pixel of Pillow's modes that have fewer than 4."""
WEBP = 16
"""Bytes per pixel of a WebP, which is never decoded in parts: two canvases, and two copies."""


def decoded_bytes(image: Image) -> int:
    """Memory of an opened image as it is decoded and as RGB beside it, 4 bytes a pixel."""
    per_pixel = WEBP if image.format == "WEBP" else STORED.get(image.mode, 4) + 4
    return image.width * image.height * per_pixel


def too_large(image: Image) -> str | None:
    """Why an opened image is not decoded, or None."""
    if decoded_bytes(image) <= MAX_DECODED_BYTES:
        return None
    kind = f"{image.format} {image.mode}" if image.format else image.mode
    return f"{image.width} x {image.height} pixels ({kind}) is too large"
