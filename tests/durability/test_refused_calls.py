"""The system says no: the n-th write, sync, rename, opening, ... of a command fails.

strace's fault injection (``strace -e inject=fsync:error=EIO:when=3``), as SQLite's own tests do it
with a file system of theirs. A first run is only watched; each of its calls on files of the project
is then let fail in a run of its own. After each: an exit code of ours and one sentence, and plain
commands come to the same picks, answers and figures as without a fault. The first ``coreloop run``
after the fault must leave records, arrays and sheets as the same run without the fault does; every
tenth time, and wherever they differ, the project is run to its end. A fault that leaves a folder as
an earlier fault of that stage did, byte for byte but for times and random names, is not run again.

    make soak        every call; in make test one of each kind, and more for a minute

With CORELOOP_FAULT_FILE a run that was cut off goes on behind the faults that it had tried.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from db.errors import DbError
from loop import config
from loop.errors import LoopError
from loop.project import create, find
from loop.project.damage import verify
from loop.project.rounds import begin_round
from loop.steps.backup import backup, restore
from loop.steps.embed import embed
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.score import score
from loop.steps.select import select
from tests import postgresql
from tests.conftest import rows, small_values, write_images
from tests.durability.forked import TRACED, Forked, go_on, wait_stopped

SECONDS = float(os.environ.get("CORELOOP_FAULT_SECONDS", "60"))
"""How long faults are injected, in an order that is drawn but always the same; one of each kind of
call in each stage is, however slow the machine."""
TRIED = os.environ.get("CORELOOP_FAULT_FILE", os.devnull)
"""What was tried, one line of JSON per fault."""
WHOLE = 10
"""Every so many faults the project is run to its end, even if the first run put all right."""
VOLATILE = {"created_at", "updated_at", "seen_at", "at", "uuid", "batch_uuid"}
"""Columns that no two runs share."""
ERRORS = {
    "write": ("ENOSPC", "EIO"),
    "pwrite64": ("ENOSPC", "EIO"),
    "ftruncate": ("ENOSPC",),
    "fallocate": ("ENOSPC",),
    "fsync": ("EIO",),
    "fdatasync": ("EIO",),
    "rename": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "mkdir": ("ENOSPC",),
    "openat": ("EMFILE", "EIO", "EINTR"),
    "mmap": ("ENOMEM",),
}
"""What each call is made to answer."""
STAGES = ("init", "scan", "embed", "push", "pull", "score", "train", "backup", "restore")
OURS = (0, 2, 3, 4, 5)
"""Exit codes of ours; 2 and 3 where the call that failed was to read the config or an array."""


def fill(root: Path) -> None:
    """A person writes the class beside each image of each sheet."""
    for sheet in root.glob("sheets/*.csv"):
        with sheet.open(newline="") as file:
            lines = list(csv.DictReader(file))
        for line in lines:
            line["label"] = Path(line["image"]).parent.name
        with sheet.open("w", newline="") as file:
            table = csv.DictWriter(file, lines[0].keys())
            table.writeheader()
            table.writerows(lines)


def facts(root: Path) -> dict[str, list[tuple]]:
    """Picks, answers, figures and arrays: what no fault may change."""
    with find(root) as project:
        assert verify(project) == ([], [])
        picks = "SELECT number, arm, rank, score, key, round.state FROM pick"
        joins = "JOIN round ON round.id = round_id JOIN item ON item.id = item_id"
        return {
            "picks": rows(project, f"{picks} {joins} ORDER BY 1, 2, 3"),
            "answers": rows(
                project,
                "SELECT key, annotator, label, deleted FROM annotation "
                "JOIN item ON item.id = item_id ORDER BY key, annotation.id",
            ),
            "figures": rows(
                project,
                "SELECT number, arm, method, run.seed, labels, rows_digest, "
                "metrics ->> 'accuracy' FROM run JOIN round ON round.id = round_id "
                "ORDER BY 1, 2, 3, 4",
            ),
            "arrays": rows(project, 'SELECT kind, name, "of", digest FROM "array" ORDER BY 1, 2'),
        }


def standing(root: Path) -> dict[str, object]:
    """Facts, and what a project holds besides its records."""
    with find(root) as project:
        batches = rows(project, "SELECT round_id, state FROM batch ORDER BY 1, 2")
        items = rows(project, 'SELECT "row", key, uri, split, known_label FROM item ORDER BY 1')
    paths = [*root.glob("sheets/*"), *root.glob("arrays/**/*.*")]
    files = [
        # a sheet is named by its round and the random number of its batch
        (path.name.rpartition("-")[0], hashlib.sha256(path.read_bytes()).hexdigest())
        for path in paths
    ]
    return {**facts(root), "batches": batches, "items": items, "files": sorted(files)}


def remains(folder: Path) -> str:
    """Digest of all that a command left in a folder: files, rows, the size of a write-ahead log."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as name:  # to open a database changes the files beside it
        copy = shutil.copytree(folder, Path(name) / "copy")
        for path in sorted(copy.rglob("*")):
            digest.update(str(path.relative_to(copy)).encode())
            if path.name.endswith("-wal"):
                digest.update(str(path.stat().st_size).encode())
            elif path.is_file() and not path.name.startswith("coreloop.db"):
                digest.update(path.read_bytes())
        for path in sorted(copy.rglob("coreloop.db")):
            digest.update(repr(all_rows(path)).encode())
    return digest.hexdigest()


