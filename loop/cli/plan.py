"""plan: labels, hours, money and a date to reach a target; what a budget buys."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.output import json_option, percent, print_json, project_at, project_option, say, table

if TYPE_CHECKING:
    from loop.planning.backtest import BacktestSummary
    from loop.planning.target import Plan, Spread
    from loop.steps.plan import Outlook

VERDICTS = {
    "reached": "the target is reached",
    "far": "not within 100 times the labels there are",
    "never": "not reachable with this model and encoder",
}


@click.command()
@click.argument("simulations", nargs=-1, metavar="[SIMULATION]...", type=click.Path(path_type=Path))
@project_option
@json_option
@click.option("--target", type=float, help="Test accuracy to reach, e.g. 0.9.")
@click.option("--budget-money", type=float, help="What does this much money buy?")
@click.option("--budget-hours", type=float, help="What do so many hours of labelling buy?")
@click.option("--hourly-rate", type=float, help="Pay per hour of labelling (default: [costs]).")
@click.option("--per-label", type=float, help="Price per annotation (default: [costs]).")
@click.option("--seconds-per-label", type=float, help="Default: as measured so far.")
@click.option("--labels-per-day", type=float, help="Default: as measured so far.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 20),
    default=3,
    show_default=True,
    help="At most so many rounds to the target.",
)
@click.option(
    "--stop-below",
    type=float,
    default=0.5,
    show_default=True,
    help="Stop when 100 labels gain less than so many points.",
)
@click.option("--backtest", is_flag=True, help="How well would forecasts of SIMULATION have held?")
def plan(
    simulations: tuple[Path, ...],
    folder: Path,
    as_json: bool,
    backtest: bool,
    stop_below: float,
    **wishes: float | int | None,
) -> None:
    """Labels, hours, money and date to reach a target, with intervals.

    From the project's own curve from round 2 on; before that, name SIMULATION: a folder that
    'coreloop simulate' has made on a similar set. With one, the methods in it are compared too.

    \b
    Example: coreloop plan --target 0.9 --hourly-rate 25
             coreloop plan --budget-money 200 --per-label 0.04
             coreloop plan --backtest coreloop-simulate-flowers
    """
    from loop.steps.plan import Wish
    from loop.steps.plan import plan as step

    if backtest:
        _backtest(list(simulations) or [folder], as_json)
        return
    project = project_at(folder)
    wish = Wish(**wishes, stop_below=stop_below / 100)  # type: ignore[arg-type]
    found = step(project, wish, simulations)
    if as_json:
        print_json(asdict(found))
        return
    _print(found, project.config.costs.currency, stop_below)


def _print(found: Outlook, currency: str, stop_below: float) -> None:
    labels, accuracy = found.points[-1]
    _say(f"curve: {found.basis}; {percent(accuracy)} % with {labels} labels")
    if found.plan is not None:
        _target(found.plan, currency)
    if found.rounds is not None:
        sizes = ", ".join(map(str, found.rounds.sizes))
        _say(
            f"next round: {found.rounds.sizes[0]} labels; rounds of {sizes} take "
            f"{found.rounds.expected:.0f} labels on average (one round at once: "
            f"{found.rounds.at_once}) and reach the target with "
            f"{found.rounds.confidence:.0%} chance"
        )
    if found.gain_per_100 is not None:
        middle, low, high = (100 * g for g in found.gain_per_100)
        said = {
            "stop": f"stop, surely under {stop_below:g}",
            "go on": "go on",
            "unclear": f"likely under {stop_below:g}, not surely",
        }[found.advice or ""]
        _say(f"the next 100 labels: {middle:+.1f} points (90 %: {low:+.1f} to {high:+.1f}): {said}")
    if found.budget is not None:
        n, value, low, high = found.budget
        _say(
            f"the budget buys {n} labels: {percent(value)} % (90 %: {percent(low)} to "
            f"{percent(high)})"
        )
    for n, value, low, high in found.buys:
        _say(f"with {n} labels: {percent(value)} % (90 %: {percent(low)} to {percent(high)})")
    if found.what_if:
        say("labels to the target, in simulation:")
        table(
            ("set", "method", "labels", "90 %"),
            [
                (w.set, w.method, _number(w.labels.middle), _range(w.labels, "90%"))
                for w in found.what_if
            ],
            left=2,
        )
    for note in found.notes:
        _say(f"note: {note}")


def _say(text: str) -> None:
    say(textwrap.fill(text, 80, subsequent_indent="  "))


def _target(found: Plan, currency: str) -> None:
    said = VERDICTS.get(found.verdict, "")
    if found.verdict == "never":
        said += f" ({100 * found.never:.0f} % of the curves level off below)"
    elif found.verdict == "far":
        said += f" ({100 * found.reachable:.0f} % of the curves get there)"
    _say(f"target {percent(found.target)} %" + (f": {said}" if said else ""))
    if found.verdict not in ("reached", "never"):
        rows = [("labels", found.labels), ("hours", found.hours), (currency, found.money)]
        lines = [
            (name, _number(s.middle), *[_range(s, level) for level in s.intervals])
            for name, s in rows
            if s is not None
        ]
        if found.dates is not None:
            (middle,) = found.dates["median"]
            ranges = [
                " to ".join(d or "never" for d in days)
                for level, days in found.dates.items()
                if level != "median"
            ]
            lines.append(("date", middle or "never", *ranges))
        table(("further", "median", *[f"{v} interval" for v in found.labels.intervals]), lines)


def _number(value: float | None) -> str:
    if value is None:
        return "never"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _range(spread: Spread, level: str) -> str:
    low, high = spread.intervals[level]
    return f"{_number(low)} to {_number(high)}"


def _backtest(folders: list[Path], as_json: bool) -> None:
    from loop.steps.plan import measure

    late, early, outcomes = measure(folders)
    if as_json:
        print_json(
            {
                "from_10_per_class": [asdict(x) for x in late],
                "below_10_per_class": [asdict(x) for x in early],
                "outcomes": [asdict(o) for o in outcomes],
            }
        )
        return
    for words, lines in (("from 10 labels per class on", late), ("below", early)):
        if lines:
            say(f"forecasts {words}: mean absolute error, points;")
            say("outcomes inside the interval")
            _lines(lines)
    say("each forecast is of one run's measured accuracy, from its own earlier points;")
    say("slope: a line in log(labels) through the last two of them; power: a power law")
    say("with offset, by least squares")


def _lines(lines: list[BacktestSummary]) -> None:
    rows = [
        (
            x.set,
            f"{x.ahead}x",
            x.n,
            f"{100 * x.error:.2f}",
            f"{100 * x.last_slope:.2f}",
            f"{100 * x.power_law:.2f}",
            *[f"{100 * v:.0f} %" for v in x.inside.values()],
        )
        for x in lines
    ]
    levels = [f"in {v}" for v in lines[0].inside]
    table(("set", "ahead", "n", "plan", "slope", "power", *levels), rows)
