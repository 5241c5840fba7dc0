"""The loop by itself, with sheets: rounds go by, failures are said and mended, nothing is held."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from itertools import pairwise
from threading import Thread

import pytest
from click.testing import CliRunner

from connectors.base import Unreachable
from loop import config
from loop.cli import cli, interrupt
from loop.errors import ConfigError
from loop.project import Project, create, find
from loop.project.watch import FILE, AlreadyWatched, keep_watch, watch_state
from loop.serve import worker as worker_module
from loop.serve.worker import Worker
from loop.steps import run as run_step
from loop.steps.scan import scan
from loop.steps.status import status
from tests.conftest import ROOT, rows, small_values, write_images
from tests.label_studio.serving import COMMAND, states, until

SOON = 0.1
"""Seconds between two looks."""


@pytest.fixture
def sheets(tmp_path) -> Project:
    """60 digits; a sample of 20 and 6 picks, then 6 more, on sheets."""
    write_images(tmp_path / "images")
    values = small_values(
        tmp_path / "images",
        pool={"labelled": False},
        measure={"images": 20, "folds": 3},
        labeler={"kind": "csv"},
    )
    del values["pool"]["test"]
    return create(tmp_path / "project", config.check(values, "test"))


def answer(project: Project, leave: int = 0) -> int:
    """Fills in what is empty on the sheets, but the last ``leave`` lines; how many it was."""
    filled = 0
    for sheet in sorted(project.root.glob("sheets/*.csv")):
        with sheet.open(newline="") as file:
            lines = list(csv.DictReader(file))
        for line in lines[: len(lines) - leave]:
            if not line["label"]:
                line["label"] = next(part for part in line["image"].split("/") if "digit" in part)
                filled += 1
        draft = sheet.with_suffix(".tmp")
        with draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, lines[0].keys())
            writer.writeheader()
            writer.writerows(lines)
        draft.replace(sheet)
    return filled


@contextmanager
def working(worker: Worker):
    """The worker in a thread of its own; what it ended with, or raised."""
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(worker.work())
        except Exception as error:
            ended.append(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    yield ended
    thread.join(60)
    assert not thread.is_alive()


def test_two_rounds_go_by_without_a_command(sheets):
    told = []
    worker = Worker(sheets.root, "coreloop run --watch", SOON, tell=told.append)
    with working(worker) as ended:
        until(lambda: states(sheets) == ["pushed"])
        standing = status(sheets)
        assert standing.watch.alive
        assert "'coreloop run --watch' since" in standing.watch.in_words()
        said = CliRunner().invoke(cli, ["status", "-p", str(sheets.root)]).output
        assert "next: nothing to type; 'coreloop run --watch' goes on by itself" in said
        assert answer(sheets, leave=1) == 25
        until(lambda: status(sheets).rounds[0].labelled == 25)
        assert states(sheets) == ["pushed"]
        assert answer(sheets) == 1
        until(lambda: states(sheets) == ["compared", "pushed"])
        assert "26 are labelled by people" in (sheets.reports / "report.md").read_text()
        before = (sheets.reports / "report.json").read_bytes()
        assert answer(sheets) == 6
    assert ended[0].why == "done"
    assert (sheets.reports / "report.json").read_bytes() != before
    assert states(sheets) == ["compared", "compared"]
    assert [each.message.partition(":")[0] for each in told[:2]] == ["round 1", "round 1"]
    assert "25 of 26 images labelled" in told[1].message
    assert status(sheets).watch is None
    assert not (sheets.root / FILE).exists()


def test_nothing_is_held_while_people_label(sheets):
    worker = Worker(sheets.root, "coreloop run --watch", 0.5)
    with working(worker):
        until(lambda: states(sheets) == ["pushed"])
        events = len(rows(sheets, "SELECT * FROM event WHERE step = 'pull'"))
        for _ in range(3):
            scan(find(sheets.root))  # takes the lock of those who write
            time.sleep(0.5)
        assert len(rows(sheets, "SELECT * FROM event WHERE step = 'pull'")) == events, "no news"
        answer(sheets)
        until(lambda: states(sheets)[1:] == ["pushed"])
        answer(sheets)


def test_a_failing_step_is_said_tried_again_and_loses_nothing(sheets, monkeypatch):
    own, failures, complaints = run_step.train, [], []

    def failing(*args, **options):
        if len(failures) < 3:
            failures.append(time.monotonic())
            raise Unreachable("no answer from the machine that trains")
        monkeypatch.setattr(run_step, "train", own)
        return own(*args, **options)

    monkeypatch.setattr(run_step, "train", failing)
    worker = Worker(sheets.root, "coreloop run --watch", 0.4, complain=complaints.append)
    with working(worker) as ended:
        until(lambda: states(sheets) == ["pushed"])
        answer(sheets)
        said = until(lambda: [t for t in status(sheets).troubles if "2 times in a row" in t])
        assert said[0].endswith("no answer from the machine that trains")
        worker.wake()  # another answer is no reason to try again now
        until(lambda: states(sheets)[1:] == ["pushed"])
        until(lambda: status(sheets).troubles == [])
        answer(sheets)
    assert ended[0].why == "done"
    pauses = [later - earlier for earlier, later in pairwise(failures)]
    assert 0.4 <= pauses[0] < pauses[1]
    assert pauses[1] >= 0.8
    assert len(complaints) == 3
    log = [message for (message,) in rows(sheets, "SELECT message FROM event WHERE step = 'watch'")]
    assert log == ["failed: no answer from the machine that trains", "goes on after 3 failures"]
    assert len(rows(sheets, "SELECT * FROM annotation")) == 32


def test_a_bug_is_shown_whole_and_tried_again(sheets, monkeypatch, capsys):
    own = run_step.compare

    def wrong(*args, **options):
        monkeypatch.setattr(run_step, "compare", own)
        raise ZeroDivisionError("of no family")

    monkeypatch.setattr(run_step, "compare", wrong)
    with working(Worker(sheets.root, "coreloop run --watch", SOON)) as ended:
        for rounds in (1, 2):
            until(lambda rounds=rounds: states(sheets)[rounds - 1 :] == ["pushed"])
            answer(sheets)
    assert ended[0].why == "done"
    assert "ZeroDivisionError: of no family" in capsys.readouterr().err


def test_what_only_people_can_mend_is_said_at_once(sheets):
    file = sheets.root / config.FILE
    good = file.read_text()
    file.write_text(good.replace('scorer = "kmeans"', 'scorer = "kmeens"'))
    with working(Worker(sheets.root, "coreloop run --watch", SOON)) as ended:
        pass
    assert isinstance(ended[0], ConfigError)
    assert status(find(sheets.root)).watch is None


def test_a_setting_that_is_edited_badly_later_is_waited_out(sheets):
    file = sheets.root / config.FILE
    good = file.read_text()
    with working(Worker(sheets.root, "coreloop run --watch", SOON)) as ended:
        until(lambda: states(sheets) == ["pushed"])
        file.write_text("[project")
        until(lambda: (state := watch_state(sheets)) and "not valid TOML" in state.failure)
        file.write_text(good)
        until(lambda: not watch_state(sheets).failure)
        answer(sheets)
        until(lambda: states(sheets)[1:] == ["pushed"])
        answer(sheets)
    assert ended[0].why == "done"


def test_another_command_that_writes_is_no_failure(sheets, monkeypatch):
    monkeypatch.setenv("CORELOOP_LOCK_SECONDS", "0.05")
    complaints = []
    worker = Worker(sheets.root, "coreloop run --watch", SOON, complain=complaints.append)
    with working(worker):
        until(lambda: states(sheets) == ["pushed"])
        with find(sheets.root).writing():
            until(lambda: "another command" in watch_state(sheets).doing)
            answer(sheets)
        until(lambda: states(sheets)[1:] == ["pushed"])
        answer(sheets)
    assert complaints == []


def test_a_wake_is_heeded_once_it_is_quiet(sheets, monkeypatch):
    monkeypatch.setattr(worker_module, "QUIET", 0.3)
    looks = []
    own = worker_module.look

    def look(project):
        looks.append(time.monotonic())
        return own(project)

    monkeypatch.setattr(worker_module, "look", look)
    worker = Worker(sheets.root, "coreloop run --watch", 60)
    with working(worker):
        until(lambda: states(sheets) == ["pushed"])
        until(lambda: watch_state(sheets).again)
        began = time.monotonic()
        for _ in range(6):
            worker.wake()
            time.sleep(0.1)
        until(lambda: looks)
        assert looks[0] - began > 0.7
        time.sleep(0.5)
        assert len(looks) == 1
        answer(sheets)
        worker.wake()
        until(lambda: states(sheets)[1:] == ["pushed"])
        answer(sheets)
        worker.wake()


def test_how_a_watch_stands_is_believed_of_nobody_else(sheets):
    for text in ("", "[]", "{", '{"by": 1}', '{"since": "x"}'):
        (sheets.root / FILE).write_text(text)
        assert watch_state(sheets) is None
    with keep_watch(sheets, "coreloop run --watch") as watch:
        watch.tell(doing="works", failure="it failed", tries=2)
        seen = watch_state(find(sheets.root))
        assert (seen.doing, seen.tries, seen.process, seen.alive) == ("works", 2, os.getpid(), True)
        second = keep_watch(find(sheets.root), "coreloop serve")
        with pytest.raises(AlreadyWatched, match="since") as caught:
            second.__enter__()
        assert caught.value.exit_code == 5
    with keep_watch(sheets, "coreloop serve"):
        pass


def command(project: Project, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "run", "--watch", "0.2", *words, "-p", str(project.root)],
        env={**os.environ, "CORELOOP_LOCK_SECONDS": "0.3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def leaves_at(process: subprocess.Popen[str], ending: signal.Signals) -> str:
    """What it printed; it is gone at once, with the exit code of what was interrupted."""
    began = time.monotonic()
    process.send_signal(ending)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 3
    return out


def test_the_command_is_one_leaves_promptly_and_goes_on(sheets):
    first = command(sheets, "--json")
    until(lambda: states(sheets) == ["pushed"])
    until(lambda: status(sheets).watch.again)
    second = command(sheets)
    _, complaint = second.communicate(timeout=60)
    assert second.returncode == 5
    assert "another 'coreloop run --watch' or 'coreloop serve'" in complaint
    out = leaves_at(first, signal.SIGTERM)
    assert json.loads(out.splitlines()[0])["why"] == "waiting"
    assert not (sheets.root / FILE).exists()

    killed = command(sheets)
    until(lambda: status(sheets).watch)
    killed.kill()
    killed.communicate()
    assert "was ended by force" in status(sheets).watch.in_words()
    answer(sheets)
    last = command(sheets)
    until(lambda: states(sheets)[1:] == ["pushed"])
    assert "26 images labelled" not in leaves_at(last, signal.SIGINT)
    assert len(rows(sheets, "SELECT * FROM annotation")) == 26


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_ends_the_watch(sheets):
    """An exception that is raised while a callback of C runs goes nowhere."""

    class Callback:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    interrupt.listen()
    try:
        Callback()
        assert interrupt.told_to_end.is_set()
        with pytest.raises(KeyboardInterrupt):
            Worker(sheets.root, "a test", 0.05, told_to_end=interrupt.told_to_end.is_set).work()
    finally:
        interrupt.told_to_end.clear()
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.parametrize("other", [["--review"], ["--budget", "5"]])
def test_what_contradicts_it_is_refused(sheets, other):
    refused = command(sheets, *other)
    _, complaint = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert other[0] in complaint


def test_one_watch_for_all_machines_on_a_database_server(tmp_path, images, server):
    values = small_values(images)
    values["project"]["database"] = server.new_database()
    first = create(tmp_path / "first", config.check(values, "test"))
    shutil.copytree(first.root, tmp_path / "second")  # the folder on another machine
    second = find(tmp_path / "second")
    with keep_watch(first, "coreloop serve"):
        with pytest.raises(AlreadyWatched):
            keep_watch(second, "coreloop serve").__enter__()
        with second.writing():  # those who write have a lock of their own
            pass
    with keep_watch(second, "coreloop serve"):
        pass
