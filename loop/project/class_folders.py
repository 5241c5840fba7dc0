"""Classes that sub-folders state, where their names can be class names: dates cannot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors.base import SourceError
from connectors.folder import first_level
from loop.errors import ConfigError
from loop.project.classes import BY_NAME, exists, layout_of, stated_classes
from loop.wording import agreeing, counted

YEAR = r"(19|20)\d\d"
NO_CLASSES = (
    ("a date", rf"{YEAR}([-_. ]?\d\d?){{0,2}}([-_. ].*)?|\d\d?[-_.]\d\d?[-_.]({YEAR}|\d\d)"),
    ("a camera's folder", r"\d{3}[A-Z0-9_]{5}|DCIM|Camera( Roll)?|Screenshots"),
    (
        "a part of a set",
        r"(train|val|test)(ing|id|idation)?|all|new|old|raw|data|images?|imgs?|photos?|pictures?"
        r"|unsorted|unlabell?ed|inbox|backup"
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
