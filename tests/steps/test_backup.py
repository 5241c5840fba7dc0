"""backup and restore: the same project again, or nothing at all."""

from __future__ import annotations

import json
import shutil
import threading

import pytest
from sqlalchemy import select

from db.errors import Damaged, Missing
from db.models import Base
from loop.errors import ConfigError
from loop.project import find
from loop.steps.backup import LIST, backup, restore
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.status import status


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from loop import config
    from loop.project import create
    from tests.conftest import small_values, write_images

    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images")
    project = create(folder / "project", config.check(small_values(folder / "images"), "test"))
    run(project)
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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {}}', '{"files": 3}'])
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
        found = status(find(restore(copied.folder, tmp_path / f"again-{len(seen)}").folder))
        seen.append([(line.number, line.state) for line in found.rounds])
    writer.join()
    assert seen[0] != seen[-1] or len(seen) == 1
