"""examples/own_embeddings, run as a reader would, drives a whole selection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from connectors.base import Image
from connectors.folder import Folder
from loop import encoders
from loop.encoders import shards

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_embeddings" / "make.py"


def test_example(images, tmp_path):
    array = tmp_path / "mine.npy"
    subprocess.run([sys.executable, EXAMPLE, images, array], check=True)
    source = Folder(images)
    scanned = [image for image in source.scan() if isinstance(image, Image)]
    encoder = encoders.get(f"file:{array}")
    shards.encode(
        encoder,
        source.read,
        [image.uri for image in scanned],
        [image.key for image in scanned],
        tmp_path / "pool.npy",
    )
    x = np.load(tmp_path / "pool.npy")
    assert x.shape == (60, 27)
    assert x.std(axis=0).max() > 0.1  # digits differ in their middle


def test_a_relative_path_is_that_of_where_init_was_typed(images, tmp_path):
    subprocess.run([sys.executable, EXAMPLE, images, tmp_path / "mine.npy"], check=True)
    command = [sys.executable, "-c", "from loop.cli import main; main()"]
    made = ["init", "p", "--images", "images", "--encoder", "file:mine.npy"]
    subprocess.run([*command, *made], cwd=tmp_path, check=True)
    subprocess.run([*command, "embed"], cwd=tmp_path / "p", check=True)
    assert f"file:{tmp_path}/mine.npy" in (tmp_path / "p" / "coreloop.toml").read_text()
