"""Long work says how far it is, on a terminal or not."""

from __future__ import annotations

import time

import pytest

from loop.cli import output


def test_a_line_every_half_minute_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(output, "HALF_A_MINUTE", 0.05)
    with output.bar() as (begin, progress):
        begin("counting")
        for done in range(1, 9):
            time.sleep(0.02)
            progress(done, 8)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "counting"
    assert 1 <= len(lines) - 1 <= 4
    assert all(" of 8 after " in line and "more" in line for line in lines[1:])


@pytest.mark.parametrize(
    ("done", "total", "words"),
    [
        (120, 600, "120 of 600 after 40 s, about 160 s more"),
        (7, 0, "7 after 40 s"),
        (0, 9, "0 after 40 s"),
    ],
)
def test_how_far(done, total, words):
    assert output.so_far(done, total, 40.0) == words
