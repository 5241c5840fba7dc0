"""COCO's JSON as a list of images. Where all annotations of one are of one category, that is its
label."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from connectors.base import SourceError
from connectors.entries import Entries, Entry, agreed

SEVERAL = "annotations of several categories, so no label is taken"
NO_CATEGORY = "annotation of a category or an image that the file does not list"
NO_FILE = "image without a file_name or an address"
NAMES = ("file_name", "coco_url", "flickr_url")
"""Where an image may lie, the first that is there counts."""


def is_coco(content: Any) -> bool:
    """Whether JSON is COCO's: lists of images and, maybe, of annotations and categories."""
    return isinstance(content, dict) and isinstance(content.get("images"), list)


def read_coco(path: Path, content: dict[str, Any]) -> Entries:
    """Entries of every image, labelled or not. Raises SourceError: a part is no list of objects."""
    categories = {
        each.get("id"): each.get("name") for each in _objects(path, content, "categories")
    }
    images = _objects(path, content, "images")
    entries, known = Entries(), {image.get("id") for image in images}
    labels: dict[Any, list[str]] = defaultdict(list)
    for number, annotation in enumerate(_objects(path, content, "annotations"), 1):
        name, image_id = categories.get(annotation.get("category_id")), annotation.get("image_id")
        if name is None or image_id not in known:
            entries.labels_passed.add(NO_CATEGORY, "", f"annotation {number}")
        else:
            labels[image_id].append(str(name).strip())
    for number, image in enumerate(images, 1):
        names = tuple(str(image[key]) for key in NAMES if image.get(key))
        if not names:
            entries.passed.add(NO_FILE, "", f"image {number}")
            continue
        label, several = agreed(labels[image.get("id")])
        if several:
            named = ", ".join(sorted(set(labels[image.get("id")])))
            entries.labels_passed.add(SEVERAL, "", f"{names[0]}: {named}")
        entries.entries.append(Entry(f"image {number}", names, label or None))
    return entries


def _objects(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = content.get(key, [])
    if not isinstance(values, list) or not all(
        isinstance(each, dict) and not isinstance(each.get("id"), list | dict) for each in values
    ):
        raise SourceError(f"{path} is no COCO file: {key!r} is no list of objects")
    return values
