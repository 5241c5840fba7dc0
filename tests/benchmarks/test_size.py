"""How a project of a million images behaves on one machine.

    pytest tests/benchmarks/test_size.py --benchmark-only -s

prints seconds, CPU seconds, bytes and how they grow. Images are synthetic names and embeddings;
``CORELOOP_BENCH_ITEMS=1000000`` adds the largest size.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from sqlalchemy import insert

from connectors.base import Image
from db import queries
from db.models import Annotation, Item, Pick, Round
from loop import config
from loop.project import create
from loop.steps import scan as scan_step
from loop.steps.status import status
from tests.conftest import ROOT, small_values

SIZES = [
    n
    for n in (10_000, 100_000, 1_000_000)
    if n <= int(os.environ.get("CORELOOP_BENCH_ITEMS", "100000"))
]
LABELS = 10_000
"""Answered picks of the project whose status is asked, in ten rounds."""

SELECT = """
import resource, sys, time
import numpy as np
from loop.scorers import Inputs, get
name, n, d, budget = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(0)
centres = 2 * rng.standard_normal((100, d), dtype=np.float32)
stored = np.empty((n, d), dtype=np.float16)
for start in range(0, n, 10_000):
    stop = min(n, start + 10_000)
    block = rng.standard_normal((stop - start, d), dtype=np.float32)
    stored[start:stop] = block + centres[rng.integers(100, size=stop - start)]
began, busy = time.perf_counter(), time.process_time()
x = stored.astype(np.float32)
scores = get(name).score(Inputs(x, budget, np.random.default_rng(0), n_classes=250))
picks = np.argsort(-scores, kind="stable")[:budget]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(time.perf_counter() - began, time.process_time() - busy, peak, len(set(picks.tolist())))
"""


class Names:
    """A source of ``n`` distinct images that nobody has to decode."""

    def __init__(self, n):
        self.n = n

    def scan(self, workers=0, skip=frozenset()):
        for i in range(self.n):
            uri = f"2024/{i // 1000:05d}/IMG_{i:08d}.jpg"
            if uri not in skip:
                yield Image(hashlib.blake2b(uri.encode(), digest_size=16).hexdigest(), uri)


def say(line):
    print(f"\n  {line}", end="", file=sys.stderr)


def exponent(sizes, values):
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-4)), 1)[0])


def labelled(project):
    """Ten rounds of picks, each with an answer."""
    with project.writing() as records, records.write() as session:
        pool_id = queries.the_pool(session).id
        ids = session.query(Item.id).filter(Item.split == "pool").order_by(Item.row)
        ids = [item_id for (item_id,) in ids.limit(LABELS)]
        for number in range(1, 11):
            round_ = Round(
                pool_id=pool_id,
                number=number,
                seed=0,
                budget=len(ids) // 10,
                config={},
                versions={},
                state="compared",
            )
            session.add(round_)
            session.flush()
            round_ids = ids[number - 1 :: 10]
            session.execute(
                insert(Pick),
                [
                    {"round_id": round_.id, "item_id": i, "arm": "coreset", "rank": r, "score": 0.0}
                    for r, i in enumerate(round_ids)
                ],
            )
        session.execute(
            insert(Annotation),
            [
                {
                    "item_id": i,
                    "connector": "c",
                    "external_id": str(i),
                    "version": "1",
                    "annotator": "a",
                    "label": "digit-0",
                }
                for i in ids
            ],
        )


@pytest.mark.timeout(3600)
def test_records(benchmark, tmp_path, monkeypatch):
    """Inserts a second, bytes an item, seconds of ``status``."""
    waits = []
    for n in SIZES:
        folder = tmp_path / str(n)
        project = create(
            folder, config.check(small_values(tmp_path, pool={"labelled": False}), "t")
        )
        began = time.process_time()
        assert sum(1 for _ in Names(n).scan()) == n
        naming = time.process_time() - began
        monkeypatch.setattr(scan_step, "source", lambda _, n=n: Names(n))
        wall, busy = time.perf_counter(), time.process_time()
        assert scan_step.scan(project).images == n
        wall, busy = time.perf_counter() - wall - naming, time.process_time() - busy - naming
        size = (folder / "coreloop.db").stat().st_size / n
        labelled(project)
        status(project)
        began = time.perf_counter()
        shown = status(project)
        waits.append(time.perf_counter() - began)
        assert shown.counts["images"] == n
        assert sum(line.labelled for line in shown.rounds) == min(LABELS, n - shown.counts["test"])
        say(
            f"{n:>9,} images: {n / wall:,.0f} a second ({n / busy:,.0f} a CPU second), "
            f"{size:.0f} bytes each; status {waits[-1]:.2f} s"
        )
        assert size < 500
        assert n < 100_000 or n / busy > 30_000  # the first scan of a process loads libraries
    assert waits[-1] < 1 or os.getloadavg()[0] > 2, "status is slow on an idle machine"
    if len(SIZES) > 1:
        say(f"status grows with the pool to the power of {exponent(SIZES, waits):.2f}")
    benchmark.pedantic(lambda: status(project), rounds=3)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["auto", "zcore", "kmeans", "typiclust"])
def test_select(benchmark, name):
    """Seconds and memory of one selection of 1,000 from n x 512, stored as float16; 250 classes,
    so that ``auto`` takes the method that costs it most."""
    seen = []

    def measure():
        for n in SIZES:
            done = subprocess.run(
                [sys.executable, "-c", SELECT, name, str(n), "512", "1000"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            wall, busy, peak, picks = map(float, done.stdout.split())
            seen.append((n, wall, busy, peak))
            say(f"{name:>9} {n:>9,}: {wall:.1f} s ({busy:.1f} CPU), {peak:.2f} GiB at most")
            assert picks == 1000
            assert peak < 16

    benchmark.pedantic(measure, rounds=1)
    if len(seen) > 1:
        sizes, _, busy, _ = zip(*seen, strict=True)
        say(f"{name:>9}: CPU time grows with the pool to the power of {exponent(sizes, busy):.2f}")
