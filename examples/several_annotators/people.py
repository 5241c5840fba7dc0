"""Stands in for a person with a spreadsheet: fills in copies of the sheets, and errs now and then.

The true label is the name of the image's folder.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path


def fill_in(sheet: Path, name: str, error_rate: float) -> None:
    """Writes ``<sheet>.<name>.csv`` unless it is there."""
    out = sheet.with_name(f"{sheet.stem}.{name}.csv")
    if out.exists():
        return
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({Path(row["image"]).parent.name for row in rows})
    rng = random.Random(f"{name} {sheet.name}")
    for row in rows:
        true = Path(row["image"]).parent.name
        row["label"] = rng.choice(classes) if rng.random() < error_rate else true
    with out.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    folder, person, rate = sys.argv[1:]
    for sheet in sorted(Path(folder).glob("*.csv")):
        if "." not in sheet.stem:
            fill_in(sheet, person, float(rate))
