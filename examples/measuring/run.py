"""How well a random sample measures, compares and trains, by repetition on labelled images.

    coreloop simulate trashnet.parquet --encoder ... --methods random --budgets 10 --seeds 1
    python run.py coreloop-simulate-trashnet --cells 50+50,100+30 --repetitions 100

Each repetition draws a sample, has ``auto`` pick in two rounds, and sets what the sample says
against the truth on all other images. A line of JSON for each repetition, cell and trainer; those
that are there are not computed again. ``table`` makes the rows of docs/measuring.md of them;
with ``--imbalance geometric`` or ``single`` classes are thinned out and the rows are about balanced
accuracy and macro-F1, as in docs/rare.md.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

import loop
from db import queries
from loop import scorers, train
from loop.imbalance import thinned
from loop.measuring.accuracy import INFLATION, estimate
from loop.measuring.difference import picks_against_sample
from loop.measuring.held_out import predict_held_out
from loop.project.embeddings import embeddings
from loop.scorers.inputs import inputs_for
from loop.seeds import generator
from loop.select import picks as picks_by
from loop.train import Task
from loop.train.base import revealed
from loop.train.class_metrics import class_intervals, class_metrics, confusion_of

TRAINERS = ("linear", "auto")
FOLDS = 10
ROUNDS = 2
COLUMNS = (
    *("trainer", "sample + picks", "set", "n"),
    *("random + holdout", "picks + holdout", "all labels"),
    *("bias", "covered", "width", "width, plain"),
    *("picks - random", "bias", "covered"),
)


def labelled_images(folder: str, limit: int, imbalance: str) -> tuple[str, Task, np.ndarray]:
    """Name, task and (N,) labels of at most ``limit`` images of an embedded project, fewer where
    classes are thinned out."""
    with loop.open(folder) as project, project.records.read() as session:
        pool = queries.the_pool(session)
        classes = project.config.project.classes
        stated, keys = queries.known_labels(session, pool.id), queries.row_keys(session, pool.id)
        rows = np.array(sorted(keys))
        rows = np.sort(np.random.default_rng(5).permutation(rows)[:limit])
        labels = np.array([classes.index(stated[keys[int(row)]]) for row in rows])
        pooled = np.asarray(embeddings(session, project)[rows], dtype=np.float32)
    if imbalance:
        kept = thinned(labels, len(classes), imbalance, np.random.default_rng(5))
        pooled, labels = pooled[kept], labels[kept]
    nothing = np.empty((0, pooled.shape[1]), np.float32)
    task = Task(len(classes), pooled, nothing, np.empty(0, np.int64))
    return project.config.project.name, task, labels.astype(np.int64)


def choose(task: Task, labels: np.ndarray, sample: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(count,) rows that ``auto`` picks in two rounds, shown nothing of the sample."""
    scorer, picks = scorers.get("auto"), np.empty(0, np.int64)
    for number in range(1, ROUNDS + 1):
        covered = np.zeros(len(labels), bool)
        covered[picks] = True
        available = ~covered
        available[sample] = False
        size = count * number // ROUNDS - len(picks)
        inputs = inputs_for(
            scorer,
            task,
            revealed(labels, picks),
            covered,
            size,
            train.get("linear"),
            seed=seed,
            rng=generator(seed, "score", number),
            model_rng=generator(seed, "score model", number),
            available=available,
        )
        picks = np.concatenate(
            [picks, picks_by("top", scorer.score(inputs), available, size, seed)]
        )
    return picks


def repetition(
    task: Task, labels: np.ndarray, n: int, k: int, seed: int
) -> dict[str, dict[str, object]]:
    """Trainer -> what the sample said, and what is true."""
    order = generator(seed, "sample").permutation(len(labels))
    sample = order[:n]
    picks = choose(task, labels, sample, k, seed)
    learned = np.concatenate([sample, picks])
    rest = np.setdiff1d(order, learned)
    at_random = generator(seed, "at random").permutation(rest)[:k]
    outcomes = {}
    for name in TRAINERS:
        trainer = train.get(name)

        def true_table(rows: np.ndarray, trainer: train.Trainer = trainer) -> np.ndarray:
            trained = trainer.train(
                task, revealed(labels, rows), generator(seed, "train"), pool_probabilities=True
            )
            others = np.setdiff1d(rest, rows)
            predicted = trained.pool_probabilities[others].argmax(axis=1)
            return confusion_of(labels[others], predicted, task.n_classes)

        def truth(rows: np.ndarray, true_table: Callable = true_table) -> float:
            confusion = true_table(rows)
            return float(np.trace(confusion) / confusion.sum())

        known = revealed(labels, learned)
        held_out = predict_held_out(trainer, task, known, sample, FOLDS, generator(seed, "folds"))
        confidence = held_out.probabilities.max(axis=1)
        unlabelled = held_out.pool_confidence[rest]
        powered = estimate(held_out.right, confidence, unlabelled)
        plain = estimate(held_out.right, np.ones(len(confidence)), unlabelled)
        difference = picks_against_sample(
            trainer, task, known, picks, sample, FOLDS, generator(seed, "difference")
        )
        delivered = true_table(learned)
        judged = confusion_of(
            held_out.labels, held_out.probabilities.argmax(axis=1), task.n_classes
        )
        values, intervals = class_metrics(judged), class_intervals(judged, INFLATION)
        outcomes[name] = {
            "delivered": float(np.trace(delivered) / delivered.sum()),
            "classes": {
                metric: [values[metric], *intervals[metric], true]
                for metric, true in class_metrics(delivered).items()
            },
            "picks_alone": truth(picks),
            "random_alone": truth(at_random),
            "estimate": [powered.accuracy, powered.lower, powered.upper, powered.worth],
            "plain": [plain.accuracy, plain.lower, plain.upper],
            "difference": [difference.mean, difference.lower, difference.upper],
            "first_picks": truth(picks[: difference.labels]),
            "as_many_random": truth(sample[: difference.labels]),
        }
    return outcomes


