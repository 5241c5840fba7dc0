"""predict.py, which goes with an exported model, decodes and resizes as coreloop does."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime", reason="extra 'onnx' not installed")

from loop.encoders.network import TorchEncoder
from loop.encoders.pixels import Pixels
from loop.export import script
from loop.export.preprocessing import of_encoder
from loop.images import decode

RNG = np.random.default_rng(0)
PICTURE = Image.fromarray(RNG.integers(0, 255, (37, 53, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(PICTURE, "JPEG", exif=exif)


def grey(dtype: str, high: float) -> Image.Image:
    return Image.fromarray((RNG.random((20, 30)) * high).astype(dtype))


def translucent() -> Image.Image:
    values = RNG.integers(0, 255, (20, 30, 4), dtype=np.uint8)
    return Image.fromarray(values)


FILES = {
    **{f"{mode} TIFF": encoded(PICTURE.convert(mode), "TIFF") for mode in ("L", "P", "1", "CMYK")},
    "JPEG": encoded(PICTURE, "JPEG"),
    "CMYK JPEG": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "WebP": encoded(PICTURE, "WEBP"),
    "BMP": encoded(PICTURE, "BMP"),
    "GIF": encoded(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(90)]),
    "alpha": encoded(translucent(), "PNG"),
    "grey with alpha": encoded(translucent().convert("LA"), "PNG"),
    "a transparent colour": encoded(PICTURE.quantize(16), "PNG", transparency=3),
    "transparent grey": encoded(PICTURE.convert("L"), "PNG", transparency=40),
    "16 bits": encoded(grey("uint16", 65535), "PNG"),
    "16 dark bits": encoded(grey("uint16", 200), "PNG"),
    "32 bits": encoded(grey("int32", 60_000), "TIFF"),
    "32 bits, small": encoded(grey("int32", 250), "TIFF"),
    "floats to 1": encoded(grey("float32", 1), "TIFF"),
    "floats to 255": encoded(grey("float32", 255), "TIFF"),
    **{f"turned {number}": turned(number) for number in range(1, 9)},
}


@pytest.mark.parametrize("name", FILES)
def test_decodes_as_coreloop_does(name):
    image = script.decode(FILES[name])
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(decode(FILES[name])))


ENCODERS = {
    "pixels": Pixels(9),
    "squeezed": TorchEncoder("t", None, 24, (0.5,) * 3, (0.5,) * 3),
    "cropped": TorchEncoder("t", None, 24, (0.5,) * 3, (0.5,) * 3, 27, "bilinear"),
    "cropped beyond": TorchEncoder("t", None, 24, (0.5,) * 3, (0.5,) * 3, 20),
}


@pytest.mark.parametrize("size", [(53, 37), (37, 53), (24, 24), (11, 200), (40, 25)])
@pytest.mark.parametrize("name", ENCODERS)
def test_resizes_as_the_encoder_does(name, size):
    encoder = ENCODERS[name]
    image = PICTURE.resize(size, Image.Resampling.BICUBIC)
    preprocessing = of_encoder(encoder, "images")
    prepared = script.prepare(image, preprocessing.to_json())
    assert prepared.shape == preprocessing.shape
    expected = encoder.prepare(image)
    if name == "pixels":
        expected = (expected * 255).round().reshape(9, 9, 1)
    np.testing.assert_array_equal(prepared, expected)


def test_what_is_no_ordinary_file_is_an_error_of_its_own(tmp_path):
    """A pipe was waited for, an endless file read until memory ended."""
    (tmp_path / "good.png").write_bytes(FILES["alpha"])
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "sparse.png").touch()
    os.truncate(tmp_path / "sparse.png", 40 * 10**9)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "bomb.png").write_bytes(encoded(Image.new("1", (9_500, 9_500)), "PNG"))

    class Predictor:
        labels = ("a", "b")

        def prepare(self, image):
            return [np.zeros(1)]

        def probabilities(self, prepared):
            return np.tile([0.2, 0.8], (len(prepared), 1))

    files = script.files_in([str(tmp_path)], script.SUFFIXES)
    answers = {Path(a["image"]).stem: a for a in script.answers_to_images(Predictor(), files, 1)}
    assert answers.pop("good")["label"] == "b"
    assert {name: answer["error"].partition(": ")[2] for name, answer in answers.items()} == {
        "pipe": "no ordinary file",
        "sparse": "larger than 500 MB",
        "folder": "no ordinary file",
        "gone": "no such file",
        "bomb": "9500 x 9500 pixels is too large",
    }
