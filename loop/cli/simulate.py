"""simulate: which method wins on images whose labels are known?"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loop.cli.completion import encoder_names, scorer_names
from loop.cli.output import (
    bar,
    engine_option,
    json_option,
    names_in,
    paragraph,
    percent,
    print_json,
    say,
    shares,
    table,
    whole_numbers,
)
from loop.goals import key_of, named
from loop.wording import counted

if TYPE_CHECKING:
    from loop.finish.rows import FinishRow, MethodRows
    from loop.finish.simulated import Goals
    from loop.statistics import MethodRow
    from loop.steps.simulate import Grid

COLUMNS = 7
"""Budgets that fit beside a method's name."""
MANY = 20
"""Comparisons from which one is expected to be marked by chance."""
CHANCE = 6
"""Of so many comparisons one is marked by chance where seeds draw 80 % of one pool: measured with 5
seeds and orders that know nothing (docs/auto.md); the draws overlap."""

THINNED = {
    "geometric": "imbalance: classes of the pool are thinned out to sizes that fall to 1/32",
    "single": "imbalance: one class of the pool is thinned out to 1 % of the images",
}
"""What ``--imbalance`` did, in words."""
BESIDE = {
    "macro_f1": "mean test macro-F1 in %",
    "balanced_accuracy": "mean test balanced accuracy in %",
    "accuracy": "mean plain test accuracy in %",
    "classes_found": "classes with a label, in % of the classes",
}
"""Tables below that of the metric where classes may be rare."""

FINISH_COLUMNS = ("method", "picks", "labels", "95 %", "saved", "by model", "broken")


@click.command()
@click.argument("source", type=click.Path(path_type=Path), required=False)
@click.option(
    "--project",
    "-p",
    "folder",
    type=click.Path(path_type=Path),
    help="Project folder; default with SOURCE: ./coreloop-simulate-NAME, made when missing.",
)
@click.option(
    "--encoder",
    shell_complete=encoder_names,
    help="See 'coreloop encoders'; default with SOURCE: pixels, else the project's.",
)
@click.option(
    "--methods",
    default="all",
    show_default=True,
    shell_complete=scorer_names,
    help="Scorers, comma-separated.",
)
@click.option("--per-class", "per_class", default="", help="Labels per class, e.g. 1,2,5,10.")
@click.option("--budgets", default="", help="Labels in all, e.g. 20,50,100.")
@click.option(
    "--seeds", type=click.IntRange(1), default=5, show_default=True, help="Paired repetitions."
)
@click.option("--trainer", default="linear", show_default=True, help="linear, resnet18, ...")
@click.option("--labels", default="", help="Parquet column with annotators' labels to train on.")
@click.option(
    "--metric",
    default="",
    help="accuracy, 'balanced accuracy' or macro-F1: what is compared, and trainers auto and "
    "propagate learn for; default: as [goal] says, else accuracy.",
)
@click.option(
    "--imbalance",
    type=click.Choice(["geometric", "single"]),
    help="Thin out classes of each seed's pool: sizes falling to 1/32, or one class of 1 %.",
)
@click.option("--share", default=0.8, show_default=True, help="Share of the pool each seed draws.")
@click.option(
    "--measure",
    "sample",
    type=click.IntRange(0),
    default=0,
    help="Label a random sample of so many first, as real projects do; part of every budget.",
)
@click.option("--finish", is_flag=True, help="Go on to a finished collection (coreloop autolabel).")
@click.option("--max-errors", default="", help="Its goals; default: 0.01,0.02,0.05,0.1.")
@click.option("--confidence", type=float, help="That each goal is kept; default: 0.95.")
@click.option(
    "--jobs",
    type=click.IntRange(0),
    default=0,
    help="Worker processes; default: one per core, for networks per GPU.",
)
@engine_option
@json_option
def simulate(
    source: Path | None,
    folder: Path | None,
    encoder: str | None,
    methods: str,
    per_class: str,
    budgets: str,
    seeds: int,
    trainer: str,
    labels: str,
    metric: str,
    imbalance: str | None,
    share: float,
    sample: int,
    finish: bool,
    max_errors: str,
    confidence: float | None,
    jobs: int,
    engine: str,
    as_json: bool,
) -> None:
    """Compare selection methods on images whose labels are known.

    SOURCE is a folder with one sub-folder per class, or a parquet file with image and label
    columns; without it, the project's own images are used. Cells are kept: more seeds, methods or
    budgets later compute only what is missing. With --finish the collection is finished from each
    cell on: how many labels of people does that take in all?

    \b
    Example: coreloop simulate photos-labelled --per-class 1,2,5,10 --seeds 10
             coreloop simulate photos-labelled --per-class 5,10 --finish
    """
    from loop.encoders.spec import short
    from loop.engine import get
    from loop.steps.embed import embed
    from loop.steps.scan import scan
    from loop.steps.simulate import Grid, all_methods, check_labels, project_for
    from loop.steps.simulate import simulate as step

    goals = _goals(finish, max_errors, confidence)
    names = [] if methods == "all" else names_in(methods)
    where = get(engine, jobs or _workers(trainer))
    project = project_for(source, folder, encoder)
    click.get_current_context().call_on_close(project.close)
    totals, chosen = _budgets(project, per_class, budgets), all_methods(names)
    grid = Grid(
        chosen,
        totals,
        seeds,
        trainer,
        labels=labels,
        share=share,
        sample=sample,
        metric=named(metric) if metric else "",
        imbalance=imbalance or "",
        finish=goals,
    )
    with bar() as (begin, progress):
        begin("scanning images")
        scan(project)
        check_labels(project)
        begin(f"embedding with {short(project.config.encoder)}")
        embed(project, progress, where=get(engine))
        begin(_size(grid))
        rows = step(project, grid, where=where, on_progress=progress)
    if as_json:
        print_json(_facts(rows))
        return
    _print_accuracies(rows, grid)
    _print_saved(rows, grid)
    _print_finish(rows.finish or [])


