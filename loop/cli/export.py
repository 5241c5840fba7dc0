"""export: labels and picks in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from loop.cli.output import json_option, print_json, project_at, project_option, say


@click.command()
@project_option
@json_option
@click.option("--format", "form", default="csv", show_default=True,
              type=click.Choice(["csv", "jsonl", "parquet", "folders", "votes"]),
              help="folders: ImageFolder layout; votes: one column per annotator.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Default: labels.csv and the like.")
@click.option("--picks", is_flag=True, help="Also the picks that nobody has labelled yet.")
def export(folder: Path, as_json: bool, form: str, out: Path | None, picks: bool) -> None:
    """Write labels, splits and votes for other tools.

    \b
    Example: coreloop export --format folders --out dataset
    """
    from loop.steps.export import export as step

    default = Path("dataset" if form == "folders" else f"{'votes' if form == 'votes' else 'labels'}"
                   f".{'csv' if form == 'votes' else form}")  # fmt: skip
    path, count = step(project_at(folder), form, out or default, all_picks=picks)
    if as_json:
        print_json({"path": str(path), "images": count})
    else:
        say(f"{count} images: {path}")
