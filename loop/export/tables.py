"""Exports that are one file: CSV, JSON lines, parquet, annotations, cleanlab's table of votes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loop.printable import cell

if TYPE_CHECKING:
    from loop.export import Exported

IMAGE = ("key", "uri", "split", "round", "rank", "label", "by", "confidence", "promise")
ANNOTATION = ("key", "uri", "annotator", "label", "seconds", "at")


def write_table(rows: Sequence[Exported], form: str, path: Path) -> None:
    """One of ``loop.export.TABLES`` to ``path``. In CSV, text that a spreadsheet program would take
    for a formula begins with an apostrophe; JSON lines and parquet hold every text as it is."""
    if form == "parquet":
        _parquet(rows, path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    else:
        tables = {"csv": _images, "annotations": _annotations, "votes": _votes}
        text = io.StringIO()
        csv.writer(text).writerows([map(cell, line) for line in tables[form](rows)])
        path.write_text(text.getvalue(), encoding="utf-8", newline="")


def _images(rows: Sequence[Exported]) -> Iterator[Sequence[Any]]:
    yield IMAGE
    for row in rows:
        yield [getattr(row, name) for name in IMAGE]


def _annotations(rows: Sequence[Exported]) -> Iterator[Sequence[Any]]:
    yield ANNOTATION
    for row in rows:
        for vote in row.votes:
            yield (row.key, row.uri, vote.annotator, vote.label, vote.seconds, vote.at)


def _votes(rows: Sequence[Exported]) -> Iterator[Sequence[Any]]:
    """Several labels by one person on one image: the newest, as training counts them."""
    labels = [
        (row.key, {vote.annotator: vote.label for vote in row.votes if vote.label is not None})
        for row in rows
    ]
    annotators = sorted({annotator for _, by_annotator in labels for annotator in by_annotator})
    yield ("key", *annotators)
    for key, by_annotator in labels:
        if by_annotator:
            yield (key, *(by_annotator.get(annotator, "") for annotator in annotators))


def _parquet(rows: Sequence[Exported], path: Path) -> None:
    """With a schema of its own, so that no rows or no label still give every column its type."""
    import pyarrow as pa
    import pyarrow.parquet

    text, count = pa.string(), pa.int64()
    vote = {"annotator": text, "label": text, "seconds": pa.float64(), "at": text}
    columns = {
        "key": text,
        "uri": text,
        "split": text,
        "round": count,
        "rank": count,
        "label": text,
        "votes": pa.list_(pa.struct(list(vote.items()))),
        "by": text,
        "confidence": pa.float64(),
        "promise": text,
    }
    schema = pa.schema(list(columns.items()))
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    pyarrow.parquet.write_table(table, path)
