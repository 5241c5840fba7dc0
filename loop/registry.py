"""Named parts of the program: a name leads to ``module:attribute``, imported when it is asked for.

Scorers, trainers, encoders and engines each have one ``Registry``. Listing names imports nothing
heavy. Other packages add parts through the registry's entry-point group.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from loop.errors import ConfigError, nearest


@dataclass(frozen=True)
class Registry:
    """The parts of one kind by name.

    Attributes:
        noun: what the parts are called in messages, e.g. ``scorer``.
        built_in: name -> ``module:attribute`` of a frozen dataclass, or of what makes one.
        group: entry-point group in which other packages name theirs; None: closed.
        command: the command line that lists the names; None: messages list them.
    """

    noun: str
    built_in: Mapping[str, str]
    group: str | None = None
    command: str | None = None

    def table(self) -> dict[str, str]:
        """Name -> ``module:attribute``, built in or installed.

        Raises:
            ConfigError: two packages claim one name.
        """
        table = dict(self.built_in)
        for point in _installed(self.group, tuple(sys.path)) if self.group else ():
            if table.get(point.name, point.value) != point.value:
                raise ConfigError(
                    f"two {self.noun}s are called {point.name!r}: {table[point.name]} and "
                    f"{point.value}; rename one of them or uninstall its package"
                )
            table[point.name] = point.value
        return table

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.table())

    def check(self, name: str) -> None:
        """Looks the name up and imports nothing.

        Raises:
            ConfigError: no part has this name.
        """
        table = self.table()
        if name not in table:
            listed = f"'{self.command}' lists all" if self.command else f"one of {sorted(table)}"
            raise ConfigError(f"unknown {self.noun} {name!r}{nearest(name, table)}; {listed}")

    def load(self, name: str) -> Any:
        """The class (or function) behind a name, imported now.

        Raises:
            ConfigError: no part has this name.
        """
        self.check(name)
        module, _, attribute = self.table()[name].partition(":")
        return getattr(import_module(module), attribute)

    def get(self, name: str, **params: Any) -> Any:
        """The part with these parameters, which are the fields of its dataclass.

        Raises:
            ConfigError: unknown name, unknown parameter, or a value that the part refuses.
        """
        cls = self.load(name)
        known = [field.name for field in fields(cls)] if is_dataclass(cls) else []
        for key in params:
            if key not in known:
                raise ConfigError(
                    f"{self.noun} {name!r} has no parameter {key!r}{nearest(key, known)}; "
                    f"it has: {', '.join(known) or 'none'}"
                )
        try:
            return cls(**params)
        except TypeError as error:  # a comparison in the part's own checks failed
            message = f"{self.noun} {name!r}: a wrong type among {params}: {error}"
            raise ConfigError(message) from error
        except ValueError as error:
            raise ConfigError(f"{self.noun} {name!r}: {error}") from error


@cache
def _installed(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group in packages on ``path``: a file is read for each package there
    is, and a command asks for dozens of parts."""
    return tuple(entry_points(group=group))
