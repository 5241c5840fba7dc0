"""Facts -> report.html (one file, opens without a network), report.md, report.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from loop.files import draft_of

if TYPE_CHECKING:
    from loop.reports.facts import Facts

__all__ = ["write"]


def write(facts: Facts, folder: Path) -> dict[str, Path]:
    """Writes the three files, each whole or not at all; format -> path."""
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
            draft.write_text(text, encoding="utf-8")
        paths[suffix] = path
    return paths


def _render(facts: Facts, template: str) -> str:
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    from loop.reports import answers, figures

    html = template.endswith(".html.j2")
    environment = Environment(loader=PackageLoader("loop.reports"), autoescape=html)
    own = [d for d in facts.differences if d.method == answers.own_method(facts)]
    drawn = {}
    if html:  # figures are our own drawing, their texts escaped by matplotlib
        drawn["curve"] = (
            Markup(figures.learning_curve(facts.curves))
            if any(c.points for c in facts.curves)
            else ""
        )
        if facts.metrics:
            drawn["confusion"] = Markup(figures.confusion(facts))
            drawn["calibration"] = Markup(figures.calibration(facts))
    return environment.get_template(template).render(
        facts=facts,
        answers=answers,
        own=own[-1] if own else None,
        pct=lambda v: "-" if v is None else f"{100 * v:.1f}",
        cell=lambda text: str(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;"),
        provenance=json.dumps(facts.provenance, indent=1, default=str),
        **drawn,
    )
