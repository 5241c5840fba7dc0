"""Push and pull against the same server's raw API and against the SDK, in one run.

    pytest tests/benchmarks/test_label_studio_speed.py --benchmark-only -s

Push: 1,000 tasks per request by both, alternating. Pull: 10,000 tasks with one annotation each;
the SDK's default listing is timed on its first 2,000, in turns.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
import uuid
from itertools import islice

import httpx
import numpy as np
import pytest

from connectors.base import BatchToLabel, ItemToLabel
from connectors.label_studio import LabelStudio, config
from tests.label_studio.conftest import server  # noqa: F401

CLASSES = ["cat", "dog", "bird"]
BATCH, ROUNDS = 1000, 8
TASKS, LISTED, STEPS = 10_000, 2_000, 5


@pytest.fixture
def labeler(server):  # noqa: F811
    labeler = LabelStudio(
        server.url,
        server.token,
        title="speed",
        marker=uuid.uuid4().hex,
        classes=CLASSES,
        read=lambda uri: b"",
        images="url",
    )
    labeler.prepare(CLASSES)
    return labeler


@pytest.fixture
def raw(server):  # noqa: F811
    headers = {"Authorization": f"Token {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=600, trust_env=False) as http:
        yield http


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def say(text: str) -> None:
    print("\n  " + text, file=sys.stderr)


def items(start: int) -> list[ItemToLabel]:
    return [
        ItemToLabel(f"{i:032x}", f"http://127.0.0.1:1/{i}.png") for i in range(start, start + BATCH)
    ]


def task(item: ItemToLabel, batch: str) -> dict:
    return {"data": {"image": item.uri, "coreloop_key": item.key, "coreloop_batch": batch}}


def test_push(benchmark, labeler, raw):
    body = {"title": "raw", "label_config": config.build(CLASSES)}
    project = raw.post("/api/projects/", json=body).json()["id"]

    def ours(n: int) -> None:
        labeler.push(BatchToLabel(uuid.uuid4().hex, 1, fresh=True), items(n * BATCH))

    def theirs(n: int) -> None:
        tasks = [task(item, uuid.uuid4().hex) for item in items(n * BATCH)]
        raw.post(f"/api/projects/{project}/import", json=tasks).raise_for_status()

    ours(0), theirs(0)
    order = [(ours, theirs), (theirs, ours)]
    times = {ours: [], theirs: []}
    for n in range(1, ROUNDS + 1):
        for work in order[n % 2]:
            times[work].append(seconds(lambda work=work, n=n: work(n)))
    rate, raw_rate = (BATCH / np.median(times[who]) for who in (ours, theirs))
    benchmark.pedantic(lambda: ours(ROUNDS + 1), rounds=1)
    ratio = rate / raw_rate
    say(f"push {rate:.0f} tasks/s, raw bulk import {raw_rate:.0f}, ratio {ratio:.2f} (aim 0.8)")
    assert ratio > 0.6


def test_pull(benchmark, labeler, raw, server):  # noqa: F811
    from label_studio_sdk import LabelStudio as Sdk

    project = labeler.project.id
    answer = {
        "result": [
            {
                "from_name": "label",
                "to_name": "image",
                "type": "choices",
                "value": {"choices": ["dog"]},
            }
        ],
        "lead_time": 2.0,
    }
    for start in range(0, TASKS, BATCH):
        tasks = [{**task(item, "b"), "annotations": [answer]} for item in items(start)]
        raw.post(f"/api/projects/{project}/import", json=tasks).raise_for_status()
    sdk = Sdk(base_url=server.url, api_key=server.token)
    listed, pulled = iter(sdk.tasks.list(project=project)), labeler.pull(None)
    sdk_seconds = our_seconds = 0.0
    for _ in range(STEPS):  # in turns, so that both meet the same machine
        sdk_seconds += seconds(lambda: list(islice(listed, LISTED // STEPS)))
        our_seconds += seconds(lambda: sum(1 for _ in islice(pulled, TASKS // STEPS)))
    assert next(pulled, None) is None
    assert len(labeler.seen) == TASKS
    peaks, again = [], labeler.pull(None)  # once more, since tracing takes its time
    for _ in range(2):
        tracemalloc.start()
        sum(1 for _ in islice(again, TASKS // STEPS))
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    benchmark.pedantic(lambda: list(islice(labeler.pull(None), 500)), rounds=1)
    ours, sdks = TASKS / our_seconds, LISTED / sdk_seconds
    say(
        f"pull {ours:.0f} answers/s, SDK listing {sdks:.0f}, ratio {ours / sdks:.1f} (aim 3); "
        f"peak of new memory per {TASKS // STEPS}: {', '.join(f'{p:.1f}' for p in peaks)} MB"
    )
    assert ours / sdks > 1.5
