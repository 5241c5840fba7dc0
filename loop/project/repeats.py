"""Questions about one task at the same moment: a page of Label Studio asks for its task twice, and
the server would store both answers, so that people saw the prediction twice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition

SETTLED = 1.0
"""Seconds after an answer in which the server stores it."""
PATIENCE = 60.0
"""Seconds that a repeated question waits for the answer to the first; the server waits for 100."""
TaskName = tuple[int, str]
"""Number and data of a task: two servers may ask."""


@dataclass
class Repeats:
    """Tells the first question about a task from those that repeat it. Any number of threads."""

    _asked: set[TaskName] = field(default_factory=set)
    _ends: dict[TaskName, float] = field(default_factory=dict)
    _answered: Condition = field(default_factory=Condition)

    @contextmanager
    def first(self, tasks: Sequence[TaskName]) -> Iterator[set[TaskName]]:
        """Those that nobody else asks about, or has asked about a moment ago, while they are
        answered; after that, waits until the answers to the others are stored."""
        with self._answered:
            now = time.monotonic()
            self._ends = {task: end for task, end in self._ends.items() if end > now}
            first = set(tasks) - self._asked - self._ends.keys()
            self._asked |= first
        try:
            yield first
        finally:
            with self._answered:
                self._asked -= first
                self._ends |= dict.fromkeys(first, time.monotonic() + SETTLED)
                self._answered.notify_all()
        self._wait(set(tasks) - first)

    def _wait(self, tasks: set[TaskName]) -> None:
        with self._answered:
            self._answered.wait_for(lambda: not tasks & self._asked, PATIENCE)
            ends = max((self._ends.get(task, 0.0) for task in tasks), default=0.0)
        time.sleep(max(0.0, ends - time.monotonic()))
