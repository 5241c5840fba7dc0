"""Exports: what other tools read, and names that stay inside."""

from __future__ import annotations

import csv
import json

import pytest

from loop.errors import ConfigError
from loop.export import Exported, export, folder_name

ROWS = [
    Exported("k1", "a/1.png", "train", 1, 0, "cat", (("ann", "cat"), ("bob", "dog"))),
    Exported("k2", "a/2.png", "test", 0, 1, "../dog", (("ann", "../dog"),)),
    Exported("k3", "a/3.png", "train", 1, 1, None),
]


def read(uri):
    return uri.encode()


def test_csv_and_jsonl(tmp_path):
    rows = list(csv.DictReader(export(ROWS, "csv", tmp_path / "l.csv", read).open()))
    assert [r["label"] for r in rows] == ["cat", "../dog", ""]
    lines = export(ROWS, "jsonl", tmp_path / "l.jsonl", read).read_text().splitlines()
    assert json.loads(lines[0])["key"] == "k1"


def test_parquet(tmp_path):
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(export(ROWS, "parquet", tmp_path / "l.parquet", read))
    assert table.column("label").to_pylist() == ["cat", "../dog", None]


def test_folders_stay_inside(tmp_path):
    out = export(ROWS, "folders", tmp_path / "set", read)
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png"))
    assert files == ["test/_dog/k2.png", "train/cat/k1.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_votes_are_cleanlabs_table(tmp_path):
    rows = list(csv.DictReader(export(ROWS, "votes", tmp_path / "v.csv", read).open()))
    assert [(r["ann"], r["bob"]) for r in rows] == [("cat", "dog"), ("../dog", ""), ("", "")]


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "l.csv").write_text("mine")
    with pytest.raises(ConfigError, match="--out"):
        export(ROWS, "csv", tmp_path / "l.csv", read)
    assert (tmp_path / "l.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["..", "a/b", "", "con\x00", " . ", "C:\\x"])
def test_folder_names(name):
    safe = folder_name(name)
    assert safe
    assert not set(safe) & set('/\\:\x00"')
    assert safe.strip(". ") == safe or safe == "_"
