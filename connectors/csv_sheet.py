"""Labelling without a server: a sheet per batch, filled in with any spreadsheet program.

``push`` writes ``<batch>.csv`` with the columns key, image, label; people fill in ``label``
(``skip`` for an image they cannot judge); ``pull`` reads all sheets. A sheet that exists is never
rewritten. Several people fill in copies, with their names after a dot: ``<batch>.alice.csv``;
copies without a name are one person's, and must not contradict each other.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from connectors.base import (
    BatchToLabel,
    ItemToLabel,
    Mismatch,
    Prediction,
    Progress,
    Rejected,
    RemoteAnnotation,
    RemoteChange,
    Seen,
)
from connectors.files import read_ordinary
from connectors.sheet_edit import (
    column_names,
    delimiter_of,
    edited,
    with_label,
    without_named_delimiter,
)

COLUMNS = ("key", "image", "label")
SKIP = "skip"
KEY = re.compile("[0-9a-f]{32}")
UNREAD = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers", ".tsv", ".txt", ".csv")
"""Suffixes of what people save in place of a sheet; ``.CSV`` is none to a disk that tells capital
letters apart."""
MOST_NAMED = 10
"""Wrong lines that one message names."""


class SheetLine(NamedTuple):
    """The line of a sheet that counts for one image: the first with a label, or just the first."""

    label: str
    line: int
    image: str


ASIDE = "set-aside"
"""Folder of sheets that were taken back."""


@dataclass
class CsvSheet:
    """Labeler over a folder of sheets.

    Attributes:
        folder: where the sheets are.
        classes: what may be filled in.
        shown: uri -> what stands on the sheet, such as a path that people can open.
        uris: item keys -> key and uri of those that are known: a line whose key is of one image
            and whose name of another says nothing.
    """

    folder: Path
    classes: Sequence[str]
    shown: Callable[[str], str] = str
    uris: Callable[[Collection[str]], Mapping[str, str]] = lambda keys: {}
    name: str = "csv"
    lag: float = 0.0
    version: str = ""
    cursor: str | None = field(default=None, init=False)
    seen: dict[str, Seen] = field(default_factory=dict, init=False)
    location: Mapping[str, Any] = field(default_factory=dict, init=False)

    def prepare(self, classes: Sequence[str]) -> None:
        """Makes the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.classes = list(classes)

    def push(self, batch: BatchToLabel, items: Sequence[ItemToLabel]) -> Mapping[str, str]:
        """Writes the batch's sheet, unless it is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sheet = self._sheet(batch)
        if not sheet.exists():
            text = io.StringIO()
            table = csv.writer(text)
            table.writerow(COLUMNS)
            table.writerows((item.key, self.shown(item.uri), "") for item in items)
            draft = sheet.with_suffix(".draft")
            draft.write_text(text.getvalue(), encoding="utf-8")
            draft.replace(sheet)
        return self.find(batch)

    def find(self, batch: BatchToLabel) -> Mapping[str, str]:
        """Item key -> sheet and key: lines move when people sort."""
        sheet = self._sheet(batch)
        if not sheet.exists():
            return {}
        return {row["key"]: _task(sheet, row["key"]) for _, row in self._rows(sheet)}

    def inventory(self, known: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
        """Sheets by item key; a line copied within its sheet is no second task."""
        tasks: dict[str, list[str]] = {}
        for sheet in self._originals():
            for key in dict.fromkeys(row["key"] for _, row in self._rows(sheet)):
                tasks.setdefault(key, []).append(_task(sheet, key))
        return tasks

    def pull(self, since: str | None) -> Iterator[RemoteAnnotation]:
        """Every image with an answer in every sheet.

        Raises:
            Rejected: a label is no class, an image has two answers in one sheet or in two of one
                person, a line's key is none or of another image than its name, a column is missing
                or there twice, or it is no text; names the sheet and each line. Nothing of that
                sheet is yielded.
        """
        self.seen = {}
        earlier: dict[str, tuple[Path, SheetLine]] = {}
        for sheet in sorted(self.folder.glob("[!.]*.csv")):
            entries = self._entries(sheet)
            person = sheet.stem.partition(".")[2]
            ids = {key: f"{key} {person}" if person else key for key in entries}
            _check_agree(sheet, {ids[key]: entry for key, entry in entries.items()}, earlier)
            for key, entry in entries.items():
                before = self.seen.get(key, Seen())
                self.seen[key] = Seen(
                    annotations=before.annotations | ({ids[key]} if entry.label else set()),
                    tasks=before.tasks | {_task(sheet, key)},
                )
                if entry.label and ids[key] not in earlier:
                    earlier[ids[key]] = sheet, entry
                    yield _annotation(ids[key], key, person or "sheet", entry, sheet)
        self.cursor = None

    def untouched(self, tasks: Mapping[str, str]) -> set[str]:
        """Keys of those that are filled in on no sheet, nor on anybody's copy of one."""
        filled = {
            row["key"]
            for sheet in self.folder.glob("[!.]*.csv")
            for _, row in self._rows(sheet)
            if (row["label"] or "").strip()
        }
        return set(tasks) - filled

    def withdraw(self, tasks: Mapping[str, str]) -> set[str]:
        """Sets aside each sheet, with the copies of it, on which only such images stand; their
        keys. Single lines stay on the sheets of others, which may be open in a program."""
        withdrawn: set[str] = set()
        keys = self.untouched(tasks)
        for original in self._originals():
            lines = {row["key"] for _, row in self._rows(original)}
            if not lines or not lines <= keys:
                continue
            aside = self.folder / ASIDE
            aside.mkdir(exist_ok=True)
            for sheet in self.folder.glob(f"{original.stem}*.csv"):
                sheet.replace(aside / sheet.name)
            withdrawn |= lines
        return withdrawn

    def progress(self) -> Progress:
        """Images, those with a label by anyone, and those that were only skipped."""
        labels: dict[str, set[str]] = {}
        for sheet in self.folder.glob("[!.]*.csv"):
            for _, row in self._rows(sheet):
                labels.setdefault(row["key"], set()).add((row["label"] or "").strip())
        labelled = sum(bool(of_image - {"", SKIP}) for of_image in labels.values())
        skipped = sum(SKIP in of_image and of_image <= {"", SKIP} for of_image in labels.values())
        return Progress(len(labels), labelled, skipped, url=str(self.folder), notes=self._unread())

    def labels(self, batch: BatchToLabel) -> dict[str, str]:
        """Item key -> what stands on the batch's own sheet now, empty or wrong as it may be; in
        the order of its lines. Nothing where the sheet was taken away.

        Raises:
            Rejected: it is no sheet any more.
        """
        labels: dict[str, str] = {}
        if not self._sheet(batch).exists():
            return labels
        for _, row in self._rows(self._sheet(batch)):
            label = self._as_class((row["label"] or "").strip())
            labels[row["key"]] = labels.get(row["key"]) or label
        return labels

    def fill(self, batch: BatchToLabel, key: str, label: str, before: str) -> None:
        """Writes a label (``skip``, or empty to take one back) into the batch's own sheet. What
        else stands there stays, byte by byte.

        Args:
            before: the label that the person was shown.

        Raises:
            Mismatch: the sheet says otherwise of this image by now, or is written to just now.
            Rejected: the label is no class, the image is not on the sheet, or the sheet is open in
                another program.
        """
        if label and label != SKIP and label not in self.classes:
            raise Rejected(f"{label!r} is no class")
        sheet = self._sheet(batch)
        with edited(sheet) as draft:
            labels = self.labels(batch)
            if labels.get(key, before) != before:
                raise Mismatch(
                    f"{sheet.name} says {labels[key]!r} of this image by now; nothing was changed"
                )
            text = with_label(read_ordinary(sheet).decode("utf-8"), key, label)
            draft.write_bytes(text.encode("utf-8"))

    def foretell(
        self, classes: Sequence[str], images: int, guesses: Sequence[Prediction]
    ) -> Sequence[RemoteChange]:
        """A sheet more; those that are there stay as they are."""
        before = len(self._originals())
        return [
            RemoteChange("folder", str(self.folder), str(self.folder)),
            RemoteChange("sheets", before, before + bool(images)),
        ]

    def listed(self) -> Container[str]:
        """Keys of the images that stand on a sheet."""
        return self.inventory({})

    def _unread(self) -> tuple[str, ...]:
        """Files beside the sheets that look like one saved in another form."""
        return tuple(
            f"{path.name} is not read; save it as 'CSV UTF-8' under the sheet's own name, ending "
            "in .csv"
            for path in sorted(self.folder.glob("[!.~]*"))
            if path.suffix != ".csv" and path.suffix.lower() in UNREAD and path.is_file()
        )

    def _entries(self, sheet: Path) -> dict[str, SheetLine]:
        """Item key -> the line that counts. Raises Rejected with all that is wrong."""
        entries: dict[str, SheetLine] = {}
        wrong: list[str] = []
        rows = list(self._rows(sheet))
        wrong += self._mixed_up(rows)
        for line, row in rows:
            label = self._as_class(row["label"] or "")
            entry = entries.get(row["key"])
            if not KEY.fullmatch(row["key"]):
                if label:
                    wrong.append(
                        f"line {line}: {row['key']!r} is no key; put back what stood there"
                    )
                continue
            if label and label != SKIP and label not in self.classes:
                wrong.append(f"line {line}: {label!r} is no class{self._hint(label)}")
            elif label and entry and entry.label and label != entry.label:
                wrong.append(
                    f"lines {entry.line} and {line}: one image, {entry.label!r} and {label!r}"
                )
            if entry is None or not entry.label:
                entries[row["key"]] = SheetLine(label, line, row["image"] or row["key"])
        if wrong:
            raise Rejected(
                "\n".join(
                    [
                        f"{sheet.name}: nothing was read from this sheet; mend and pull again",
                        *_first_of(wrong),
                        f"  classes: {', '.join(self.classes)}, or {SKIP!r}",
                    ]
                )
            )
        return entries

    def _mixed_up(self, rows: Sequence[tuple[int, dict[str, str]]]) -> list[str]:
        """Lines with a label whose name is that of another image than their key: some columns were
        sorted without the others."""
        uris = self.uris({row["key"] for _, row in rows})
        key_of = {self.shown(uri): key for key, uri in uris.items()}
        return [
            f"line {line}: the key is that of {self.shown(uris[row['key']])}, the name that of "
            f"{row['image']}; sort whole lines, or empty the name if the key is right"
            for line, row in rows
            if (row["label"] or "").strip()
            and row["key"] in uris
            and key_of.get(row["image"] or "", row["key"]) != row["key"]
        ]

    def _as_class(self, written: str) -> str:
        """The class as the config spells it: an é is one character or two, and looks the same, and
        nobody sees blanks at an end. What differs in capital letters only is taken where one class
        alone is meant."""
        if written in self.classes:
            return written
        plain, label = _plain(written), written.strip()
        spelled = {_plain(name): name for name in reversed(self.classes)}
        # a spreadsheet program takes =1+1 for a formula, and '=1+1 for text
        exact = spelled.get(plain) or spelled.get(plain.removeprefix("'"))
        if exact or label == SKIP:
            return exact or label
        meant = self._whatever_the_capitals(label)
        return meant[0] if len(meant) == 1 else label

    def _whatever_the_capitals(self, label: str) -> list[str]:
        """Classes, or the word for a skip, that differ from the label in capital letters only."""
        plain = _plain(label).casefold()
        return [name for name in [*self.classes, SKIP] if _plain(name).casefold() == plain]

    def _hint(self, label: str) -> str:
        """Which classes may be meant, where several differ in capital letters only."""
        meant = [repr(name) for name in self._whatever_the_capitals(label)]
        return f" (it may be {' or '.join(meant)})" if meant else ""

    def _originals(self) -> list[Path]:
        """The sheets that ``push`` wrote."""
        return [sheet for sheet in sorted(self.folder.glob("[!.]*.csv")) if "." not in sheet.stem]

    def _sheet(self, batch: BatchToLabel) -> Path:
        return self.folder / f"round-{batch.round}-{batch.uuid[:8]}.csv"

    @staticmethod
    def _rows(sheet: Path) -> Iterator[tuple[int, dict[str, str]]]:
        try:
            text = read_ordinary(sheet).decode("utf-8-sig")
        except OSError as error:
            raise Rejected(
                f"{sheet.name} cannot be read ({error.strerror}); mend it or take it away"
            ) from None
        except UnicodeDecodeError as error:
            raise Rejected(
                f"{sheet.name} is not UTF-8 (byte {error.start}); save it again as 'CSV UTF-8'"
            ) from None
        lines = without_named_delimiter(text)
        first = 2 if lines == text else 3
        table = csv.DictReader(io.StringIO(lines, newline=""), delimiter=delimiter_of(text))
        table.fieldnames = _columns_of(sheet, table)
        try:
            for line, row in enumerate(table, first):
                key = (row["key"] or "").strip().lower()
                if key or (row["label"] or "").strip():
                    yield line, {**row, "key": key}
        except csv.Error as error:
            raise Rejected(f"{sheet.name} line {table.line_num}: {error}") from None


