"""report: stored rows -> report.html, report.md, report.json."""

from __future__ import annotations

from pathlib import Path

from loop.project import Project


def report(project: Project) -> dict[str, Path]:
    """Writes the three files and returns their paths."""
    return {}
