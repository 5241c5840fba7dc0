"""Exports of Label Studio as lists of images: JSON, JSON-MIN and CSV. The labels are those of the
annotations; images are found below a folder, or at their addresses."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from connectors.base import SourceError
from connectors.entries import SEVERAL_LABELS, Entries, Entry, agreed
from connectors.table import image_column, listed

OF_ANNOTATIONS = frozenset(
    ["id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"]
)
"""Columns of flat exports that are neither data nor answers."""
RESULT = "choice"
"""What the first control is called in Label Studio's own templates."""
SEVERAL_CHOICES = "several choices ticked, so none is taken"
NO_IMAGE = "task without an image"
LOCAL_FILES, UPLOADS = "/data/local-files/", "/data/upload/"
MARK = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""


def is_export(columns: Iterable[str]) -> bool:
    """Whether these are the keys of tasks, or the columns of a flat export."""
    return {"data", "annotations"} <= set(columns) or {"annotator", "annotation_id"} <= set(columns)


def add_tasks(
    path: Path,
    tasks: Sequence[dict[str, Any]],
    entries: Entries,
    column: str = "",
    control: str = "",
) -> None:
    """Entries of every task, labelled or not. Where annotations differ, none is taken.

    Args:
        tasks: objects of the JSON, or rows of a flat export, one for each annotation.
        column: key of the image in the tasks' data; empty: the one that is called so.
        control: name of the <Choices> that counts; empty: the only one.

    Raises:
        SourceError: there is no such column or control, or several could be it.
    """
    if any("data" in task for task in tasks):
        answered = _of_tasks(path, tasks, control)
    else:
        answered = _of_rows(path, tasks, column, control)
    told: dict[str, list[str | None]] = defaultdict(list)
    where: dict[str, str] = {}
    for place, data, choices in answered:
        column = column or image_column(path, list(data), "")
        value = data.get(column)
        if not isinstance(value, str) or not value.strip():
            entries.passed.add(NO_IMAGE, "", place)
            continue
        where.setdefault(value, place)
        told[value] += [None]
        for ticked in choices:
            if len(ticked) > 1:
                entries.labels_passed.add(SEVERAL_CHOICES, "", f"{value}: {', '.join(ticked)}")
            else:
                told[value] += ticked
    names = _unambiguous({value: names_of(value.strip()) for value in told})
    for value, labels in told.items():
        label, differ = agreed(labels)
        if differ:
            named = ", ".join(sorted({each for each in labels if each}))
            entries.labels_passed.add(SEVERAL_LABELS, "", f"{value}: {named}")
        entries.entries.append(Entry(where[value], names[value], label))


Answered = Iterator[tuple[str, dict[str, Any], list[list[str]]]]
"""(task, its data, what each annotation ticked)"""


def _of_tasks(path: Path, tasks: Sequence[dict[str, Any]], control: str) -> Answered:
    """Of the JSON export."""
    parsed = [(task, list(_results(task))) for task in tasks]
    controls = {name for _, results in parsed for name, _ in results}
    if control and control not in controls:
        raise SourceError(
            f"no annotation of {path} is by {control!r}; by {listed(sorted(controls))}"
        )
    if not control and len(controls) > 1:
        raise SourceError(
            f"say which control of {path} names the classes with --label-column; it has "
            f"{listed(sorted(controls))}"
        )
    for number, (task, results) in enumerate(parsed, 1):
        data = task.get("data")
        choices = [ticked for name, ticked in results if name == (control or name) and ticked]
        yield f"task {task.get('id', number)}", data if isinstance(data, dict) else {}, choices


def _results(task: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """(control, what it ticked) of each annotation that was not skipped."""
    for annotation in task.get("annotations") or []:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        for result in annotation.get("result") or []:
            if isinstance(result, dict) and result.get("type") == "choices":
                yield str(result.get("from_name", "")), _ticked(result.get("value"))


def _of_rows(path: Path, rows: Sequence[dict[str, Any]], column: str, control: str) -> Answered:
    """Of the flat exports."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    column = image_column(path, columns, column)
    if control and control not in columns:
        raise SourceError(f"{path} has no column {control!r}; it has {listed(columns)}")
    others = [name for name in columns if name not in OF_ANNOTATIONS and name != column]
    if not control and RESULT not in others and len(others) > 1:
        raise SourceError(
            f"say which column of {path} names the classes with --label-column; it has "
            f"{listed(others)}"
        )
    control = control or (RESULT if RESULT in others else (others or [""])[0])
    for number, row in enumerate(rows, 1):
        ticked = _ticked(row.get(control))
        yield f"row {number}", {column: row.get(column)}, [ticked] if ticked else []


def _ticked(value: Any) -> list[str]:
    """Choices of a cell: a name, a list of names, or an object that holds one."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            value = json.loads(value)
        except ValueError:
            return [value.strip()]
    if isinstance(value, dict):
        value = value.get("choices")
    values = value if isinstance(value, list) else [value]
    return [str(each).strip() for each in values if each is not None and str(each).strip()]


def names_of(value: str) -> tuple[str, ...]:
    """Paths at which the image of a task may lie, and its address where it has one."""
    parts = urlsplit(value)
    path = unquote(parts.path)
    address = (value,) if parts.scheme and parts.netloc else ()
    if path.startswith(LOCAL_FILES):
        return (*(parse_qs(parts.query).get("d") or [value]), *address)
    if path.startswith(UPLOADS):
        below = path.removeprefix(UPLOADS)
        name = below.rpartition("/")[2]
        return (f"upload/{below}", below, name, MARK.sub("", name), *address)
    return (value,)


def _unambiguous(names: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Without names that two tasks could mean: two people's ``1.jpg`` are two images."""
    tasks = Counter(name for each in names.values() for name in set(each))
    return {
        value: tuple(name for name in each if tasks[name] == 1) or each[:1]
        for value, each in names.items()
    }
