"""Labelling without a server: a sheet per batch, filled in with any spreadsheet program.

``push`` writes ``<batch>.csv`` with the columns key, image, label; people fill in ``label``
(``skip`` for an image they cannot judge); ``pull`` reads all sheets. A sheet that exists is never
rewritten. Several people fill in copies, with their names after a dot: ``<batch>.alice.csv``;
copies without a name are one person's, and must not contradict each other.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from connectors.base import Annotation, Batch, Item, Progress, Rejected

COLUMNS = ("key", "image", "label")
SKIP = "skip"
SHOWN = 10
"""Wrong lines that one message names."""


class Said(NamedTuple):
    """What a sheet says of one image: the first line that answers, or the first without answer."""

    label: str
    line: int
    image: str


@dataclass
class CsvSheet:
    """Labeler over a folder of sheets.

    Attributes:
        folder: where the sheets are.
        classes: what may be filled in.
        shown: uri -> what stands on the sheet, such as a path that people can open.
    """

    folder: Path
    classes: Sequence[str]
    shown: Callable[[str], str] = str
    name: str = "csv"
    lag: float = 0.0
    version: str = ""
    cursor: str | None = field(default=None, init=False)
    present: dict[str, set[str]] = field(default_factory=dict, init=False)

    def prepare(self, classes: Sequence[str]) -> None:
        """Makes the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.classes = list(classes)

    def push(self, batch: Batch, items: Sequence[Item]) -> Mapping[str, str]:
        """Writes the batch's sheet, unless it is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sheet = self._sheet(batch)
        if not sheet.exists():
            out = io.StringIO()
            table = csv.writer(out)
            table.writerow(COLUMNS)
            table.writerows((item.key, self.shown(item.uri), "") for item in items)
            draft = sheet.with_suffix(".draft")
            draft.write_text(out.getvalue(), encoding="utf-8")
            draft.replace(sheet)
        return self.find(batch)

    def find(self, batch: Batch) -> Mapping[str, str]:
        """Item key -> sheet and line."""
        sheet = self._sheet(batch)
        if not sheet.exists():
            return {}
        return {row["key"]: f"{sheet.name}:{line}" for line, row in self._rows(sheet)}

    def inventory(self) -> Mapping[str, Sequence[str]]:
        """Sheets and lines by item key; a line copied within its sheet is no second task."""
        found: dict[str, list[str]] = {}
        for sheet in self._originals():
            lines = {row["key"]: f"{sheet.name}:{line}" for line, row in self._rows(sheet)}
            for key, where in lines.items():
                found.setdefault(key, []).append(where)
        return found

    def pull(self, since: str | None) -> Iterator[Annotation]:
        """Every image with an answer in every sheet.

        Raises:
            Rejected: a label is no class, an image has two answers in one sheet or in two of one
                person, a column is missing, or it is no text; names the sheet and each line.
                Nothing of that sheet is yielded.
        """
        self.present = {}
        given: dict[str, tuple[Path, Said]] = {}
        for sheet in sorted(self.folder.glob("[!.]*.csv")):
            who = sheet.stem.partition(".")[2] or "sheet"
            saved = sheet.stat().st_mtime_ns
            at = datetime.fromtimestamp(saved / 1e9, UTC)
            found = {
                key if who == "sheet" else f"{key} {who}": (key, said)
                for key, said in self._answers(sheet).items()
            }
            _check_agree(sheet, {name: said for name, (_, said) in found.items()}, given)
            for name, (key, said) in found.items():
                label = said.label
                self.present.setdefault(key, set()).update([name] if label else [])
                if not label or name in given:
                    continue
                given[name] = sheet, said
                yield Annotation(
                    id=name,
                    version=str(saved),
                    key=key,
                    annotator=who,
                    label=None if label == SKIP else label,
                    cancelled=label == SKIP,
                    at=at,
                )
        self.cursor = None

    def progress(self) -> Progress:
        """Images, those with a label by anyone, and those that were only skipped."""
        said: dict[str, set[str]] = {}
        for sheet in self.folder.glob("[!.]*.csv"):
            for _, row in self._rows(sheet):
                said.setdefault(row["key"], set()).add((row["label"] or "").strip())
        done = sum(bool(words - {"", SKIP}) for words in said.values())
        skipped = sum(SKIP in words and words <= {"", SKIP} for words in said.values())
        return Progress(len(said), done, skipped, url=str(self.folder))

    def _answers(self, sheet: Path) -> dict[str, Said]:
        """Item key -> what its line says, or nothing. Raises Rejected with all that is wrong."""
        found: dict[str, Said] = {}
        wrong: list[str] = []
        for line, row in self._rows(sheet):
            label = self._named((row["label"] or "").strip())
            before, where, _ = found.get(row["key"], ("", 0, ""))
            if label and label != SKIP and label not in self.classes:
                wrong.append(f"line {line}: {label!r} is no class{self._meant(label)}")
            elif label and before and label != before:
                wrong.append(f"lines {where} and {line}: one image, {before!r} and {label!r}")
            if not before:
                found[row["key"]] = Said(label, line, row["image"] or row["key"])
        if wrong:
            raise Rejected(
                "\n".join(
                    [
                        f"{sheet.name}: nothing was read from this sheet; mend and pull again",
                        *_shown(wrong),
                        f"  classes: {', '.join(self.classes)}, or {SKIP!r}",
                    ]
                )
            )
        return found

    def _named(self, label: str) -> str:
        """The class as the config spells it: an é is one character or two, and looks the same."""
        plain = unicodedata.normalize("NFC", label)
        same = [name for name in self.classes if unicodedata.normalize("NFC", name) == plain]
        return same[0] if same else label

    def _meant(self, label: str) -> str:
        """A hint where only capital letters differ."""
        found = [name for name in self.classes if name.casefold() == label.casefold()]
        return f" (did you mean {found[0]!r}?)" if found else ""

    def _originals(self) -> list[Path]:
        """The sheets that ``push`` wrote."""
        return [sheet for sheet in sorted(self.folder.glob("[!.]*.csv")) if "." not in sheet.stem]

    def _sheet(self, batch: Batch) -> Path:
        return self.folder / f"round-{batch.round}-{batch.uuid[:8]}.csv"

    @staticmethod
    def _rows(sheet: Path) -> Iterator[tuple[int, dict[str, str]]]:
        try:
            text = sheet.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Rejected(
                f"{sheet.name} is not UTF-8 (byte {error.start}); save it again as 'CSV UTF-8'"
            ) from None
        # spreadsheet programs of some countries write semicolons
        delimiter = ";" if text.split("\n", 1)[0].count(";") >= 2 else ","
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        missing = [name for name in COLUMNS if name not in (table.fieldnames or [])]
        if missing:
            raise Rejected(f"{sheet.name}: the column {missing[0]!r} is missing; put it back")
        try:
            yield from enumerate(table, 2)
        except csv.Error as error:
            raise Rejected(f"{sheet.name} line {table.line_num}: {error}") from None


def _check_agree(sheet: Path, found: dict[str, Said], given: dict[str, tuple[Path, Said]]) -> None:
    """Raises Rejected if an earlier sheet of the same person has another answer."""
    wrong = []
    for name in found.keys() & given.keys():
        now, (first, before) = found[name], given[name]
        if now.label and now.label != before.label:
            wrong.append(
                f"{now.image}: {before.label!r} in {first.name} (line {before.line}), "
                f"{now.label!r} in {sheet.name} (line {now.line})"
            )
    if wrong:
        person = f"{sheet.stem.partition('.')[0]}.NAME.csv"
        raise Rejected(
            "\n".join(
                [
                    f"{sheet.name}: nothing was read from this sheet; another of the same person "
                    "answers differently",
                    *_shown(sorted(wrong)),
                    f"  take one away, or call it {person} if somebody else filled it in",
                ]
            )
        )


def _shown(wrong: list[str]) -> list[str]:
    more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
    return [f"  {text}" for text in [*wrong[:SHOWN], *more]]
