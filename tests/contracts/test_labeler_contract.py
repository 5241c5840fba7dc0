"""The contract, run over the labelers that need no server (Label Studio: tests/label_studio)."""

from __future__ import annotations

import csv
import shutil
from collections import Counter

import pytest

from connectors.base import BatchToLabel, ItemToLabel, Rejected
from connectors.csv_sheet import CsvSheet
from connectors.label_studio.images import OnDisk
from connectors.oracle import Oracle
from connectors.testing import check_labeler

CLASSES = ["cat", "dog", 'a <b> & "c"']
ITEMS = [ItemToLabel(f"{i:032x}", f"folder/{i}.png") for i in range(5)]
LABELS = {item.key: CLASSES[i % 3] for i, item in enumerate(ITEMS)}


def test_oracle(tmp_path):
    check_labeler(lambda: Oracle(tmp_path, LABELS, CLASSES), ITEMS, CLASSES, None)


def fill(labeler, key, label):
    for sheet in labeler.folder.glob("*.csv"):
        rows = list(csv.DictReader(sheet.open()))
        for row in rows:
            if row["key"] == key:
                row["label"] = label
        with sheet.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)


def sheets(folder):
    labeler = CsvSheet(folder / "sheets", CLASSES)
    labeler.prepare(CLASSES)
    return labeler


def test_csv(tmp_path):
    labeler = sheets(tmp_path)
    batch = BatchToLabel("a" * 32, 1)
    labeler.push(batch, ITEMS)
    assert list(labeler.pull(None)) == []
    for item in ITEMS:
        fill(labeler, item.key, LABELS[item.key])
    assert {n.key: n.label for n in labeler.pull(None)} == LABELS
    labeler.push(batch, ITEMS)  # again: what people wrote stays
    assert labeler.progress().annotated == 5


def test_csv_skip_and_bad_class(tmp_path):
    labeler = sheets(tmp_path)
    labeler.push(BatchToLabel("a" * 32, 1), ITEMS)
    fill(labeler, ITEMS[0].key, "skip")
    (answer,) = labeler.pull(None)
    assert (answer.label, answer.cancelled) == (None, True)
    fill(labeler, ITEMS[1].key, "bird")
    with pytest.raises(Rejected, match="line 3: 'bird' is no class"):
        list(labeler.pull(None))


def test_csv_of_several_people(tmp_path):
    labeler = sheets(tmp_path)
    batch = BatchToLabel("a" * 32, 1)
    labeler.push(batch, ITEMS[:2])
    (sheet,) = (tmp_path / "sheets").glob("*.csv")
    for name in ("alice", "bob"):
        shutil.copy(sheet, sheet.with_suffix(f".{name}.csv"))
    for path, label in zip(sorted((tmp_path / "sheets").glob("*.*.csv")), ("cat", "dog")):
        path.write_text(f"key,image,label\n{ITEMS[0].key},x.png,{label}\n")
    answers = list(labeler.pull(None))
    assert {(n.annotator, n.label) for n in answers} == {("alice", "cat"), ("bob", "dog")}
    assert len({n.id for n in answers}) == 2
    assert labeler.seen[ITEMS[0].key].annotations == {n.id for n in answers}
    assert {key: len(ids) for key, ids in labeler.inventory({}).items()} == {
        i.key: 1 for i in ITEMS[:2]
    }
    assert (labeler.progress().tasks, labeler.progress().annotated) == (2, 1)
    assert set(labeler.find(batch)) == {i.key for i in ITEMS[:2]}


def test_csv_semicolons(tmp_path):
    labeler = sheets(tmp_path)
    labeler.push(BatchToLabel("a" * 32, 1), ITEMS[:1])
    (sheet,) = (tmp_path / "sheets").glob("*.csv")
    sheet.write_text(f"key;image;label\n{ITEMS[0].key};x.png;cat\n", encoding="utf-8-sig")
    assert [n.label for n in labeler.pull(None)] == ["cat"]


def test_oracle_errs_at_its_rate_and_repeats(tmp_path):
    labels = {f"{i:032x}": CLASSES[i % 3] for i in range(3000)}
    answers = Oracle(tmp_path, labels, CLASSES, error_rate=0.1).reveal(list(labels))
    wrong = sum(answers[k] != labels[k] for k in labels)
    assert 240 < wrong < 360
    assert answers == Oracle(tmp_path, labels, CLASSES, error_rate=0.1).reveal(list(labels))
    assert len(Counter(answers.values())) == 3


def test_oracle_survives_a_torn_line(tmp_path):
    oracle = Oracle(tmp_path, LABELS, CLASSES)
    batch = BatchToLabel("a" * 32, 1)
    oracle.push(batch, ITEMS[:3])
    with (tmp_path / "oracle.jsonl").open("a") as file:
        file.write('{"batch": "aaaa", "ke')
    assert len(Oracle(tmp_path, LABELS, CLASSES).find(batch)) == 3
    Oracle(tmp_path, LABELS, CLASSES).push(batch, ITEMS)
    assert [n.key for n in oracle.pull(None)] == [i.key for i in ITEMS]


def test_oracle_lead_times_are_human(tmp_path):
    labels = {f"{i:032x}": "cat" for i in range(500)}
    oracle = Oracle(tmp_path, labels, CLASSES)
    times = sorted(oracle.answer(k).seconds for k in labels)
    assert 2.5 < times[250] < 3.5
    assert times[-1] < 60


@pytest.mark.parametrize("uri", ["test:cat/0.png", "row/2"])
def test_a_server_shows_no_images_from_elsewhere(tmp_path, uri):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "0.png").touch()
    items = [ItemToLabel("a" * 32, "0.png"), ItemToLabel("b" * 32, uri)]
    with pytest.raises(Rejected, match=f"'{uri}' is no file in .*pool"):
        OnDisk(tmp_path, tmp_path / "pool").addresses(None, 1, items)
