"""Classes that sub-folders state, where their names can be class names: dates cannot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors.base import SourceError
from connectors.folder import LEARNED, TESTED, beside_classes, first_level
from loop.errors import ConfigError
from loop.project.classes import BY_NAME, exists, layout_of, stated_classes
from loop.wording import agreeing, counted

YEAR = r"(19|20)\d\d"
PART = (
    r"(train|val|test|dev|eval)(ing|id|idation|elopment|uation)?"
    r"([-_ ]?(set|data|images?|split))?[-_ ]?\d*|unlabell?ed"
)
"""Parts of a set that is laid out in splits."""
NO_CLASSES = (
    ("a date", rf"{YEAR}([-_. ]?\d\d?){{0,2}}([-_. ].*)?|\d\d?[-_.]\d\d?[-_.]({YEAR}|\d\d)"),
    ("a camera's folder", r"\d{3}[A-Z0-9_]{5}|DCIM|Camera( Roll)?|Screenshots"),
    (
        "a part of a set",
        rf"{PART}|all|new|old|raw|data|images?|imgs?|photos?|pictures?"
        r"|unsorted|inbox|backup"
        r"|(batch|part|set|shard|disk|new folder|untitled folder)[-_ ]?\(?\d*\)?",
    ),
)
"""What a folder's name looks like -> as a regular expression, capital letters or not."""
NAMED = 3
"""Folders that a message names."""


class UnclearClasses(ConfigError):
    """Nobody said what the classes are, and the images do not state them clearly."""


def clear_classes(images: str | Path, settings: Mapping[str, Any] | None = None) -> list[str]:
    """Class names of the sub-folders or the table.

    Args:
        settings: see ``loop.project.classes.pool_section``.

    Raises:
        UnclearClasses: there are none, or what is there looks like something else.
        SourceError: there are no such images.
    """
    if not exists(images):
        raise SourceError(f"there is no {images}; say where the images are")
    try:
        names = stated_classes(images, settings)
    except ConfigError as error:
        raise UnclearClasses(str(error)) from None
    layout = layout_of(images)
    follow = bool(settings and settings.get("follow_links"))
    beside = first_level(Path(images), follow_links=follow)[1] if layout == "folder" else []
    doubt = "" if layout in BY_NAME else doubt_about(names, beside)
    if doubt:
        listed = ",".join(names) if len(names) <= NAMED else f"{names[0]},{names[1]},..."
        raise UnclearClasses(
            f"{doubt}, so the sub-folders of {images} may be no classes; say what the classes are, "
            f"e.g. --classes cat,dog,bird (if they are the sub-folders: --classes {listed})"
        )
    return names


def labelled_classes(images: str | Path, settings: Mapping[str, Any] | None = None) -> list[str]:
    """Class names of images whose labels are known: the person said that folders are labels.

    Args:
        settings: see ``loop.project.classes.pool_section``.

    Raises:
        UnclearClasses: all of them are parts of a set, such as train and val.
        SourceError: there are no such images.
        ConfigError: see ``loop.project.classes.stated_classes``.
    """
    if not exists(images):
        raise SourceError(f"there is no {images}; say where the images are")
    names = stated_classes(images, settings)
    parts = all(re.fullmatch(PART, name, re.IGNORECASE) for name in names)
    if layout_of(images) in BY_NAME or not parts:
        return names
    raise UnclearClasses(
        f"{', '.join(map(repr, names[:NAMED]))} in {images} look like parts of a set, and as such "
        f"they cannot be read: {_why_no_splits(images, names, settings)}; mend that, or say what "
        f"the classes are, e.g. --classes {','.join(names)}"
    )


def _why_no_splits(
    images: str | Path, names: Sequence[str], settings: Mapping[str, Any] | None
) -> str:
    """Why folders with the names of parts are not read as such."""
    strange = [name for name in names if name.lower() not in LEARNED | TESTED]
    if strange:
        return f"{strange[0]!r} is none of {', '.join(sorted(LEARNED | TESTED))}"
    follow = bool(settings and settings.get("follow_links"))
    beside = "" if isinstance(images, str) else beside_classes(images, follow_links=follow)
    return f"{beside} lies in no class folder" if beside else "below them is one class folder"


def doubt_about(names: Sequence[str], beside: Sequence[str]) -> str:
    """Why folders of these names may be no classes; empty if nothing speaks against it.

    Args:
        beside: images that lie in none of the folders.
    """
    for kind, pattern in NO_CLASSES:
        alike = [name for name in names if re.fullmatch(pattern, name, re.IGNORECASE)]
        if alike:
            each = ", each of which" if len(alike) > 1 else ""
            return f"{', '.join(map(repr, alike[:NAMED]))}{each} looks like {kind}"
    if beside:
        images = f"{counted(len(beside), 'image')} {agreeing(len(beside), 'lies')}"
        return f"{images} in no sub-folder ({beside[0]!r})"
    return ""
