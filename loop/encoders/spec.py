"""An encoder as it is written in ``coreloop.toml``: ``kind[:model[:weights]][?options]``, several
joined by ``+``. Nothing is imported and no model is loaded here.
"""

from __future__ import annotations

import re
from pathlib import Path

from loop.files import expanded


def parts(spec: str) -> list[str]:
    """The joined encoders: split at each ``+`` that a name follows, since paths may hold one."""
    return re.split(r"\+(?=[a-z_]+(?:[:+]|$))", spec)


def located(spec: str) -> str:
    """The spec with its files as absolute paths, so that it means the same in any folder."""
    return "+".join(_located(part) for part in parts(spec))


def short(spec: str) -> str:
    """The encoder's name for people: the spec without folders and options."""
    names = []
    for part in parts(spec):
        *head, last = part.partition("?")[0].rsplit(":", 1)
        names.append(":".join([*head, Path(last).name]))
    return "+".join(names)


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
