"""What answers cost on a large pool: pull, labels, report and export, seconds and growth.

CORELOOP_BENCH_ITEMS=200000 pytest tests/benchmarks/test_answers.py --benchmark-only -s
"""

from __future__ import annotations

import csv
import io
import os
import sys
import time

import numpy as np
import pytest
from PIL import Image as Pillow
from sqlalchemy import insert, select

from connectors.base import Image
from connectors.folder import content_key
from db import arrays, queries
from db.models import Item, Pick, Round
from loop import config, encoders
from loop.project import create
from loop.steps.export import export
from loop.steps.labels import label_issues, labels
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.report import report
from loop.steps.scan import scan
from tests.conftest import small_values

IMAGES = int(os.environ.get("CORELOOP_BENCH_ITEMS", "20000"))
ANSWERS = [IMAGES // 100, IMAGES // 10]
AIM = 10.0
"""CPU seconds that each may take with 20,000 answers on 200,000 images."""


class Names:
    """A source of ``n`` distinct images that nobody has to decode."""

    def __init__(self, n):
        self.n = n
        picture = io.BytesIO()
        Pillow.new("RGB", (8, 8)).save(picture, format="PNG")
        self.picture = picture.getvalue()

    def scan(self, workers=0, skip=frozenset()):
        for number in range(self.n):
            uri = f"2024/{number // 1000:05d}/IMG_{number:08d}.jpg"
            yield Image(content_key(self.read(uri)), uri)

    def read(self, uri):
        return self.picture + uri.encode()  # decoders look no further than the picture's end

    def missing(self, uris):
        return []

    def shown(self, uri):
        return uri


def picked(folder, images, answers):
    """A project whose first round has ``answers`` picks that nobody was asked about yet."""
    values = small_values(images, pool={"labelled": False}, labeler={"kind": "csv"})
    project = create(folder, config.check(values, "test"))
    project.__dict__["source"] = Names(IMAGES)
    scan(project)
    digest = encoders.get(project.config.encoder).digest
    embedded = np.random.default_rng(0).standard_normal((IMAGES, 64), dtype=np.float32)
    path = arrays.write_file(embedded, project.arrays)
    with project.writing() as records, records.write() as session:
        pool = queries.the_pool(session)
        arrays.record(
            session, path, pool_id=pool.id, kind="embeddings", name=digest, of=pool.digest
        )
        session.query(Round).update({"state": "labeled"})
        round_ = Round(
            pool_id=pool.id,
            number=1,
            seed=0,
            budget=answers,
            config=project.config.public(),
            versions={},
            state="selected",
        )
        session.add(round_)
        session.flush()
        item_ids = session.scalars(
            select(Item.id).where(Item.split == "pool").order_by(Item.key).limit(answers)
        )
        session.execute(
            insert(Pick),
            [
                {"round_id": round_.id, "item_id": i, "arm": "coreset", "rank": rank, "score": 0.0}
                for rank, i in enumerate(item_ids)
            ],
        )
    return project


def fill(project):
    """Writes a class beside every image of every sheet."""
    classes = project.config.project.classes
    for sheet in project.root.glob("sheets/*.csv"):
        with sheet.open(newline="") as file:
            lines = list(csv.DictReader(file))
        for number, line in enumerate(lines):
            line["label"] = classes[number % len(classes)]
        with sheet.open("w", newline="") as file:
            table = csv.DictWriter(file, lines[0].keys())
            table.writeheader()
            table.writerows(lines)


@pytest.mark.timeout(3600)
def test_answers(benchmark, tmp_path, images):
    for answers in ANSWERS:
        project = picked(tmp_path / str(answers), images, answers)
        push(project)
        fill(project)
        assert pull(project).new == answers  # before: everything is new
        steps = {
            "pull": lambda project=project: pull(project, full=True),
            "labels": lambda project=project: labels(project),
            "labels --suspects": lambda project=project: label_issues(project),
            "report": lambda project=project: report(project),
            "export": lambda project=project: export(project, "csv", project.root / "labels.csv"),
        }
        for name, step in steps.items():
            began, busy = time.perf_counter(), time.process_time()
            step()
            seconds, busy = time.perf_counter() - began, time.process_time() - busy
            line = f"{IMAGES:,} images, {answers:,} answers: {name} {seconds:.1f} s, {busy:.1f} CPU"
            print(f"\n  {line}", end="", file=sys.stderr)
            assert busy < AIM, f"{name} is slow"
    benchmark.pedantic(lambda: labels(project), rounds=1)