def table(path: Path) -> None:
    """Markdown rows of what a file holds, by trainer, cell and set."""
    cells = defaultdict(list)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        n, k = row["n"], row["k"]
        cells[row["trainer"], n + k, n, k, row["set"]].append(row)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for (trainer, _, n, k, name), rows in sorted(cells.items()):
        print(f"| {trainer} | {n} + {k} | {name} | {len(rows)} | {' | '.join(_figures(rows, n))} |")


def class_table(path: Path) -> None:
    """Markdown rows of balanced accuracy and macro-F1: truth, bias, coverage, width."""
    cells = defaultdict(list)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        for metric, figures in row["classes"].items():
            cells[metric, row["trainer"], row["n"], row["k"], row["set"]].append(figures)
    print("| metric | trainer | sample + picks | set | n | truth | bias | covered | width |")
    print("|---" * 9 + "|")
    for (metric, trainer, n, k, name), some in sorted(cells.items()):
        value, lower, upper, true = 100 * np.array(some).T
        held = 100 * np.mean((lower <= true) & (true <= upper))
        figures = f"{true.mean():.1f} | {(value - true).mean():+.1f} | {held:.0f}"
        print(
            f"| {metric} | {trainer} | {n} + {k} | {name} | {len(some)} | {figures} | "
            f"{(upper - lower).mean():.1f} |"
        )


def _figures(rows: list[dict], n: int) -> list[str]:
    left_out = ("set", "classes")
    column = {key: np.array([row[key] for row in rows]) for key in rows[0] if key not in left_out}
    true, estimated = column["delivered"], column["estimate"]
    gap = column["first_picks"] - column["as_many_random"].mean()
    said = column["difference"]

    def percent(values: np.ndarray) -> str:
        return f"{100 * np.mean(values):.1f}"

    def covered(interval: np.ndarray, truth: np.ndarray) -> str:
        return f"{100 * np.mean((interval[:, 1] <= truth) & (truth <= interval[:, 2])):.0f}"

    return [
        percent(column["random_alone"]),
        percent(column["picks_alone"]),
        percent(true),
        f"{100 * np.mean(estimated[:, 0] - true):+.1f}",
        covered(estimated, true),
        percent(estimated[:, 2] - estimated[:, 1]),
        percent(column["plain"][:, 2] - column["plain"][:, 1]),
        f"{100 * np.mean(gap):+.1f}",
        f"{100 * np.mean(said[:, 0] - gap):+.1f}",
        covered(said, gap),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="projects of labelled, embedded images")
    parser.add_argument("--cells", default="30+30,50+50,100+30,100+100", help="sample+picks")
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--images", type=int, default=1300, help="of each set, at random")
    parser.add_argument("--imbalance", choices=["geometric", "single"], default="")
    parser.add_argument("--out", type=Path, default=Path("cells.jsonl"))
    options = parser.parse_args()
    done = set()
    if options.out.exists():
        lines = map(json.loads, options.out.read_text().splitlines())
        done = {(line["set"], line["n"], line["k"], line["seed"]) for line in lines}
    sets = [
        labelled_images(folder, options.images, options.imbalance) for folder in options.folders
    ]
    for seed in range(options.repetitions):
        for name, task, labels in sets:
            for cell in options.cells.split(","):
                n, k = map(int, cell.split("+"))
                if (name, n, k, seed) in done:
                    continue
                with options.out.open("a") as file:
                    for trainer, outcome in repetition(task, labels, n, k, seed).items():
                        known = {"set": name, "trainer": trainer, "n": n, "k": k, "seed": seed}
                        file.write(json.dumps({**known, **outcome}) + "\n")
        print(f"repetition {seed + 1} of {options.repetitions} is done", flush=True)
    (class_table if options.imbalance else table)(options.out)


if __name__ == "__main__":
    main()
