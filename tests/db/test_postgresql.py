"""The same records on a PostgreSQL server: a whole project, several commands at once, and back.

make test-postgresql      the tests of db, steps and durability, all on a server
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from db.errors import Busy, Damaged, Missing, Unavailable
from db.state import open_records
from loop import config
from loop.project import create, find
from loop.project.damage import verify
from loop.steps.backup import backup, restore
from loop.steps.run import run
from loop.steps.status import status
from tests.conftest import rows, small_values
from tests.durability.test_disk_and_signals import ENV, MAIN, picks
from tests.postgresql import PASSWORD


def project_on(server, folder, images):
    values = small_values(images)
    values["project"]["database"] = server.new_database()
    return create(folder, config.check(values, "test"))


def test_a_project_on_a_server_is_the_same_project(server, tmp_path, images):
    on_server = project_on(server, tmp_path / "on_server", images)
    assert run(on_server).why == "done"
    in_file = create(tmp_path / "in_file", config.check(small_values(images), "test"))
    run(in_file)
    assert picks(on_server) == picks(in_file)
    assert status(on_server).rounds == status(in_file).rounds
    assert verify(on_server) == ([], [])
    copied = backup(on_server, tmp_path / "copy")
    again = find(restore(copied.folder, tmp_path / "again").folder)
    assert str(again.database).startswith("sqlite")
    assert picks(again) == picks(on_server)
    assert verify(again) == ([], [])


def test_the_password_is_kept_nowhere_but_in_the_config(server, tmp_path, images):
    project = project_on(server, tmp_path / "p", images)
    run(project)
    stored = [
        str(rows(project, f'SELECT * FROM "{table}"')) for table in ("round", "event", "pool")
    ]
    assert not any(PASSWORD in text for text in stored)
    for path in project.root.rglob("*"):
        if path.is_file() and path.name != "coreloop.toml":
            assert PASSWORD.encode() not in path.read_bytes(), path
    shown = subprocess.run(
        [*MAIN, "status"], cwd=project.root, env=ENV, capture_output=True, text=True
    )
    assert shown.returncode == 0
    assert PASSWORD not in shown.stdout + shown.stderr


@pytest.mark.slow
def test_several_commands_at_once(server, tmp_path, images):
    """Runs from two folders (two machines, say) and looks, all at once, on one project."""
    alone = create(tmp_path / "alone", config.check(small_values(images), "test"))
    run(alone)
    project = project_on(server, tmp_path / "one", images)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "coreloop.toml").write_text((project.root / "coreloop.toml").read_text())
    for shared in ("arrays", "oracle.jsonl", "reports"):  # what the two machines share
        (tmp_path / "two" / shared).symlink_to(project.root / shared)
    env = {**ENV, "CORELOOP_LOCK_SECONDS": "0.2"}
    commands = [
        ("run", "one"),
        ("run", "two"),
        ("status", "one"),
        ("status", "two"),
        ("run", "one"),
    ]

    def start(command):
        return subprocess.run(
            [*MAIN, command[0]],
            cwd=tmp_path / command[1],
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )

    with ThreadPoolExecutor(len(commands)) as pool:
        ends = list(pool.map(start, commands))
    for command, end in zip(commands, ends, strict=True):
        assert end.returncode in ((0,) if command[0] == "status" else (0, 5)), end.stderr
        assert "Traceback" not in end.stderr
    assert start(("run", "two")).returncode == 0
    assert picks(project) == picks(alone)
    assert verify(project) == ([], [])


def test_two_first_openings_make_one_schema(server):
    url = server.new_database()
    code = f"from db.state import open_records; open_records({url!r}, create=True)"
    pair = [subprocess.Popen([sys.executable, "-c", code], env=ENV) for _ in range(3)]
    assert [process.wait(timeout=120) for process in pair] == [0, 0, 0]


def test_one_writer_at_a_time(server):
    url = server.new_database()
    first, second = open_records(url, create=True), open_records(url)
    with first.alone(1), pytest.raises(Busy, match="another coreloop"), second.alone(0.1):
        pass
    with second.alone(0.1):
        pass
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("coreloop:", "nobody:"), Unavailable),
        ((PASSWORD, "wrong"), Unavailable),
        (("psycopg:", "no_such:"), Missing),
        (("127.0.0.1:", "127.0.0.1:1"), Unavailable),
    ],
)
def test_a_server_that_does_not_let_us_in(server, change, error):
    url = server.new_database()
    with pytest.raises(error) as caught:
        open_records(url.replace(*change))
    assert PASSWORD not in str(caught.value)
    assert "[project]" in str(caught.value)


def test_an_empty_database_in_place_of_one_that_was_worked_in_is_refused(server, tmp_path, images):
    """Before anything was made, a database may be chosen by hand; later that loses the records."""
    project = project_on(server, tmp_path / "p", images)
    file = project.root / "coreloop.toml"
    old, new = project.config.project.database, server.new_database()
    file.write_text(file.read_text().replace(old, new))
    with find(project.root) as moved:
        assert run(moved).why == "done"
    file.write_text(file.read_text().replace(new, server.new_database()))
    with find(project.root) as emptied, pytest.raises(Damaged, match="coreloop restore"):
        status(emptied)
