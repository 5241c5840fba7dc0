"""Exports that are a folder of images: ImageFolder, Hugging Face datasets, FiftyOne."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loop.export import Exported
    from loop.export.predictions import PredictedImages

RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}
"""Names that Windows keeps for devices."""
MARK = ".coreloop-export"
"""File that tells a later scan of a folder around it that these images are copies."""
ROW_GROUP = 100
"""Images held in memory at once, and read at once by the Hub's viewer."""


def write_folder(
    rows: Sequence[Exported],
    form: str,
    folder: Path,
    read: Callable[[str], bytes],
    classes: Sequence[str],
) -> None:
    """One of ``loop.export.FOLDERS`` to a new ``folder``; every row has a label."""
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    writers = {"folders": _image_folder, "huggingface": _hugging_face, "fiftyone": _fiftyone}
    writers[form](rows, folder, read, classes)


def write_class_folders(
    blocks: Iterable[PredictedImages],
    folder: Path,
    read: Callable[[str], bytes],
    classes: Sequence[str],
) -> None:
    """Copies of images, each in the folder of its likeliest class."""
    names = folder_names(classes)
    for name in names.values():
        (folder / name).mkdir(parents=True)
    (folder / MARK).touch()
    for block in blocks:
        for key, uri, ((label, _),) in block.rows(classes, top=1):
            data = read(uri)
            (folder / names[label] / file_name(key, uri, data)).write_bytes(data)
    _json(folder / "classes.json", {name: label for label, name in names.items()})


def _image_folder(
    rows: Sequence[Exported], folder: Path, read: Callable[[str], bytes], classes: Sequence[str]
) -> None:
    """A class with an image in one split has a folder in all, so that their class numbers agree
    (torchvision then asks for ``allow_empty=True`` where a split lacks a class)."""
    present = {row.label for row in rows}
    names = {label: name for label, name in folder_names(classes).items() if label in present}
    for split in _by_split(rows):
        for name in names.values():
            (folder / split / name).mkdir(parents=True)
    for row in rows:
        _save(row, folder / row.split / names[str(row.label)], read)
    _json(folder / "classes.json", {name: label for label, name in names.items()})


def _hugging_face(
    rows: Sequence[Exported], folder: Path, read: Callable[[str], bytes], classes: Sequence[str]
) -> None:
    """``data/<split>-00000-of-00001.parquet`` with the images inside, as on the Hub."""
    import pyarrow as pa
    import pyarrow.parquet

    schema = _hugging_face_schema(classes)
    (folder / "data").mkdir()
    for split, split_rows in _by_split(rows).items():
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        with pyarrow.parquet.ParquetWriter(path, schema) as file:
            for start in range(0, len(split_rows), ROW_GROUP):
                group = [
                    _hugging_face_row(row, read(row.uri), classes)
                    for row in split_rows[start : start + ROW_GROUP]
                ]
                file.write_table(pa.Table.from_pylist(group, schema=schema))


def _hugging_face_schema(classes: Sequence[str]) -> Any:
    """The features stand in the schema's ``huggingface`` entry, so ``label`` is a ClassLabel."""
    import pyarrow as pa

    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "key": {"dtype": "string", "_type": "Value"},
        "uri": {"dtype": "string", "_type": "Value"},
        "round": {"dtype": "int64", "_type": "Value"},
        "by": {"dtype": "string", "_type": "Value"},
        "confidence": {"dtype": "float64", "_type": "Value"},
    }
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text = pa.string()
    types = [image, pa.int64(), text, text, pa.int64(), text, pa.float64()]
    return pa.schema(
        list(zip(features, types, strict=True)),
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def _hugging_face_row(row: Exported, data: bytes, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "image": {"bytes": data, "path": _name(row, data)},
        "label": classes.index(str(row.label)),
        "key": row.key,
        "uri": row.uri,
        "round": row.round,
        "by": row.by,
        "confidence": row.confidence,
    }


def _fiftyone(
    rows: Sequence[Exported], folder: Path, read: Callable[[str], bytes], classes: Sequence[str]
) -> None:
    """Per split ``data/`` and ``labels.json`` with class numbers by file name without suffix.

    Source: FiftyOne user guide, "FiftyOneImageClassificationDataset".
    """
    for split, split_rows in _by_split(rows).items():
        (folder / split / "data").mkdir(parents=True)
        for row in split_rows:
            _save(row, folder / split / "data", read)
        labels = {row.key: classes.index(str(row.label)) for row in split_rows}
        _json(folder / split / "labels.json", {"classes": list(classes), "labels": labels})


def _by_split(rows: Sequence[Exported]) -> dict[str, list[Exported]]:
    splits: dict[str, list[Exported]] = {}
    for row in rows:
        splits.setdefault(row.split, []).append(row)
    return splits


def _save(row: Exported, folder: Path, read: Callable[[str], bytes]) -> None:
    data = read(row.uri)
    (folder / _name(row, data)).write_bytes(data)


def _name(row: Exported, data: bytes) -> str:
    return file_name(row.key, row.uri, data)


def file_name(key: str, uri: str, data: bytes) -> str:
    """Of an image among its copies: its key, and the suffix that it has or ought to have."""
    return key + (Path(uri).suffix.lower() or image_suffix(data))


def image_suffix(data: bytes) -> str:
    """``.jpg``, ``.png``, ... of encoded image bytes; rows of a parquet file have no name."""
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            name = (image.format or "png").lower()
    except UnidentifiedImageError:
        return ".bin"
    return ".jpg" if name == "jpeg" else f".{name}"


def _json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def folder_names(labels: Sequence[str]) -> dict[str, str]:
    """Class -> a folder name that stays inside its parent on every system, each its own.

    Names that differ in case only would be one folder on some systems, so they count as equal; a
    later class whose name is taken gets ``-2``, ``-3``, ... at its end.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        plain = "".join(c if c.isalnum() or c in " -_.()" else "_" for c in label)[:100]
        plain = plain.lstrip("_ .").rstrip(" .") or "class"  # datasets passes over "__dog"
        if plain.partition(".")[0].lower() in RESERVED:
            plain = "class " + plain
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        names[label] = name
    return names
