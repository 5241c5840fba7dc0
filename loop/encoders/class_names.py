"""The names of the classes as words: what a text encoder is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from loop.encoders import spec as specs

PLACE = "{}"
"""Stands for the name in a prompt."""
WORDLESS = re.compile(r"[\d_]*|n\d{5,}|[a-z]|(class|label|category|cat|type|id|cls|c|k)\d+", re.I)
"""Names that say nothing, without the signs between their parts: 7, n02084071, class_3, a."""


def is_code(name: str) -> bool:
    """Whether a class name is no word: a number, a letter, ``class_3``, ``n02084071``."""
    return WORDLESS.fullmatch(re.sub(r"[\W_]+", "", name)) is not None


def in_words(name: str) -> str:
    """``red_rose`` -> ``red rose``."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def phrases(
    classes: Sequence[str], synonyms: Mapping[str, Sequence[str]]
) -> tuple[list[list[str]], list[str]]:
    """The words of each class: its name unless that is a code, and its synonyms; and the names of
    the classes that have none."""
    words = []
    for name in classes:
        own = [] if is_code(name) else [in_words(name)]
        words.append(list(dict.fromkeys([*own, *map(in_words, synonyms.get(name, ()))])))
    return words, [name for name, some in zip(classes, words, strict=True) if not some]


def why_unused(encoder: str, classes: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> str:
    """Why training cannot listen to the class names; empty where it can.

    Args:
        encoder: as in ``coreloop.toml``.
    """
    kinds = {part.partition(":")[0] for part in specs.parts(encoder)}
    if "prior" in kinds:
        return ""
    if "open_clip" not in kinds:
        return f"the encoder {specs.short(encoder)} has no text side, as open_clip:MODEL:TAG has"
    codes = phrases(classes, synonyms)[1]
    if codes:
        return (
            f"class names such as {codes[0]!r} are no words; give words: synonyms under [project]"
        )
    return ""
