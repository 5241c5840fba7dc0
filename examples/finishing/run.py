"""Is the promise kept, and what does finishing take? By repetition on labelled images.

    coreloop simulate trashnet.parquet --encoder ... --methods random --budgets 10 --seeds 1
    python run.py coreloop-simulate-trashnet --learned 50,120 --trainers linear --repetitions 1000

Each repetition trains one model, on random labels or on picks (``--by auto``), draws one order of
the other images, and finishes the collection for each goal, calibration size and confidence level;
the first ``--compared`` repetitions also by other orders of the confidences, for each name, and
against what was said beforehand. A line of JSON for each; those that are there are not computed
again. The tables of docs/finishing.md are printed at the end, or alone with ``--repetitions 0``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import loop
from db import queries
from loop import scorers, train
from loop.finish.by_class import draw, promise_by_class
from loop.finish.cost import cheapest, costs
from loop.finish.promise import allowed_wrong, promise
from loop.finish.rehearsal import PROMISED, UNBOUNDED, finish
from loop.geometry import neighbours, transform
from loop.measuring.accuracy import estimate
from loop.measuring.calibration import fit_temperature
from loop.measuring.held_out import HeldOut, predict_held_out
from loop.project.embeddings import embeddings
from loop.scorers.inputs import inputs_for
from loop.seeds import generator
from loop.select import picks as picks_by
from loop.train import Task
from loop.train.base import revealed
from loop.train.kept import tempered

KEYS = ("set", "trainer", "by", "learned", "seed")
GOALS = (0.01, 0.02, 0.05, 0.10)
SIZES = (100, 200)
ALPHAS = (0.05, 0.10)
FOLDS = 10
BY_NAME, SIZE_BY_NAME = (0.05, 0.10), 400
"""Goals for each name, and calibration labels for all of them."""
ORDERS = ("largest", "calibrated", "margin", "neighbours")
"""Confidences to rank by: the largest probability, the same after calibration by cross-fitting, its
lead over the second, and its mean with the 15 nearest images' probability of that class."""


def labelled_images(folder: str, limit: int) -> tuple[str, Task, np.ndarray]:
    """Name, task and (N,) labels of at most ``limit`` images of an embedded project."""
    with loop.open(folder) as project, project.records.read() as session:
        pool = queries.the_pool(session)
        classes = project.config.project.classes
        stated, keys = queries.known_labels(session, pool.id), queries.row_keys(session, pool.id)
        rows = np.array(sorted(keys))
        rows = np.sort(np.random.default_rng(5).permutation(rows)[:limit])
        labels = np.array([classes.index(stated[keys[int(row)]]) for row in rows])
        pooled = np.asarray(embeddings(session, project)[rows], dtype=np.float32)
    nothing = np.empty((0, pooled.shape[1]), np.float32)
    task = Task(len(classes), pooled, nothing, np.empty(0, np.int64))
    return project.config.project.name, task, labels.astype(np.int64)


