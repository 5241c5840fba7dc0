"""The loop by itself: looks for answers, and does with them what ``coreloop run`` does."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

from loop.engine import LOCAL, Engine
from loop.printable import one_line
from loop.project import Project, ProjectBusy, find
from loop.project.watch import Watch, keep_watch, note_failure, note_success
from loop.steps.run import Ended, Watcher, look, run

SECONDS = 20.0
"""Between two looks for answers; a look is two small requests where nothing has changed."""
LONGEST = 600.0
"""Seconds between two tries after failures; each is twice the one before."""
QUIET = 1.0
"""Seconds without a further wake, after which answers are pulled; people answer one by one."""
MOST_QUIET = 10.0
"""Seconds that wakes one after another can put that off."""
MENDED_BY_PEOPLE = (2, 3)
"""Exit codes of what the first turn ends with: waiting would not mend it."""


@dataclass
class Worker:
    """Turns the loop of one project until all planned rounds are over.

    The project is opened anew for each turn, so that an edited ``coreloop.toml`` and restored
    records count from the next one on. Nothing is held while it waits but the watch.

    Attributes:
        root: the project's folder.
        by: the command, for ``status``.
        seconds: between two looks for answers.
        tell: hears what is new: how many are labelled, and the end.
        complain: hears why a turn failed, and when it is tried again.
        working: what a turn tells the terminal meanwhile.
        where: the engine that embeds and scores.
        reopen: see ``run``.
        settle: called after each turn that went well.
        told_to_end: whether it was interrupted, asked between turns: the exception may have been
            dropped.
        for_ever: goes on looking for corrected answers when all rounds are over, and takes a first
            failure for one of those that pass.
    """

    root: Path
    by: str
    seconds: float = SECONDS
    tell: Callable[[Ended], None] = lambda ended: None
    complain: Callable[[str], None] = lambda text: None
    working: Callable[[], AbstractContextManager[Watcher]] = lambda: nullcontext(Watcher())
    where: Engine = LOCAL
    reopen: bool = False
    settle: Callable[[Project], None] = lambda project: None
    told_to_end: Callable[[], bool] = lambda: False
    for_ever: bool = False
    _woken: Event = field(default_factory=Event)
    _told: str = ""
    _waiting: bool = False
    _turns: int = 0

    def wake(self) -> None:
        """There may be answers: the next look is soon. From any thread."""
        self._woken.set()

    def work(self) -> Ended:
        """Turn after turn; how the last one ended.

        Raises:
            AlreadyWatched: another process does this.
            LoopError, ConnectorError, DbError: the first turn failed for what only people can mend.
        """
        with find(self.root) as project, keep_watch(project, self.by) as watch:
            return self.turns(watch)

    def turns(self, watch: Watch) -> Ended:
        """``work`` where the watch is kept already."""
        while True:
            ended = self._turn(watch)
            if ended is not None and ended.why == "done" and not self.for_ever:
                return ended
            if self.told_to_end():
                raise KeyboardInterrupt
            self._pause(watch, ended)

    def _turn(self, watch: Watch) -> Ended | None:
        """What can be done without people; None where it failed, or another command works."""
        failed = watch.state.tries
        try:
            with find(self.root) as project:
                ended = self._advance(project, watch)
                self.settle(project)
                if failed:
                    note_success(project, failed)
        except ProjectBusy:
            watch.tell(doing="waits for another command to end")
            return None
        except Exception as error:
            code = getattr(error, "exit_code", None)
            if not self._turns and not self.for_ever and code in MENDED_BY_PEOPLE:
                raise
            self._fail(watch, error)
            return None
        self._turns += 1
        self._waiting = ended.why == "waiting"
        watch.tell(doing=one_line(ended.message), failure="", tries=0)
        if ended.message != self._told:
            self.tell(ended)
            self._told = ended.message
        return ended

    def _advance(self, project: Project, watch: Watch) -> Ended:
        if self._waiting:
            ended = look(project)
            if ended is not None:
                return ended
        with self.working() as watcher:

            def begin(text: str) -> None:
                watch.tell(doing=one_line(text), again=None)
                watcher.begin(text)

            told = replace(watcher, begin=begin)
            return run(project, told, where=self.where, reopen=self.reopen)

    def _fail(self, watch: Watch, error: Exception) -> None:
        """Says what failed; a bug is shown whole."""
        if getattr(error, "exit_code", None) is None and not isinstance(error, OSError):
            traceback.print_exception(error)
        text = one_line(str(error) or type(error).__name__)
        tries = watch.state.tries + 1
        watch.tell(failure=text, tries=tries)
        self.complain(f"{text} (tried again in {self._seconds(tries, done=False):.0f} s)")
        if tries == 1:
            try:
                with find(self.root) as project:
                    note_failure(project, text)
            except Exception:  # what failed was opening it; the file says so
                return

    def _seconds(self, tries: int, *, done: bool) -> float:
        """Until the next turn."""
        if tries:
            return min(self.seconds * 2.0 ** min(tries - 1, 20), max(LONGEST, self.seconds))
        return max(LONGEST, self.seconds) if done else self.seconds

    def _pause(self, watch: Watch, ended: Ended | None) -> None:
        """Waits for the next turn, holding nothing. A wake ends it, once it is quiet for a moment;
        not where turns fail, lest each answer begin a training that fails."""
        tries = watch.state.tries
        seconds = self._seconds(tries, done=ended is not None and ended.why == "done")
        watch.tell(again=datetime.now(UTC) + timedelta(seconds=seconds))
        if tries:
            time.sleep(seconds)
            return
        if not self._woken.wait(seconds):
            return
        ends = time.monotonic() + MOST_QUIET
        while self._woken.is_set() and time.monotonic() < ends:
            self._woken.clear()
            self._woken.wait(QUIET)
        self._woken.clear()
