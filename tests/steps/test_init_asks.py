"""init looks before money is spent: encoder, classes, where the project lies; and it leaves nothing
behind where it fails."""

from __future__ import annotations

import errno
import json
import os
import pty
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from connectors.base import SourceError
from connectors.folder import Folder
from db.errors import Full
from loop.cli import cli
from loop.errors import ConfigError, DataError
from loop.photographs import is_photograph, mostly_photographs
from loop.project import ProjectBusy, find
from loop.project.class_folders import (
    UnclearClasses,
    clear_classes,
    doubt_about,
    labelled_classes,
)
from loop.project.classes import check_kind
from loop.steps.init import ADVISED, init
from loop.steps.scan import scan
from tests.conftest import rows, write_images

CLASSES = ["--classes", "cat,dog"]


def photograph(seed: int, size: int = 120) -> Image.Image:
    """Light falls off, and every pixel has noise of its own."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(40, 200, size)[:, None, None] * np.array([1.0, 0.9, 0.7])
    noisy = slope + rng.normal(0, 12, (size, size, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def drawing(size: int = 200) -> Image.Image:
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    for i in range(20):
        pen.ellipse((i * 9, i * 5, i * 9 + 50, i * 5 + 50), fill=(i * 12, 90, 200))
    return image


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(30):
        photograph(i).save(folder / f"IMG_{i}.jpg")
    return folder


def invoked(*args):
    return CliRunner().invoke(cli, ["init", *map(str, args)])


def at_terminal(typed, *args, cwd):
    """Exit code and output of init with a person at a terminal who types this."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from loop.cli import main; main()", "init", *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, f"{typed}\n".encode())
    told = done.communicate(timeout=120)[0].decode()
    os.close(ours)
    return done.returncode, told


def test_what_a_photograph_is():
    assert is_photograph(photograph(0))
    assert is_photograph(photograph(0, 32))
    assert is_photograph(photograph(0).convert("L").convert("RGB"))
    assert not is_photograph(drawing())
    assert not is_photograph(Image.new("RGB", (300, 300), "red"))
    assert mostly_photographs([photograph(0), photograph(1), drawing()])
    assert not mostly_photographs([])


def test_digits_and_photographs_as_they_are(shared, images):
    pq = pytest.importorskip("pyarrow.parquet")
    import io

    table = pq.ParquetFile(shared / "data" / "trashnet.parquet").read_row_group(0, ["image"])
    encoded = [
        cell["bytes"] if isinstance(cell, dict) else cell
        for cell in table["image"].to_pylist()[:40]
    ]
    opened = [Image.open(io.BytesIO(each)).convert("RGB") for each in encoded]
    assert np.mean([is_photograph(image) for image in opened]) > 0.9
    digits = [Image.open(path).convert("RGB") for path in images.rglob("*.png")]
    assert not any(is_photograph(image) for image in digits)


def test_without_a_terminal_photographs_get_a_warning(photos, tmp_path):
    done = invoked(tmp_path / "p", "--images", photos, *CLASSES)
    assert done.exit_code == 0, done.output
    assert ADVISED in done.stderr
    told = " ".join(done.stderr.split())
    assert "384 dimensions, 88 MB of weights, licence apache-2.0" in told
    assert "images a second here: about " in told
    assert find(tmp_path / "p").config.encoder == "pixels"
    facts = json.loads(invoked(tmp_path / "j", "--images", photos, *CLASSES, "--json").stdout)
    assert facts["advised_encoder"] == ADVISED


def test_yes_takes_the_recommendation_but_never_over_a_choice(photos, tmp_path):
    assert invoked(tmp_path / "p", "--images", photos, *CLASSES, "--yes").exit_code == 0
    assert find(tmp_path / "p").config.encoder == ADVISED
    chosen = ["--encoder", "pixels:8", "--yes"]
    assert invoked(tmp_path / "q", "--images", photos, *CLASSES, *chosen).exit_code == 0
    assert find(tmp_path / "q").config.encoder == "pixels:8"


def test_digits_get_no_warning(images, tmp_path):
    done = invoked(tmp_path / "p", "--images", images)
    assert done.exit_code == 0, done.output
    assert "photographs" not in done.output
    assert "classes: digit-0, digit-1, digit-2 (the sub-folders of" in done.output


