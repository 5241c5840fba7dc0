"""What can go wrong in the method, drawn at the top of one file.

    LoopError
    |-- ConfigError      a value in coreloop.toml, a flag or an argument is wrong   exit 2
    |-- DataError        images, embeddings or labels cannot be used as they are    exit 3
    |-- NotReady         a step needs something that is not there yet               exit 4
    `-- TrainingFailed   the numbers of a training run are not usable               exit 3

Messages say what is wrong, which value, and what to do next. ``exit_code`` is what the command
line leaves with. The families of ``connectors`` and ``db`` stand in their own packages.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LoopError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code = 2


class ConfigError(LoopError):
    """A setting is unknown, of the wrong kind, or contradicts another."""


class DataError(LoopError):
    """Images, arrays or labels are unusable as they are."""

    exit_code = 3


class NotReady(LoopError):
    """Something has to happen first; the message says what to type."""

    exit_code = 4


class TrainingFailed(LoopError):
    """Training ended in numbers that cannot be used (NaN, no class to learn)."""

    exit_code = 3


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name: `` (did you mean 'x'?)`` or the empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