def _columns_of(sheet: Path, table: csv.DictReader[str]) -> list[str]:
    """Names of the columns. Raises Rejected: one of ours is missing, or there twice."""
    try:
        names = column_names(table.fieldnames or [])
    except csv.Error as error:
        raise Rejected(f"{sheet.name} line 1: {error}") from None
    for name in COLUMNS:
        if name not in names:
            raise Rejected(f"{sheet.name}: the column {name!r} is missing; put it back")
        if names.count(name) > 1:
            raise Rejected(
                f"{sheet.name} has {names.count(name)} columns called {name!r}; keep the one that "
                "counts and rename the others"
            )
    return names


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _task(sheet: Path, key: str) -> str:
    """An image on a sheet or on anybody's copy of it: one task."""
    return f"{sheet.name.partition('.')[0]}:{key[:12]}"


def _annotation(
    id_: str, key: str, annotator: str, entry: SheetLine, sheet: Path
) -> RemoteAnnotation:
    saved = sheet.stat().st_mtime_ns
    skipped = entry.label == SKIP
    return RemoteAnnotation(
        id=id_,
        version=str(saved),
        key=key,
        annotator=annotator,
        label=None if skipped else entry.label,
        cancelled=skipped,
        at=datetime.fromtimestamp(saved / 1e9, UTC),
        task=_task(sheet, key),
    )


def _check_agree(
    sheet: Path, entries: dict[str, SheetLine], earlier: dict[str, tuple[Path, SheetLine]]
) -> None:
    """Raises Rejected if an earlier sheet of the same person has another answer."""
    wrong = []
    for id_ in entries.keys() & earlier.keys():
        entry, (other_sheet, other) = entries[id_], earlier[id_]
        if entry.label and entry.label != other.label:
            wrong.append(
                f"{entry.image}: {other.label!r} in {other_sheet.name} (line {other.line}), "
                f"{entry.label!r} in {sheet.name} (line {entry.line})"
            )
    if wrong:
        person = f"{sheet.stem.partition('.')[0]}.NAME.csv"
        raise Rejected(
            "\n".join(
                [
                    f"{sheet.name}: nothing was read from this sheet; another of the same person "
                    "answers differently",
                    *_first_of(sorted(wrong)),
                    f"  take one away, or call it {person} if somebody else filled it in",
                ]
            )
        )


def _first_of(wrong: list[str]) -> list[str]:
    more = [f"and {len(wrong) - MOST_NAMED} more"] if len(wrong) > MOST_NAMED else []
    return [f"  {text}" for text in [*wrong[:MOST_NAMED], *more]]
