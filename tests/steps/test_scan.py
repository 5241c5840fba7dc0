"""A scan goes on where it was left, and its workers end with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from connectors import folder
from db.models import Item
from loop import config
from loop.errors import DataError
from loop.project import create
from loop.steps import scan as scan_step
from loop.steps.embed import embed
from loop.steps.run import run
from loop.steps.scan import scan
from tests.conftest import rows, small_values, write_images
from tests.durability.forked import ROOT


def items(project):
    with project.records.read() as session:
        return [(i.row, i.uri, i.key) for i in session.query(Item).order_by(Item.row)]


def test_a_scan_goes_on_behind_the_last_chunk(project, monkeypatch):
    monkeypatch.setattr(scan_step, "CHUNK", 10)
    looked = []
    check = folder.check_image

    def watched(data):
        looked.append(1)
        if len(looked) == 37:
            raise KeyboardInterrupt
        return check(data)

    monkeypatch.setattr(folder, "check_image", watched)
    with pytest.raises(KeyboardInterrupt):
        scan(project, workers=0)
    scanned = scan(project, workers=0)
    assert len(looked) == 37 + 60 - 30
    assert (scanned.images, scanned.added) == (60, 30)
    assert [row for row, _, _ in items(project)] == list(range(60))
    assert [uri for _, uri, _ in items(project)] == sorted(uri for _, uri, _ in items(project))
    assert scan(project).added == 0
    assert len(looked) == 67  # known files are not opened again


def test_new_images_are_added_behind_the_others(project, images):
    scan(project)
    before = items(project)
    write_images(images, count=75)
    assert scan(project).added == 15
    assert items(project)[:60] == before


def test_workers_end_with_a_killed_scan(project, images):
    write_images(images, count=160)
    code = (
        "import connectors.workers as w; w.IN_PROCESS = 0; w.CHUNK = 1\n"
        "import sys; sys.argv = ['coreloop', 'scan', '--workers', '2']\n"
        "import loop.steps.scan as s; s.CHUNK = 5\n"
        "from loop.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project.root,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not items(project) and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, "the scan was over before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    ended = time.monotonic()
    with pytest.raises(ProcessLookupError):
        while time.monotonic() - ended < 60:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    assert scan(project).images == 160


def test_a_renamed_file_is_the_same_image(project, images):
    run(project)
    before = items(project)
    old = images / before[5][1]
    old.rename(old.with_name("renamed.png"))
    scanned = scan(project)
    assert (scanned.added, scanned.duplicates) == (0, 0)
    after = items(project)
    assert after[5][1].endswith("renamed.png")
    assert [key for _, _, key in after] == [key for _, _, key in before]


def test_the_test_split_stays_after_the_first_scan(tmp_path, images):
    """A copy of a pool image in the test folder later would move the rows of scores."""
    write_images(tmp_path / "other", count=75)
    test = tmp_path / "test"
    for path in sorted((tmp_path / "other").rglob("*.png"))[-15:]:
        (test / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(test / path.parent.name / path.name)
    values = small_values(images, pool={"test_path": str(test)})
    made = create(tmp_path / "p", config.check(values, "test"))
    copies = scan(made).duplicates
    splits = 'SELECT split FROM item ORDER BY "row"'
    before = rows(made, splits)
    ((uri,),) = rows(made, "SELECT min(uri) FROM item WHERE split = 'pool'")
    (test / "digit-2" / "copy.png").write_bytes((images / uri).read_bytes())
    assert scan(made).duplicates == copies + 1
    assert rows(made, splits) == before


def test_a_mended_file_is_no_more_listed(project, images):
    good = sorted(images.rglob("*.png"))[0].read_bytes()
    (images / "digit-0" / "bad.png").write_bytes(b"not yet")
    assert len(scan(project).unreadable) == 1
    (images / "digit-0" / "bad.png").write_bytes(good + b"copied wholly")
    assert scan(project).unreadable == []


def test_an_image_that_was_replaced_is_not_shown_to_people(project, images):
    scan(project)
    embed(project)
    picks = sorted(images.rglob("*.png"))
    for a, b in zip(picks[::2], picks[1::2], strict=True):
        first, second = a.read_bytes(), b.read_bytes()
        a.write_bytes(second)
        b.write_bytes(first)
    with pytest.raises(DataError, match="another image than when it was scanned"):
        run(project)
    assert not rows(project, "SELECT * FROM batch")


def test_the_file_of_an_item_is_deleted_and_its_copy_stays(project, images):
    first = sorted(images.rglob("*.png"))[0]
    shutil.copy(first, first.with_name("zz-copy.png"))
    assert scan(project).duplicates == 1
    first.unlink()
    scanned = scan(project)
    assert (scanned.images, scanned.added, scanned.duplicates) == (60, 0, 0)
    assert any(uri.endswith("zz-copy.png") for _, uri, _ in items(project))
    assert run(project).why == "done"


def test_a_file_moved_to_another_class_has_that_label(project, images):
    scan(project)
    first = sorted(images.rglob("*.png"))[0]
    other = next(d for d in sorted(images.iterdir()) if d.is_dir() and d != first.parent)
    first.rename(other / "moved.png")
    scan(project)
    moved = "SELECT known_label FROM item WHERE uri LIKE '%moved.png'"
    assert rows(project, moved) == [(other.name,)]


def test_where_no_image_can_be_used_what_was_passed_over_is_named(tmp_path):
    for number in range(3):
        (tmp_path / "images" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / "a" / f"{number}.jxl").touch()
    values = small_values(tmp_path / "images")
    with pytest.raises(DataError, match=r"3 files passed over: no suffix .*, e\.g\. a/0\.jxl"):
        scan(create(tmp_path / "p", config.check(values, "test")))
