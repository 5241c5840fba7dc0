"""What others put in place of a file: it is not waited for, followed outside or read for ever."""

from __future__ import annotations

import os

import pytest

from connectors import files
from connectors.base import (
    BatchToLabel,
    ConnectorError,
    ItemToLabel,
    Rejected,
    SourceError,
    UnreadableFile,
)
from connectors.csv_sheet import CsvSheet
from connectors.files import read_ordinary
from connectors.folder import LEAVES, Folder
from connectors.parquet import Parquet, class_names
from connectors.workers import in_order
from tests.connectors.test_folder import save
from tests.engine_work import die_alone

pytestmark = pytest.mark.timeout(60)


def test_a_pipe_in_place_of_an_image_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(SourceError, match="no ordinary file"):
        Folder(tmp_path).read("a.png")


def test_a_pipe_in_place_of_a_parquet_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="no ordinary file"):
        list(Parquet(tmp_path / "a.parquet").scan())
    with pytest.raises(SourceError, match="no ordinary file"):
        class_names(tmp_path / "a.parquet")


def test_a_file_that_grew_without_end_is_not_read(tmp_path):
    save(tmp_path / "a.png")
    os.truncate(tmp_path / "a.png", 40 * 10**9)  # sparse: it takes no room
    with pytest.raises(SourceError, match="larger than 500 MB"):
        Folder(tmp_path).read("a.png")
    (image,) = Folder(tmp_path).scan()
    assert image == UnreadableFile("a.png", "larger than 500 MB")


@pytest.mark.parametrize("swapped", ["the file", "its folder"])
def test_what_was_opened_counts_not_where_a_link_led_before(tmp_path, monkeypatch, swapped):
    """Each look at the path sees a file inside; only the opening sees the link."""
    pool, outside = tmp_path / "pool", tmp_path / "outside"
    save(pool / "sub" / "a.png", 1)
    save(outside / "a.png", 2)
    at = pool / "sub" / "a.png" if swapped == "the file" else pool / "sub"
    target = outside / "a.png" if swapped == "the file" else outside
    real = os.open

    def swapping(path, *args, **kwargs):
        at.rename(tmp_path / "aside")
        at.symlink_to(target)
        try:
            return real(path, *args, **kwargs)
        finally:
            at.unlink()
            (tmp_path / "aside").rename(at)

    monkeypatch.setattr(files.os, "open", swapping)
    with pytest.raises(SourceError, match="leads out"):
        Folder(pool).read("sub/a.png")
    (image,) = Folder(pool).scan()
    assert image == UnreadableFile("sub/a.png", LEAVES)


def test_links_inside_are_followed(tmp_path):
    save(tmp_path / "pool" / "a.png")
    (tmp_path / "pool" / "b.png").symlink_to("a.png")
    (tmp_path / "way").symlink_to(tmp_path / "pool")
    source = Folder(tmp_path / "way")
    assert source.read("b.png") == (tmp_path / "pool" / "a.png").read_bytes()
    assert read_ordinary(tmp_path / "way" / "b.png") == source.read("a.png")


def test_a_killed_worker_is_said_and_what_was_read_is_kept(monkeypatch):
    monkeypatch.setattr("connectors.workers.IN_PROCESS", 2)
    results = in_order(die_alone, range(5), workers=1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ConnectorError, match="coreloop scan"):
        next(results)


@pytest.mark.parametrize("put", ["pipe", "broken link", "folder"])
def test_what_is_no_sheet_is_named(tmp_path, put):
    labeler = CsvSheet(tmp_path, ["cat", "dog"])
    labeler.push(BatchToLabel("ab" * 16, 1), [ItemToLabel("0" * 32, "a.png")])
    strange = tmp_path / "z.csv"
    {
        "pipe": lambda: os.mkfifo(strange),
        "broken link": lambda: strange.symlink_to("nowhere"),
        "folder": strange.mkdir,
    }[put]()
    with pytest.raises(Rejected, match=r"z\.csv cannot be read"):
        list(labeler.pull(None))
    with pytest.raises(Rejected, match=r"z\.csv cannot be read"):
        labeler.progress()


def test_a_class_that_looks_like_a_formula_is_read_back(tmp_path):
    labeler = CsvSheet(tmp_path, ["=1+1", "+2", "'quoted"])
    labeler.push(
        BatchToLabel("ab" * 16, 1), [ItemToLabel(f"{i}" * 32, f"{i}.png") for i in range(5)]
    )
    (sheet,) = tmp_path.glob("*.csv")
    lines = sheet.read_text().splitlines()
    filled = ["=1+1", "'=1+1", "'+2", "'quoted", "''quoted"]
    sheet.write_text("\n".join([lines[0], *map("".join, zip(lines[1:], filled))]))
    labels = [note.label for note in labeler.pull(None)]
    assert labels == ["=1+1", "=1+1", "+2", "'quoted", "'quoted"]
