"""predict: the kept model's answers, for the pool and for any other images."""

from __future__ import annotations

import csv
import json
import os
import socket

import numpy as np
import pyarrow.parquet as pq
import pytest

from connectors.base import SourceError
from db import queries
from loop.encoders import shards
from loop.errors import ConfigError, DataError, NotReady
from loop.project.embeddings import embeddings
from loop.project.labels import collect
from loop.project.model import newest_model
from loop.steps.predict import Asked, predict
from loop.steps.run import run
from tests.conftest import write_images


def of_pool(project):
    """(uri -> probabilities) of the pool's images, by the kept model and the embeddings."""
    with project.records.read() as session:
        pool = queries.the_pool(session)
        names = sorted(queries.row_names(session, pool.id))
        labels = collect(session, pool, project.config)
        model = newest_model(session, project).model
        predicted = model.probabilities(np.asarray(embeddings(session, project)))
    unlabelled = {uri for row, _, uri in names if row not in labels.by_row}
    return {uri: predicted[row] for row, _, uri in names}, unlabelled, model.about.classes


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_pool_and_the_same_images_elsewhere(project, tmp_path):
    with pytest.raises(NotReady, match="coreloop run"):
        run_only_scan(project, tmp_path)
    run(project)
    expected, unlabelled, classes = of_pool(project)
    written = predict(project, out=tmp_path / "pool.csv", asked=Asked(top=2))
    rows = read_csv(written.path)
    assert {row["uri"] for row in rows} == unlabelled
    assert len(rows) == written.images
    for row in rows:
        order = np.argsort(-expected[row["uri"]])
        assert (row["label"], row["label_2"]) == (classes[order[0]], classes[order[1]])
        assert float(row["confidence"]) == pytest.approx(expected[row["uri"]].max(), abs=1e-5)
    folder = project.path(project.config.pool.path)
    again = predict(project, folder, tmp_path / "folder.parquet", Asked("parquet", 3))
    table = pq.read_table(again.path).to_pylist()
    assert len(table) == again.images == len(expected)
    for row in table:
        assert row["confidence"] == pytest.approx(expected[row["uri"]].max(), abs=1e-4)
        assert sum(pair["confidence"] for pair in row["top"]) == pytest.approx(1, abs=1e-5)


def run_only_scan(project, tmp_path):
    from loop.steps.scan import scan

    scan(project)
    predict(project, out=tmp_path / "nothing.csv")


