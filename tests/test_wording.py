"""Counts and times in words; no text of the program says ``1 images``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from loop.wording import agreeing, counted, duration


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (2, "class", "2 classes"),
        (2, "further copy", "2 further copies"),
        (3, "day", "3 days"),
        (4, "batch", "4 batches"),
    ],
)
def test_counted(count, noun, words):
    assert counted(count, noun) == words


def test_agreeing():
    assert [agreeing(1, "is"), agreeing(0, "is"), agreeing(2, "has")] == ["is", "are", "have"]


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0.0, "0 seconds"),
        (1 / 3600, "1 second"),
        (40 / 3600, "40 seconds"),
        (0.1167, "7 minutes"),
        (1.0, "60 minutes"),
        (1.6, "1.6 hours"),
        (31.4, "31 hours"),
    ],
)
def test_duration(hours, words):
    assert duration(hours) == words


ROOT = Path(__file__).resolve().parent.parent
NOUNS = "annotations|answers|cells|copies|files|images|labels|methods|picks|seeds|tasks"
ADJECTIVES = "calibration|finished|further|labelled|more|new|odd|paired|picked|random|test"
SEVERAL = {
    "autolabel.py: outlook.model labels",  # a verb
    "absence.py: len(items) images",
    "outcome.py: now labels",
    "answers.py: calibration['n'] labels",  # of a calibration, never few
    "by_class.py: population images",
    "by_class.py: given.min() images",
    "promise.py: len(rows) calibration images",
    "promise.py: len(answers) answers",
    "left_out.py: MIN_LABELS images",
    "auto.py: collected labels",
    "testing.py: k picks",  # a verb
    "view.py: len(embedded) images",
    "propagate.py: self.per_class labels",
}
"""Counts that cannot be 1 where they are shown, and words that are no noun."""


def counts_beside_a_plural(path: Path) -> set[str]:
    """Pieces of f-strings where a fixed plural follows a number."""
    plural = re.compile(rf" (?:(?:{ADJECTIVES}) )?({NOUNS})\b")
    pieces = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            number = isinstance(value, ast.FormattedValue) and not value.format_spec
            match = isinstance(text, ast.Constant) and plural.match(str(text.value))
            if number and match and "counted(" not in ast.unparse(value):
                pieces.add(f"{path.name}: {ast.unparse(value.value)}{match[0]}")
    return pieces


def test_a_count_is_followed_by_its_noun():
    """A count of things that may be one goes through ``counted``."""
    pieces = set()
    for path in (ROOT / "loop").rglob("*.py"):
        pieces |= counts_beside_a_plural(path)
    assert pieces - SEVERAL == set()


def test_a_number_stays_with_its_percent_sign():
    from loop.cli.output import lines_of
    from loop.reports.pages import unbroken

    lines = lines_of("95 % " * 60)
    assert len(lines) > 1
    assert all(line.endswith("%") and not line.startswith("%") for line in lines)
    assert unbroken("5 % of 100 %") == "5\u00a0% of 100\u00a0%"
