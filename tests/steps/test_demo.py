"""The demo, whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEMO = [sys.executable, "-c", "from loop.cli import main; main()", "demo"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_from_the_command_line(tmp_path):
    done = subprocess.run(
        [*DEMO, "d"], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=True
    )
    for words in ("random", "margin", "el2n", "report.html", "next:"):
        assert words in done.stdout
    assert "━" not in done.stderr  # no progress bars when not a terminal
    html = (tmp_path / "d" / "reports" / "report.html").read_text()
    assert html.count("data:image/jpeg;base64") == 140
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    again = subprocess.run([*DEMO, "d"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "random" in again.stdout
