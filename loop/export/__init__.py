"""Labels and picks in the formats of other tools, and the model as a folder. Rows in, files out;
nothing appears half done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loop.errors import ConfigError
from loop.files import draft_of

__all__ = ["FOLDERS", "FORMATS", "MODEL", "TABLES", "Exported", "ExportedVote", "export"]

TABLES = {
    "csv": "one row per image",
    "jsonl": "one JSON object per image, with every vote",
    "parquet": "one row per image, with every vote",
    "annotations": "CSV, one row per annotation, with times",
    "votes": "CSV, one column per annotator, as cleanlab.multiannotator takes it",
}
FOLDERS = {
    "folders": "split/label/image, torchvision's ImageFolder",
    "huggingface": "parquet per split, images inside; datasets.load_dataset(FOLDER)",
    "fiftyone": "per split a FiftyOneImageClassificationDataset",
}
FORMATS = {**TABLES, **FOLDERS}
MODEL = "model"
"""The format of the newest model itself, see ``loop.export.model``."""


@dataclass(frozen=True)
class ExportedVote:
    """One annotation.

    Attributes:
        label: None: skipped.
        seconds: of work; None: not known.
        at: ISO 8601 time.
    """

    annotator: str
    label: str | None
    seconds: float | None = None
    at: str | None = None


@dataclass(frozen=True)
class Exported:
    """One image and what is known of it.

    Attributes:
        round, rank: of its pick, round 0 is the test split; None: nobody was asked about it.
        label: by consensus, or the model's; None: not labelled.
        votes: every annotation that stands now, oldest first.
        by: people or model, whose label it is; None: not labelled.
        confidence: of the model, where the label is its; ``promise`` about these labels in words.
    """

    key: str
    uri: str
    split: str
    round: int | None
    rank: int | None
    label: str | None
    votes: tuple[ExportedVote, ...] = ()
    by: str | None = None
    confidence: float | None = None
    promise: str | None = None


def export(
    rows: Sequence[Exported],
    form: str,
    out: Path,
    read: Callable[[str], bytes],
    classes: Sequence[str],
) -> Path:
    """Writes ``rows`` in the named format (see FORMATS) and returns the path.

    The tables hold every row; the folders hold the image files of rows with a label.

    Raises:
        ConfigError: unknown format, or ``out`` exists.
    """
    if form not in FORMATS:
        raise ConfigError(f"format {form!r} is unknown; one of {', '.join(FORMATS)}")
    if out.exists():
        raise ConfigError(f"{out} exists; choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with draft_of(out) as draft:
        if form in TABLES:
            from loop.export.tables import write_table

            write_table(rows, form, draft)
        else:
            from loop.export.folders import write_folder

            labelled = [row for row in rows if row.label is not None]
            write_folder(labelled, form, draft, read, classes)
    return out
