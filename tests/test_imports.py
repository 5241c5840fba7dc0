"""Who may import whom, and what --help may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from loop.cli import COMMANDS
from tests.conftest import rows

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path.relative_to(ROOT)
    for package in ("loop", "connectors", "db")
    for path in (ROOT / package).rglob("*.py")
)


def imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return modules


def forbidden(path: Path) -> tuple[str, ...]:
    module = path.as_posix()
    if module == "loop/__init__.py":  # the front door names the steps, and loads them lazily
        return ()
    if module.startswith("db/"):
        return ("loop", "connectors")
    if module.startswith("connectors/"):
        return ("loop", "db")
    if module.startswith("loop/cli/"):
        return ("db",)
    servers = ("loop.view", "loop.serve")
    if module.startswith(("loop/view/", "loop/serve/")):
        return ("db", "connectors", "loop.cli")
    if module.startswith("loop/steps/"):
        return ("loop.cli", *servers)
    if module.startswith("loop/project/"):
        return ("loop.cli", *servers, "loop.steps")
    return ("db", "connectors", "loop.project", "loop.steps", "loop.cli", *servers)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_one_way(path):
    wrong = [
        name
        for name in imported(path)
        for no in forbidden(path)
        if name == no or name.startswith(no + ".")
    ]
    assert wrong == []


def test_a_step_is_a_verb_of_the_command_line():
    steps = {path.stem for path in FILES if path.parent.as_posix() == "loop/steps"}
    assert steps - {"__init__"} <= set(COMMANDS)


def test_no_import_cycles():
    modules = {".".join(p.with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}
    edges = {}
    for name, path in modules.items():
        tree = ast.parse((ROOT / path).read_text())
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = set()
        for node in top:
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module} | {f"{node.module}.{n.name}" for n in node.names}
        edges[name] = {n for n in names if n in modules and n != name}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"cycle: {' -> '.join((*trail, name))}"
        if name not in done:
            for other in edges[name]:
                # a package's face may name its members
                if not other.startswith(name + ".") and not name.startswith(other + "."):
                    visit(other, (*trail, name))
            done.add(name)

    for name in modules:
        visit(name, ())


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['coreloop', '--help']\n"
        "from loop.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'sqlalchemy', 'label_studio_sdk', 'open_clip', 'sklearn'}\n"
        "heavy |= {'starlette', 'uvicorn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_status_loads_no_scipy(project):
    """It would be a fifth of what every command takes to start."""
    code = (
        "import sys; sys.argv = ['coreloop', 'status', '-p', sys.argv[1]]\n"
        "from loop.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'loop.steps.status' in sys.modules\n"
        "assert not {'scipy', 'torch', 'sklearn'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(project.root)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def test_the_front_door_loads_nothing_heavy():
    code = (
        "import sys, loop; dir(loop)\n"
        "heavy = {'torch', 'numpy', 'sqlalchemy', 'label_studio_sdk', 'sklearn', 'click', 'db'}\n"
        "heavy |= {'starlette', 'uvicorn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_listing_scorers_loads_nothing_heavy():
    code = (
        "import sys; from loop import scorers; scorers.names()\n"
        "assert not {'torch', 'numba', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_project_without_networks_never_loads_torch(project):
    """Two seconds of every command where nothing needs a device."""
    code = (
        "import sys; from pathlib import Path\n"
        "from loop.project import find\n"
        "from loop.steps.run import run\n"
        "from loop.steps.scan import scan\n"
        "project = find(Path(sys.argv[1])); scan(project); run(project)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(project.root)], check=True, cwd=ROOT)
    last = rows(project, "SELECT number, state FROM round ORDER BY number")[-1]
    assert last == (2, "compared")