def _size(grid: Grid) -> str:
    """``3 methods, 2 budgets, 5 seeds``; of networks, which take long, also how many are trained
    where none is kept from before."""
    from loop.train import get

    sizes = (len(grid.methods), "method"), (len(grid.budgets), "budget"), (grid.seeds, "seed")
    parts = [counted(count, noun) for count, noun in sizes]
    if get(grid.trainer, **grid.params).wants == "images":
        trainings = len(grid.methods) * len(grid.budgets) * grid.seeds
        parts.append(f"up to {counted(trainings, 'network')} to train")
    return ", ".join(parts)


def _goals(finish: bool, max_errors: str, confidence: float | None) -> Goals | None:
    """Raises ConfigError, DataError: a number that is no goal, or none is asked for."""
    from loop.errors import ConfigError
    from loop.finish.simulated import MAX_ERRORS, Goals

    if not finish:
        if max_errors or confidence is not None:
            raise ConfigError("--max-errors and --confidence go with --finish")
        return None
    some = tuple(sorted(set(shares(max_errors, "--max-errors")))) if max_errors else MAX_ERRORS
    return Goals(some, 0.95 if confidence is None else confidence)


def _facts(rows: MethodRows) -> Any:
    """Rows of methods; with those of finishing beside them where it was asked for."""
    methods = [{**asdict(row), "means": _means(rows, row)} for row in rows]
    if rows.finish is None:
        return methods
    return {"methods": methods, "finish": [asdict(row) for row in rows.finish]}


def _mean(rows: MethodRows, key: str, row: MethodRow) -> str:
    """``67.1``"""
    return percent(_means(rows, row).get(key))


def _means(rows: MethodRows, row: MethodRow) -> dict[str, float]:
    """Every metric of a row's cells, mean over seeds."""
    at = row.method, row.budget
    return {key: means[at] for key, means in rows.beside.items() if at in means}


def _workers(trainer: str) -> int:
    """Processes that share the machine without getting in each other's way."""
    from loop.device import gpus
    from loop.train import get

    on_gpus = gpus() if get(trainer).wants == "images" else 0
    return on_gpus or os.cpu_count() or 1


def _budgets(project: Any, per_class: str, budgets: str) -> list[int]:
    from loop.errors import ConfigError

    if per_class and budgets:
        raise ConfigError("give --per-class or --budgets, not both")
    if budgets:
        return whole_numbers(budgets, "--budgets")
    classes = len(project.config.project.classes)
    return [n * classes for n in whole_numbers(per_class or "1,2,5,10", "--per-class")]


