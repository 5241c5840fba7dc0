"""Class names as people write them: from a file, and where two are one to the eye."""

from __future__ import annotations

import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from loop.errors import ConfigError, nearest
from loop.files import expanded

NO_LABEL = frozenset(
    [
        "nan",
        "none",
        "null",
        "na",
        "n/a",
        "<na>",
        "nat",
        "-1",
        "#n/a",
        "undefined",
        "unlabelled",
        "unlabeled",
    ]
)
"""What programs and people write where there is no label, in lower case."""


def classes_in(file: str | Path) -> list[str]:
    """Names in a file: ``classes = ["cat, wild", "dog"]`` of a TOML file, else one per line,
    without blanks at their ends.

    Raises:
        ConfigError: it cannot be read, or names no classes.
    """
    path = expanded(file)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if path.suffix.lower() != ".toml":
            return [line.strip() for line in text.split("\n") if line.strip()]
        names = tomllib.loads(text).get("classes")
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is no list of classes: {error}") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'{path} names no classes; write classes = ["cat", "dog"]')
    return names


def plain(name: str) -> str:
    """A name without what nobody sees: blanks at its ends, accents as characters of their own."""
    return unicodedata.normalize("NFC", name).strip()


def check_distinct(classes: Iterable[str]) -> None:
    """Raises ConfigError where two names look the same."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[plain(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            raise ConfigError(
                f"the classes {names[0]!r} and {names[1]!r} ({difference(*names[:2])}) look the "
                "same; rename or merge one of them"
            )


def difference(first: str, second: str) -> str:
    """What two names that look the same differ in."""
    if unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second):
        return "an accent is one character in one and two in the other"
    return "blanks at an end"


def remarks_on(classes: Sequence[str]) -> list[str]:
    """What may be a slip in these names."""
    blanks = [name for name in classes if name != name.strip()]
    remarks = [f"the class {name!r} has a blank at an end" for name in blanks]
    remarks += [
        f"the class {name!r} may mean that there is no label; if so, empty these cells, or move "
        "these images out of their folder"
        for name in classes
        if name.strip().lower() in NO_LABEL
    ]
    first_of: dict[str, str] = {}
    for name in classes:
        kind = str(int(name)) if name.isdecimal() else name.casefold()
        first = first_of.setdefault(kind, name)
        if slip := _slip(first, name):
            remarks.append(f"the classes {first!r} and {name!r} differ in {slip} alone")
    return remarks


def spelling(classes: Sequence[str]) -> Callable[[str], str]:
    """Label -> the class that it means: itself, or the one that looks the same."""
    exact = set(classes)
    by_look = {plain(name): name for name in reversed(classes)}
    return lambda label: label if label in exact else by_look.get(plain(label), label)


def hint(label: str, classes: Sequence[str]) -> str:
    """Which class a label that is none may mean; empty where nobody knows."""
    for name in classes:
        if plain(name) == plain(label):
            return f" (the class {name!r} looks the same: {difference(name, label)})"
        if slip := _slip(name, label):
            return f" (it differs from the class {name!r} in {slip} alone)"
    return nearest(label, classes)


def _slip(first: str, second: str) -> str:
    """``capital letters``, ``leading zeros``, or empty."""
    if first == second:
        return ""
    if first.casefold() == second.casefold():
        return "capital letters"
    numbers = first.isdecimal() and second.isdecimal()
    return "leading zeros" if numbers and int(first) == int(second) else ""
