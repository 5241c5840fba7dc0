"""Pieces of pages with pictures: what is filled in is text, wherever it came from."""

from __future__ import annotations

from loop.reports import pages
from loop.reports.facts import MapPoint, PickShown

HOSTILE = '<script>alert(1)</script>"'


def test_a_sheet_and_a_map_take_any_name():
    pick = PickShown("k", HOSTILE, 1, "coreset", 0, HOSTILE, None, b"jpeg")
    sheet = pages.contact_sheet([pick])
    assert sheet.count("<figure") == 1
    assert "data:image/jpeg;base64,anBlZw==" in sheet
    assert HOSTILE not in sheet
    points = [MapPoint(0, 0), MapPoint(1, 1, "picked", HOSTILE, "k")]
    drawn = pages.embedding_map(points)
    assert drawn.count("<circle") == 2
    assert drawn.count("<script>") == 1  # our own
    assert "prefers-color-scheme: dark" in pages.style()


def test_the_legend_names_what_is_there():
    picked = pages.embedding_map([MapPoint(0, 0, "picked")])
    assert "label issue" not in picked
    assert "label issue" in pages.embedding_map([MapPoint(0, 0, "issue")])


def test_a_red_frame_is_a_label_issue_and_no_wrong_guess():
    guess = PickShown("k", "a.png", 1, "coreset", 0, "cat", "dog", b"jpeg")
    assert 'class="issue"' not in pages.contact_sheet([guess])
    issue = PickShown("k", "a.png", 1, "coreset", 0, "cat", "dog", b"jpeg", label_issue=True)
    assert 'class="issue"' in pages.contact_sheet([issue])
    assert "≠ dog" in pages.contact_sheet([issue])
