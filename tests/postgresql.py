"""A real PostgreSQL server on loopback, in a temporary folder, run by an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

PLACES = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/bin")]
PASSWORD = "not-for-anyone"


class Absent(Exception):
    """There is no PostgreSQL on this machine."""


@dataclass
class Server:
    """A running server."""

    bin: Path
    folder: Path
    port: int
    user: str | None

    def new_database(self) -> str:
        """SQLAlchemy url of a new, empty database."""
        import psycopg

        name = f"test_{uuid.uuid4().hex[:12]}"
        login = f"host=127.0.0.1 port={self.port} user=coreloop password={PASSWORD}"
        with psycopg.connect(f"{login} dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://coreloop:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        control(self, "stop", "-m", "immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


server: Server | None = None
"""The one that ``--postgresql`` started."""


def start() -> Server:
    """Makes a server and waits until it answers. Raises Absent."""
    programs = next((candidate for candidate in PLACES if (candidate / "initdb").exists()), None)
    if programs is None:
        raise Absent("no PostgreSQL here (apt-get install postgresql)")
    user = None
    if os.geteuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
    folder = Path(tempfile.mkdtemp(prefix="coreloop-postgresql-"))
    if user:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        made = Server(programs, folder, probe.getsockname()[1], user)
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    as_user(
        made,
        "initdb",
        "-D",
        f"{folder}/data",
        "-U",
        "coreloop",
        "-A",
        "scram-sha-256",
        "--pwfile",
        str(secret),
        "-E",
        "UTF8",
        "--no-sync",
    )
    options = f"-h 127.0.0.1 -p {made.port} -k {folder} -c fsync=off"
    control(made, "start", "-w", "-o", options, "-l", f"{folder}/log")
    return made


def control(made: Server, *args: str) -> None:
    as_user(made, "pg_ctl", "-D", f"{made.folder}/data", *args)


def as_user(made: Server, program: str, *args: str) -> None:
    subprocess.run(
        [made.bin / program, *args],
        check=True,
        stdout=subprocess.DEVNULL,
        user=made.user,
        cwd=made.folder,
        stderr=subprocess.DEVNULL,
        timeout=120,
    )
