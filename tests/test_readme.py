"""The README's commands run as they stand, with images, encoder and labeler of this machine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_images

ROOT = Path(__file__).resolve().parent.parent
MAIN = [sys.executable, "-c", "from loop.cli import main; main()"]


def commands() -> list[list[str]]:
    """Every ``coreloop`` line of the bash blocks, continuation lines joined, comments cut."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("coreloop ")]


@pytest.mark.slow
def test_the_tour_and_simulate(tmp_path):
    write_images(tmp_path / "photos", count=80)
    (tmp_path / "coreloop-demo").mkdir()
    write_images(tmp_path / "coreloop-demo" / "images", count=80)
    shorter = {
        "~/photos": str(tmp_path / "photos"),
        "label-studio": "csv",
        "50,50,100": "5,5",
        "timm:vit_small_patch14_dinov2.lvd142m": "pixels:8",
        "cat,dog,bird": "digit-0,digit-1,digit-2",
        "10": "2",
    }
    shown = commands()
    assert [args[0] for args in shown] == ["init", "doctor", "run", "simulate"]
    for args in shown:
        folder = tmp_path if args[0] in ("init", "simulate") else tmp_path / "named"
        args = ["named" if a == "photos" else shorter.get(a, a) for a in args]
        done = subprocess.run([*MAIN, *args], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert list((tmp_path / "named" / "sheets").glob("round-1-*.csv"))