def _mark(row: MethodRow) -> str:
    low, high = row.difference_interval
    if row.difference is None or row.n < 2 or low <= 0 <= high:
        return " "
    return "+" if low > 0 else "-"


def _print_accuracies(rows: MethodRows, grid: Grid) -> None:
    """Mean accuracies with their marks, and what the marks are worth; with another metric or rare
    classes also plain accuracy and the classes found."""
    _print_table(rows, grid.budgets, lambda row: percent(row.mean) + _mark(row))
    seeds, trainer, share = grid.seeds, grid.trainer, grid.share
    paragraph(
        f"mean test {rows.metric} in % over {counted(seeds, 'seed')}, trainer "
        f"{trainer}; + better and - worse than random, paired by seed, 95 % interval without 0; * "
        "sees the label of every image"
    )
    tried = sum(row.difference is not None and row.n > 1 for row in rows)
    often = CHANCE if share < 1 else 20
    if tried >= MANY:
        say(f"of {tried} comparisons some {tried / often:.0f} get a + or - by chance alone")
    if share < 1:
        say(f"each seed draws {share:.0%} of the pool, the same for every method; these overlap")
    if grid.imbalance:
        paragraph(
            f"{THINNED[grid.imbalance]}, other ones for each seed; test images are as they are"
        )
    for key, words in BESIDE.items():
        if (grid.imbalance or rows.metric != "accuracy") and key != key_of(rows.metric):
            say("")
            _print_table(rows, grid.budgets, partial(_mean, rows, key))
            say(words)


def _print_saved(rows: MethodRows, grid: Grid) -> None:
    """Labels saved, where there is a curve of random to read them off."""
    saved = [row for row in rows if row.saved is not None]
    if not saved:
        return
    say("")
    _print_table(saved, grid.budgets, lambda row: f"{round(row.saved or 0):+d}")
    paragraph(
        f"labels saved: how many more random picks reach the same {rows.metric}; - off the curve "
        "of random"
    )


def _print_finish(rows: Sequence[FinishRow]) -> None:
    """Labels of people in all: a table for each goal, a line per method and budget."""
    for goal in dict.fromkeys(row.max_error for row in rows):
        some = [row for row in rows if row.max_error == goal]
        runs, broken = sum(row.runs for row in some), sum(row.broken_without_bound for row in some)
        say("")
        say(f"error of at most {100 * goal:g} %; without a bound {broken} of {runs} runs miss it:")
        table(FINISH_COLUMNS, [_finish_line(row) for row in some])
    if rows:
        images = rows[0].images
        paragraph(
            f"labels: of people in all, until each of {counted(images, 'image')} has one; mean "
            "over seeds and its 95 % interval; saved: fewer than with as many random picks, in "
            "brackets where the interval holds 0; broken: runs with more wrong labels than promised"
        )


def _finish_line(row: FinishRow) -> tuple[str | int, ...]:
    return (
        row.method + ("*" if row.kind == "all labels" else ""),
        row.budget,
        f"{row.labels:.0f}",
        f"{row.interval[0]:.0f} to {row.interval[1]:.0f}",
        _fewer(row),
        f"{100 * row.by_model:.0f} %",
        f"{row.broken} of {row.runs}",
    )


def _fewer(row: FinishRow) -> str:
    if row.saved is None:
        return "-"
    lower, upper = row.saved_interval
    return f"({row.saved:+.0f})" if row.n < 2 or lower <= 0 <= upper else f"{row.saved:+.0f}"


def _print_table(
    rows: list[MethodRow], budgets: list[int], shown: Callable[[MethodRow], str]
) -> None:
    """One line per method, one column per budget; as many tables as 80 columns need."""
    cells: dict[str, dict[int, str]] = {}
    for row in rows:
        name = row.method + ("*" if row.kind == "all labels" else "")
        cells.setdefault(name, {})[row.budget] = shown(row)
    for start in range(0, len(budgets), COLUMNS):
        some = budgets[start : start + COLUMNS]
        lines = [
            (name, *[by_budget.get(b, "-") for b in some]) for name, by_budget in cells.items()
        ]
        table(("method \\ labels", *map(str, some)), lines)
