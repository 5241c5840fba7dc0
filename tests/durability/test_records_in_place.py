"""The database file itself: emptied, older, foreign, or one that this user may only read."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from db import arrays
from db.errors import Busy, Damaged, Full
from db.snapshot import copied
from db.state import open_records
from loop.config import check
from loop.project import create, find
from loop.steps.backup import backup
from loop.steps.doctor import doctor, prune, unnamed_arrays
from loop.steps.labels import labels
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.status import status
from tests.conftest import ROOT, small_values
from tests.durability.test_disk_and_signals import ENV, MAIN, content, coreloop

NOBODY = 65534
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
pytestmark = pytest.mark.skipif("config.getoption('--postgresql')", reason="about SQLite")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from tests.conftest import write_images

    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images")
    project = create(folder / "project", check(small_values(folder / "images"), "test"))
    with project:
        run(project)
    return project


@pytest.fixture
def copy(finished, tmp_path):
    """The finished project's folder, for each test to break."""
    return Path(shutil.copytree(finished.root, tmp_path / "copy"))


@pytest.mark.parametrize("put", ["emptied", "foreign", "another program's", "older"])
def test_a_database_that_is_not_this_folders_is_refused(finished, copy, tmp_path, put):
    database, before = copy / "coreloop.db", content(copy / "arrays")
    good = database.read_bytes()
    if put == "emptied":
        database.write_bytes(b"")
    elif put == "another program's":
        database.unlink()
        with sqlite3.connect(database) as raw:
            raw.execute("CREATE TABLE bookmarks (x)")
        raw.close()
    else:
        values = small_values(finished.root.parent / "images")
        other = create(tmp_path / "other", check(values, "test"))
        with other:
            scan(other)
        shutil.copy(other.root / "coreloop.db", database)
        if put == "older":
            with sqlite3.connect(finished.root / "coreloop.db") as raw:
                (source,) = raw.execute("SELECT source FROM pool").fetchone()
            raw.close()
            with sqlite3.connect(database) as raw:
                raw.execute("UPDATE pool SET source = ?", (source,))
            raw.close()
    bad = database.read_bytes()
    ended = coreloop("status", cwd=copy)
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    for step in (status, run, scan, labels, lambda project: backup(project, tmp_path / "backup")):
        with find(copy) as project, pytest.raises(Damaged, match="coreloop restore"):
            step(project)
    assert database.read_bytes() == bad
    assert content(copy / "arrays") == before
    database.write_bytes(good)
    assert all(check.ok for check in doctor(copy, deep=True))
    assert run(find(copy), budget=2).why == "done"


def killed_while_writing(root):
    """Leaves a -wal: the process dies with the records open."""
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom loop.project import find\n"
        "from loop.project.rounds import begin_round\n"
        "begin_round(find(Path()), 2)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, env=ENV)
    assert ended.returncode == -signal.SIGKILL
    assert (root / "coreloop.db-wal").stat().st_size


def test_an_older_file_beside_a_newer_log_is_refused(finished, copy, tmp_path, images):
    """The log would be taken for the older file's own, and half of both be read."""
    database = copy / "coreloop.db"
    older = create(tmp_path / "older", check(small_values(images), "test"))
    older.close()
    killed_while_writing(copy)
    log, good = (copy / "coreloop.db-wal").read_bytes(), database.read_bytes()
    shutil.copy(older.root / "coreloop.db", database)
    for step in (status, run):
        with find(copy) as project, pytest.raises(Damaged, match=r"older than this folder.*-wal"):
            step(project)
    assert (copy / "coreloop.db-wal").read_bytes() == log
    database.write_bytes(good)
    assert len(status(find(copy)).rounds) == 4
    assert run(find(copy)).why == "done"


def test_the_mark_never_runs_ahead_of_the_file(copy):
    """It is taken only where the log's pages are in the file; a reader keeps some from it."""
    mark = copy / ".coreloop.mark"
    before = mark.read_text()
    project = find(copy)
    reader = sqlite3.connect(copy / "coreloop.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM event").fetchone()
    with project.writing() as records, records.write() as session:
        from db.state import log

        log(session, "test", "newer than the reader")
    assert mark.read_text() == before
    reader.close()
    with project.writing():
        pass
    project.close()
    assert json.loads(mark.read_text())["event"] == json.loads(before)["event"] + 1


def test_an_older_state_is_taken_where_the_person_says_so(finished, copy, tmp_path):
    project = find(copy)
    shutil.copy(copy / "coreloop.db", tmp_path / "older.db")
    with project:
        run(project, budget=2)
    shutil.copy(tmp_path / "older.db", copy / "coreloop.db")
    with pytest.raises(Damaged, match=r"remove .*\.coreloop\.mark"):
        status(project)
    (copy / ".coreloop.mark").unlink()
    assert len(status(project).rounds) == 3
    project.close()