@pytest.mark.parametrize(("typed", "encoder"), [("y", ADVISED), ("", ADVISED), ("n", "pixels")])
def test_a_person_is_asked_once(photos, tmp_path, typed, encoder):
    code, _ = at_terminal(typed, "p", "--images", photos, *CLASSES, cwd=tmp_path)
    assert code == 0
    assert find(tmp_path / "p").config.encoder == encoder


@pytest.mark.parametrize(
    "name",
    [
        *("2021", "2021-05", "20210503", "2021-05-03 beach", "03.05.2021", "DCIM", "100CANON"),
        *(
            "train",
            "test",
            "validation",
            "train2017",
            "test_set",
            "test1",
            "dev",
            "Photos",
            "batch 2",
            "New folder (3)",
            "unsorted",
        ),
    ],
)
def test_names_that_are_no_classes(name):
    assert repr(name) in doubt_about(["cat", name], [])


@pytest.mark.parametrize(
    "name",
    [
        "0",
        "9",
        "cat",
        "other",
        "class_12",
        "n01440764",
        "1950s car",
        "Mai",
        "testudo",
        "setter",
        "trainer",
    ],
)
def test_names_that_may_be_classes(name):
    assert doubt_about(["cat", name], []) == ""


def test_dates_are_refused_with_what_to_type(tmp_path):
    write_images(tmp_path / "images", classes=2)
    for i, date in enumerate(("2021-05-03", "2021-06-01")):
        (tmp_path / "images" / f"digit-{i}").rename(tmp_path / "images" / date)
    done = invoked(tmp_path / "p", "--images", tmp_path / "images")
    assert isinstance(done.exception, UnclearClasses)
    assert "'2021-05-03', '2021-06-01', each of which looks like a date" in str(done.exception)
    assert "--classes 2021-05-03,2021-06-01" in str(done.exception)
    assert not (tmp_path / "p").exists()
    labelled = invoked(
        tmp_path / "p", "--images", tmp_path / "images", "--labelled", "--labeler", "oracle"
    )
    assert labelled.exit_code == 0, labelled.output  # the person said that folders are labels


def test_a_person_names_the_classes(photos, tmp_path):
    code, told = at_terminal(
        "cat, dog", "p", "--images", photos, "--encoder", "pixels:8", cwd=tmp_path
    )
    assert code == 0
    assert "classes: cat, dog" in told
    assert find(tmp_path / "p").config.project.classes == ["cat", "dog"]


def test_images_beside_class_folders_are_a_doubt(images):
    assert clear_classes(images) == ["digit-0", "digit-1", "digit-2"]
    photograph(0).save(images / "loose.jpg")
    with pytest.raises(UnclearClasses, match=r"1 image lies in no sub-folder \('loose.jpg'\)"):
        clear_classes(images)


def test_a_project_inside_its_images_is_said_and_not_scanned(images):
    done = invoked(images / "own", "--images", images, "--classes", "digit-0,digit-1,digit-2")
    assert done.exit_code == 0, done.output
    assert "note: the project lies inside" in done.output
    project = find(images / "own")
    before = scan(project).images
    shutil.copytree(images / "digit-0", project.reports / "digit-0")
    photograph(1).save(project.reports / "thumbnail.jpg")
    assert scan(project).images == before
    assert scan(project).duplicates == 0


def test_a_failed_init_leaves_nothing(tmp_path, photos):
    (tmp_path / "empty").mkdir()
    project = {"classes": ["cat", "dog"]}
    with pytest.raises(DataError, match="no usable image"):
        init(tmp_path / "a" / "b", tmp_path / "empty", project=project)
    assert not (tmp_path / "a").exists()
    with pytest.raises(SourceError, match="there is no"):
        init(tmp_path / "a" / "b", tmp_path / "nowhere", project=project)
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        init(tmp_path / "file", photos, project=project)
    assert (tmp_path / "file").read_text() == ""


