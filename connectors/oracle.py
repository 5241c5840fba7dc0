"""A labeler without people: it knows the labels, errs at a set rate and takes realistic time.

What was pushed stands in one append-only file, as a server would keep it; every answer depends
only on (seed, key), so a push repeated after a crash brings the same answers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from connectors.base import BatchToLabel, ItemToLabel, Progress, RemoteAnnotation, Seen

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MEDIAN_SECONDS = 3.0


@dataclass
class Oracle:
    """Labeler that answers from known labels.

    Attributes:
        folder: where ``oracle.jsonl`` is kept.
        labels: item key -> true class name; images without one are skipped, as people skip what
            they cannot judge.
        classes: all class names; a wrong answer is one of the others.
        error_rate: share of wrong answers.
        seed: which answers are wrong and how long each takes.
    """

    folder: Path
    labels: Mapping[str, str]
    classes: Sequence[str]
    error_rate: float = 0.0
    seed: int = 0
    name: str = "oracle"
    lag: float = 0.0
    version: str = ""
    cursor: str | None = field(default=None, init=False)
    seen: dict[str, Seen] = field(default_factory=dict, init=False)
    location: Mapping[str, Any] = field(default_factory=dict, init=False)

    def prepare(self, classes: Sequence[str]) -> None:
        """Nothing to prepare."""

    def push(self, batch: BatchToLabel, items: Sequence[ItemToLabel]) -> Mapping[str, str]:
        """Records the items; those of this batch that are there already are not added again."""
        pushed = {task["key"] for task in self._tasks() if task["batch"] == batch.uuid}
        lines = [
            json.dumps({"batch": batch.uuid, "key": item.key})
            for item in items
            if item.key not in pushed
        ]
        self._append(lines)
        return self.find(batch)

    def find(self, batch: BatchToLabel) -> Mapping[str, str]:
        """Item key -> task id of a batch."""
        return {
            task["key"]: str(number)
            for number, task in enumerate(self._tasks())
            if task["batch"] == batch.uuid
        }

    def inventory(self, known: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
        """Task ids by item key."""
        task_ids: dict[str, list[str]] = {}
        for number, task in enumerate(self._tasks()):
            task_ids.setdefault(task["key"], []).append(str(number))
        return task_ids

    def pull(self, since: str | None) -> Iterator[RemoteAnnotation]:
        """One answer for each task, in the order of the pushes."""
        tasks = self._tasks()
        for number, task in enumerate(tasks):
            if number >= int(since or 0):
                yield self.answer(task["key"], number)
        self.cursor = str(len(tasks))

    def progress(self) -> Progress:
        """Everything pushed is answered, or skipped where no label is known."""
        tasks = self._tasks()
        skipped = sum(task["key"] not in self.labels for task in tasks)
        return Progress(tasks=len(tasks), annotated=len(tasks) - skipped, skipped=skipped)

    def reveal(self, keys: Sequence[str]) -> dict[str, str]:
        """The answers that pushing these keys would bring, mistakes included."""
        return {key: self._label(key, self._rng(key)) for key in keys if key in self.labels}

    def _rng(self, key: str) -> np.random.Generator:
        text = f"{self.seed}:{key}".encode()
        word = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
        return np.random.default_rng(word)

    def _label(self, key: str, rng: np.random.Generator) -> str:
        true = self.labels[key]
        others = [name for name in self.classes if name != true]
        if rng.random() < self.error_rate and others:
            return others[int(rng.integers(len(others)))]
        return true

    def answer(self, key: str, number: int = 0) -> RemoteAnnotation:
        """The label of one item, or a skip where none is known, and the seconds it took."""
        rng = self._rng(key)
        label = self._label(key, rng) if key in self.labels else None
        # log-normal, as human reaction times are: a tenth of the answers takes 2.3 times as long
        seconds = float(MEDIAN_SECONDS * np.exp(0.65 * rng.standard_normal()))
        at = EPOCH + timedelta(seconds=5.0 * number)
        return RemoteAnnotation(
            id=f"{number}",
            version="1",
            key=key,
            annotator=self.name,
            label=label,
            cancelled=label is None,
            seconds=round(seconds, 2),
            at=at,
        )

    @property
    def _file(self) -> Path:
        return self.folder / "oracle.jsonl"

    def _tasks(self) -> list[dict[str, str]]:
        """All tasks; a last line cut short by a crash does not count."""
        if not self._file.exists():
            return []
        lines = self._file.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def _append(self, lines: list[str]) -> None:
        """Adds whole lines, on disk before it returns; first cuts off a torn one."""
        if not lines:
            return
        with self._file.open("ab+") as file:
            file.seek(0)
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)
            file.write("".join(line + "\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
