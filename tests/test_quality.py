"""What is odd about pictures."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from loop.quality import MEASURES, measures, odd_images

SHARED = Path(os.environ.get("CORELOOP_DATA", Path(__file__).parents[2] / "shared"))


def textures(count: int) -> list[Image.Image]:
    """Pictures with edges of every size, as photographs have."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        layers = [
            np.asarray(
                Image.fromarray(rng.integers(40, 215, (side, side, 3), dtype=np.uint8)).resize(
                    (128, 96), Image.Resampling.BICUBIC
                ),
                dtype=float,
            )
            for side in (4, 16, 64)
        ]
        pictures.append(Image.fromarray(np.mean(layers, axis=0).astype(np.uint8)))
    return pictures


def found(pictures: list[Image.Image]) -> dict[str, list[int]]:
    measured = np.array([measures(picture, picture.size) for picture in pictures])
    return {odd.issue: odd.rows.tolist() for odd in odd_images(measured)}


def test_each_issue_has_the_pictures_made_so():
    pictures = textures(40)
    assert found(pictures) == {}
    one = pictures[0]
    made = [
        one.point(lambda value: value // 8),
        Image.new("RGB", (128, 96), "white"),
        Image.new("RGB", (128, 96), (90, 120, 60)),
        one.filter(ImageFilter.GaussianBlur(3)),
        one.resize((512, 64)),
    ]
    assert found(pictures + made) == {
        "dark": [40],
        "light": [41],
        "blank": [41, 42],
        "blurred": [43],
        "shape": [44],
    }


def test_odd_sizes_are_told_from_those_that_vary():
    rng = np.random.default_rng(0)
    measured = np.array([measures(picture, picture.size) for picture in textures(40)])
    size = MEASURES.index("size")
    measured[:, size] = rng.uniform(80, 120, 40)
    assert odd_images(measured) == []
    measured[5, size], measured[9, size] = 900, 4000
    (odd,) = odd_images(measured)
    assert (odd.issue, odd.rows.tolist()) == ("size", [9, 5])


def test_pictures_that_were_not_measured_are_no_issue():
    measured = np.array([measures(picture, picture.size) for picture in textures(10)])
    measured[3] = np.nan
    assert odd_images(measured) == []
    assert odd_images(np.full((4, len(MEASURES)), np.nan, np.float32)) == []


@pytest.mark.skipif(not (SHARED / "data").exists(), reason="the real images are not here")
@pytest.mark.parametrize(("name", "radius"), [("trashnet", 2), ("flowers5", 3), ("cifar10", 2)])
def test_blurred_photographs_are_found(name, radius):
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(SHARED / "data" / f"{name}.parquet")
    encoded = next(file.iter_batches(200, columns=["image"])).column(0).to_pylist()
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in encoded]
    for row in range(10):
        pictures[row] = pictures[row].filter(ImageFilter.GaussianBlur(radius))
    blurred = found(pictures)["blurred"]
    assert sum(row < 10 for row in blurred) >= 8
    assert sum(row >= 10 for row in blurred) <= 0.04 * 190
