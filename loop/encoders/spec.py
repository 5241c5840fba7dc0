"""An encoder as it is written in ``coreloop.toml``: ``kind[:model[:weights]][?options]``, several
joined by ``+``, each with a number before ``*`` where they weigh. Nothing is imported and no model
is loaded here.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from loop.errors import ConfigError
from loop.files import expanded

NUMBER = r"[^+*:/?]*\*\s*"
"""What may stand before a joined encoder; whether it is a number is checked by ``weights``."""


def parts(spec: str) -> list[str]:
    """The joined encoders, without their numbers: split at each ``+`` that a name follows, since
    paths may hold one."""
    return [part for _, part in _numbered(spec)]


def weights(spec: str) -> tuple[float, ...]:
    """The number of each joined encoder, 1 where it has none; empty where none has one: the
    columns stand side by side as they come.

    Raises:
        ConfigError: no positive number, one of an encoder that is not joined, or of ``prior:``,
            which is no embedding.
    """
    numbered = _numbered(spec)
    if not any(text for text, _ in numbered):
        return ()
    if len(numbered) == 1:
        raise ConfigError(
            f"encoder {spec!r}: a number goes with encoders that are joined, e.g. "
            f"{numbered[0][1]}+0.5*pixels:8; take it out"
        )
    return tuple(_weight(text, part) for text, part in numbered)


def located(spec: str) -> str:
    """The spec with its files as absolute paths, so that it means the same in any folder."""
    return "+".join(text + _located(part) for text, part in _numbered(spec))


def short(spec: str) -> str:
    """The encoder's name for people: the spec without folders and options."""
    names = []
    for text, part in _numbered(spec):
        *head, last = part.partition("?")[0].rsplit(":", 1)
        names.append(text + ":".join([*head, Path(last).name]))
    return "+".join(names)


def joined(first: str, second: str) -> str:
    """Both as one encoder, whose parts have length 1 times their number; a part of both once."""
    numbered: dict[str, str] = {}
    for text, part in _numbered(first) + _numbered(second):
        default = "" if part.startswith("prior:") else "1*"
        numbered.setdefault(part, text or default)
    return "+".join(text + part for part, text in numbered.items())


def _numbered(spec: str) -> list[tuple[str, str]]:
    """(number with its ``*``, or nothing; the encoder) of each joined one."""
    split = re.split(rf"\+(?=(?:{NUMBER})?[a-z_]+(?:[:+]|$))", spec)
    numbered = []
    for text in split:
        number = re.match(NUMBER, text)
        length = number.end() if number else 0
        numbered.append((text[:length], text[length:]))
    return numbered


def _weight(text: str, part: str) -> float:
    if not text:
        return 1.0
    if part.startswith("prior:"):
        raise ConfigError(f"encoder {text}{part}: probabilities of classes have no weight")
    try:
        weight = float(text.strip(" *"))
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ConfigError(
            f"encoder {text}{part}: {text.strip(' *')!r} is no positive number; write e.g. "
            f"0.5*{part}"
        )
    return weight


def weights_file(spec: str) -> Path | None:
    """The file of weights that an encoder names, where it is one."""
    _, _, rest = spec.partition("?")[0].partition(":")
    named = rest.partition(":")[2]
    file = expanded(named)
    return file if named and file.is_file() else None


def _located(part: str) -> str:
    kind, _, rest = part.partition(":")
    if kind in ("file", "prior") and rest:
        return f"{kind}:{expanded(rest).absolute()}"
    model, _, rest = rest.partition(":")
    weights, mark, options = rest.partition("?")
    file = expanded(weights)
    if not weights or not file.is_file():
        return part
    return f"{kind}:{model}:{file.absolute()}{mark}{options}"
