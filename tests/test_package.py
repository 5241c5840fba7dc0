"""The wheel holds what is needed to run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_wheel_is_complete(tmp_path):
    code = (
        "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    )
    copy = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, listed):
        if (
            name.split("/")[0]
            in ("loop", "connectors", "db", "pyproject.toml", "README.md", "LICENSE")
            and (ROOT / name).is_file()
        ):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    out = tmp_path / "wheel"
    out.mkdir()
    subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=copy, check=True, capture_output=True
    )
    (wheel,) = out.glob("coreloop-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "loop/cli/__init__.py",
        "loop/reports/templates/report.html.j2",
        "connectors/base.py",
        "db/migrations/env.py",
        "db/migrations/versions/0001_the_first_schema.py",
        "loop/py.typed",
    ):
        assert needed in names
    assert not [n for n in names if n.startswith(("tests", "examples"))]


def test_every_dependency_says_what_uses_it():
    """One dependency a line, a comment behind it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    comments = {}
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if entry := re.fullmatch(r'    "(.+)", +# (.+)', line):
            comments[entry[1]] = entry[2]
    for requirement in [*project["dependencies"], *(r for extra in extras for r in extra)]:
        assert comments.get(requirement), f"{requirement}: what uses it?"
