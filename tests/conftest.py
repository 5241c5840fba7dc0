"""Things that many tests need: real digit images, the shared data, a finished small project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sqlalchemy import create_engine

from loop import config
from loop.project import Project, create
from tests import postgresql

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgresql", action="store_true", help="keep the records of every test on a server"
    )


def pytest_configure(config: pytest.Config) -> None:
    # in the background of a shell without job control Ctrl-C is ignored, by what tests start, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--postgresql"):
        postgresql.server = postgresql.start()


MAY_BE_ABSENT = (
    "benchmark",
    "no shared data",
    "no CUDA device",
    "right to mount a tmpfs",
    "right to trace a process",
    "about SQLite",
    "a server forbids it",
    "the records are not on this disk",
)
"""Why tests may be skipped where everything that can be installed is."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """After ``.ci/run``, which installs every tool, a test skipped for want of one has failed."""
    report = yield
    if report.skipped and os.environ.get("CORELOOP_INSTALLED") == "all":
        reason = str(report.longrepr)
        if not any(words in reason for words in MAY_BE_ABSENT):
            report.outcome, report.longrepr = "failed", f"skipped, though .ci/run ran: {reason}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: at the end, processes that share the files (make test)
    have short ones left and none waits for another."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
    for item in of_other_parameters(items):
        if item.get_closest_marker("slow") or item.get_closest_marker("server"):
            item.add_marker("no_cover")  # counting lines makes Python code take half as long again


def of_other_parameters(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Tests of a function whose first parameters another test has."""
    functions = set()
    for item in items:
        function = item.nodeid.partition("[")[0]
        if function in functions:
            yield item
        functions.add(function)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests measured, as they told ``record_property("measured", ...)``."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"{report.nodeid}: {value}")


def pytest_unconfigure() -> None:
    if postgresql.server is not None:
        postgresql.server.stop()


@pytest.fixture(scope="session")
def server() -> Iterator[postgresql.Server]:
    """A PostgreSQL server on loopback."""
    if postgresql.server is not None:
        yield postgresql.server
        return
    try:
        started = postgresql.start()
    except postgresql.Absent as error:
        pytest.skip(str(error))
    yield started
    started.stop()


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Url of a database that is not there yet (or empty, on a server)."""
    if postgresql.server is not None:
        return postgresql.server.new_database()
    return f"sqlite:///{tmp_path / 'a.db'}"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real images, embeddings and weights that are not part of the repository."""
    folder = Path(os.environ.get("CORELOOP_DATA", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set CORELOOP_DATA)")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    return Path(__file__).parent / "golden"


def rows(project: Project, query: str) -> list[tuple]:
    """What the records of a project answer to a query, wherever they are."""
    engine = create_engine(project.database)
    with engine.connect() as connection:
        answer = [tuple(row) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return answer


def finished_project(folder: Path) -> Project:
    """A project below a folder whose rounds are all over."""
    from loop.steps.run import run

    write_images(folder / "images")
    project = create(folder / "project", config.check(small_values(folder / "images"), "test"))
    run(project)
    return project


def write_images(folder: Path, count: int = 60, classes: int = 3) -> None:
    """Handwritten digits as PNG files in one sub-folder per class."""
    digits = load_digits(n_class=classes)
    for i in range(count):
        path = folder / f"digit-{digits.target[i]}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[i] * 15.9).astype(np.uint8)).save(path)


def small_values(images: Path, **changes: object) -> dict:
    """Settings of a project that runs in seconds."""
    values: dict = {
        "project": {"name": "small", "classes": ["digit-0", "digit-1", "digit-2"], "seed": 3},
        "pool": {"path": str(images), "labelled": True, "test": 12},
        "encoder": "pixels:8",
        "selection": {"scorer": "kmeans", "budgets": [6, 6]},
        "labeler": {"kind": "oracle", "error_rate": 0.1},
        "compare": {"baselines": ["random"], "seeds": 2},
    }
    if postgresql.server is not None:
        values["project"]["database"] = postgresql.server.new_database()
    for section, keys in changes.items():
        if isinstance(keys, dict):
            values[section] = {**values.get(section, {}), **keys}
        else:
            values[section] = keys
    return values


@pytest.fixture
def on_path(tmp_path: Path) -> dict[str, str]:
    """Environment in which ``coreloop`` is a command of this very source and Python."""
    command = tmp_path / "bin" / "coreloop"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\nfrom loop.cli import main\nif __name__ == '__main__':\n    main()\n"
    )
    command.chmod(0o755)
    paths = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **paths, "PYTHON": sys.executable}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    write_images(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, images: Path) -> Project:
    """A new project on 60 digits of three classes, answered by the oracle."""
    return create(tmp_path / "project", config.check(small_values(images), "test"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 1 MB; mounting one takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
