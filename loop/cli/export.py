"""export: labels and picks in the formats of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from loop.cli.output import json_option, print_json, project_at, project_option, say
from loop.export import FORMATS


@click.command()
@project_option
@json_option
@click.option(
    "--format",
    "form",
    default="csv",
    show_default=True,
    type=click.Choice(list(FORMATS)),
    help="See above.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Default: labels.csv and the like.")
@click.option("--picks", is_flag=True, help="Also the picks that nobody has labelled yet.")
def export(folder: Path, as_json: bool, form: str, out: Path | None, picks: bool) -> None:
    """Write labels, splits and votes for other tools.

    \b
    csv, jsonl, parquet  one row per image
    annotations          CSV, one row per annotation, with times
    votes                CSV, one column per annotator (cleanlab)
    folders              split/class/image (torchvision)
    huggingface          parquet, images inside (datasets.load_dataset)
    fiftyone             per split a FiftyOneImageClassificationDataset

    \b
    Example: coreloop export --format folders --out dataset
    """
    from loop.steps.export import export as step

    path, count = step(project_at(folder), form, out, all_picks=picks)
    if as_json:
        print_json({"path": str(path), "images": count})
    else:
        say(f"{count} images: {path}")
