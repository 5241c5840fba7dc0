"""Predictions as a table: one row per image, streamed, so that a million fit any memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.printable import cell

TABLES = ("csv", "jsonl", "parquet")
Row = tuple[str, str, list[tuple[str, float]]]
"""Key, uri, and (class, probability) pairs, the likeliest first."""


@dataclass(frozen=True)
class PredictedImages:
    """A block of M images and what a model says of them.

    Attributes:
        keys, uris: of each image.
        probabilities: (M, C).
    """

    keys: list[str]
    uris: list[str]
    probabilities: NDArray[np.floating[Any]]

    def at_least(self, confidence: float) -> PredictedImages:
        """Those whose likeliest class has at least this probability."""
        rows = np.flatnonzero(self.probabilities.max(axis=1) >= confidence)
        return PredictedImages(
            [self.keys[row] for row in rows],
            [self.uris[row] for row in rows],
            self.probabilities[rows],
        )

    def rows(self, classes: Sequence[str], top: int) -> Iterator[Row]:
        """Each image with its ``top`` likeliest classes."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :top]
        sure = np.take_along_axis(self.probabilities, order, axis=1).tolist()
        for key, uri, numbers, values in zip(
            self.keys, self.uris, order.tolist(), sure, strict=True
        ):
            yield key, uri, [(classes[n], v) for n, v in zip(numbers, values, strict=True)]


def write_predictions(
    blocks: Iterable[PredictedImages], form: str, path: Path, classes: Sequence[str], top: int = 1
) -> None:
    """One of ``TABLES``. CSV has the columns label, confidence, label_2, confidence_2, ...; JSON
    lines and parquet a list ``top`` of label and confidence. In CSV, text that a spreadsheet
    program would take for a formula begins with an apostrophe."""
    writers = {"csv": _csv, "jsonl": _json_lines, "parquet": _parquet}
    writers[form]((block.rows(classes, top) for block in blocks), path, top)


def _csv(blocks: Iterable[Iterator[Row]], path: Path, top: int) -> None:
    names = ["label", "confidence"]
    names += [f"{name}_{n}" for n in range(2, top + 1) for name in ("label", "confidence")]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["key", "uri", *names])
        for rows in blocks:
            table.writerows(
                (
                    key,
                    cell(uri),
                    *(value for name, p in pairs for value in (cell(name), f"{p:.6f}")),
                )
                for key, uri, pairs in rows
            )


def _json_lines(blocks: Iterable[Iterator[Row]], path: Path, top: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for rows in blocks:
            file.writelines(json.dumps(_record(row)) + "\n" for row in rows)


def _record(row: Row) -> dict[str, Any]:
    key, uri, pairs = row
    return {
        "key": key,
        "uri": uri,
        "label": pairs[0][0],
        "confidence": pairs[0][1],
        "top": [{"label": name, "confidence": sure} for name, sure in pairs],
    }


def _parquet(blocks: Iterable[Iterator[Row]], path: Path, top: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    text, share = pa.string(), pa.float64()
    pairs = pa.list_(pa.struct([("label", text), ("confidence", share)]))
    columns = {"key": text, "uri": text, "label": text, "confidence": share, "top": pairs}
    schema = pa.schema(list(columns.items()))
    with pyarrow.parquet.ParquetWriter(path, schema) as file:
        for rows in blocks:
            records = [_record(row) for row in rows]
            file.write_table(pa.Table.from_pylist(records, schema=schema))
