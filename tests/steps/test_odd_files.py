"""A folder of 200 files of forty odd kinds: every file is in init's numbers."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from connectors import heif
from loop.steps.init import init
from tests.conftest import rows

EACH = 5
"""Files of a kind."""


def pixels(seed: int, shape=(12, 12, 3), dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def encoded(form: str, mode: str = "RGB", **options) -> Callable[[int], bytes]:
    def of(seed: int) -> bytes:
        data = io.BytesIO()
        Image.fromarray(pixels(seed)).convert(mode).save(data, form, **options)
        return data.getvalue()

    return of


def frames(form: str) -> Callable[[int], bytes]:
    def of(seed: int) -> bytes:
        first, *others = (Image.fromarray(pixels(seed + 1000 * i)) for i in range(3))
        data = io.BytesIO()
        first.save(data, form, save_all=True, append_images=others)
        return data.getvalue()

    return of


def sixteen_bit(seed: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels(seed, (12, 12), np.uint16)).save(data, "PNG")
    return data.getvalue()


def with_text_chunk(seed: int) -> bytes:
    """A PNG whose text would be a megabyte when unpacked."""
    png = encoded("PNG")(seed)
    text = b"zTXt" + b"note\0\0" + zlib.compress(b"a" * 1_000_000)
    chunk = (len(text) - 4).to_bytes(4, "big") + text + zlib.crc32(text).to_bytes(4, "big")
    return png[:33] + chunk + png[33:]


def cut(seed: int) -> bytes:
    return encoded("JPEG")(seed)[:200]


def archive(seed: int) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(f"{seed}.png"))
    return data.getvalue()


def bomb(seed: int) -> bytes:
    data = io.BytesIO()
    Image.new("1", (20_000, 20_000 + seed % 7)).save(data, "PNG")
    return data.getvalue()


png = encoded("PNG")
USED = {
    "plain/{}.png": png,
    "capitals/{}.JPG": encoded("JPEG"),
    "jfif/{}.jfif": encoded("JPEG"),
    "jpe/{}.jpe": encoded("JPEG"),
    "cmyk/{}.jpeg": encoded("JPEG", "CMYK"),
    "grey/{}.jpg": encoded("JPEG", "L"),
    "progressive/{}.jpg": encoded("JPEG", progressive=True),
    "avif/{}.avif": encoded("AVIF"),
    "webp/{}.webp": encoded("WEBP", lossless=True),
    "moving/{}.webp": frames("WEBP"),
    "gif/{}.gif": encoded("GIF", "P"),
    "moving/{}.gif": frames("GIF"),
    "bmp/{}.bmp": encoded("BMP"),
    "tiff/{}.tiff": encoded("TIFF"),
    "pages/{}.tif": frames("TIFF"),
    "deflated/{}.tif": encoded("TIFF", compression="tiff_adobe_deflate"),
    "palette/{}.png": encoded("PNG", "P"),
    "alpha/{}.png": encoded("PNG", "RGBA"),
    "bits/{}.png": sixteen_bit,
    "text/{}.png": with_text_chunk,
    "wrong name/{}.png": encoded("JPEG"),
    "wörter und leer/ä {}.png": png,
    "deep/a/b/c/d/{}.png": png,
}
UNREADABLE = {
    "cut/{}.jpg": cut,
    "empty/{}.png": lambda seed: b"",
    "words/{}.png": lambda seed: b"no image at all",
    "eps/{}.png": encoded("EPS"),
    "bomb/{}.png": bomb,
    "html/{}.jpg": lambda seed: b"<!doctype html><p>404",
}
PASSED = {
    "phone/{}.HEIC": lambda seed: b"\0\0\0\x18ftypheic",
    "raw/{}.CR2": lambda seed: b"II*\0",
    "video/{}.mp4": lambda seed: b"ftyp",
    "notes/{}.txt": lambda seed: b"a note",
    "none/{}": lambda seed: png(seed),
    "half/{}.jpg.part": cut,
    "archive/{}.tar": archive,
    "plain/.{}.png": png,
    ".git/objects/{}.png": png,
    "cat/@eaDir/{}.jpg": png,
    "#recycle/{}.png": png,
}


@pytest.fixture
def forty_kinds(tmp_path, monkeypatch):
    monkeypatch.setattr(heif, "can_be_read", lambda: False)
    kinds = {**USED, **UNREADABLE, **PASSED}
    assert len(kinds) == 40
    for kind, (name, content) in enumerate(kinds.items()):
        for i in range(EACH):
            path = tmp_path / "pool" / name.format(i)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(100 * kind + i))
    return tmp_path / "pool"


def test_every_file_of_forty_kinds_is_accounted_for(forty_kinds, tmp_path):
    project, scanned = init(
        tmp_path / "p", forty_kinds, project={"classes": ["a", "b"]}, encoder="pixels:8"
    )
    everything = {
        os.path.relpath(os.path.join(folder, name), forty_kinds)
        for folder, _, names in os.walk(forty_kinds)
        for name in names
    }
    assert len(everything) == 200
    used = {uri for (uri,) in rows(project, "SELECT uri FROM item UNION SELECT uri FROM duplicate")}
    unreadable = {uri for uri, _ in scanned.unreadable}
    passed = sum(each.count for each in scanned.passed_over)
    assert used == {name.format(i) for name in USED for i in range(EACH)}
    assert unreadable == {name.format(i) for name in UNREADABLE for i in range(EACH)}
    assert used | unreadable < everything
    assert len(used) + len(unreadable) + passed == 200
    assert scanned.images + scanned.duplicates == len(used)
