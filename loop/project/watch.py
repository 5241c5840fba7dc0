"""The watch over a project: at most one process turns its loop by itself, and says how it stands.

Whoever keeps the watch holds a lock of its own as long as it lives; the lock of commands that write
is held only while a step works. How it stands is in a file beside, for ``status`` and ``/health``;
no logic goes by it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db.errors import Busy, DbError
from db.state import WATCHING, log
from loop.errors import NotReady
from loop.project.project import Project, lock_seconds
from loop.wording import counted

LOCK = ".coreloop.watch.lock"
FILE = ".coreloop.watch.json"


class AlreadyWatched(NotReady):
    """Another process keeps the watch."""

    exit_code = 5


@dataclass(frozen=True)
class WatchState:
    """How a watch stands.

    Attributes:
        by: the command that keeps it, ``coreloop run --watch`` or ``coreloop serve``.
        since: when it began; ``at``: when this was written. UTC.
        doing: what it does, or waits for.
        failure: why its last turn failed; empty while all is well. ``tries``: how often in a row.
        again: when it tries again, or looks for answers next.
        alive: whether the process still keeps it; of one that was killed the file stays.
    """

    by: str
    process: int
    since: datetime
    at: datetime
    doing: str = ""
    failure: str = ""
    tries: int = 0
    again: datetime | None = None
    alive: bool = True

    def in_words(self) -> str:
        """One line for a person."""
        if not self.alive:
            return f"was ended by force ({self.at:%Y-%m-%d %H:%M} UTC); '{self.by}' goes on"
        text = f"'{self.by}' since {self.since:%Y-%m-%d %H:%M} UTC, process {self.process}"
        return f"{text}: {self.doing}" if self.doing else text

    def trouble(self) -> str:
        """What a person should look at; empty if nothing."""
        if not self.failure or not self.alive:
            return ""
        again = f", tried again at {self.again:%H:%M:%S} UTC" if self.again else ""
        return f"the watch failed {counted(self.tries, 'time')} in a row{again}: {self.failure}"


@dataclass
class Watch:
    """A watch that this process keeps; see ``keep_watch``."""

    root: Path
    state: WatchState
    _written: str = field(default="", repr=False)

    def tell(self, **changes: Any) -> None:
        """Changes how it stands. A disk that takes no file now is no reason to end the watch."""
        self.state = replace(self.state, **changes, at=datetime.now(UTC))
        path = self.root / FILE
        draft = path.with_name(f"{FILE}.draft")
        with suppress(OSError):
            draft.write_text(json.dumps(asdict(self.state), default=str), encoding="utf-8")
            draft.replace(path)


@contextmanager
def keep_watch(project: Project, by: str) -> Iterator[Watch]:
    """Keeps the watch until the block ends.

    Args:
        by: the command.

    Raises:
        AlreadyWatched: another process does, on this machine or, where the records are on a server,
            on another.
    """
    now = datetime.now(UTC)
    with ExitStack() as held:
        held.enter_context(_locked(project))
        try:
            held.enter_context(project.records.alone(lock_seconds(), WATCHING))
        except Busy:
            raise _already(project) from None
        watch = Watch(project.root, WatchState(by, os.getpid(), now, now))
        watch.tell()
        try:
            yield watch
        finally:
            (project.root / FILE).unlink(missing_ok=True)


def watch_state(project: Project) -> WatchState | None:
    """How the watch over a project stands; None where there is none, or its file is no such."""
    try:
        stored = json.loads((project.root / FILE).read_text(encoding="utf-8"))
        times = {name: datetime.fromisoformat(stored[name]) for name in ("since", "at")}
        again = stored["again"] and datetime.fromisoformat(stored["again"])
        state = WatchState(**{**stored, **times, "again": again})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return replace(state, alive=_is_kept(project))


def note_failure(project: Project, message: str) -> None:
    """Writes the first of failures in a row into the log. The records may be what fails."""
    with suppress(DbError), project.records.write("watch-failed") as session:
        log(session, "watch", f"failed: {message}"[:500], level="error")


def note_success(project: Project, tries: int) -> None:
    """Writes into the log that it goes on after so many failures."""
    with suppress(DbError), project.records.write("watch-goes-on") as session:
        log(session, "watch", f"goes on after {counted(tries, 'failure')}")


@contextmanager
def _locked(project: Project) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(project.root / LOCK)
    try:
        lock.acquire(timeout=lock_seconds())
    except Timeout:
        raise _already(project) from None
    try:
        yield
    finally:
        lock.release()


def _already(project: Project) -> AlreadyWatched:
    state = watch_state(project)
    who = f" ({state.in_words()})" if state else ""
    return AlreadyWatched(
        f"another 'coreloop run --watch' or 'coreloop serve' turns the loop of {project.root}"
        f"{who}; nothing was changed. 'coreloop status' shows how it stands"
    )


def _is_kept(project: Project) -> bool:
    """Whether a process holds the lock; where this user may not ask, what the file says."""
    from filelock import FileLock, Timeout

    path = project.root / LOCK
    if not path.exists():
        return False
    lock = FileLock(path)
    for _ in range(2):  # two who ask at once are in each other's way
        try:
            lock.acquire(timeout=0)
        except Timeout:
            time.sleep(0.01)
        except OSError:
            return True
        else:
            lock.release()
            return False
    return True
