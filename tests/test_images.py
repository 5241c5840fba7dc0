"""Decoding: odd modes become the right picture, damage becomes DataError."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from connectors.folder import check_image
from loop import images
from loop.errors import DataError
from loop.images import browsable, decode, decoded_bytes, squares, thumbnail
from tests.conftest import ROOT

BASE = np.arange(16 * 12 * 3, dtype=np.uint8).reshape(12, 16, 3)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK"])
def test_modes_become_rgb(mode):
    image = Image.fromarray(BASE).convert(mode)
    decoded = decode(encoded(image, "TIFF"), mode)
    assert (decoded.mode, decoded.size) == ("RGB", (16, 12))


def test_transparency_lies_on_white():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decode(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_cut():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    pixels = np.asarray(decode(encoded(Image.fromarray(ramp))))[..., 0].astype(int)
    assert pixels[0, 0] == 0
    assert pixels[-1, -1] == 255
    assert (np.diff(pixels.ravel()) >= 0).all()


def test_exif_rotation_is_applied():
    image = Image.fromarray(BASE)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(image, "JPEG", exif=exif)).size == (12, 16)


def test_animation_gives_the_first_frame():
    red, blue = (Image.new("RGB", (4, 4), c) for c in ("red", "blue"))
    data = encoded(red, "GIF", save_all=True, append_images=[blue])
    assert decode(data).getpixel((0, 0))[0] > 200


def test_truncated_and_empty_are_named():
    data = encoded(Image.fromarray(BASE), "PNG")
    for bad in (b"", data[: len(data) // 2], b"hello"):
        with pytest.raises(DataError, match="cat"):
            decode(bad, "cat.png")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_never_crash(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
    raw = bytearray(encoded(Image.fromarray(BASE), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    with contextlib.suppress(DataError):
        assert decode(bytes(raw[:cut])).mode == "RGB"


def test_squares_of_mixed_sizes():
    data = {"a": encoded(Image.fromarray(BASE)), "b": encoded(Image.new("L", (50, 20), 7))}
    pixels = squares(data.__getitem__, ["a", "b"], 8)
    assert pixels.shape == (2, 8, 8, 3)
    assert (pixels[1] == 7).all()


def test_thumbnail_is_small_and_opens():
    big = encoded(Image.new("RGB", (2000, 1000), "green"))
    small = Image.open(io.BytesIO(thumbnail(big)))
    assert max(small.size) == 96


def test_dark_sixteen_bit_pictures_stay_dark():
    dark = np.full((4, 4), 200, dtype=np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(dark)))).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_people_see_pictures_of_ten_and_twelve_bits(white, form):
    """As detectors and microscopes store them: encoders keep the 16 bits, people see something."""
    ramp = np.linspace(0, white, 64, dtype=np.uint16).reshape(8, 8)
    data = encoded(Image.fromarray(ramp), form)
    shown = Image.open(io.BytesIO(browsable(data)))
    assert (shown.format, shown.mode) == ("PNG", "RGB")
    assert np.asarray(shown).max() == 255
    assert np.asarray(Image.open(io.BytesIO(thumbnail(data)))).max() > 240
    assert np.asarray(decode(data)).max() == round(white / 65535 * 255)


def test_float_pictures_are_scaled():
    half = Image.fromarray(np.array([[0, 0.5, 1, np.nan]], dtype=np.float32))
    assert np.asarray(decode(encoded(half, "TIFF")))[0, :, 0].tolist() == [0, 128, 255, 0]


def test_cmyk_jpeg_keeps_its_colour():
    red = Image.new("RGB", (8, 8), (220, 20, 20)).convert("CMYK")
    mean_colour = np.asarray(decode(encoded(red, "JPEG"))).mean(axis=(0, 1))
    assert mean_colour[0] > 180
    assert mean_colour[1:].max() < 60


def test_damaged_exif_is_passed_over():
    bad = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + b"\x01\x12\x00\x03\xff\xff\xff\xff" * 3
    decoded = decode(encoded(Image.fromarray(BASE), "JPEG", exif=bad))
    assert (decoded.mode, decoded.size) == ("RGB", (16, 12))


def test_bombs_are_refused_before_they_are_decoded():
    bomb = encoded(Image.new("1", (20_000, 20_000)))
    with pytest.raises(DataError, match=r"boom\.png.*too large"):
        decode(bomb, "boom.png")


def test_formats_that_start_programs_are_refused():
    with pytest.raises(DataError, match="not an image"):
        decode(encoded(Image.fromarray(BASE), "EPS"))


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(
        [
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0",
            b"GIF89a",
            b"BM",
            b"II*\x00",
            b"MM\x00*",
            b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        ]
    ),
)
def test_any_bytes_are_a_picture_or_a_data_error(body, magic):
    with contextlib.suppress(DataError):
        assert decode(magic + body).mode == "RGB"


def modes():
    ramp = np.linspace(0, 65535, 20 * 30).reshape(20, 30)
    clear = Image.fromarray(np.arange(20 * 30 * 4, dtype=np.uint8).reshape(20, 30, 4), "RGBA")
    palette = clear.convert("RGB").quantize(8)
    palette.info["transparency"] = 3
    yield encoded(Image.fromarray(ramp.astype(np.uint16)))
    yield encoded(Image.fromarray(ramp.astype(np.int32)), "TIFF")
    yield encoded(Image.fromarray((ramp / 65535).astype(np.float32)), "TIFF")
    yield encoded(clear)
    yield encoded(clear.convert("LA"))
    yield encoded(palette)


@pytest.mark.parametrize("data", modes())
def test_strips_are_the_same_picture(data, monkeypatch):
    whole = np.asarray(decode(data))
    monkeypatch.setattr(images, "STRIP", 70)
    np.testing.assert_array_equal(np.asarray(decode(data)), whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "suffix", "side"),
    [
        ("I;16", "png", 9_450),
        ("RGBA", "png", 9_450),
        ("F", "tif", 9_450),
        ("CMYK", "jpg", 9_450),
        ("RGB", "webp", 6_700),
        ("RGB", "webp", 9_450),
        ("RGBA", "webp", 9_450),
    ],
)
def test_the_largest_images_that_a_scan_takes_are_decoded_in_a_gigabyte(
    tmp_path, mode, suffix, side
):
    """A PNG of 169 KB, 9,450 x 9,450 pixels of 16 bits, took 2.3 GB; a WebP of 34 bytes, 1.4."""
    code = (
        "import sys\nfrom connectors.folder import check_image\nfrom loop.images import decode\n"
        "data = open(sys.argv[1], 'rb').read()\n"
        "check_image(data) or decode(data)\n"
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    options = {
        "webp": {"lossless": True, "method": 0},
        "tif": {"compression": "tiff_lzw"},
    }.get(suffix, {})
    Image.new(mode, (side, side)).save(tmp_path / f"large.{suffix}", **options)
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / f"large.{suffix}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 1_000_000


def test_the_limit_counts_decoded_bytes():
    assert decoded_bytes(Image.new("L", (100, 10))) == 5_000
    assert decoded_bytes(Image.new("I;16", (100, 10))) == 6_000
    assert decoded_bytes(Image.new("RGBA", (100, 10))) == 8_000
    webp = Image.open(io.BytesIO(encoded(Image.new("RGB", (100, 10)), "WEBP")))
    assert decoded_bytes(webp) == 16_000
    with pytest.raises(DataError, match="too large"):
        decode(encoded(Image.new("1", (15_000, 15_000))))


@pytest.mark.slow
@pytest.mark.parametrize("side", [6_708, 6_709, 9_450])
def test_a_scan_refuses_what_could_not_be_embedded(side):
    """34 bytes each."""
    webp = encoded(Image.new("RGB", (side, side)), "WEBP", lossless=True, method=0)
    if side == 6_708:
        assert check_image(webp) is None
        assert decode(webp).size == (side, side)
        return
    assert check_image(webp) == f"{side} x {side} pixels (WEBP) is too large"
    with pytest.raises(DataError, match=rf"b\.webp: {side} x {side} pixels \(WEBP\) is too large"):
        decode(webp, "b.webp")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_thumbnails_decode_no_more_of_a_jpeg_than_shows(mode):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    photo = coarse.resize((1600, 1200), Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG", quality=95, exif=exif)
    small = images.decode(encoded.getvalue(), enough=192)
    assert small.size == (300, 400)
    whole = images.decode(encoded.getvalue())
    whole.thumbnail((96, 96), Image.Resampling.LANCZOS)
    small.thumbnail((96, 96), Image.Resampling.LANCZOS)
    difference = np.asarray(small, dtype=float) - np.asarray(whole, dtype=float)
    assert np.abs(difference).mean() < 2
    with pytest.raises(DataError):
        images.thumbnail(encoded.getvalue()[:-3000])
