"""Commands about the project as a whole: init, status, doctor."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import click

from loop.cli.output import (
    bar,
    json_option,
    names_in,
    percent,
    print_json,
    project_at,
    project_option,
    say,
    table,
    whole_numbers,
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--images", required=True, type=click.Path(), help="Folder or .parquet of images.")
@click.option("--classes", default="", help="Class names, separated by commas.")
@click.option("--labelled", is_flag=True, help="Folder names are the true labels (for rehearsal).")
@click.option("--encoder", default="pixels", show_default=True, help="See 'coreloop encoders'.")
@click.option("--scorer", default="auto", show_default=True, help="See 'coreloop scorers'.")
@click.option(
    "--labeler",
    type=click.Choice(["label-studio", "csv", "oracle"]),
    default="csv",
    show_default=True,
    help="Who answers.",
)
@click.option("--url", default="", help="Label Studio address (or LABEL_STUDIO_URL).")
@click.option("--budgets", default="50,50,100", show_default=True, help="Labels per round.")
@click.option(
    "--test",
    "test_size",
    default=200,
    show_default=True,
    help="Random test images, a fifth of all at most.",
)
@click.option(
    "--test-images",
    default="",
    type=click.Path(),
    help="Test on this folder instead; its sub-folders are the classes.",
)
@click.option("--seed", default=0, show_default=True, help="Everything random derives from it.")
@json_option
def init(
    folder: Path,
    images: str,
    classes: str,
    labelled: bool,
    encoder: str,
    scorer: str,
    labeler: str,
    url: str,
    budgets: str,
    test_size: int,
    test_images: str,
    seed: int,
    as_json: bool,
) -> None:
    """Make a project in FOLDER from images that exist; scans them at once.

    \b
    Example: coreloop init photos --images ~/photos --classes cat,dog \\
                 --labeler label-studio --url http://127.0.0.1:8080
    """
    from loop.steps.init import init as step

    with bar() as (begin, progress):
        begin("scanning images")
        project, scanned = step(
            folder,
            images,
            on_progress=progress,
            project={"classes": names_in(classes), "seed": seed},
            pool={"labelled": labelled, "test": test_size, "test_path": test_images},
            encoder=encoder,
            selection={"scorer": scorer, "budgets": whole_numbers(budgets, "--budgets")},
            labeler={"kind": labeler, "url": url},
        )
    if as_json:
        print_json({"root": str(project.root), **asdict(scanned)})
        return
    most = scanned.test == scanned.images // 5 < test_size
    fifth = " (a fifth, the most there may be)" if most else ""
    say(f"{scanned.images} images, {scanned.test} of them held out for testing{fifth}")
    if scanned.duplicates or scanned.unreadable:
        say(f"{scanned.duplicates} further copies, {len(scanned.unreadable)} unreadable (skipped)")
    for uri, reason in scanned.unreadable[:10]:
        say(f"  {uri}: {reason}")
    say(f"next: cd {shlex.quote(str(folder))} && coreloop run")


@click.command()
@project_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Where the project stands and what to type next.

    \b
    Example: coreloop status
    """
    from loop.steps.status import status as step

    standing = step(project_at(folder))
    if as_json:
        print_json(asdict(standing))
        return
    say(f"{standing.name}  ({standing.root})")
    say("  " + ", ".join(f"{count} {name}" for name, count in standing.counts.items() if count))
    for name, value in standing.settings.items():
        say(f"  {name}: {value}")
    rows = [
        (
            "test" if line.number == 0 else line.number,
            line.state,
            line.scorer,
            f"{line.labelled}/{line.budget}",
            line.skipped,
            percent(line.accuracy),
        )
        for line in standing.rounds
    ]
    if rows:
        table(("round", "state", "scorer", "labelled", "skipped", "accuracy %"), rows)
    for trouble in standing.troubles:
        say(f"attention: {trouble}")
    for event in standing.events:
        say(f"  {event}")
    say(f"next: {standing.next}")


@click.command()
@project_option
@json_option
@click.option(
    "--deep",
    is_flag=True,
    help="Compare every array with its digest, and the records with each other.",
)
@click.option("--repair", is_flag=True, help="First compute again what can be; implies --deep.")
@click.option("--prune", is_flag=True, help="First list and remove arrays that no record names.")
@click.option("--yes", is_flag=True, help="Remove them without asking.")
def doctor(folder: Path, as_json: bool, deep: bool, repair: bool, prune: bool, yes: bool) -> None:
    """Check device, weights, server, token and records, and say what to do.

    \b
    Example: coreloop doctor
    """
    from loop.steps.doctor import doctor as step

    if prune:
        _prune(folder, yes)
    checks = step(folder, deep=deep, mend=repair)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            say(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
    if not all(check.ok for check in checks):
        raise SystemExit(3)


def _prune(folder: Path, yes: bool) -> None:
    """Lists the arrays that no record names, and removes them if the person says so."""
    from loop.steps.doctor import prune, unnamed_arrays

    project = project_at(folder)
    listed = unnamed_arrays(project)
    for path in listed:
        click.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)", err=True)
    if listed and (yes or click.confirm(f"Remove these {len(listed)} files?", err=True)):
        click.echo(f"removed {len(prune(project, listed))} files", err=True)
    elif not listed:
        click.echo("every array is named by a record", err=True)
