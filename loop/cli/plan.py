"""plan: labels, hours, money and a date to reach a target; what a budget buys."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loop.cli.output import (
    json_option,
    paragraph,
    percent,
    print_json,
    project_at,
    project_option,
    say,
    table,
)
from loop.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loop.planning.backtest import BacktestSummary
    from loop.planning.rounds import Rounds
    from loop.planning.target import Estimate, ExpectedAccuracy, Plan, Price, Spread
    from loop.project import Project
    from loop.project.finish_plan import FinishPlan
    from loop.steps.plan import Outlook, Wish

MINUTES_BELOW = 1.5
"""Hours below which work is shown in minutes."""
VERDICTS = {
    "reached": "the target is reached",
    "pool": "takes more labels than the pool has images",
    "far": "not within 100 times the labels there are",
    "never": "not reachable with this model and encoder",
}


@click.command()
@click.argument("simulations", nargs=-1, metavar="[SIMULATION]...", type=click.Path(path_type=Path))
@project_option
@json_option
@click.option("--target", type=float, help="Accuracy to reach, or the metric of [goal], e.g. 0.9.")
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
    "--days-per-round",
    type=float,
    default=0.0,
    show_default=True,
    help="Days that each round waits beside the labelling: many make fewer, larger rounds.",
)
@click.option(
    "--stop-below",
    type=float,
    default=0.5,
    show_default=True,
    help="Stop when 100 labels gain less than so many points.",
)
@click.option("--finish", is_flag=True, help="The cheapest way to a label for every image.")
@click.option("--max-error", type=float, help="With --finish: share wrong; default: 0.05.")
@click.option("--confidence", type=float, help="With --finish: that it holds; default: 0.95.")
@click.option("--backtest", is_flag=True, help="How well would forecasts of SIMULATION have held?")
def plan(
    simulations: tuple[Path, ...],
    folder: Path,
    as_json: bool,
    finish: bool,
    max_error: float | None,
    confidence: float | None,
    backtest: bool,
    stop_below: float,
    **wishes: float | int | None,
) -> None:
    """Labels, hours, money and date to reach a target, with intervals.

    From the project's own curve from round 2 on; before that, name SIMULATION: a folder that
    'coreloop simulate' has made on a similar set. With one, the methods in it are compared too.
    With --finish: how many more picks until the model labels the rest with fewest labels in all.

    \b
    Example: coreloop plan --target 0.9 --hourly-rate 25
             coreloop plan --budget-money 200 --per-label 0.04
             coreloop plan --finish --max-error 0.02
             coreloop plan --backtest coreloop-simulate-flowers [--finish]
    """
    from loop.steps.plan import Wish
    from loop.steps.plan import plan as step

    if backtest:
        folders = list(simulations) or [folder]
        (_backtest_finish if finish else _backtest)(folders, as_json)
        return
    _check_finish(finish, max_error, confidence, bool(simulations), wishes)
    project = project_at(folder)
    wish = Wish(**wishes, stop_below=stop_below / 100)  # type: ignore[arg-type]
    if finish:
        _finish(project, wish, 0.05 if max_error is None else max_error, confidence, as_json)
        return
    outlook = step(project, wish, simulations)
    if as_json:
        print_json(asdict(outlook))
        return
    _print(outlook, project.config.costs.currency, stop_below)


def _check_finish(
    finish: bool,
    max_error: float | None,
    confidence: float | None,
    simulations: bool,
    wishes: Mapping[str, float | int | None],
) -> None:
    """Raises ConfigError: options that do not go together."""
    from loop.errors import ConfigError

    if not finish and (max_error is not None or confidence is not None):
        raise ConfigError("--max-error and --confidence go with --finish")
    given = [
        name for name in ("target", "budget_money", "budget_hours") if wishes[name] is not None
    ]
    if finish and given:
        option = given[0].replace("_", "-")
        raise ConfigError(f"--finish plans for --max-error; leave --{option} out")
    if finish and simulations:
        raise ConfigError(
            "--finish plans with the project's own model and curve; name a SIMULATION with "
            "--backtest --finish only"
        )


def _finish(
    project: Project, wish: Wish, max_error: float, confidence: float | None, as_json: bool
) -> None:
    """The cheapest way to a finished collection."""
    from loop.project.finish_plan import plan_finish

    outlook = plan_finish(project, wish, max_error, 0.95 if confidence is None else confidence)
    if as_json:
        print_json(asdict(outlook))
        return
    paragraph(
        f"{outlook.unlabelled} of {counted(outlook.images, 'image')} have no label; for an error "
        f"of at most {100 * outlook.max_error:g} % of all, with confidence "
        f"{100 * outlook.confidence:g} %, from the model of round {outlook.model}:"
    )
    lines = [
        (
            f"{'>' if way == outlook.cheapest else ' '} {way.picks}",
            percent(way.accuracy.median),
            way.sample,
            f"{way.labels.median:.0f}",
            f"{way.labels.lower:.0f} to {way.labels.upper:.0f}",
            way.by_model,
        )
        for way in outlook.ways
    ]
    heads = ("more picks", "accuracy", "calibration", "labels more", "90 % interval", "by model")
    table(heads, lines)
    paragraph(_cheapest(outlook, project.config.costs.currency))
    for note in outlook.notes:
        paragraph(f"note: {note}")
    say(f"next: {outlook.command}")


def _cheapest(outlook: FinishPlan, currency: str) -> str:
    """The cheapest way in words."""
    way = outlook.cheapest
    first = f"{counted(way.picks, 'more pick')}, then autolabel" if way.picks else "autolabel now"
    lower, upper = way.labels.lower, way.labels.upper
    known = [f"{way.labels.median:.0f} labels more ({lower:.0f} to {upper:.0f})"]
    if outlook.hours is not None:
        median, least, most = map(duration, outlook.hours)
        known.append(f"{median} of work ({least} to {most})")
    if outlook.money is not None:
        amount = outlook.money
        known.append(f"{amount.median:.2f} {currency} ({amount.lower:.2f} to {amount.upper:.2f})")
    return f"cheapest: {first}: {', '.join(known)}"


def _print(outlook: Outlook, currency: str, stop_below: float) -> None:
    labels, accuracy = outlook.points[-1]
    metric = "" if outlook.metric == "accuracy" else f"{outlook.metric} "
    paragraph(
        f"curve: {outlook.basis}; {metric}{percent(accuracy)} % with {counted(labels, 'label')}"
    )
    if outlook.plan is not None:
        _target(outlook.plan, metric, currency, outlook.price, outlook.left)
    if outlook.rounds is not None:
        _rounds(outlook.rounds)
    if outlook.gain_per_100 is not None:
        _gain(outlook, outlook.gain_per_100, stop_below)
    if outlook.budget is not None:
        paragraph(f"the budget buys {_expected(outlook.budget)}")
    for bought in outlook.buys:
        paragraph(f"with {_expected(bought)}")
    if outlook.what_if:
        say("labels to the target, in simulation:")
        lines = [
            (row.set, row.method, _number(row.labels.middle), _range(row.labels, "90%"))
            for row in outlook.what_if
        ]
        table(("set", "method", "labels", "90 %"), lines, left=2)
    for note in outlook.notes:
        paragraph(f"note: {note}")


def _rounds(rounds: Rounds) -> None:
    sizes = ", ".join(map(str, rounds.sizes))
    paragraph(
        f"next round: {counted(rounds.sizes[0], 'label')}; rounds of {sizes} take "
        f"{rounds.expected:.0f} labels on average (one round at once: {rounds.at_once}) and reach "
        f"the target with {100 * rounds.confidence:.0f} % chance"
    )


def _gain(outlook: Outlook, gain: Estimate, stop_below: float) -> None:
    count = min(100, outlook.left)
    stop_below *= count / 100
    median, lower, upper = (100 * value for value in gain)
    words = {
        "stop": f"stop, surely under {stop_below:g}",
        "go on": "go on",
        "unclear": f"likely under {stop_below:g}, not surely",
    }[outlook.advice or ""]
    interval = f"90 %: {lower:+.1f} to {upper:+.1f}"
    paragraph(f"the next {counted(count, 'label')}: {median:+.1f} points ({interval}): {words}")


def _expected(accuracy: ExpectedAccuracy) -> str:
    interval = f"90 %: {percent(accuracy.lower)} to {percent(accuracy.upper)}"
    return f"{counted(accuracy.labels, 'label')}: {percent(accuracy.median)} % ({interval})"


def _target(plan_: Plan, metric: str, currency: str, price: Price, left: int) -> None:
    verdict = VERDICTS.get(plan_.verdict, "")
    if plan_.verdict == "never":
        verdict += f" ({100 * plan_.never:.0f} % of the curves level off below)"
    elif plan_.verdict == "far":
        verdict += f" ({100 * plan_.reachable:.0f} % of the curves get there)"
    paragraph(f"target {metric}{percent(plan_.target)} %" + (f": {verdict}" if verdict else ""))
    if plan_.verdict in ("reached", "never"):
        return
    minutes = (price.hours or 0) * (plan_.labels.middle or left) < MINUTES_BELOW
    unit, times = ("minutes", 60.0) if minutes else ("hours", 1.0)
    work = None if plan_.hours is None else plan_.hours.times(times)
    rows = [
        ("labels", plan_.labels, 1.0),
        (unit, work, times * (price.hours or 0)),
        (currency, plan_.money, price.money or 0),
    ]
    lines = [
        (name, _number(spread.middle, most), *_ranges(spread, most))
        for name, spread, most in [(name, row, each * left) for name, row, each in rows]
        if spread is not None
    ]
    if plan_.dates is not None:
        (median,) = plan_.dates["median"]
        ranges = [_days(*plan_.dates[level]) for level in plan_.labels.intervals]
        lines.append(("date", median or "later", *ranges))
    levels = [f"{level} interval" for level in plan_.labels.intervals]
    table(("further", "median", *levels), lines)
    if any(None in interval for interval in plan_.labels.intervals.values()):
        say(f">: more than the {counted(left, 'image')} left, or never")


def _number(value: float | None, most: float | None = None) -> str:
    """``1,200``, ``2.5``; None is beyond ``most``, or never."""
    if value is None:
        return "never" if most is None else f"> {_number(most)}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _range(spread: Spread, level: str, most: float | None = None) -> str:
    lower, upper = spread.intervals[level]
    if lower is None:
        return _number(None, most)
    return f"{_number(lower)} to {_number(upper, most)}"


def _days(first: str | None, last: str | None) -> str:
    """A range of dates; None: never, or later than the pool lasts."""
    if first is None:
        return "later"
    return f"{first} or later" if last is None else f"{first} to {last}"


def _ranges(spread: Spread, most: float) -> list[str]:
    return [_range(spread, level, most) for level in spread.intervals]


def _backtest(folders: list[Path], as_json: bool) -> None:
    from loop.steps.plan import measure

    late, early, outcomes = measure(folders)
    if as_json:
        print_json(
            {
                "from_10_per_class": [asdict(line) for line in late],
                "below_10_per_class": [asdict(line) for line in early],
                "outcomes": [asdict(outcome) for outcome in outcomes],
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


def _backtest_finish(folders: list[Path], as_json: bool) -> None:
    from loop.project.finish_plan import measure_finish

    lines, outcomes = measure_finish(folders)
    if as_json:
        print_json(
            {
                "lines": [asdict(line) for line in lines],
                "outcomes": [asdict(outcome) for outcome in outcomes],
            }
        )
        return
    say("labels of people in all, in % of the images: forecast against what it took")
    rows = [
        (
            line.set,
            f"{100 * line.max_error:g} %",
            line.n,
            *[percent(value) for value in (line.error, line.bias)],
            f"{100 * line.inside:.0f} %",
            *[percent(value) for value in (line.lost, line.lost_now)],
        )
        for line in lines
    ]
    table(("set", "error", "n", "off by", "bias", "in 90%", "lost", "at once"), rows)
    say("off by: mean absolute error of the median; in 90%: inside the interval; lost:")
    say("what the plan's choice took more than the best budget simulated; at once: what")
    say("finishing without a further pick did")


def _lines(lines: list[BacktestSummary]) -> None:
    rows = [
        (
            line.set,
            f"{line.ahead}x",
            line.n,
            f"{100 * line.error:.2f}",
            f"{100 * line.last_slope:.2f}",
            f"{100 * line.power_law:.2f}",
            *[f"{100 * share:.0f} %" for share in line.inside.values()],
        )
        for line in lines
    ]
    levels = [f"in {level}" for level in lines[0].inside]
    table(("set", "ahead", "n", "plan", "slope", "power", *levels), rows)
