"""Labels and picks in the formats of other tools. Rows in, files out; nothing appears half done."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loop.errors import ConfigError

FORMATS = ("csv", "jsonl", "parquet", "folders", "votes")


@dataclass(frozen=True)
class Exported:
    """One image: what is known of it. ``votes`` are (annotator, label) pairs."""

    key: str
    uri: str
    split: str
    round: int
    rank: int
    label: str | None
    votes: tuple[tuple[str, str], ...] = ()


def export(rows: Sequence[Exported], form: str, out: Path, read: Callable[[str], bytes]) -> Path:
    """Writes ``rows`` in the named format and returns the path.

    csv, jsonl, parquet: one row per image. folders: image files as ``split/label/key.suffix``, the
    layout of torchvision's ImageFolder and of Hugging Face's imagefolder. votes: one column per
    annotator, empty where they did not vote, as cleanlab.multiannotator takes it.

    Raises:
        ConfigError: unknown format, or ``out`` exists.
    """
    if form not in FORMATS:
        raise ConfigError(f"format {form!r} is unknown; one of {', '.join(FORMATS)}")
    if out.exists():
        raise ConfigError(f"{out} exists; choose another --out")
    draft = out.with_name(f".{out.name}.draft")
    if form == "folders":
        return _folders(rows, out, draft, read)
    if form == "parquet":
        import pyarrow
        import pyarrow.parquet

        values = [{**asdict(r), "votes": [list(v) for v in r.votes]} for r in rows]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), draft)
    else:
        draft.write_text(_text(rows, form), encoding="utf-8")
    draft.replace(out)
    return out


def _text(rows: Sequence[Exported], form: str) -> str:
    if form == "jsonl":
        return "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    out = io.StringIO()
    if form == "csv":
        names = ["key", "uri", "split", "round", "rank", "label"]
        table = csv.writer(out)
        table.writerow(names)
        table.writerows([getattr(row, name) for name in names] for row in rows)
        return out.getvalue()
    people = sorted({who for row in rows for who, _ in row.votes})
    table = csv.writer(out)
    table.writerow(["key", *people])
    for row in rows:
        mine = dict(row.votes)
        table.writerow([row.key, *(mine.get(who, "") for who in people)])
    return out.getvalue()


def _folders(
    rows: Sequence[Exported], out: Path, draft: Path, read: Callable[[str], bytes]
) -> Path:
    import shutil

    shutil.rmtree(draft, ignore_errors=True)
    for row in rows:
        if row.label is None:
            continue
        suffix = Path(row.uri).suffix.lower() or ".png"
        path = draft / row.split / folder_name(row.label) / f"{row.key}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(read(row.uri))
    draft.mkdir(parents=True, exist_ok=True)
    draft.replace(out)
    return out


def folder_name(label: str) -> str:
    """A class name as a folder name that stays inside its parent on every system."""
    name = "".join(c if c.isalnum() or c in " -_.()" else "_" for c in label).strip(" .")
    return name or "_"
