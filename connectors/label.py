"""Labels as tables hold them: names, whole numbers, numbers of names; and cells that hold none."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from connectors.base import SourceError


def class_name(value: Any, stated: list[str]) -> str | None:
    """The class that a cell names; None where there is no label.

    Args:
        stated: names that whole numbers index.

    Raises:
        SourceError: a fraction or a list.
    """
    value = plain_label(value)
    if value is None:
        return None
    if isinstance(value, int) and 0 <= value < len(stated):
        return stated[value]
    return str(value)


def plain_label(value: Any) -> Any:
    """None where there is no label. Tables with gaps keep whole numbers as 3.0; that is 3."""
    if isinstance(value, list | dict):
        raise SourceError(one_class(value))
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    if value is None or value == -1 or value != value or value == "":
        return None
    if isinstance(value, float):
        if not value.is_integer():
            raise SourceError(
                f"label {value} is a fraction; write class names or whole numbers to the column"
            )
        return int(value)
    return value


def one_class(value: Any) -> str:
    return f"label {value} is a {type(value).__name__}; write one class per image to the column"


def in_order_of_values(names: Collection[str]) -> list[str]:
    """Class names in order; numbers by their value, before the others."""
    numbers = sorted(
        (name for name in names if name.isdecimal()), key=lambda name: (int(name), name)
    )
    return [*numbers, *sorted(set(names) - set(numbers))]
