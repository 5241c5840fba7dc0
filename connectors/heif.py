"""HEIC and HEIF, the pictures of telephones: read where ``coreloop[heic]`` is installed."""

from __future__ import annotations

from functools import cache

SUFFIXES = frozenset([".heic", ".heif"])
FORMAT = "HEIF"


@cache
def can_be_read() -> bool:
    """Whether they can; Pillow opens them in this process from then on."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
