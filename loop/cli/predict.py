"""predict: labels and probabilities by the model that the last training kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.output import (
    bar,
    engine_option,
    json_option,
    print_json,
    project_at,
    project_option,
    say,
)
from loop.wording import counted

if TYPE_CHECKING:
    from loop.steps.predict import Predicted

MOST_NAMED = 10
"""Files that cannot be read, named one by one."""


@click.command()
@click.argument("images", required=False, type=click.Path())
@project_option
@json_option
@click.option(
    "--format",
    "form",
    default="csv",
    show_default=True,
    type=click.Choice(["csv", "jsonl", "parquet", "folders"]),
    help="folders: copies of the images, by class.",
)
@click.option("--column", default="", help="Of a list that is a table: where its paths stand.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: predictions.csv, ...")
@click.option("--top", default=1, show_default=True, help="Classes named for each image.")
@click.option("--min-confidence", default=0.0, help="Leave out what is less sure (0 to 1).")
@click.option("--to-label-studio", "to_labeler", is_flag=True, help="Show them on waiting tasks.")
@engine_option
def predict(
    images: str | None,
    folder: Path,
    as_json: bool,
    form: str,
    column: str,
    out: Path | None,
    top: int,
    min_confidence: float,
    to_labeler: bool,
    engine: str,
) -> None:
    """Labels and probabilities for images that nobody labelled.

    Without IMAGES those of the pool; IMAGES is a folder, a parquet file, a bucket, or a list of
    paths or addresses. Killed, the same command continues.

    \b
    Example: coreloop predict --min-confidence 0.9
             coreloop predict ~/new-photos --top 3 --out new.csv
    """
    from loop import engine as engines
    from loop.errors import ConfigError
    from loop.steps import predict as step

    project = project_at(folder)
    with bar() as (begin, progress):
        if to_labeler:
            if images is not None or out is not None:
                raise ConfigError(
                    "--to-label-studio is for the tasks there, without IMAGES or --out"
                )
            predicted = step.show(project, progress)
        else:
            asked = step.Asked(form, top, min_confidence)
            where = engines.get(engine)
            predicted = step.predict(
                project, images, out, asked, begin, progress, where, column=column
            )
    if as_json:
        print_json(asdict(predicted))
    else:
        _say(predicted)


def _say(predicted: Predicted) -> None:
    model = f"the model of round {predicted.model} ({counted(predicted.labels, 'label')})"
    if not predicted.labels:
        model = "the class names alone (no label yet, so nothing measures it)"
    if predicted.path is None:
        say(f"{counted(predicted.shown, 'task')} with what {model} says")
        return
    say(f"{counted(predicted.images, 'image')} by {model}: {predicted.path}")
    if predicted.left_out:
        say(f"{predicted.left_out} are less sure than that and were left out")
    if predicted.unreadable:
        say(f"{counted(len(predicted.unreadable), 'file')} cannot be used:")
        for uri, reason in predicted.unreadable[:MOST_NAMED]:
            say(f"  {uri}: {reason}")
        if len(predicted.unreadable) > MOST_NAMED:
            say(f"  and {len(predicted.unreadable) - MOST_NAMED} more; --json lists all")
