"""Pictures of any shape: what is cropped away is not computed first."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from loop.encoders import network
from loop.encoders.network import TorchEncoder
from loop.export import script

MEGABYTES = 700
WANTED = {"size": 224, "shorter_edge": 256, "resample": "bicubic", "mode": "RGB"}


def encoder():
    return TorchEncoder("any", None, 224, (0, 0, 0), (1, 1, 1), short=256)


def noise(width, height):
    values = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("size", [(300, 200), (37, 411), (900, 31), (224, 224), (60, 2000)])
def test_the_part_alone_is_what_is_cut_out_of_the_whole(size, monkeypatch):
    picture = noise(*size)
    whole, exported = encoder().prepare(picture), script.prepare(picture, WANTED)
    monkeypatch.setattr(network, "LARGEST", 0)
    monkeypatch.setattr(script, "LARGEST", 0)
    part = encoder().prepare(picture)
    assert part.shape == (224, 224, 3)
    assert np.abs(part.astype(int) - whole).mean() < 0.5  # Pillow rounds once more in between
    np.testing.assert_array_equal(whole, exported)
    np.testing.assert_array_equal(part, script.prepare(picture, WANTED))


THIN = f"""
import resource, sys
sys.path[:0] = {sys.path!r}
from tests.encoders.test_thin_pictures import *
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for size in ((30_000, 3), (3, 30_000), (1, 60_000)):
    assert encoder().prepare(noise(*size)).shape == (224, 224, 3)
    assert script.prepare(noise(*size), WANTED).shape == (224, 224, 3)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_thin_picture_takes_little_memory():
    done = subprocess.run([sys.executable, "-c", THIN], capture_output=True, text=True, check=True)
    assert int(done.stdout) < MEGABYTES
