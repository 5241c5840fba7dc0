"""Numbers in words: counts with their noun, times that people can grasp."""

from __future__ import annotations

AGREEING = {"is": "are", "was": "were", "has": "have", "it": "they", "its": "their", "lies": "lie"}
"""Words that go with one thing -> with several."""
LONG = 20
"""Hours from which no tenth of one is shown."""


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``0 new answers``: the last word of ``noun`` takes the plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {_several(noun)}"


def agreeing(count: int, word: str) -> str:
    """``is`` or ``are``, ``has`` or ``have``: the word that goes with a count."""
    return word if count == 1 else AGREEING[word]


def duration(hours: float) -> str:
    """``40 seconds``, ``7 minutes``, ``1.6 hours``."""
    if hours < 0.025:
        return counted(round(3600 * hours), "second")
    if hours < 1.5:
        return counted(round(60 * hours), "minute")
    return f"{hours:.1f} hours" if hours < LONG else f"{hours:.0f} hours"


def _several(noun: str) -> str:
    """``classes``, ``copies``, ``images``."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
