"""Facts -> report.html (one file, opens without a network), report.md, report.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loop.files import draft_of
from loop.printable import printable
from loop.reports.pages import is_html, template
from loop.wording import duration

if TYPE_CHECKING:
    from loop.reports.facts import Facts

__all__ = ["write"]


def write(facts: Facts, folder: Path) -> dict[str, Path]:
    """Writes the three files, each whole or not at all, whoever else writes them.

    Returns:
        Format (html, md, json) -> path.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    texts = {
        "html": _render(facts, "report.html.j2"),
        "md": _render(facts, "report.md.j2"),
        "json": json.dumps(facts.to_json(), indent=1, default=str),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for suffix, text in texts.items():
        path = folder / f"report.{suffix}"
        with draft_of(path) as draft:
            draft.write_text(printable(text), encoding="utf-8")
        paths[suffix] = path
    return paths


def _render(facts: Facts, name: str) -> str:
    from loop.reports import answers

    return template(name).render(
        facts=facts,
        answers=answers,
        pct=_percent,
        duration=duration,
        cell=_markdown_cell,
        provenance=json.dumps(facts.provenance, indent=1, default=str),
        **(_figures(facts) if is_html(name) else {}),
    )


def _figures(facts: Facts) -> dict[str, Any]:
    """Figures by name, marked as safe: our own drawings, their texts escaped by matplotlib."""
    from markupsafe import Markup

    from loop.reports import figures

    drawn = {}
    if any(curve.points for curve in facts.curves):
        drawn["curve"] = figures.learning_curve(facts.curves, facts.metric)
    if facts.metrics:
        drawn["confusion"] = figures.confusion(facts)
        drawn["calibration"] = figures.calibration(facts)
    return {name: Markup(svg) for name, svg in drawn.items()}


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _markdown_cell(text: object) -> str:
    """Text that cannot leave its cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