def test_only_prune_removes_arrays_that_no_record_names(copy):
    import numpy as np

    project = find(copy)
    unnamed = arrays.write_file(np.arange(5.0), project.arrays)
    (project.arrays / "draft-1-00.npy").write_bytes(b"begun")
    run(project, budget=2)
    assert unnamed_arrays(project) == [unnamed]
    assert not list(project.arrays.glob("draft-*"))
    shown = coreloop("doctor", cwd=copy)
    assert "1 more" in shown.stdout
    assert "--prune" in shown.stdout
    kept = subprocess.run(
        [*MAIN, "doctor", "--prune"], cwd=copy, env=ENV, input="n\n", text=True, capture_output=True
    )
    assert unnamed.name in kept.stderr
    assert unnamed.exists()
    newer = arrays.write_file(np.arange(6.0), project.arrays)
    assert prune(project, [unnamed]) == [unnamed]
    assert unnamed_arrays(project) == [newer]  # it was not listed
    gone = coreloop("doctor", "--prune", "--yes", cwd=copy)
    assert gone.returncode == 0, gone.stdout
    assert unnamed_arrays(project) == []
    assert "every digest" in coreloop("doctor", "--deep", cwd=copy).stdout
    project.close()


def as_reader(*args, cwd):
    """A command that may write only where its user's permission bits say so, even if that is root:
    the capability to pass over them is dropped before it starts."""

    def drop() -> None:
        libc = ctypes.CDLL(None)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            libc.prctl(PR_CAPBSET_DROP, capability)

    return subprocess.run(
        [*MAIN, *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env=ENV,
        preexec_fn=None if os.geteuid() else drop,
    )


@contextmanager
def may_only_be_read(root):
    """The folder of another user, where this one is root; else one that its owner closed."""
    paths = [root, *root.rglob("*")]
    for path in paths:
        if not os.geteuid():
            os.chown(path, NOBODY, NOBODY)
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.read_bytes() for path in paths if path.is_file()}
    try:
        yield
        assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "status",
        "labels --label-issues",
        "plan",
        "report --out",
        "export --format csv --out",
        "backup",
    ],
)
def test_who_may_not_write_may_read(copy, tmp_path, command):
    made = [str(tmp_path / "made")] if command.endswith(("--out", "backup")) else []
    with may_only_be_read(copy):
        ended = as_reader(*command.split(), *made, cwd=copy)
    assert ended.returncode == 0, ended.stderr
    assert not made or Path(made[0]).exists()


@pytest.mark.parametrize("command", ["run", "scan", "pull"])
def test_who_may_not_write_is_told(copy, command):
    with may_only_be_read(copy):
        ended = as_reader(command, cwd=copy)
    assert ended.returncode == 4, ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("state", ["killed", "open", "older schema"])
def test_a_reader_sees_what_was_committed(copy, state):
    writer = None
    if state == "killed":
        killed_while_writing(copy)
        (copy / "coreloop.db-shm").unlink()
    elif state == "open":
        writer = sqlite3.connect(copy / "coreloop.db")
        writer.execute("UPDATE pool SET name = 'renamed'")
        writer.commit()
    else:
        (copy / "coreloop.db").unlink()
        (copy / ".coreloop.mark").unlink()
        with sqlite3.connect(copy / "coreloop.db") as raw:
            raw.executescript((ROOT / "tests/db/fixtures/0001.sql").read_text(encoding="utf-8"))
        raw.close()
    with may_only_be_read(copy):
        ended = as_reader("status", "--json", cwd=copy)
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout)
    assert len(shown["rounds"]) == (4 if state == "killed" else 3)
    assert shown["name"] == ("renamed" if state == "open" else "small")
    if writer is not None:
        writer.close()


def test_a_copy_is_read_and_not_written(finished, monkeypatch):
    monkeypatch.setattr("db.snapshot.may_write", lambda path: False)
    records = open_records(f"sqlite:///{finished.root / 'coreloop.db'}")
    folder = Path(records.engine.url.database).parent
    with records.read() as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM round").scalar() == 3
    with pytest.raises(Full, match="may only be read"), records.write() as session:
        session.connection()
    records.close()
    assert not folder.exists()


def test_a_copy_is_never_of_two_states(finished, copy, monkeypatch):
    """Somebody writes to the file during the copying: it is copied anew."""
    database = copy / "coreloop.db"
    real, times = shutil.copyfile, []

    def disturbed(source, target):
        real(source, target)
        times.append(source)
        if len(times) < 3:
            os.utime(database, ns=(0, len(times)))

    monkeypatch.setattr("db.snapshot.shutil.copyfile", disturbed)
    copied(database).cleanup()
    assert times == [database] * 3
    ticks = iter(range(1000))
    monkeypatch.setattr(
        "db.snapshot.shutil.copyfile", lambda *_: os.utime(database, ns=(0, next(ticks)))
    )
    with pytest.raises(Busy, match="try again"):
        copied(database)