def test_what_cannot_be_read_is_listed_and_the_unsure_left_out(project, tmp_path):
    run(project)
    write_images(tmp_path / "new", 9)
    (tmp_path / "new" / "torn.png").write_bytes(b"\x89PNG torn")
    (tmp_path / "list.txt").write_text(
        "# to predict\n\nnew/torn.png\nnew/absent.png\n"
        + "".join(f"{p}\n" for p in sorted((tmp_path / "new").rglob("*.png"))[:4])
    )
    predicted = predict(project, tmp_path / "list.txt", tmp_path / "l.jsonl", Asked("jsonl"))
    assert [uri for uri, _ in predicted.unreadable] == ["new/torn.png", "new/absent.png"]
    rows = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    assert len(rows) == predicted.images == 4
    limit = float(np.median([row["confidence"] for row in rows]))
    sure = predict(project, tmp_path / "list.txt", tmp_path / "f", Asked("folders", 1, limit))
    assert sure.images + sure.left_out == 4
    copies = {path.stem: path.parent.name for path in (tmp_path / "f").rglob("*.png")}
    kept = {row["key"]: row["label"] for row in rows if row["confidence"] >= limit}
    assert copies == kept
    (tmp_path / "empty").mkdir()
    for images in ("empty", "list.bin"):
        (tmp_path / "list.bin").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(Exception, match=r"no usable image|no text file"):
            predict(project, tmp_path / images, tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_odd_lines_of_a_list_are_unusable_files(project, tmp_path):
    """A NUL character, and a user that is not there, ended in tracebacks."""
    run(project)
    write_images(tmp_path / "new", 3)
    (good, *_) = sorted((tmp_path / "new").rglob("*.png"))
    odd_name = good.rename(good.with_name("a\u2028b\x85c.png"))
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere")
    odd = [
        "a\0b.png",
        "~nobody-at-all/x.png",
        "x" * 5000,
        "pipe.png",
        "gone.png",
        "new",
        "/dev/zero",
    ]
    (tmp_path / "list.txt").write_text("\n".join([*odd, str(odd_name)]) + "\r\n")
    predicted = predict(project, tmp_path / "list.txt", tmp_path / "l.csv")
    assert [uri for uri, _ in predicted.unreadable] == ["a\\0b.png", *odd[1:]]
    assert predicted.images == 1


@pytest.mark.parametrize("form", ["csv", "folders"])
def test_a_file_that_goes_meanwhile_is_listed(project, tmp_path, form):
    run(project)
    write_images(tmp_path / "new", 9)
    goes, *others = sorted((tmp_path / "new").rglob("*.png"))

    def removed(text):
        if text.startswith("predicting"):
            goes.unlink(missing_ok=True)

    asked = Asked(form)
    predicted = predict(project, tmp_path / "new", tmp_path / "out", asked, on_begin=removed)
    assert predicted.unreadable == [(f"digit-0/{goes.name}", "it has gone since the scan")]
    assert predicted.images == len(others) == 8
    for each in others:
        each.unlink()
    with pytest.raises(DataError, match="no usable image"):
        predict(project, tmp_path / "new", tmp_path / "again", asked)
    assert not list((project.arrays / "drafts").glob("*predicted*.npy"))


@pytest.mark.parametrize("name", ["pipe", "pipe.parquet", "socket"])
def test_what_is_no_list_is_not_waited_for(project, tmp_path, name):
    run(project)
    if name == "socket":
        socket.socket(socket.AF_UNIX).bind(str(tmp_path / name))
    else:
        os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match=f"{name}"):
        predict(project, tmp_path / name, tmp_path / "l.csv")


def test_a_killed_prediction_goes_on_at_the_shard(project, tmp_path, monkeypatch):
    run(project)
    write_images(tmp_path / "new", 12)
    monkeypatch.setattr(shards, "SHARD", 4)
    seen = []

    def stop(done, total):
        if total and done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(project, tmp_path / "new", tmp_path / "p.csv", on_progress=stop)
    assert not (tmp_path / "p.csv").exists()
    predict(
        project,
        tmp_path / "new",
        tmp_path / "p.csv",
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert (8, 12) in seen
    assert (4, 12) not in seen
    assert len(read_csv(tmp_path / "p.csv")) == 12
    assert not list((project.arrays / "drafts").glob("*predicted*"))


def test_a_network_predicts_images(images, tmp_path):
    from loop import config
    from loop.project import create
    from tests.conftest import small_values

    values = small_values(
        images,
        training={"trainer": "resnet18", "params": {"steps": 2, "side": 8}},
        selection={"budgets": [6]},
        compare={"baselines": []},
    )
    project = create(tmp_path / "net", config.check(values, "test"))
    run(project)
    pool = predict(project, out=tmp_path / "pool.csv")
    other = predict(project, images, tmp_path / "other.csv")
    by_uri = {row["uri"]: float(row["confidence"]) for row in read_csv(other.path)}
    rows = read_csv(pool.path)
    assert rows
    for row in rows:
        assert float(row["confidence"]) == pytest.approx(by_uri[row["uri"]], abs=1e-4)


@pytest.mark.parametrize(
    "asked", [Asked("xml"), Asked(top=0), Asked(top=99), Asked(min_confidence=1.1)]
)
def test_what_cannot_be_asked(project, tmp_path, asked):
    run(project)
    with pytest.raises(ConfigError):
        predict(project, out=tmp_path / "x", asked=asked)
    with pytest.raises(ConfigError, match="there is no"):
        predict(project, tmp_path / "absent", tmp_path / "x")
    with pytest.raises(DataError):
        (tmp_path / "none").mkdir(exist_ok=True)
        predict(project, tmp_path / "none", tmp_path / "x")
