"""What a scan remarked, in lines of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from loop.quality import WORDS
from loop.wording import agreeing, counted

if TYPE_CHECKING:
    from connectors.base import PassedOver
    from loop.quality import Quality
    from loop.steps.scan import Scanned

MOST = 10
"""Lines of a kind; --json has all."""


def remarks(scanned: Scanned) -> Iterator[str]:
    """Copies, files that cannot be used, files that are no images, copies in two classes."""
    if scanned.duplicates:
        yield f"{counted(scanned.duplicates, 'further copy')} of images that are there already"
    if scanned.unreadable:
        yield f"{counted(len(scanned.unreadable), 'file')} cannot be used:"
        yield from _first([f"{uri}: {reason}" for uri, reason in scanned.unreadable])
    if scanned.refused:
        images = f"{counted(scanned.refused, 'image')} could not be had before and"
        are = agreeing(scanned.refused, "is")
        yield f"{images} {are} passed over for a day; try now: coreloop scan --again"
    yield from passed_over_lines(scanned.passed_over)
    if scanned.two_labels:
        named = scanned.two_labels
        yield f"{counted(len(named), 'image')} in two classes, byte for byte:"
        yield from _first([f"{a} ({label}) and {b} ({other})" for a, label, b, other in named])


def passed_over_lines(passed: Sequence[PassedOver]) -> Iterator[str]:
    """``73 other files are passed over:`` and how many for which reason; lines of a list, and
    labels, likewise."""
    for what, noun in (("file", "other file"), ("line", "line"), ("label", "label")):
        alike = [each for each in passed if each.what == what]
        count = sum(each.count for each in alike)
        if count:
            yield f"{counted(count, noun)} {agreeing(count, 'is')} passed over:"
            yield from _first([_reason(each) for each in alike])


def quality_remarks(looked_at: Quality) -> Iterator[str]:
    """Odd pictures by issue, groups of near-duplicates, and what to do about them."""
    if not looked_at.oddities:
        yield f"none of {counted(looked_at.images, 'picture')} is dark, blank, blurred or odd"
    for odd in looked_at.oddities:
        count = len(odd.files)
        yield f"{counted(count, 'picture')} {agreeing(count, 'is')} {WORDS[odd.issue]}:"
        yield from _first(odd.files)
    if looked_at.unreadable:
        yield f"{counted(len(looked_at.unreadable), 'picture')} cannot be looked at:"
        yield from _first([why for _, why in looked_at.unreadable])
    alike = f"cosine {looked_at.cosine:.3f} or more"
    if not looked_at.groups:
        yield f"no two images are nearly the same ({alike})"
        return
    yield (
        f"{counted(looked_at.doubled, 'image')} in {counted(len(looked_at.groups), 'group')} of "
        f"near-duplicates ({alike}):"
    )
    yield from _first([", ".join(group) for group in looked_at.groups])
    yield 'one label for each group: near_duplicates = "one" under [selection]'
    yield "take images out for good: coreloop exclude FILES; look at them: coreloop view"


def _reason(passed: PassedOver) -> str:
    number = counted(passed.count, passed.what)
    files = f"{passed.count} {passed.suffix}" if passed.suffix else number
    return f"{files}: {passed.reason}, e.g. {passed.example}"


def _first(lines: list[str]) -> Iterator[str]:
    for line in lines[:MOST]:
        yield from textwrap.wrap(
            line, 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
        )
    if len(lines) > MOST:
        yield f"  and {len(lines) - MOST} more; --json lists all"
