"""Figures in the docs that are constants of the code are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors import workers
from connectors.label_studio import images, labeler, pull
from loop import costs
from loop.encoders import shards
from loop.planning import curves, rounds, target
from loop.project import delivery
from loop.scorers import auto, coverage, kmedoids, zcore
from loop.steps import scan
from loop.train import checkpoint, network, propagate

ROOT = Path(__file__).resolve().parents[1]
WORDS = {3: "three", 5: "five", 60: "minute"}
AUTO, SPREAD, REFERENCES = auto.Auto(), propagate.Propagate(), kmedoids.KMedoids().references
SAMPLED = coverage.MATRIX_BYTES // (4 * REFERENCES) // 1000 * 1000
"""Images whose similarities to the reference images, float32, fill the memory allowed."""


def percent(share: float) -> str:
    return f"{100 * share:.0f}"


FIGURES = {
    "durability": [
        f"killed scan goes on behind its last {scan.CHUNK:,} images or {WORDS[scan.PATIENCE]} "
        "seconds",
        f"killed embedding behind its last {shards.SHARD:,} images",
        f"one process per core from {workers.IN_PROCESS} images on",
        f"store what they have every {WORDS[scan.PATIENCE]} seconds",
        f"the training of a network behind its last {WORDS[checkpoint.EVERY]}",
        f"covers a sample of {REFERENCES:,} images, and from {SAMPLED:,} images on",
        f"`zcore` makes {zcore.ZCore().draws_per_item} draws per image",
    ],
    "glossary": [f"{shards.SHARD:,} rows of embeddings"],
    "label-studio": [
        f"{images.UPLOADS} files or {images.UPLOAD_BYTES // 2**20} MB a request",
        f"put into batches of {delivery.BATCH:,}",
        f"for up to {labeler.LAG:.0f} seconds after the request",
        f"minus a {WORDS[pull.OVERLAP.total_seconds()]}, in pages",
    ],
    "planning": [
        f"are those of {curves.DRAWS:,} draws",
        f"*not within {curves.FARTHEST} times the labels*",
        f"{', '.join(map(percent, target.LEVELS[:-1]))} and {percent(target.LEVELS[-1])} % "
        "intervals",
        f"solved exactly on {rounds.POINTS} candidate stops",
        f"{len(curves.RATES)} rates and {len(curves.FLOORS)} floors",
        f"`error * accuracy * ({curves.PICKS} / labels + {curves.TEST:.2f} / test images)`",
        f"by {percent(curves.DRIFT)} % of the error per doubling",
    ],
    "auto": [
        f"fewer than {AUTO.trust:.0f} per class; up to {AUTO.many:.0f} per class after the round",
        f"more than {AUTO.many:.0f} per class after the round",
        f"{AUTO.trust:.0f} labels per class or more",
        f"radius {auto.COVERAGE['radius']} times the median distance",
        f"k-medoids stop at {AUTO.network:.0f} labels per class",
    ],
    "trainers": [
        f"up to {SPREAD.per_class} labels per class",
        f"each image of the pool to its {SPREAD.neighbours} nearest",
        f"is {propagate.HALF:.0f} / ({propagate.HALF:.0f} + labels per class)",
        f"| **`fast`** | {network.FAST_EPOCHS} |",
        f"| `paper` | {network.PAPER_EPOCHS} |",
    ],
    "README": [
        f"from {WORDS[AUTO.trust]} per class on it also goes by the labels collected",
        f"up to {SPREAD.per_class} labels per class it lets labels spread",
        f"it stops at {AUTO.network:.0f} labels per class and goes on at random",
    ],
    "annotators": [f"more than {WORDS[costs.CAP]} medians"],
}
CASES = [(page, phrase) for page, phrases in FIGURES.items() for phrase in phrases]


@pytest.mark.parametrize(("page", "phrase"), CASES)
def test_the_docs_say_what_the_code_does(page, phrase):
    folder_ = ROOT if page == "README" else ROOT / "docs"
    text = (folder_ / f"{page}.md").read_text(encoding="utf-8")
    assert phrase in " ".join(text.split())
