"""Counts and times in words."""

from __future__ import annotations

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
