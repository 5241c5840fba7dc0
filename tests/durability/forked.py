"""The command line in processes that start at once: a server that has loaded the libraries forks
one for each command. Run as a script, it is that server.

Loading libraries is nine tenths of a small command's time and writes nothing. A forked process runs
the same ``main`` as ``coreloop`` does, and dies alone. It ends without taking down the libraries.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import NoReturn

LIBRARIES = (
    "PIL.PngImagePlugin",
    "alembic.command",
    "alembic.ddl.sqlite",
    "filelock",
    "jinja2",
    "matplotlib.figure",
    "rich._emoji_codes",
    "rich.progress",
    "scipy.stats",
    "sklearn.cluster",
    "sklearn.linear_model",
    "sqlalchemy.dialects.sqlite",
    "torch",
    "connectors.label_studio",
    "connectors.csv_sheet",
    "loop.cli.autolabel",
    "loop.cli.backup",
    "loop.cli.init",
    "loop.cli.standing",
    "loop.cli.pull",
    "loop.cli.push",
    "loop.cli.steps",
    "loop.dynamics",
    "loop.encoders.pixels",
    "loop.neighbour_kernel",
    "loop.project.damage",
    "loop.reports.answers",
    "loop.reports.figures",
    "loop.scorers.kmeans",
    "loop.scorers.random",
    "loop.scorers.training",
    "loop.scorers.uncertainty",
    "loop.steps.autolabel",
    "loop.steps.backup",
    "loop.steps.init",
    "loop.steps.run",
    "loop.train.propagate",
)
ROOT = Path(__file__).resolve().parents[2]
TRACED = "CORELOOP_TEST_TRACED"
"""Set: the command stops before it begins, so that a tracer sees its first call; see ``go_on``."""


class Forked:
    """Starts commands; use as a context manager."""

    def __enter__(self) -> Forked:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert self._server.stdout is not None
        self._server.stdout.readline()  # libraries are loaded
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def start(
        self,
        args: list[str],
        folder: Path,
        env: dict[str, str],
        patches: dict[str, float] | None = None,
    ) -> int:
        """Process id of a new command; ``wait`` for it before the next.

        Args:
            patches: "module.NAME" -> what this constant is in the command.
        """
        asked = {"args": args, "folder": str(folder), "env": env, "patches": patches or {}}
        return self._ask(asked)

    def wait(self) -> int:
        """How the newest command ended, as ``subprocess`` states it: -9 for SIGKILL."""
        return self._ask({})

    def _ask(self, question: dict) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(question), file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline())


def wait_stopped(process: int) -> None:
    """Until a command that was started with ``TRACED`` has stopped."""
    while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "tT":
        time.sleep(0.002)


def go_on(process: int) -> None:
    """Continues a stopped command when a tracer is attached to it."""
    while "TracerPid:\t0" in Path(f"/proc/{process}/status").read_text():
        time.sleep(0.002)
    os.kill(process, signal.SIGCONT)


def command(
    args: list[str], folder: str, env: dict[str, str], patches: dict[str, float]
) -> NoReturn:
    """Becomes the command; what it says goes to a file beside its folder."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.environ.update(env)
    os.chdir(folder)
    if env.get(TRACED):
        os.kill(os.getpid(), signal.SIGSTOP)
    for name, value in patches.items():
        module, _, constant = name.rpartition(".")
        setattr(import_module(module), constant, value)
    sys.argv = ["coreloop", *args]
    from loop.cli import main

    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Forks a command for each line, and waits for it when the next line says so."""
    for name in LIBRARIES:
        import_module(name)
    for name in ("loop.scorers", "loop.train"):
        import_module(name).names()  # the installed packages have been asked
    figures = import_module("loop.reports.figures")
    figures._svg(figures._figure(1, 1)[0])  # matplotlib has read its fonts
    print("ready", flush=True)
    child = 0
    for line in sys.stdin:
        asked = json.loads(line)
        if asked:
            child = os.fork()
            if not child:
                command(**asked)
            print(child, flush=True)
        else:
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
