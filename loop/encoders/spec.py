"""An encoder as it is written in ``coreloop.toml``: ``kind[:model[:weights]][?options]``, several
joined by ``+``. Nothing is imported and no model is loaded here.
"""

from __future__ import annotations

import re
from pathlib import Path


def parts(spec: str) -> list[str]:
    """Splits at each ``+`` that a name follows, so that paths may hold one."""
    return re.split(r"\+(?=[a-z_]+(?:[:+]|$))", spec)


def located(spec: str) -> str:
    """The spec with its files by their whole paths, so that it means the same in any folder."""
    return "+".join(_located(part) for part in parts(spec))


def short(name: str) -> str:
    """An encoder's name for people: without folders and parameters."""
    shown = [part.partition("?")[0].rsplit(":", 1) for part in parts(name)]
    return "+".join(":".join([*kind, Path(last).name]) for *kind, last in shown)


def _located(spec: str) -> str:
    kind, _, rest = spec.partition(":")
    if kind == "file" and rest:
        return f"file:{Path(rest).expanduser().absolute()}"
    model, _, rest = rest.partition(":")
    weights, mark, options = rest.partition("?")
    file = Path(weights).expanduser()
    if not weights or not file.is_file():
        return spec
    return f"{kind}:{model}:{file.absolute()}{mark}{options}"
