"""Arrays: named by content, whole or absent, damage is named."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from db import arrays
from db.errors import Damaged, Missing
from db.models import Array, Pool
from db.state import open_records


def row_of(path, array):
    return Array(digest=path.stem, shape=list(array.shape), dtype=str(array.dtype), kind="scores")


def test_round_trip_and_content_address(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = arrays.write_file(values, tmp_path)
    assert arrays.write_file(values, tmp_path) == path
    assert path.stem == arrays.file_digest(path)
    np.testing.assert_array_equal(arrays.load(row_of(path, values), tmp_path), values)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no draft left


def test_a_file_is_on_disk_before_it_has_its_name_and_its_name_before_a_row_can(
    tmp_path, monkeypatch
):
    order, fsync, replace = [], os.fsync, Path.replace

    def watched_fsync(handle):
        order.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def watched_replace(path, target):
        order.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    arrays.write_file(np.zeros(3), tmp_path)
    assert order == ["file", "name", "folder"]


def test_an_array_that_does_not_fit_is_refused_whatever_its_size(tmp_path):
    """The last bytes of a small array are written when the file is closed: an error then counts."""
    script = (
        "import resource, sys, numpy as np; from pathlib import Path; from db import arrays\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "print(arrays.write_file(np.zeros(200), Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True
    )
    assert "db.errors.Full: cannot write 0.0 MB" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_truncated_file_is_named(tmp_path):
    values = np.zeros((100, 10))
    path = arrays.write_file(values, tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(Damaged, match="'coreloop doctor --repair'"):
        arrays.load(row_of(path, values), tmp_path)


def test_an_array_of_another_shape_is_named(tmp_path):
    path = arrays.write_file(np.zeros((100, 10)), tmp_path)
    for shape in ((99, 10), (100, 10, 1)):
        with pytest.raises(Damaged, match="recorded"):
            arrays.load(row_of(path, np.zeros(shape)), tmp_path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(Missing, match="'coreloop doctor --repair'"):
        arrays.load(Array(digest="0" * 32, shape=[1], dtype="f8", kind="scores"), tmp_path)


def test_pickles_are_never_loaded(tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    row = Array(digest="evil", shape=[1], dtype="object", kind="scores")
    with pytest.raises(Damaged):
        arrays.load(row, tmp_path)


def test_files_that_no_row_names_are_listed_and_stay(tmp_path):
    records = open_records(f"sqlite:///{tmp_path / 'a.db'}", create=True)
    named = arrays.write_file(np.zeros(3), tmp_path)
    unnamed = arrays.write_file(np.ones(3), tmp_path)
    (tmp_path / "draft-1-0.npy").write_bytes(b"begun")
    with records.write() as session:
        session.add(Pool(id=1, name="p", source={}))
        session.flush()
        arrays.record(session, named, pool_id=1, kind="scores", name="coreset", of="round-1")
    arrays.remove_drafts(tmp_path)
    with records.read() as session:
        assert arrays.unnamed(session, tmp_path) == [unnamed]
    assert sorted(tmp_path.glob("*.npy")) == sorted([named, unnamed])
    records.close()
