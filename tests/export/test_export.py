"""Exports: read back by the tools they are for, and names that stay inside."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loop import config
from loop.errors import ConfigError, NotReady
from loop.export import FORMATS, Exported, ExportedVote, export
from loop.export.folders import folder_names
from loop.project import create
from loop.steps.export import export as export_project
from loop.steps.run import run
from tests.conftest import small_values, write_images

CLASSES = ["cat", "../dog", "__/dog", "yak"]


def vote(who, label, seconds=1.5):
    return ExportedVote(who, label, seconds, "2026-01-02T03:04:05+00:00")


ROWS = [
    Exported(
        "k1",
        "a/1.png",
        "train",
        1,
        0,
        "cat",
        (vote("ann", "../dog"), vote("bob", "../dog"), vote("ann", "cat")),
    ),
    Exported("k2", "row/2", "test", 0, 1, "../dog", (vote("ann", "../dog"),)),
    Exported("k3", "a/3.png", "train", 1, 1, None, (vote("bob", None),)),
    Exported("k4", "a/4.png", "train", 1, 2, "__/dog", (vote("ann", "__/dog"),)),
]


def read(uri):
    """A picture whose grey is its number."""
    out = io.BytesIO()
    number = int(uri.strip("a/row.png"))
    Image.new("RGB", (8, 8), (20 * number,) * 3).save(out, "JPEG" if "row" in uri else "PNG")
    return out.getvalue()


def written(form, out, rows=ROWS):
    return export(rows, form, out, read, CLASSES)


def table(path):
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_csv_and_jsonl(tmp_path):
    assert [r["label"] for r in table(written("csv", tmp_path / "l.csv"))] == [
        "cat",
        "../dog",
        "",
        "__/dog",
    ]
    lines = written("jsonl", tmp_path / "l.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["key"] == "k1"
    assert [v["label"] for v in first["votes"]] == ["../dog", "../dog", "cat"]


def test_parquet_keeps_its_columns_without_rows_or_labels(tmp_path):
    import pyarrow.parquet

    full = pyarrow.parquet.read_table(written("parquet", tmp_path / "l.parquet"))
    assert full.column("label").to_pylist() == ["cat", "../dog", None, "__/dog"]
    assert full.column("votes").to_pylist()[1][0]["annotator"] == "ann"
    for name, rows in (("none", []), ("unlabelled", [Exported("k", "u", "train", 1, 0, None)])):
        empty = pyarrow.parquet.read_table(written("parquet", tmp_path / name, rows))
        assert empty.schema.equals(full.schema)
        assert len(empty) == len(rows)


def test_annotations_hold_every_answer_of_a_person(tmp_path):
    rows = table(written("annotations", tmp_path / "a.csv"))
    assert [(r["annotator"], r["label"]) for r in rows if r["key"] == "k1"] == [
        ("ann", "../dog"),
        ("bob", "../dog"),
        ("ann", "cat"),
    ]
    assert [r["label"] for r in rows if r["key"] == "k3"] == [""]
    assert rows[0]["seconds"] == "1.5"


def test_votes_are_what_cleanlab_takes(tmp_path):
    cleanlab = pytest.importorskip("cleanlab.internal.multiannotator_utils")
    import pandas as pd

    path = written("votes", tmp_path / "v.csv")
    rows = table(path)
    assert [(r["ann"], r["bob"]) for r in rows] == [
        ("cat", "../dog"),
        ("../dog", ""),
        ("__/dog", ""),
    ]
    votes = pd.read_csv(path, index_col="key")
    numbers, names = cleanlab.format_multiannotator_labels(votes)
    assert numbers.shape == (3, 2)
    assert sorted(names.values()) == ["../dog", "__/dog", "cat"]


def test_folders_are_read_by_torchvision_with_one_class_each(tmp_path):
    from torchvision.datasets import ImageFolder

    out = written("folders", tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    names = json.loads((out / "classes.json").read_text())
    train, test = (ImageFolder(out / s, allow_empty=True) for s in ("train", "test"))
    assert train.classes == test.classes
    assert sorted(names[train.classes[i]] for _, i in train) == ["__/dog", "cat"]
    ((picture, label),) = test
    assert names[test.classes[label]] == "../dog"
    assert abs(np.asarray(picture).mean() - 40) < 2
    assert next((out / "test").rglob("k2*")).suffix == ".jpg"


def test_hugging_face_datasets_reads_labels_and_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")

    out = written("huggingface", tmp_path / "set")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "test"}
    label = loaded["train"].features["label"]
    assert label.names == CLASSES
    assert [(r["key"], label.int2str(r["label"])) for r in loaded["train"]] == [
        ("k1", "cat"),
        ("k4", "__/dog"),
    ]
    assert abs(np.asarray(loaded["test"][0]["image"]).mean() - 40) < 2


def test_hugging_face_reads_the_folders_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")

    out = written("folders", tmp_path / "set")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache")
    )
    label = loaded["train"].features["label"]
    names = json.loads((out / "classes.json").read_text())
    assert sorted(names[label.int2str(r["label"])] for r in loaded["train"]) == ["__/dog", "cat"]


def test_fiftyone_layout(tmp_path):
    out = written("fiftyone", tmp_path / "set")
    content = json.loads((out / "train" / "labels.json").read_text())
    assert {k: content["classes"][i] for k, i in content["labels"].items()} == {
        "k1": "cat",
        "k4": "__/dog",
    }
    files = {p.stem for p in (out / "train" / "data").iterdir()}
    assert files == set(content["labels"])


def test_an_image_that_has_gone_leaves_nothing_behind(tmp_path):
    def gone(uri):
        raise FileNotFoundError(uri)

    for form in ("folders", "huggingface", "fiftyone"):
        with pytest.raises(FileNotFoundError):
            export(ROWS, form, tmp_path / "set", gone, CLASSES)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_overwritten(tmp_path, form):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="--out"):
        written(form, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


@given(st.lists(st.text(max_size=6), unique=True, min_size=1, max_size=8))
def test_folder_names_stay_inside_and_apart(labels):
    names = folder_names(labels)
    assert list(names) == labels
    assert len({name.casefold() for name in names.values()}) == len(labels)
    for name in names.values():
        assert name
        assert not set(name) & set('/\\:\x00"*?<>|')
        assert name.strip(". ") == name


def test_folder_names_that_collide():
    assert list(folder_names(["a/b", "a:b", "A_B", "..", "con"]).values()) == [
        "a_b",
        "a_b-2",
        "A_B-3",
        "class",
        "class con",
    ]


def test_picks_before_anyone_labels(tmp_path):
    write_images(tmp_path / "images")
    values = small_values(tmp_path / "images", labeler={"kind": "csv"})
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    path, count = export_project(project, "csv", tmp_path / "picks.csv", all_picks=True)
    rows = table(path)
    assert count == len(rows) == 12
    assert {r["label"] for r in rows} == {""}
    (tmp_path / "labels.csv").write_text("an earlier export")
    with pytest.raises(NotReady, match="no image has a label yet"):
        export_project(project, "csv", tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_text() == "an earlier export"
    with pytest.raises(ConfigError, match="csv, jsonl or parquet"):
        export_project(project, "folders", tmp_path / "x", all_picks=True)