def test_a_failed_init_leaves_what_stood_there(tmp_path, images):
    root = tmp_path / "p"
    project, _ = init(root, images)
    project.close()
    (root / "coreloop.toml").unlink()  # records and arrays of a project that lost its config
    (root / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    digest = rows(project, "SELECT digest FROM pool")
    project.close()
    with pytest.raises((DataError, SourceError)):
        broken = {"classes": ["a", "b"]}
        init(root, tmp_path / "empty" / "gone", project=broken)
    assert (root / "notes.txt").read_text() == "mine"
    assert rows(project, "SELECT digest FROM pool") == digest


def test_a_failed_init_takes_away_no_project_of_another(tmp_path, images, monkeypatch):
    root = tmp_path / "p"
    init(root, images)[0].close()
    with pytest.raises(ConfigError, match="exists already"):
        init(root, images)
    assert find(root).config.project.name == "p"

    def busy(*args, **options):
        raise ProjectBusy("another command")

    monkeypatch.setattr("loop.steps.init.scan", busy)
    with pytest.raises(ProjectBusy):
        init(tmp_path / "q", images)
    assert (tmp_path / "q" / "coreloop.toml").exists()


def test_a_full_disk_leaves_nothing(tmp_path, images, monkeypatch):
    def full(*args, **options):
        raise Full("no room")

    monkeypatch.setattr("loop.steps.init.scan", full)
    with pytest.raises(Full):
        init(tmp_path / "p", images)
    assert not (tmp_path / "p").exists()


def in_splits(root, *folders):
    for number, folder in enumerate(folders):
        for copy in range(6):
            (root / folder).mkdir(parents=True, exist_ok=True)
            photograph(10 * number + copy).save(root / folder / f"{copy}.jpg")
    return root


BOTH = ("train/cat", "train/dog")


@pytest.mark.parametrize(
    ("folders", "stray", "reason"),
    [
        ((*BOTH, "val/cat"), "sample.jpg", "sample.jpg lies in no class folder"),
        ((*BOTH, "val/cat"), "val/sample.jpg", "val/sample.jpg lies in no class folder"),
        ((*BOTH, "test"), "", "test/0.jpg lies in no class folder"),
        ((*BOTH, "test_set/cat"), "", "'test_set' is none of dev, eval"),
        ((*BOTH, "unlabeled"), "", "'unlabeled' is none of dev, eval"),
        (("train/cat", "val/cat"), "", "below them is one class folder"),
    ],
)
def test_parts_of_a_set_are_no_labels(tmp_path, folders, stray, reason):
    """They were taken for the true ones."""
    images = in_splits(tmp_path / "images", *folders)
    if stray:
        photograph(99).save(images / stray)
    with pytest.raises(UnclearClasses) as refused:
        labelled_classes(images)
    assert reason in str(refused.value)
    done = invoked(tmp_path / "p", "--images", images, "--labelled", "--labeler", "oracle")
    assert isinstance(done.exception, UnclearClasses)
    assert not (tmp_path / "p").exists()


def test_a_class_may_be_called_as_a_part(tmp_path):
    images = in_splits(tmp_path / "images", "bus", "car", "train")
    assert labelled_classes(images) == ["bus", "car", "train"]


@pytest.mark.parametrize("test", ["test", "Eval", "EVALUATION", "testing"])
@pytest.mark.parametrize("learned", ["val", "Dev", "VALID"])
def test_splits_under_other_names(tmp_path, test, learned):
    images = in_splits(tmp_path / "images", *BOTH, f"{learned}/cat", f"{test}/dog")
    assert labelled_classes(images) == ["cat", "dog"]
    splits = {i.uri.split("/")[0]: i.split for i in Folder(images, splits=True).scan()}
    assert splits == {"train": "pool", learned: "pool", test: "test"}


@pytest.mark.parametrize("name", ["labels.xlsx", "set.zip", "photo.jpg"])
@pytest.mark.parametrize("options", [(), ("--classes", "cat,dog"), ("--labelled",)])
def test_a_file_of_another_kind_is_called_so(tmp_path, name, options):
    (tmp_path / name).write_bytes(b"PK")
    done = invoked(tmp_path / "p", "--images", tmp_path / name, *options)
    assert "neither a folder nor a file of a kind that is read" in str(done.exception)
    assert "saved as 'CSV UTF-8'" in str(done.exception)
    assert not (tmp_path / "p").exists()


def test_no_such_images_of_known_labels_are_called_so(tmp_path):
    done = invoked(tmp_path / "p", "--images", tmp_path / "nowhere", "--labelled")
    assert f"there is no {tmp_path / 'nowhere'}" in str(done.exception)


def test_a_folder_that_cannot_be_listed_is_called_so(photos, tmp_path, monkeypatch):
    """It was said to have no class folders."""

    def closed(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("loop.project.classes.os.scandir", closed)
    with pytest.raises(SourceError, match=r"cannot be listed \(Permission denied\); ask its owner"):
        check_kind(photos)
