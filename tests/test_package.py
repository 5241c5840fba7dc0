"""The wheel holds what is needed to run, and runs beside a folder that is called like a part."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import write_images

ROOT = Path(__file__).resolve().parent.parent
PACKAGED = ("loop", "connectors", "db", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from what git lists, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, listed):
        if name.split("/")[0] in PACKAGED and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=folder, check=True, capture_output=True)
    (path,) = (folder / "dist").glob("coreloop-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The ``bin`` of a fresh environment with the wheel; what it depends on is taken from here."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True
    )
    (site,) = folder.glob("lib/python3*/site-packages")
    # folders named in a .pth file are searched last, and their own .pth files (an editable
    # install of this repository) are not read
    site_packages = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(site_packages))
    return folder / "bin"


@pytest.fixture
def beside_a_db_folder(tmp_path):
    """A working folder that holds somebody's own package ``db``."""
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "__init__.py").write_text("raise RuntimeError('not the db of coreloop')\n")
    return tmp_path


def run(command, folder):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_wheel_is_complete(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "loop/cli/__init__.py",
        "loop/reports/templates/report.html.j2",
        "loop/view/templates/page.html.j2",
        "loop/view/static/view.css",
        "loop/view/static/label.js",
        "loop/view/static/icon.svg",
        "connectors/base.py",
        "db/migrations/env.py",
        "db/migrations/versions/0001_the_first_schema.py",
        "loop/py.typed",
    ):
        assert needed in names
    assert not [n for n in names if n.startswith(("tests", "examples"))]


@pytest.mark.slow
def test_the_wheel_runs_the_demo_beside_a_foreign_db_folder(installed, beside_a_db_folder):
    """The demo whole, in the folder it chooses; named, the same folder is gone on with."""
    done = run([installed / "coreloop", "demo"], beside_a_db_folder)
    assert done.returncode == 0, done.stderr
    for words in ("random", "margin", "el2n", "report.html", "next:"):
        assert words in done.stdout
    assert "cd coreloop-demo && coreloop status" in done.stdout
    assert "━" not in done.stderr  # no progress bars when not a terminal
    html = (beside_a_db_folder / "coreloop-demo/reports/report.html").read_text()
    assert html.count("data:image/jpeg;base64") >= 200  # label issues are shown once more
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    again = run([installed / "coreloop", "demo", "coreloop-demo"], beside_a_db_folder)
    assert again.returncode == 0, again.stderr
    assert "random" in again.stdout
    where = "import loop; print(loop.__file__)"
    origin = run([installed / "python", "-c", where], installed).stdout.strip()
    assert Path(origin).is_relative_to(installed.parent)


@pytest.mark.slow
def test_a_notebook_beside_a_db_folder_is_told_what_is_wrong(installed, beside_a_db_folder):
    """Python searches the folder that it was started in first."""
    write_images(beside_a_db_folder / "photos")
    code = (
        "import loop; made = loop.init({project!r}, {images!r}, "
        "project={{'classes': ['digit-0', 'digit-1', 'digit-2']}}); print(loop.status(made[0]))"
    )
    folder = beside_a_db_folder / "apart"
    folder.mkdir()
    names = {"project": str(folder / "p"), "images": str(beside_a_db_folder / "photos")}
    command = [installed / "python", "-c", code.format(**names)]
    refused = run(command, beside_a_db_folder)
    assert refused.returncode == 1
    assert "ImportError: coreloop needs its own package 'db'" in refused.stderr
    assert str(beside_a_db_folder / "db" / "__init__.py") in refused.stderr
    assert "rename that file or folder" in refused.stderr
    elsewhere = run(command, folder)
    assert elsewhere.returncode == 0, elsewhere.stderr


def test_the_picture_of_the_house_is_true():
    """Each folder that CONTRIBUTING.md draws is there, and each package of ``loop`` is drawn."""
    picture = (ROOT / "CONTRIBUTING.md").read_text().split("```")[1]
    inner = [line for line in picture.splitlines() if line.startswith("  ")]
    rooms = {name for line in inner for name in re.findall(r"(\w+)/(?:\s|$)", line)}
    packages = {path.parent.name for path in (ROOT / "loop").glob("*/__init__.py")}
    assert rooms == packages
    for line in picture.splitlines():
        if line and not line.startswith(" "):
            assert (ROOT / line.split("/")[0]).is_dir()


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
