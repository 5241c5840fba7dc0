"""The loop from Python: the same steps as the command line, loaded when they are used.

    import loop

    project, scanned = loop.init("photos", "~/photos", project={"classes": ["cat", "dog"]})
    ended = loop.run(project)
    print(loop.status(project).to_frame())

docs/python.md has the whole tour.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loop.project import Project as Project
    from loop.project.project import find as open  # noqa: F401
    from loop.scorers import Inputs as Inputs
    from loop.scorers import Scorer as Scorer
    from loop.steps.autolabel import Goal as Goal
    from loop.steps.autolabel import autolabel as autolabel
    from loop.steps.init import init as init
    from loop.steps.plan import Wish as Wish
    from loop.steps.plan import plan as plan
    from loop.steps.predict import predict as predict
    from loop.steps.report import report as report
    from loop.steps.run import run as run
    from loop.steps.simulate import Grid as Grid
    from loop.steps.simulate import simulate as simulate
    from loop.steps.status import status as status
    from loop.testing import check_scorer as check_scorer

_FRONT = {
    "Goal": "loop.steps.autolabel:Goal",
    "Grid": "loop.steps.simulate:Grid",
    "Inputs": "loop.scorers:Inputs",
    "Project": "loop.project:Project",
    "Scorer": "loop.scorers:Scorer",
    "Wish": "loop.steps.plan:Wish",
    "autolabel": "loop.steps.autolabel:autolabel",
    "check_scorer": "loop.testing:check_scorer",
    "init": "loop.steps.init:init",
    "open": "loop.project:find",
    "plan": "loop.steps.plan:plan",
    "predict": "loop.steps.predict:predict",
    "report": "loop.steps.report:report",
    "run": "loop.steps.run:run",
    "simulate": "loop.steps.simulate:simulate",
    "status": "loop.steps.status:status",
}
"""Name -> where it stands; imported at its first use."""

__all__ = list(_FRONT)

# numba goes by a variable of its own, and its threads become torch's too: more of them than
# OMP_NUM_THREADS allows made trainings on busy cores several times slower
if (_threads := os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]).isdigit():
    os.environ.setdefault("NUMBA_NUM_THREADS", str(max(1, int(_threads))))


def __getattr__(name: str) -> Any:
    if name not in _FRONT:
        raise AttributeError(f"module 'loop' has no attribute {name!r}")
    from importlib import import_module

    _check_neighbours()
    module, _, attribute = _FRONT[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FRONT])


def _check_neighbours() -> None:
    """Raises ImportError if ``db`` or ``connectors`` is another package than the one installed with
    this one: a folder of that name where Python was started comes first."""
    from importlib.util import find_spec
    from pathlib import Path

    installed = Path(__file__).resolve().parent.parent
    for name in ("db", "connectors"):
        spec = find_spec(name)
        origin = spec.origin if spec is not None else None
        if origin is None or Path(origin).resolve() != installed / name / "__init__.py":
            raise ImportError(
                f"coreloop needs its own package {name!r} in {installed}, and Python finds "
                f"{origin or 'none'}; rename that file or folder, or start Python elsewhere"
            )
