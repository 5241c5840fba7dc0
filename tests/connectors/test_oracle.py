"""The oracle's answers: as wrong as asked, the same after a crash, the same without a push."""

from __future__ import annotations

from statistics import median

import pytest

from connectors.base import BatchToLabel, ItemToLabel
from connectors.oracle import MEDIAN_SECONDS, Oracle

CLASSES = ["cat", "dog", "bird"]
LABELS = {f"{i:032x}": CLASSES[i % 3] for i in range(2000)}
ITEMS = [ItemToLabel(key, f"{key}.png") for key in LABELS]


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_error_rate(tmp_path, rate):
    oracle = Oracle(tmp_path, LABELS, CLASSES, error_rate=rate, seed=1)
    answers = oracle.reveal(list(LABELS))
    wrong = sum(answers[key] != LABELS[key] for key in LABELS)
    # 2000 draws: four standard deviations are 0.036 at 0.2, none at 0 and 1
    assert abs(wrong / len(LABELS) - rate) <= 0.036 * (0 < rate < 1)
    assert set(answers.values()) <= set(CLASSES)


def test_pushed_and_revealed_answers_agree(tmp_path):
    oracle = Oracle(tmp_path, LABELS, CLASSES, error_rate=0.3, seed=2)
    oracle.push(BatchToLabel("a" * 32, 1), ITEMS)
    notes = list(oracle.pull(None))
    assert {note.key: note.label for note in notes} == oracle.reveal(list(LABELS))
    assert oracle.reveal(list(LABELS)) != Oracle(
        tmp_path, LABELS, CLASSES, error_rate=0.3, seed=3
    ).reveal(list(LABELS))
    assert all(note.at is not None and note.at.tzinfo is not None for note in notes)
    # the median of 2000 log-normal times has a standard error of about 2 %
    assert median(note.seconds for note in notes) == pytest.approx(MEDIAN_SECONDS, rel=0.1)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_push_cut_short_is_completed(tmp_path, cut):
    batch = BatchToLabel("b" * 32, 1)
    whole = Oracle(tmp_path, LABELS, CLASSES).push(batch, ITEMS[:50])
    file = tmp_path / "oracle.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    oracle = Oracle(tmp_path, LABELS, CLASSES)
    assert len(oracle.find(batch)) == 49
    assert oracle.push(batch, ITEMS[:50]) == whole
    assert [note.key for note in oracle.pull(None)] == [item.key for item in ITEMS[:50]]
