"""Text that others wrote, shown: no terminal, browser or spreadsheet acts on it."""

from __future__ import annotations

import re

ACTED_ON = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but for tab and newline, marks of direction and of lines, halves of pairs."""
FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet program computes; the last four are =+-@ of full width."""


def printable(text: str) -> str:
    """The text with such characters written out: ``\\x1b`` for the escape character."""
    return ACTED_ON.sub(lambda match: ascii(match[0])[1:-1], text)


def one_line(text: str) -> str:
    """``printable``, and no line of its own."""
    return printable(text).replace("\n", "\\n")


def cell(value: object) -> object:
    """The value of a spreadsheet's cell; text that begins like a formula gets an apostrophe, which
    marks text there."""
    if isinstance(value, str) and FORMULA.match(value) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
