"""The demo with a real Label Studio server: started here, labelled by simulated people."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from loop.cli.output import say
from loop.errors import NotReady
from loop.project import Project
from loop.project.simulated_annotator import answer_open_tasks
from loop.steps.run import Watcher, run

COMMAND = "CORELOOP_LABEL_STUDIO"


def executable() -> Path:
    """The ``label-studio`` command of an environment of its own.

    Raises:
        NotReady: there is none; says how to make it.
    """
    beside = Path(sys.prefix).parent / ".venv-label-studio" / "bin" / "label-studio"
    for candidate in (os.environ.get(COMMAND, ""), str(beside), shutil.which("label-studio") or ""):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    raise NotReady(
        "no Label Studio to start; type 'make demo-label-studio', or install label-studio==1.23.2 "
        f"in an environment of its own and set {COMMAND} to its label-studio command"
    )


def run_with_server(project: Project, watcher: Watcher, *, keep: bool) -> bool:
    """Runs the project against a server started for it; False if a person shall go on."""
    from loop.demo.server import personal_token, start

    watcher.begin("starting Label Studio (the first time takes a minute)")
    command = executable()
    server = start(
        project.root / "label-studio",
        command,
        template=command.parent.parent.parent / ".build" / "label-studio",
    )
    os.environ["LABEL_STUDIO_URL"] = server.url
    os.environ["LABEL_STUDIO_API_KEY"] = personal_token(server)
    kept = False
    try:
        while True:
            ended = run(project, watcher)
            if ended.why == "done":
                return True
            if keep:
                kept = True
                say(ended.message)
                say(f"Label Studio: {ended.url or server.url}")
                say(f"log in as {server.username} with password {server.password}")
                root = shlex.quote(str(project.root))
                say(f"then: cd {root}; export LABEL_STUDIO_URL={server.url}")
                say(f"      export LABEL_STUDIO_API_KEY={server.token}; coreloop run")
                say(f"stop the server: kill {server.process.pid}")
                return False
            watcher.begin("simulated people are labelling")
            answer_open_tasks(project, server, watcher.progress)
    finally:
        if not kept:
            server.stop()
