"""The loop from Python: what ``import loop`` gives, and that docs/python.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import loop
from tests.conftest import write_images

ROOT = Path(__file__).resolve().parent.parent


def test_each_name_of_the_front_door_leads_somewhere():
    for name in loop.__all__:
        assert callable(getattr(loop, name)), name
    assert set(loop.__all__) <= set(dir(loop))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        loop.nothing  # noqa: B018


def test_a_folder_called_db_beside_a_notebook_is_named(tmp_path):
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", "import loop; loop.open"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"Python finds {tmp_path}/db/__init__.py; rename" in done.stderr


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    """Every block of docs/python.md, one after the other, as in a notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_images(tmp_path / "photos", count=80)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S)
    assert len(blocks) > 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["ended"].why == "done"  # type: ignore[attr-defined]