def all_rows(database: Path) -> list[tuple]:
    """What is in every table, without ``VOLATILE``; the error of a file that cannot be read."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            tables = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY 1").fetchall()
            found: list[tuple] = [*tables]
            for name in [name for name, sql in tables if sql and sql.startswith("CREATE TABLE")]:
                cursor = connection.execute(f'SELECT * FROM "{name}"')
                kept = [
                    i for i, column in enumerate(cursor.description) if column[0] not in VOLATILE
                ]
                found += [(name, *(row[i] for i in kept)) for row in cursor]
        except sqlite3.Error as error:
            return [(repr(error),)]
        return found


@dataclass(frozen=True)
class Fault:
    """The ``nth`` call of a name in a thread fails."""

    stage: str
    call: str
    nth: int
    error: str


@dataclass
class Outcome:
    """What a fault did.

    Attributes:
        code: exit code of the command.
        hit: the call that failed was on a file of the project, as in the run that was watched.
        trouble: what was wrong afterwards, or empty.
        again: it left what an earlier fault of its stage had left, which was put right then.
    """

    code: int
    hit: bool
    trouble: str = ""
    again: bool = False


@dataclass
class Harness:
    """Projects at the beginning of each stage, and commands that are traced.

    Attributes:
        before: folder that holds, by the stage's name, the project as it was before.
        expected: facts of the run without faults.
        standings: stage -> standing after its command and one ``run``, without faults.
        healed: (stage, what a fault left) that was put right.
    """

    folder: Path
    images: Path
    before: Path
    expected: dict[str, list[tuple]]
    forked: Forked
    standings: dict[str, dict[str, object]] = field(default_factory=dict)
    healed: set[tuple[str, str]] = field(default_factory=set)
    number: int = 0

    def place(self, stage: str) -> Path:
        """A folder of its own with the project before a stage."""
        self.number += 1
        folder = self.folder / str(self.number)
        shutil.copytree(self.before / stage, folder)
        return folder

    def arguments(self, stage: str, folder: Path) -> list[str]:
        """The command of a stage, run in ``folder``, which holds ``project``."""
        if stage == "init":
            options = "--labelled --encoder pixels:8 --scorer kmeans --labeler csv --budgets 4"
            return [
                "init",
                "project",
                "--images",
                str(self.images),
                "--test",
                "6",
                *options.split(),
            ]
        if stage == "backup":
            return ["backup", "copy", "--project", "project"]
        if stage == "restore":
            return ["restore", "copy", "project"]
        return [stage, "--project", "project"]

    def command(self, args: list[str], folder: Path, *tracer: str) -> int:
        """The exit code of a command, under strace with these options if there are any."""
        if not tracer:
            self.forked.start(args, folder, {})
            return self.forked.wait()
        process = self.forked.start(args, folder, {TRACED: "1"})
        wait_stopped(process)
        strace = subprocess.Popen(["strace", "-q", "-f", "-p", str(process), *tracer])
        go_on(process)
        code = self.forked.wait()
        strace.wait(timeout=60)
        return code

    def said(self, folder: Path) -> str:
        """What the newest command in ``folder`` printed."""
        return Path(f"{folder}.log").read_text(errors="replace")

    def calls(self, stage: str) -> list[Fault]:
        """Every fault of a stage: its calls on files below its folder, by watching a run."""
        folder = self.place(stage)
        watched = self.folder / f"{stage}.strace"
        names = ",".join(ERRORS)
        options = ("-y", "-e", f"trace={names}", "-o", str(watched))
        args = self.arguments(stage, folder)
        assert self.command(args, folder, *options) == 0, self.said(folder)
        counts: Counter[tuple[str, str]] = Counter()
        faults = {}
        for line in watched.read_text(errors="replace").splitlines():
            match = re.match(r"(\d+) +(\w+)\(", line)
            if match is None:
                continue
            thread, call = match.groups()
            counts[thread, call] += 1
            if f"{folder}/" in line:
                for error in ERRORS[call]:
                    faults[Fault(stage, call, counts[thread, call], error)] = None
        self.run_once(stage, folder)
        self.standings[stage] = standing(folder / "project")
        return list(faults)

    def inject(self, fault: Fault) -> Outcome:
        """One fault, and all that must be true after it."""
        folder = self.place(fault.stage)
        injected = f"inject={fault.call}:error={fault.error}:when={fault.nth}"
        calls = Path(f"{folder}.strace")
        options = ("-y", "-e", f"trace={fault.call}", "-e", injected, "-o", str(calls))
        code = self.command(self.arguments(fault.stage, folder), folder, *options)
        lines = calls.read_text(errors="replace").splitlines()
        outcome = Outcome(code, any("(INJECTED)" in s and f"{folder}/" in s for s in lines))
        output = self.said(folder)
        try:
            assert code in OURS, output
            assert "Traceback" not in output, output
            assert output.count("Error: ") == (code != 0), output
            left = fault.stage, remains(folder)
            outcome.again = left in self.healed and self.number % WHOLE != 0
            if not outcome.again:
                self.heal(fault.stage, folder)
                self.healed.add(left)
        except (AssertionError, LoopError, DbError) as error:
            outcome.trouble = repr(error)
        shutil.rmtree(folder)
        Path(f"{folder}.log").unlink()
        calls.unlink()
        return outcome

    def heal(self, stage: str, folder: Path) -> None:
        """One ``run`` puts all right; if not at once, then when all is done."""
        root = folder / "project"
        self.run_once(stage, folder)
        if self.number % WHOLE and standing(root) == self.standings[stage]:
            return
        for _ in range(5):
            if "done" in self.said(folder):
                break
            fill(root)
            self.plain(["run", "--project", "project"], folder)
        assert facts(root) == self.expected

    def run_once(self, stage: str, folder: Path) -> None:
        """The same command again where it made no folder, then ``run``."""
        root = folder / "project"
        made = folder / "copy" if stage == "backup" else root
        complete = made / ("backup.json" if stage == "backup" else config.FILE)
        if not complete.exists():
            self.plain(self.arguments(stage, folder), folder)
        if stage == "init":  # the other stages' settings, which it has no options for
            shutil.copy(self.before / "scan" / "project" / config.FILE, root)
        if stage == "backup":
            shutil.rmtree(root)
            restore(made, root)
        self.plain(["run", "--project", "project"], folder)

    def plain(self, args: list[str], folder: Path) -> None:
        """A command without a fault, which must do what it should."""
        code = self.command(args, folder)
        assert code == 0, (args, code, self.said(folder))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, count=30)
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory, images):
    """(folder of the projects before each stage, facts of the run without faults)"""
    folder = tmp_path_factory.mktemp("before")
    root = tmp_path_factory.mktemp("whole") / "project"
    values = small_values(
        images,
        project={"name": "project", "seed": 0},
        pool={"labelled": True, "test": 6},
        selection={"budgets": [4]},
        labeler={"kind": "csv", "error_rate": 0.0},
        training={"trainer": "linear"},
        compare={"baselines": ["random"], "seeds": 1},
    )

    def keep(stage: str) -> None:
        shutil.copytree(root, folder / stage / "project")

    (folder / "init").mkdir()
    steps = {"scan": scan, "embed": embed, "push": push, "pull": pull}
    create(root, config.check(values, "test")).close()
    for stage, step in steps.items():
        keep(stage)
        with find(root) as project:
            step(project)
        fill(root)
    with find(root) as project:
        begin_round(project)
    keep("score")
    with find(root) as project:
        score(project)
        select(project)
        push(project)
    fill(root)
    with find(root) as project:
        pull(project)
    keep("train")
    with find(root) as project:
        assert run(project).why == "done"
    keep("backup")
    with find(root) as project:
        backup(project, folder / "restore" / "copy")
    return folder, facts(root)


def check_can_inject() -> None:
    """Skips where strace is missing, or may not attach to a process."""
    if postgresql.server is not None:
        pytest.skip("about SQLite")
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    sleeping = subprocess.Popen(["sleep", "60"])
    attach = ["timeout", "5", "strace", "-o", "/dev/null", "-p", str(sleeping.pid)]
    attached = subprocess.run(attach, capture_output=True).returncode == 124  # timeout ended it
    sleeping.kill()
    sleeping.wait()
    if not attached:
        pytest.skip("needs the right to trace a process")


def each_kind_first(faults: list[Fault]) -> tuple[list[Fault], list[Fault]]:
    """Drawn: one of each (stage, call), and all others."""
    drawn = random.Random(5).sample(faults, len(faults))
    kinds = {(fault.stage, fault.call): fault for fault in drawn}
    first = set(kinds.values())
    return [*kinds.values()], [fault for fault in drawn if fault not in first]


def tried_before() -> dict[Fault, Outcome]:
    """The outcomes in the file of what was tried."""
    outcomes = {}
    if Path(TRIED).is_file():
        for line in Path(TRIED).read_text().splitlines():
            fault, outcome = json.loads(line)
            outcomes[Fault(**fault)] = Outcome(**outcome)
    return outcomes


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(36_000)
def test_every_call_may_fail(tmp_path, images, before, record_property):
    check_can_inject()
    folders, expected = before
    with Forked() as forked, Path(TRIED).open("a") as file:
        harness = Harness(tmp_path, images, folders, expected, forked)
        faults = [fault for stage in STAGES for fault in harness.calls(stage)]
        outcomes = {fault: done for fault, done in tried_before().items() if fault in faults}
        began = time.monotonic()
        kinds, others = each_kind_first(faults)
        for number, fault in enumerate([*kinds, *others]):
            if time.monotonic() - began > SECONDS and number >= len(kinds):
                break
            if fault not in outcomes:
                outcomes[fault] = harness.inject(fault)
                line = [asdict(fault), asdict(outcomes[fault])]
                print(json.dumps(line), file=file, flush=True)
    troubles = {fault: outcome.trouble for fault, outcome in outcomes.items() if outcome.trouble}
    assert troubles == {}
    codes = Counter(outcome.code for outcome in outcomes.values())
    counted = ", ".join(f"{count} left with {code}" for code, count in sorted(codes.items()))
    hit = sum(outcome.hit for outcome in outcomes.values())
    again = sum(outcome.again for outcome in outcomes.values())
    record_property(
        "measured",
        f"{len(outcomes)} of {len(faults)} faults injected in {time.monotonic() - began:.0f} s, "
        f"{hit} of them on the file that was meant: {counted}; 0 did not heal ({again} left what "
        "an earlier one had left)",
    )
