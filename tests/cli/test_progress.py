"""Long work says how far it is, on a terminal or not."""

from __future__ import annotations

import os
import re
import sys
import threading
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


def test_the_count_fits_80_columns_beside_a_long_name(monkeypatch):
    """On a terminal, as the encoder of a real project is called."""
    import pty

    monkeypatch.setattr(output, "PATIENCE", 0.0)
    ours, theirs = pty.openpty()
    shown = []
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setenv("TERM", "xterm")
        reader = threading.Thread(target=lambda: shown.append(os.read(ours, 65536)))
        with output.bar() as (begin, progress):
            begin("embedding with timm:vit_small_patch14_dinov2.lvd142m+open_clip:ViT-B-32:laion2b")
            progress(1000, 123_456)
            time.sleep(0.3)
        reader.start()
        reader.join()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown[0].decode())
    bars = [line for line in re.split(r"[\r\n]+", text) if "1000/123456" in line]
    assert bars, text
    assert max(map(len, bars)) <= 80
    assert bars[0].startswith("embedding with timm:")
