"""Encoders at hand compared by held-out labels: the better one is found, and chance is not news."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from loop import config
from loop.cli import cli
from loop.errors import NotReady
from loop.project import create
from loop.project.encoder_choice import compare_encoders
from loop.steps.embed import embed
from loop.steps.run import run
from loop.steps.scan import scan
from tests.conftest import small_values


def noise(images, folder):
    """An encoder that knows nothing of the pictures."""
    files = [path.relative_to(images).as_posix() for path in sorted(images.rglob("*.png"))]
    x = np.random.default_rng(0).standard_normal((len(files), 8)).astype(np.float32)
    np.save(folder / "noise.npy", x)
    (folder / "noise.keys").write_text("\n".join(files) + "\n")
    return f"file:{folder / 'noise.npy'}"


def test_parts_and_earlier_encoders_are_compared_by_held_out_labels(tmp_path, images):
    useless = noise(images, tmp_path)
    values = small_values(
        images, encoder=f"pixels:8+{useless}", selection={"scorer": "random", "budgets": [24]}
    )
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    with pytest.raises(NotReady, match="0 labels cannot tell encoders apart"):
        compare_encoders(project)
    run(project)
    values["encoder"] = useless
    other = type(project)(project.root, config.check(values, "test"))
    embed(other)
    scores = compare_encoders(other)  # the joined one was embedded before
    by_name = {score.encoder: score for score in scores}
    assert by_name["file:noise.npy"].in_use
    assert len(scores) == 2
    assert scores[0].encoder.startswith("pixels")
    gap, error = by_name["file:noise.npy"].behind
    assert gap > 2 * error > 0
    parts = {score.encoder: score for score in compare_encoders(project)}
    assert {"pixels:8", "file:noise.npy", "pixels:8+file:noise.npy"} <= parts.keys()
    assert parts["pixels:8"].dim == 64
    assert parts["pixels:8"].loss < parts["file:noise.npy"].loss
    assert all(score.labels == 24 for score in parts.values())
    answered = CliRunner().invoke(cli, ["encoders", "--compare", "-p", str(project.root)])
    assert answered.exit_code == 0
    assert "> pixels:8+file:noise.npy" in answered.output
