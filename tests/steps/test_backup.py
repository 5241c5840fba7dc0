"""backup and restore: the same project again, or nothing at all."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing

import pytest
from sqlalchemy import select

from db.errors import Damaged, Full, Missing
from db.models import Base
from loop import config as settings
from loop.errors import ConfigError
from loop.project import ProjectBusy, find
from loop.project.damage import verify
from loop.steps.backup import LIST, backup, restore
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.status import status
from tests.conftest import finished_project
from tests.durability.test_disk_and_signals import ENV, MAIN


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    project = finished_project(tmp_path_factory.mktemp("finished"))
    (project.root / ".label-studio-token").write_text("secret-token")
    return project


def dump(project):
    """Every row of every table."""
    with project.records.read() as session:
        return {
            table.name: session.execute(select(table).order_by(*table.primary_key)).all()
            for table in Base.metadata.sorted_tables
        }


def test_round_trip(finished, tmp_path):
    copied = backup(finished, tmp_path / "copy")
    restored = restore(copied.folder, tmp_path / "again")
    again = find(restored.folder)
    assert str(again.database).startswith("sqlite")
    assert dump(again) == dump(finished)
    assert status(again).rounds == status(finished).rounds
    before = {path.name: path.read_bytes() for path in finished.arrays.glob("*.npy")}
    assert {path.name: path.read_bytes() for path in again.arrays.glob("*.npy")} == before
    assert (again.root / "oracle.jsonl").read_bytes() == (
        finished.root / "oracle.jsonl"
    ).read_bytes()
    ended = run(again, budget=3)  # and it goes on from there
    assert ended.why == "done"
    assert status(again).rounds[-1].labelled == 3


def test_no_token_and_nothing_else_is_copied(finished, tmp_path):
    copied = backup(finished, tmp_path / "copy")
    files = [path for path in copied.folder.rglob("*") if path.is_file()]
    assert not any(b"secret-token" in path.read_bytes() for path in files)
    names = {path.relative_to(copied.folder).as_posix() for path in files}
    assert names == {LIST, *json.loads((copied.folder / LIST).read_text())["files"]}


def test_folders_that_are_not_empty_are_refused(finished, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        backup(finished, tmp_path / "full")
    copied = backup(finished, tmp_path / "copy")
    with pytest.raises(ConfigError, match="not empty"):
        restore(copied.folder, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert restore(copied.folder, tmp_path / "empty").files == copied.files


@pytest.mark.parametrize("kind", ["arrays", "coreloop.db", "oracle.jsonl"])
def test_a_damaged_backup_restores_nothing(finished, tmp_path, kind):
    copied = backup(finished, tmp_path / "copy")
    hit = next(path for path in copied.folder.rglob("*") if kind in str(path) and path.is_file())
    data = bytearray(hit.read_bytes())
    data[len(data) // 2] ^= 1
    hit.write_bytes(data)
    with pytest.raises(Damaged, match=hit.name):
        restore(copied.folder, tmp_path / "again")
    hit.unlink()
    with pytest.raises(Missing, match=hit.name):
        restore(copied.folder, tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_damaged_array_is_not_backed_up(finished, tmp_path):
    shutil.copytree(finished.root, tmp_path / "project")
    project = find(tmp_path / "project")
    hit = next(project.arrays.glob("*.npy"))
    hit.write_bytes(hit.read_bytes()[:-1])
    with pytest.raises(Damaged, match="--repair"):
        backup(project, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["../stolen", "/etc/passwd", "arrays/../../x", "other/x", ".x"])
def test_a_hostile_list_leads_nowhere(finished, tmp_path, name):
    copied = backup(finished, tmp_path / "copy")
    listed = json.loads((copied.folder / LIST).read_text())
    listed["files"][name] = "0" * 32
    (copied.folder / LIST).write_text(json.dumps(listed))
    with pytest.raises(ConfigError, match="not restored"):
        restore(copied.folder, tmp_path / "again")


def test_links_in_a_backup_are_not_followed(finished, tmp_path):
    copied = backup(finished, tmp_path / "copy")
    hit = copied.folder / "oracle.jsonl"
    hit.rename(tmp_path / "elsewhere")
    hit.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Missing, match=r"oracle\.jsonl"):
        restore(copied.folder, tmp_path / "again")


@pytest.mark.parametrize("kind", ["arrays", "coreloop.toml"])
def test_a_pipe_in_a_backup_is_not_waited_for(finished, tmp_path, kind):
    copied = backup(finished, tmp_path / "copy")
    hit = next(path for path in copied.folder.rglob("*") if kind in str(path) and path.is_file())
    hit.unlink()
    os.mkfifo(hit)
    with pytest.raises(Missing, match="no ordinary file"):
        restore(copied.folder, tmp_path / "again")


@pytest.mark.timeout(60)
def test_a_list_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / LIST)
    with pytest.raises(ConfigError, match="not a backup"):
        restore(tmp_path, tmp_path / "p")


@pytest.mark.parametrize("text", ["", "[" * 10**5, "[]", "{}", '{"files": {}}', '{"files": 3}'])
def test_what_is_no_backup(tmp_path, text):
    (tmp_path / LIST).write_text(text)
    with pytest.raises(ConfigError, match="not a backup"):
        restore(tmp_path, tmp_path / "again")


def test_backup_while_another_command_writes(project, tmp_path):
    """The copy is of one moment: a run in one thread, backups in another; each restores."""
    scan(project)
    writer = threading.Thread(target=run, args=(project,))
    writer.start()
    seen = []
    while writer.is_alive() or not seen:
        copied = backup(project, tmp_path / f"copy-{len(seen)}")
        restored = status(find(restore(copied.folder, tmp_path / f"again-{len(seen)}").folder))
        seen.append([(line.number, line.state) for line in restored.rounds])
    writer.join()
    assert seen[0] != seen[-1] or len(seen) == 1


def many_at_once(count, work):
    """What each of ``count`` threads did at the same moment: its result or its exception."""
    barrier, ends = threading.Barrier(count), []

    def attempt():
        barrier.wait()
        try:
            ends.append(work())
        except Exception as error:
            ends.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


@pytest.mark.parametrize("count", [2, 3])
def test_several_at_once_into_one_folder(finished, tmp_path, count):
    """One makes it, the others say that another is at it, or that it is there."""
    for attempt in range(10):
        target, again = tmp_path / f"copy-{attempt}", tmp_path / f"again-{attempt}"
        for made in (
            many_at_once(count, lambda target=target: backup(finished, target)),
            many_at_once(count, lambda target=target, again=again: restore(target, again)),
        ):
            refused = [end for end in made if isinstance(end, Exception)]
            assert len(refused) == count - 1, made
            assert {type(error) for error in refused} <= {ProjectBusy, ConfigError}
        assert dump(find(again)) == dump(finished)
        assert verify(find(again)) == ([], [])
        assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] == ".") == []


@pytest.mark.slow
def test_three_commands_at_once_into_one_folder(finished, tmp_path):
    """As a cron job that overlaps with itself."""
    commands = [
        subprocess.Popen(
            [*MAIN, "backup", str(tmp_path / "copy")],
            cwd=finished.root,
            env=ENV,
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    ends = [(command.communicate(timeout=120)[1], command.returncode) for command in commands]
    assert [code for _, code in ends].count(0) == 1
    assert all(code in (0, 2, 5) and "Traceback" not in words for words, code in ends), ends
    assert dump(find(restore(tmp_path / "copy", tmp_path / "again").folder)) == dump(finished)


def test_what_a_killed_backup_left_is_not_in_the_next(finished, tmp_path):
    left = tmp_path / ".copy.coreloop-draft" / "arrays"
    left.mkdir(parents=True)
    (left / "of-another-time.npy").write_bytes(b"left")
    copied = backup(finished, tmp_path / "copy")
    assert not list(copied.folder.rglob("of-another-time.npy"))
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_an_unsound_database_is_not_backed_up(finished, tmp_path):
    """Every backup that was made can be restored: the copy is opened and looked through."""
    shutil.copytree(finished.root, tmp_path / "project")
    with closing(sqlite3.connect(tmp_path / "project" / "coreloop.db")) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("DELETE FROM item WHERE id IN (SELECT item_id FROM pick LIMIT 1)")
        raw.commit()
    with find(tmp_path / "project") as project, pytest.raises(Damaged, match="has no item"):
        backup(project, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


@pytest.mark.parametrize("step", ["backup", "restore"])
def test_a_full_disk(finished, tmp_path, small_disk, step):
    copied = backup(finished, tmp_path / "copy")
    for left in (0, 30_000, 100_000, 180_000):
        free = shutil.disk_usage(small_disk).free
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * max(0, free - left))
        with pytest.raises(Full, match="Free some space"):
            if step == "backup":
                backup(finished, small_disk / "made")
            else:
                restore(copied.folder, small_disk / "made")
        assert [path.name for path in small_disk.iterdir()] == ["ballast"]
        ballast.unlink()
    assert backup(finished, small_disk / "made").files == copied.files


def moved(finished, tmp_path, **changes):
    """A copy of the finished project whose path to the images is relative."""
    root = tmp_path / "far" / "project"
    shutil.copytree(finished.root, root)
    os.symlink(finished.root.parent / "images", tmp_path / "far" / "images")
    project = find(root)
    pool = project.config.pool.model_copy(update={"path": "../images", **changes})
    config = project.config.model_copy(update={"pool": pool})
    (root / settings.FILE).write_text(settings.dump(config))
    return find(root)


def test_a_relative_path_leads_to_the_images_from_elsewhere(finished, tmp_path):
    project = moved(finished, tmp_path)
    copied = backup(project, tmp_path / "copy")
    beside = restore(copied.folder, tmp_path / "far" / "beside")
    assert find(beside.folder).config.pool.path == "../images"  # it leads there as it is
    (tmp_path / "images").mkdir()
    elsewhere = restore(copied.folder, tmp_path / "elsewhere")  # ../images is another folder
    assert (beside.note, elsewhere.note) == ("", "")
    again = find(elsewhere.folder)
    assert again.config.pool.path == str((finished.root.parent / "images").resolve())
    assert run(again, budget=2).why == "done"


def test_a_restored_project_says_that_its_images_are_gone(finished, tmp_path):
    project = moved(finished, tmp_path)
    copied = backup(project, tmp_path / "copy")
    (tmp_path / "far" / "images").unlink()
    restored = restore(copied.folder, tmp_path / "again")
    assert str(tmp_path / "images") in restored.note
    assert f"'path' under [pool] in {restored.folder / settings.FILE}" in restored.note
    assert find(restored.folder).config.pool.path == "../images"


def test_a_backup_is_not_opened_as_a_project(finished, tmp_path):
    """``status`` in it changed its records, which then were no more what the list says."""
    copied = backup(finished, tmp_path / "copy")
    for folder in (copied.folder, copied.folder / "arrays"):
        with pytest.raises(ConfigError, match="is a backup and stays as it is"):
            find(folder)
    restored = restore(copied.folder, tmp_path / "new")
    assert dump(find(restored.folder)) == dump(finished)
