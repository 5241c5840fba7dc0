"""The command that makes a project: init."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loop.cli.asking import at_terminal, confirmed, warn
from loop.cli.completion import encoder_names, scorer_names
from loop.cli.output import (
    bar,
    json_option,
    names_in,
    paragraph,
    print_json,
    say,
    whole_numbers,
)
from loop.cli.remarks import remarks
from loop.wording import agreeing, counted

if TYPE_CHECKING:
    from loop.config import MeasureSection
    from loop.project import Project
    from loop.steps.scan import Scanned

CLASSES_SHOWN = 12
STATED = {
    "parquet": "the table's",
    "list": "the list's",
    "shards": "the shards'",
    "label-studio": "those of its label config",
}
"""How images are kept -> whose class names they are."""
PROJECT_PAGE = re.compile(r"(https?://\S+)/projects/(\d+)(?:[/?]\S*)?")
"""Address of a page of a Label Studio project."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(),
    help="Folder, .parquet, s3://bucket/photos, label-studio://17 (or: project, with --project), "
    "or a list (.csv, .jsonl, ...).",
)
@click.option("--column", default="", help="Of a list or table: its column of images.")
@click.option("--label-column", default="", help="Of a list or table: its column of labels.")
@click.option(
    "--image-root",
    default="",
    type=click.Path(),
    help="Folder that a list's paths start at, if not its own.",
)
@click.option("--follow-links", is_flag=True, help="Read linked folders, too.")
@click.option("--classes", default="", help="Class names, separated by commas.")
@click.option(
    "--classes-file",
    default="",
    type=click.Path(),
    help="Class names, one per line; or .toml: classes = [...].",
)
@click.option("--labelled", is_flag=True, help="Folder names are the true labels (for rehearsal).")
@click.option(
    "--encoder",
    "encoder_specs",
    multiple=True,
    default=("pixels",),
    show_default=True,
    shell_complete=encoder_names,
    help="See 'coreloop encoders'; of several the first, until labels choose.",
)
@click.option(
    "--scorer",
    default="auto",
    show_default=True,
    shell_complete=scorer_names,
    help="See 'coreloop scorers'.",
)
@click.option(
    "--labeler",
    type=click.Choice(["label-studio", "csv", "oracle"]),
    default="csv",
    show_default=True,
    help="Who answers.",
)
@click.option("--url", default="", help="Label Studio address (or LABEL_STUDIO_URL).")
@click.option(
    "--project",
    "number",
    type=click.IntRange(min=1),
    help="A Label Studio project that is there, by its number: /projects/17/.",
)
@click.option("--budgets", default="50,50,100", show_default=True, help="Labels per round.")
@click.option(
    "--measure",
    "sample_size",
    default=100,
    show_default=True,
    help="Random sample labelled with round 1: it measures, compares and trains.",
)
@click.option(
    "--test",
    "test_size",
    type=int,
    help="Hold out so many random test images instead, which nothing learns.",
)
@click.option(
    "--test-images",
    default="",
    type=click.Path(),
    help="Test on this folder instead; its sub-folders are the classes.",
)
@click.option("--yes", is_flag=True, help="Take what is recommended without being asked.")
@click.option("--seed", default=0, show_default=True, help="Everything random derives from it.")
@json_option
def init(
    folder: Path,
    images: str,
    column: str,
    label_column: str,
    image_root: str,
    follow_links: bool,
    classes: str,
    classes_file: str,
    labelled: bool,
    encoder_specs: tuple[str, ...],
    scorer: str,
    labeler: str,
    url: str,
    number: int | None,
    budgets: str,
    sample_size: int,
    test_size: int | None,
    test_images: str,
    yes: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Make a project in FOLDER from images that exist; scans them at once.

    Without --classes the names of the sub-folders are the classes, unless they look like dates or
    the like. At a terminal it asks what it cannot know; elsewhere it says what to type.

    \b
    Example: coreloop init photos --images ~/photos --classes cat,dog \\
                 --labeler label-studio --url http://127.0.0.1:8080
    """
    measure = {"by": "sample", "images": sample_size}
    if test_size is not None:
        measure = {"by": "holdout", "images": test_size}
    images, labeler, url = _labelled_at(images, labeler, number, url)
    sections = {
        "pool": {
            "labelled": labelled,
            "test_path": test_images,
            "column": column,
            "label_column": label_column,
            "image_root": image_root,
            "follow_links": follow_links,
        },
        "measure": measure,
        "encoder": encoder_specs[0],
        "encoder_candidates": list(encoder_specs[1:]),
        "selection": {"scorer": scorer, "budgets": whole_numbers(budgets, "--budgets")},
        "labeler": {"kind": labeler, "url": url, "project": number or 0},
    }
    from loop.steps.init import understood

    named = _named(classes, classes_file)
    project, scanned = _made(folder, images, {"classes": named, "seed": seed}, sections)
    advised = _advised(project, scanned.images, yes=yes)
    if as_json:
        facts = {
            "classes": project.config.project.classes,
            "advised_encoder": advised,
            "rounds": project.config.selection.budgets,
            "rounds_advice": _rounds_advice(project),
        }
        shown = asdict(understood(project))
        print_json({"root": str(project.root), **asdict(scanned), **shown, **facts})
        return
    for line in textwrap.wrap(_counted(scanned, project.config.measure), 80):
        say(line)
    for line in remarks(scanned):
        say(line)
    _say_understood(project)
    _say_classes(project, named=bool(named))
    _say_rounds(project)
    say(f"next: cd {shlex.quote(str(folder))} && coreloop run")


def _labelled_at(images: str, labeler: str, number: int | None, url: str) -> tuple[str, str, str]:
    """Where the images are, who answers, and Label Studio's address, where a project of it may be
    both; the address of one of its pages says all of it."""
    page = PROJECT_PAGE.fullmatch(images)
    if page is not None:
        images, url = f"label-studio://{page[2]}", url or page[1]
    if images == "project" and number:
        images = f"label-studio://{number}"
    elif images == "project" and labeler == "label-studio" and not Path(images).exists():
        raise click.UsageError("--images project is that of --project, e.g. --project 17")
    if (number or images.startswith("label-studio:")) and _is_default("labeler"):
        labeler = "label-studio"
    if number and labeler != "label-studio":
        raise click.UsageError(f"--project {number} is for --labeler label-studio, not {labeler}")
    return images, labeler, url


def _is_default(option: str) -> bool:
    """Whether nobody gave this option."""
    source = click.get_current_context().get_parameter_source(option)
    return source is not None and source.name == "DEFAULT"


def _named(classes: str, file: str) -> list[str]:
    """Class names of the command line. Raises ConfigError: they are given twice."""
    from loop.class_spelling import classes_in
    from loop.errors import ConfigError

    if classes and file:
        raise ConfigError("--classes and --classes-file both name the classes; give one of them")
    return classes_in(file) if file else names_in(classes)


def _made(
    folder: Path, images: str, about: dict[str, Any], sections: dict[str, Any]
) -> tuple[Project, Scanned]:
    """The project; at a terminal the person is asked for classes that the images do not state.

    Args:
        about: its section [project].
    """
    from loop.project.class_folders import UnclearClasses
    from loop.steps.init import init as step

    def make() -> tuple[Project, Scanned]:
        with bar() as (begin, progress):
            begin("scanning images")
            return step(folder, images, on_progress=progress, project=about, **sections)

    try:
        return make()
    except UnclearClasses as error:
        if not at_terminal():
            raise
        warn(str(error))
        about["classes"] = names_in(click.prompt("Classes, separated by commas", err=True))
    return make()


def _advised(project: Project, images: int, *, yes: bool) -> str | None:
    """The encoder that suits the images better than pixels do; None if these do well. It is taken
    if the person says so."""
    from loop.steps.init import advised_encoder, change_encoder

    advised = advised_encoder(project)
    if not advised:
        return None
    chosen = not _is_default("encoder_specs")
    takes = _takes(advised, images)
    why = (
        "the images look like photographs, and 'pixels' is for digits and the like: with 1,000 "
        "labels of flowers it was right on 49 %, a pretrained encoder on 73 %"
    )
    if not chosen and at_terminal() and not yes:
        warn(why)
        yes = confirmed(f"Use {advised} ({takes})?", default=True)
        if not yes:
            return advised
    if yes and not chosen:
        change_encoder(project, advised)
        click.echo(f"encoder: {advised} ({takes})", err=True)
    else:
        warn(
            f"attention: {why}; write encoder = {advised!r} into coreloop.toml ({takes}); others, "
            "quicker ones too: coreloop encoders --recommend"
        )
    return advised


def _takes(encoder: str, images: int) -> str:
    """What a recommended encoder takes on this machine: dimensions, size, licence, rate."""
    from loop.device import resolve
    from loop.encoders.recommended import RECOMMENDED, measure

    recommended = {each.encoder: each for each in RECOMMENDED}[encoder]
    with bar() as (begin, _):
        begin(f"timing {encoder}, with random weights")
        facts = measure(recommended, resolve("auto"))
    minutes = images / facts.images_per_second / 60
    duration = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute or less"
    if minutes >= 90:
        duration = f"{minutes / 60:.1f} hours"
    return f"{facts.in_words()}: about {duration} for {counted(images, 'image')}"


def _say_understood(project: Project) -> None:
    """The first names, and the known labels by class."""
    from loop.steps.init import understood

    facts = understood(project)
    paragraph(f"first names: {', '.join(facts.first)}")
    if not facts.labels:
        return
    named = [f"{name} {count}" for name, count in facts.labels.items()][:CLASSES_SHOWN]
    more = ", ..." if len(facts.labels) > CLASSES_SHOWN else ""
    paragraph(f"known labels: {', '.join(named)}{more}")
    if facts.unlabelled:
        images = f"{counted(facts.unlabelled, 'image')} {agreeing(facts.unlabelled, 'has')}"
        skips = ", and the oracle skips them" if project.config.labeler.kind == "oracle" else ""
        paragraph(f"{images} no known label{skips}")


def _say_classes(project: Project, *, named: bool) -> None:
    """What the classes are, how they were found, and where the project lies among its images."""
    from loop.class_spelling import remarks_on
    from loop.steps.init import among_images

    config = project.config
    shown = ", ".join(config.project.classes[:CLASSES_SHOWN])
    if len(config.project.classes) > CLASSES_SHOWN:
        shown += f", ... ({len(config.project.classes)} in all)"
    found = STATED.get(config.pool.source, f"the sub-folders of {config.pool.path}")
    paragraph(f"classes: {shown}" + ("" if named else f" ({found}; --classes names others)"))
    for note in [*remarks_on(config.project.classes), among_images(project)]:
        if note:
            paragraph(f"note: {note}")


def _say_rounds(project: Project) -> None:
    """What the rounds come to for each class, and whether other sizes would be better."""
    budgets, classes = project.config.selection.budgets, len(project.config.project.classes)
    sizes = ", ".join(map(str, budgets))
    per_class = ", ".join(f"{end / classes:.3g}" for end in accumulate(budgets))
    paragraph(f"labels per round: {sizes} (in all {per_class} per class)")
    if advice := _rounds_advice(project):
        paragraph(f"note: {advice}; change budgets in coreloop.toml")


def _rounds_advice(project: Project) -> str:
    from loop.planning.rounds import advice

    return advice(project.config.selection.budgets, len(project.config.project.classes))


def _counted(scanned: Scanned, measure: MeasureSection) -> str:
    """``1797 images; a random sample of 100 will be labelled first``."""
    images = counted(scanned.images, "image")
    if scanned.labelled_before:
        images += f" ({scanned.labelled_before} labelled before)"
    if scanned.test:
        most = scanned.test == scanned.images // 5 < measure.images
        fifth = " (a fifth, the most there may be)" if most else ""
        return f"{images}, {scanned.test} of them held out for testing{fifth}"
    size = min(measure.images, scanned.images // 2)
    half = " (half of them, the most there may be)" if size < measure.images else ""
    return f"{images}; a random sample of {size} is labelled with round 1{half}"