def choose(task: Task, labels: np.ndarray, count: int, by: str, seed: int) -> np.ndarray:
    """(count,) rows that a scorer picks in two rounds, or random ones."""
    if by == "random":
        return generator(seed, "order").permutation(len(labels))[:count]
    scorer, picks = scorers.get(by), np.empty(0, np.int64)
    for size in (count // 2, count - count // 2):
        covered = np.zeros(len(labels), bool)
        covered[picks] = True
        known, rng = revealed(labels, picks), generator(seed, "score", len(picks))
        model_rng = generator(seed, "score model", len(picks))
        inputs = inputs_for(
            scorer,
            task,
            known,
            covered,
            size,
            train.get("linear"),
            seed=seed,
            rng=rng,
            model_rng=model_rng,
            available=~covered,
        )
        best = picks_by("top", scorer.score(inputs), ~covered, size, seed)
        picks = np.concatenate([picks, best])
    return picks


def repetition(
    trainer: train.Trainer,
    task: Task,
    labels: np.ndarray,
    learned: np.ndarray,
    seed: int,
    compare: bool,
) -> dict[str, object]:
    """What becomes of one model: for each way to finish [order, alpha, calibration labels, goal,
    rule, labels of the model, wrong ones, broken]."""
    images, known = len(labels), revealed(labels, learned)
    others = np.setdiff1d(np.arange(images), learned)
    trained = trainer.train(task, known, generator(seed, "train"), pool_probabilities=True)
    probabilities = trained.pool_probabilities
    predicted = probabilities.argmax(axis=1)[others]
    right = predicted == labels[others]
    outcome: dict[str, object] = {"accuracy": float(right.mean())}
    by_order = {"largest": probabilities.max(axis=1)}
    if compare:
        held_out = predict_held_out(trainer, task, known, learned, FOLDS, generator(seed, "folds"))
        by_order |= confidences(task, probabilities, held_out)
        confidence = by_order["calibrated"][others]
        outcome["said"] = list(said(held_out, known, confidence, right, generator(seed, "cost")))
        given = np.bincount(labels[learned], minlength=task.n_classes)
        rng = generator(seed, "by name")
        outcome["by name"] = list(by_name(confidence, predicted, labels[others], given, rng))
    order = generator(seed, "calibration").permutation(len(others))
    outcome["finishes"] = [
        (name, alpha, size, goal, f.rule, f.by_model, f.wrong, f.broken)
        for name, confidence in by_order.items()
        for alpha in ALPHAS
        for size in SIZES
        for goal in GOALS
        for f in finish(confidence[others], right, order[:size], images, goal, alpha)
        if name == "largest" or f.rule == PROMISED
    ]
    return outcome


def confidences(task: Task, probabilities: np.ndarray, held_out: HeldOut) -> dict[str, np.ndarray]:
    """(N,) each of the other ORDERS, from (N, C) probabilities of the pool."""
    ascending = np.sort(probabilities, axis=1)
    temperature = fit_temperature(held_out.probabilities, held_out.labels)
    nearest = task.once("nearest", lambda: neighbours(transform(task.pool, "standard"), 15)[0])
    of_class = probabilities[nearest, probabilities.argmax(axis=1)[:, None]]
    return {
        "calibrated": tempered(probabilities, temperature).max(axis=1),
        "margin": ascending[:, -1] - ascending[:, -2],
        "neighbours": (ascending[:, -1] + of_class.mean(axis=1)) / 2,
    }


def by_name(
    confidence: np.ndarray,
    predicted: np.ndarray,
    labels: np.ndarray,
    given: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[tuple[float, ...]]:
    """For each goal of BY_NAME: labels of the model, names that get any, and whether the share of
    wrong labels is above the goal for any name. Arrays are of the images not learned; (C,) given.
    """
    right = predicted == labels
    rows = draw(predicted, SIZE_BY_NAME, rng)
    for goal in BY_NAME:
        promises = promise_by_class(confidence, predicted, rows, right[rows], given, goal, 0.05)
        kept = confidence >= np.array([each.threshold for each in promises])[predicted]
        kept[rows] = False
        broken = False
        for name, already in enumerate(given):
            wrong = int((kept & ~right & (predicted == name)).sum())
            by_people = int(already + (labels[rows] == name).sum())
            broken |= wrong > goal * (by_people + int((kept & (predicted == name)).sum()))
        yield goal, int(kept.sum()), sum(each.accepted > 0 for each in promises), broken


def said(
    held_out: HeldOut,
    known: np.ndarray,
    confidence: np.ndarray,
    right: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[tuple[float, ...]]:
    """For each goal: the cheapest calibration size, human labels said beforehand (median and 90 %
    interval), and those that it took.

    Args:
        held_out: the labels learned, by cross-fitting; they measure the accuracy.
        confidence, right: of the images not learned.
    """
    about = held_out.probabilities.max(axis=1)
    accuracy = estimate(held_out.right, about, held_out.pool_confidence[known < 0])
    interval = (accuracy.accuracy, accuracy.lower, accuracy.upper)
    for goal in GOALS:
        best = cheapest(costs(confidence, interval, len(known), goal, 0.05, rng))
        rows = rng.choice(len(confidence), best.sample, replace=False)
        allowed = allowed_wrong(goal, len(known))
        taken = len(confidence) - promise(confidence, rows, right[rows], allowed, 0.05).accepted
        yield goal, best.sample, best.median, best.lower, best.upper, taken


def tables(lines: list[dict]) -> None:
    """Markdown of what the repetitions say."""
    cells = defaultdict(list)
    for line in lines:
        learned = f"{line['learned']} {line['by']}"
        cells[line["trainer"], line["set"], learned, line["images"]].append(line)
    promised(cells)
    orders(cells)
    beforehand(cells)
    names(cells)


def promised(cells: dict[tuple, list[dict]]) -> None:
    """One row for each goal and cell: what the model labels, and promises broken, in %."""
    columns = ["trainer", "set", "learned", "accuracy", "n", "goal"]
    columns += [f"by model, {size}" for size in SIZES] + ["by people", "error"]
    columns += [f"broken at {alpha:g}, {size}" for alpha in ALPHAS for size in SIZES]
    header("Kept and broken", [*columns, "no bound: by model", "broken"])
    all_broken = defaultdict(list)
    for (trainer, name, learned, images), lines in sorted(cells.items()):
        finishes = by_way(line["finishes"] for line in lines)
        accuracy = np.mean([line["accuracy"] for line in lines])
        for goal in GOALS:
            row = [trainer, name, learned, f"{100 * accuracy:.1f}", len(lines), f"{100 * goal:g} %"]
            for size in SIZES:
                by_model, wrong, _ = finishes["largest", 0.05, size, goal, PROMISED].T
                row.append(percent(by_model / images))
            row += [round(images - by_model.mean()), f"{100 * wrong.mean() / images:.2f}"]
            for alpha in ALPHAS:
                for size in SIZES:
                    broken = finishes["largest", alpha, size, goal, PROMISED][:, 2]
                    row.append(percent(broken))
                    all_broken[alpha].append(broken)
            by_model, _, broken = finishes["largest", 0.05, SIZES[-1], goal, UNBOUNDED].T
            row += [percent(by_model / images), percent(broken)]
            print(f"| {' | '.join(map(str, row))} |")
    for alpha, of_level in all_broken.items():
        everything, worst = np.concatenate(of_level), max(of_level, key=np.mean)
        above = sum(ends(broken)[0] > alpha for broken in of_level)
        print(
            f"\nbroken at {alpha:g}: {percent(everything)} % of {len(everything)} finishes, in the "
            f"worst of {len(of_level)} cells {interval(worst)}; intervals above {alpha:g}: {above}"
        )


def orders(cells: dict[tuple, list[dict]]) -> None:
    """Shares that the model labels by other confidences: mean paired difference to the largest
    probability, in points, and its standard error."""
    header("Other confidences", ["trainer", "set", "learned", "n", "goal", *ORDERS])
    for (trainer, name, learned, images), lines in sorted(cells.items()):
        compared = [line["finishes"] for line in lines if "said" in line]
        if not compared:
            continue
        finishes = by_way(compared)
        for goal in GOALS:
            kept = {
                order: np.concatenate(
                    [finishes[order, 0.05, size, goal, PROMISED][:, 0] / images for size in SIZES]
                )
                for order in ORDERS
            }
            row = [trainer, name, learned, len(compared), f"{100 * goal:g} %"]
            row.append(percent(kept["largest"]))
            for order in ORDERS[1:]:
                gap = 100 * (kept[order] - kept["largest"]).reshape(len(SIZES), -1).mean(axis=0)
                error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.nan
                row.append(f"{gap.mean():+.1f} ± {error:.1f}")
            print(f"| {' | '.join(map(str, row))} |")


def beforehand(cells: dict[tuple, list[dict]]) -> None:
    """Human labels as said before the calibration, and as it took."""
    columns = ["trainer", "set", "learned", "n", "goal", "calibration"]
    header("Said beforehand", [*columns, "said", "90 %", "taken", "in the interval"])
    for (trainer, name, learned, _), lines in sorted(cells.items()):
        outcomes = np.array([line["said"] for line in lines if "said" in line])
        for goal, rows in zip(
            GOALS, outcomes.swapaxes(0, 1) if len(outcomes) else [], strict=False
        ):
            _, sample, median, lower, upper, taken = rows.T
            row = [trainer, name, learned, len(rows), f"{100 * goal:g} %"]
            row += [round(values.mean()) for values in (sample, median)]
            row += [f"{lower.mean():.0f} to {upper.mean():.0f}", round(taken.mean())]
            row.append(percent((lower <= taken) & (taken <= upper)))
            print(f"| {' | '.join(map(str, row))} |")


def names(cells: dict[tuple, list[dict]]) -> None:
    """Shares that the model labels when each name has a promise, and promises broken."""
    columns = ["trainer", "set", "learned", "n", "goal", "by model", "names", "broken"]
    header(f"By name, {SIZE_BY_NAME} calibration labels", columns)
    for (trainer, name, learned, images), lines in sorted(cells.items()):
        outcomes = np.array([line["by name"] for line in lines if "by name" in line])
        for goal, rows in zip(
            BY_NAME, outcomes.swapaxes(0, 1) if len(outcomes) else [], strict=False
        ):
            _, by_model, promised, broken = rows.T
            row = [trainer, name, learned, len(rows), f"{100 * goal:g} %"]
            row += [percent(by_model / images), f"{promised.mean():.1f}", interval(broken)]
            print(f"| {' | '.join(map(str, row))} |")


def by_way(repetitions: Iterator[list] | list[list]) -> dict[tuple, np.ndarray]:
    """Way to finish -> (n, 3) labels of the model, wrong ones and broken."""
    ways = defaultdict(list)
    for finishes in repetitions:
        for *way, by_model, wrong, broken in finishes:
            ways[tuple(way)].append((by_model, wrong, broken))
    return {way: np.array(outcomes, float) for way, outcomes in ways.items()}


def header(title: str, columns: list[str]) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")


def percent(values: np.ndarray) -> str:
    return f"{100 * np.mean(values):.1f}"


def ends(broken: np.ndarray) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share."""
    from scipy.stats import binomtest

    low, high = binomtest(int(broken.sum()), len(broken)).proportion_ci()
    return float(low), float(high)


def interval(broken: np.ndarray) -> str:
    """Share of broken promises in %, with its 95 % interval."""
    low, high = ends(broken)
    return f"{100 * broken.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="projects of labelled, embedded images")
    parser.add_argument("--learned", default="50,120", help="labels that the model learns")
    parser.add_argument("--by", default="random", help="scorer that picks these, such as auto")
    parser.add_argument("--trainers", default="linear")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--compared", type=int, default=50, help="with other confidences and costs")
    parser.add_argument("--first", type=int, default=0, help="seed of the first repetition")
    parser.add_argument("--images", type=int, default=1500, help="of each set, at random")
    parser.add_argument("--out", type=Path, default=Path("finishes.jsonl"))
    options = parser.parse_args()
    lines = []
    if options.out.exists():
        lines = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {tuple(line[key] for key in KEYS) for line in lines}
    sets = [labelled_images(folder, options.images) for folder in options.folders]
    counts = list(map(int, options.learned.split(",")))
    for seed in range(options.first, options.first + options.repetitions):
        compare = seed - options.first < options.compared
        for (name, task, labels), trainer, count in itertools.product(
            sets, options.trainers.split(","), counts
        ):
            key = (name, trainer, options.by, count, seed)
            if key in done:
                continue
            learned = choose(task, labels, count, options.by, seed)
            outcome = repetition(train.get(trainer), task, labels, learned, seed, compare)
            lines.append({**dict(zip(KEYS, key, strict=True)), "images": len(labels), **outcome})
            with options.out.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
        print(f"seed {seed} is done", flush=True)
    tables(lines)


if __name__ == "__main__":
    main()
