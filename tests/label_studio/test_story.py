"""The example with one's own photos, against the real server."""

from __future__ import annotations

import re
import subprocess

import pytest

from connectors.folder import content_key
from loop.demo.server import annotate
from tests.conftest import ROOT, write_images

pytestmark = pytest.mark.server


def test_own_photos_until_round_one_is_trained(tmp_path, server, on_path):
    write_images(tmp_path / "images", count=40)
    settings = {
        "LABEL_STUDIO_URL": server.url,
        "LABEL_STUDIO_API_KEY": server.token,
        "ENCODER": "pixels:8",
        "BUDGETS": "6",
        "TEST": "6",
    }
    answers = {
        content_key(path.read_bytes()): (path.parent.name, 1.5)
        for path in (tmp_path / "images").rglob("*.png")
    }
    output = ""
    for _ in range(3):
        done = subprocess.run(
            [
                "bash",
                str(ROOT / "examples" / "own_photos" / "run.sh"),
                str(tmp_path / "images"),
                "digit-0,digit-1,digit-2",
            ],
            cwd=tmp_path,
            env={**on_path, **settings},
            capture_output=True,
            text=True,
        )
        output = done.stdout
        assert done.returncode == 0, output + done.stderr
        link = re.search(r"label here: \S+/projects/(\d+)", output)
        if link is None:
            break
        annotate(server, int(link[1]), answers)
    assert "the one round is done" in output
    assert (tmp_path / "photos" / "reports" / "report.html").exists()
