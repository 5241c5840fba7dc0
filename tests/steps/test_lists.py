"""A project of a list of images, from init to predictions."""

from __future__ import annotations

import csv
import json
import os

import pytest
from click.testing import CliRunner

from db import queries
from loop.cli import cli
from loop.errors import ConfigError
from loop.project import find
from loop.project.class_folders import UnclearClasses
from loop.project.labels import collect
from loop.steps.init import init
from loop.steps.predict import predict
from loop.steps.run import run
from loop.steps.scan import scan
from tests.conftest import rows, write_images
from tests.connectors.test_webdataset import shard


@pytest.fixture
def listed(tmp_path):
    """60 digits without folders, and a list that knows their classes."""
    write_images(tmp_path / "sorted")
    (tmp_path / "flat").mkdir()
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "kind"])
        for path in sorted((tmp_path / "sorted").rglob("*.png")):
            path.rename(tmp_path / "flat" / path.name)
            writer.writerow([f"flat/{path.name}", path.parent.name])
    return tmp_path / "list.csv"


def test_a_list_becomes_a_project(listed, tmp_path):
    arguments = ["init", tmp_path / "p", "--images", listed, "--label-column", "kind", "--labelled"]
    arguments += ["--labeler", "oracle", "--test", "12", "--budgets", "6", "--encoder", "pixels:8"]
    told = CliRunner().invoke(cli, [*map(str, arguments), "--json"])
    facts = json.loads(told.stdout)
    assert (facts["images"], facts["test"]) == (60, 12)
    assert facts["classes"] == ["digit-0", "digit-1", "digit-2"]
    assert facts["first"] == [path for path, _ in csv.reader(listed.open())][1:4]
    assert sum(facts["labels"].values()) == 60
    project = find(tmp_path / "p")
    assert run(project).why == "done"
    (tmp_path / "more.jsonl").write_text('{"photo": "flat/000.png"}\n{"photo": "flat/no.png"}\n')
    predicted = predict(project, tmp_path / "more.jsonl", tmp_path / "o.csv", column="photo")
    assert predicted.images == 1
    assert predicted.unreadable == [("flat/no.png", "No such file or directory")]


def test_shards_become_a_project(listed, tmp_path):
    lines = list(csv.reader(listed.open()))[1:]
    for number in range(2):
        members = {}
        for path, kind in lines[number::2]:
            members[path] = (tmp_path / path).read_bytes()
            members[path.replace(".png", ".cls")] = kind
        shard(tmp_path / f"part-{number}.tar", members)
    project, scanned = init(
        tmp_path / "p",
        tmp_path / "part-{0..1}.tar",
        pool={"labelled": True},
        measure={"by": "holdout", "images": 12},
        labeler={"kind": "oracle"},
        selection={"budgets": [6]},
        encoder="pixels:8",
    )
    assert (scanned.images, scanned.unreadable) == (60, [])
    assert project.config.project.classes == ["digit-0", "digit-1", "digit-2"]
    assert run(project).why == "done"


def test_what_a_list_does_not_say_is_asked(listed, tmp_path):
    with pytest.raises(UnclearClasses, match="--label-column"):
        init(tmp_path / "p", listed)
    with pytest.raises(ConfigError, match="labelled digit-1, digit-2 too"):
        init(
            tmp_path / "p",
            listed,
            project={"classes": ["digit-0", "x"]},
            pool={"label_column": "kind", "labelled": True},
        )
    project, scanned = init(tmp_path / "p", listed, project={"classes": ["a", "b"]})
    assert scanned.images == 60
    assert not project.config.pool.labelled


def test_labels_that_were_there_count(listed, tmp_path):
    """Partly labelled: they are learned, shown, never asked for again; a rehearsal keeps them."""
    lines = list(csv.reader(listed.open()))
    truth = dict(lines[1:])
    with listed.open("w", newline="") as file:
        csv.writer(file).writerows(
            [path, kind if i % 3 == 1 else ""] for i, (path, kind) in enumerate(lines) if i
        )
    text = "path,kind\n" + listed.read_text()
    listed.write_text(text)
    arguments = ["init", tmp_path / "p", "--images", listed, "--label-column", "kind"]
    arguments += ["--budgets", "6", "--encoder", "pixels:8", "--measure", "20"]
    told = CliRunner().invoke(cli, list(map(str, arguments)))
    assert told.exit_code == 0, told.output
    assert "60 images (20 labelled before)" in told.output
    project = find(tmp_path / "p")
    assert run(project).why == "waiting"
    (sheet,) = (project.root / "sheets").glob("*.csv")
    asked = list(csv.DictReader(sheet.open(newline="")))
    before = {path for path, label in list(csv.reader(listed.open()))[1:] if label}
    assert len(asked) > 6
    assert not {f"flat/{row['image'].rpartition('/')[2]}" for row in asked} & before
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asked[0]))
        writer.writeheader()
        for row in asked:
            row["label"] = truth[f"flat/{row['image'].rpartition('/')[2]}"]
            writer.writerow(row)
    assert run(project).why == "done"
    predicted = predict(project, out=tmp_path / "rest.csv")
    assert predicted.labels == 20 + len(asked)
    assert predicted.images == 60 - predicted.labels


def test_an_oracle_skips_what_nobody_knows(listed, tmp_path):
    lines = list(csv.reader(listed.open()))
    with listed.open("w", newline="") as file:
        csv.writer(file).writerows(
            [path, kind if i % 3 else ""] if i else (path, kind)
            for i, (path, kind) in enumerate(lines)
        )
    project, _ = init(
        tmp_path / "p",
        listed,
        pool={"label_column": "kind", "labelled": True},
        labeler={"kind": "oracle"},
        measure={"images": 20},
        selection={"budgets": [9]},
        encoder="pixels:8",
    )
    ended = run(project)
    assert ended.why == "done"
    skips = rows(project, "SELECT count(*) FROM annotation WHERE cancelled AND label IS NULL")
    assert 0 < skips[0][0] < 29


def test_a_label_that_is_changed_back_counts(listed, tmp_path):
    """Of the versions of a label the newest counts, be it one that was there before."""
    text = "path,kind\nflat/000.png,digit-{}\nflat/001.png,digit-1\nflat/002.png,\n"
    labels = []
    for moment, kind in enumerate("101"):
        listed.write_text(text.format(kind))
        os.utime(listed, (1000 + moment, 1000 + moment))
        if not moment:
            classes = {"classes": ["digit-0", "digit-1"]}
            measure = {"by": "sample", "images": 20}
            init(
                tmp_path / "p",
                listed,
                project=classes,
                pool={"label_column": "kind"},
                measure=measure,
            )
        project = find(tmp_path / "p")
        assert scan(project).labelled_before == 2
        with project.records.read() as session:
            pool = queries.the_pool(session)
            labels.append(collect(session, pool, project.config).by_row[0])
    assert labels == [1, 0, 1]
