"""Projects to look at: ten thousand images, one round answered, the next one open."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from loop import config
from loop.project import create, find
from loop.steps.run import run
from tests.conftest import ROOT, small_values

CLASSES = ["blue", "green", "red"]
COUNT, LARGE = 150, 10_000
"""Images."""


def colour(number):
    """Class and 8 x 8 pixels of an image; every fiftieth is nearly the one before."""
    rng = np.random.default_rng(number - (number % 50 == 1))
    label = int(rng.integers(3))
    pixels = rng.integers(0, 90, (8, 8, 3))
    pixels[..., 2 - label] += 120
    pixels[0, 0, 0] = number % 50
    return CLASSES[label], pixels.astype(np.uint8)


def write_colours(folder, count):
    """Files in folders of a thousand; name -> class."""
    names = {}
    for number in range(count):
        name = f"{number // 1000:02d}/photo {number:05d}.png"
        if number % 1000 == 0:
            (folder / name).parent.mkdir(parents=True)
        names[name], pixels = colour(number)
        Image.fromarray(pixels).save(folder / name, compress_level=1)
    return names


def answer(project, names, wrong=()):
    """Fills in what is empty on the sheets; images at these lines get another class."""
    for sheet in project.root.glob("sheets/*.csv"):
        with sheet.open(newline="") as file:
            lines = list(csv.DictReader(file))
        for number, line in enumerate(lines):
            if not line["label"]:
                label = names["/".join(line["image"].split("/")[-2:])]
                index = CLASSES.index(label) + (number in wrong)
                line["label"] = CLASSES[index % 3]
        with sheet.open("w", newline="") as file:
            writer = csv.DictWriter(file, lines[0].keys())
            writer.writeheader()
            writer.writerows(lines)


def sheets_project(folder, images):
    """A project with sheets over images that ``write_colours`` made."""
    values = small_values(
        images,
        project={"name": "colours", "classes": CLASSES},
        pool={"labelled": False},
        encoder="pixels:8",
        measure={"by": "sample", "images": 40},
        selection={"scorer": "random", "budgets": [30, 24]},
        labeler={"kind": "csv"},
    )
    del values["pool"]["test"]
    return create(folder, config.check(values, "test"))


@pytest.fixture(scope="session")
def first_round(tmp_path_factory):
    """Round 1 waits, picks and a random sample mixed; and the classes by file name."""
    folder = tmp_path_factory.mktemp("first")
    names = write_colours(folder / "images", COUNT)
    project = sheets_project(folder / "project", folder / "images")
    if project.config.project.database:
        pytest.skip("the records are not on this disk")
    assert run(project).why == "waiting"
    project.close()
    return project.root, names


@pytest.fixture
def waiting(first_round, tmp_path):
    """A copy of its own."""
    root, names = first_round
    shutil.copytree(root, tmp_path / "project")
    return find(tmp_path / "project"), names


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """10,000 images, made once; round 1 is answered, with three wrong labels, and round 2 waits."""
    images, made = ROOT / ".build" / "colours", ROOT / ".build" / "colours.json"
    if not made.exists():
        shutil.rmtree(images, ignore_errors=True)
        made.write_text(json.dumps(write_colours(images, LARGE)))
    names = json.loads(made.read_text())
    project = sheets_project(tmp_path_factory.mktemp("large") / "project", images)
    assert run(project).why == "waiting"
    answer(project, names, wrong=(3, 14, 31))
    assert run(project).why == "waiting"
    return project
