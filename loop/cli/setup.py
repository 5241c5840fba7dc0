"""Commands about the project as a whole: init, status, doctor."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from loop.cli.output import (
    bar,
    json_option,
    percent,
    print_json,
    project_at,
    project_option,
    say,
    table,
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
    from connectors.base import SourceError
    from loop import config as settings
    from loop.errors import ConfigError, DataError
    from loop.project import withdraw
    from loop.steps.init import check_names
    from loop.steps.init import init as step
    from loop.steps.scan import scan

    path = Path(images).expanduser().resolve()
    tests = Path(test_images).expanduser().resolve() if test_images else None
    names = [name.strip() for name in classes.split(",") if name.strip()]
    values: dict[str, Any] = {
        "project": {
            "name": folder.resolve().name,
            "classes": names or found_classes(path),
            "seed": seed,
        },
        "pool": {
            "source": "parquet" if path.suffix == ".parquet" else "folder",
            "path": str(path),
            "labelled": labelled,
            "test": test_size,
            "test_path": str(tests or ""),
        },
        "encoder": encoder,
        "selection": {"scorer": scorer, "budgets": whole_numbers(budgets, "--budgets")},
        "labeler": {"kind": labeler, "url": url},
    }
    config = settings.check(values, "init")
    check_names(config, folder)
    for what in filter(None, (path, tests)):
        if not what.exists():
            raise SourceError(f"there is no {what}; say where the images are")
    if labelled and names and (unnamed := sorted(set(found_classes(path)) - set(names))):
        raise ConfigError(f"images are labelled {', '.join(unnamed)} too; add that to --classes")
    project = step(folder, config)
    with bar() as (begin, progress):
        begin("scanning images")
        seen = 0

        def count(n: int) -> None:
            nonlocal seen
            seen += n
            progress(seen, 0)

        try:
            found = scan(project, count)
        except (SourceError, DataError):
            withdraw(project)
            raise
    if as_json:
        print_json({"root": str(project.root), **asdict(found)})
        return
    most = found.test == found.images // 5 < test_size
    fifth = " (a fifth, the most there may be)" if most else ""
    say(f"{found.images} images, {found.test} of them held out for testing{fifth}")
    if found.duplicates or found.unreadable:
        say(f"{found.duplicates} further copies, {len(found.unreadable)} unreadable (skipped)")
    for uri, reason in found.unreadable[:10]:
        say(f"  {uri}: {reason}")
    say(f"next: cd {shlex.quote(str(folder))} && coreloop run")


def found_classes(path: Path) -> list[str]:
    """Class names that the source states: sub-folders with files, or those of the parquet file."""
    from loop.errors import ConfigError

    if path.suffix == ".parquet":
        from connectors.parquet import class_names

        return class_names(path)
    inside = path.iterdir() if path.is_dir() else ()
    names = sorted(p.name for p in inside if not p.name.startswith(".") and _holds_files(p))
    if len(names) < 2:
        raise ConfigError(
            f"say what the classes are, e.g. --classes cat,dog ({path} has no class sub-folders)"
        )
    return names


def _holds_files(folder: Path) -> bool:
    """At any depth; hidden files and folders do not count."""
    for _, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        if not all(name.startswith(".") for name in files):
            return True
    return False


def whole_numbers(text: str, option: str) -> list[int]:
    """``20,40`` -> [20, 40]. Raises ConfigError."""
    from loop.errors import ConfigError

    try:
        found = [int(part) for part in text.replace(" ", "").split(",") if part]
    except ValueError:
        found = []
    if not found:
        raise ConfigError(f"{option} wants whole numbers like 20,40,80, got {text!r}")
    return found


@click.command()
@project_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Where the project stands and what to type next.

    \b
    Example: coreloop status
    """
    from loop.steps.status import status as step

    found = step(project_at(folder))
    if as_json:
        print_json(asdict(found))
        return
    say(f"{found.name}  ({found.root})")
    say("  " + ", ".join(f"{count} {name}" for name, count in found.counts.items() if count))
    for name, value in found.settings.items():
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
        for line in found.rounds
    ]
    if rows:
        table(("round", "state", "scorer", "labelled", "skipped", "accuracy %"), rows)
    for trouble in found.troubles:
        say(f"attention: {trouble}")
    for event in found.events:
        say(f"  {event}")
    say(f"next: {found.next}")


@click.command()
@project_option
@json_option
@click.option(
    "--deep",
    is_flag=True,
    help="Compare every array with its digest, and the records with each other.",
)
@click.option("--repair", is_flag=True, help="First compute again what can be; implies --deep.")
def doctor(folder: Path, as_json: bool, deep: bool, repair: bool) -> None:
    """Check device, weights, server, token and records, and say what to do.

    \b
    Example: coreloop doctor
    """
    from loop.steps.doctor import doctor as step

    checks = step(folder, deep=deep, mend=repair)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            say(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
    if not all(check.ok for check in checks):
        raise SystemExit(3)
