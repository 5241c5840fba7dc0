"""Parquet source: streaming, labels by class name, reading single rows, damage named."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from connectors import workers
from connectors.base import Image, SourceError, UnreadableFile
from connectors.folder import content_key
from connectors.parquet import Parquet, class_names
from loop import config
from loop.errors import ConfigError
from tests.conftest import small_values


def png(seed):
    values = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(values).save(out, format="PNG")
    return out.getvalue()


PICTURES = [png(i) for i in range(11)]


@pytest.fixture
def path(tmp_path):
    """Eleven rows in groups of three; row 4 is cut, row 5 has no label, the last two are test."""
    images = [*PICTURES]
    images[4] = images[4][:40]
    table = pa.table(
        {
            "image": images,
            "label": [0, 1, 0, 1, 0, -1, 1, 0, 1, 0, 1],
            "human1": [1] * 11,
            "split": ["train"] * 9 + ["test"] * 2,
        }
    ).replace_schema_metadata({"class_names": json.dumps(["cat", "dog"])})
    pq.write_table(table, tmp_path / "set.parquet", row_group_size=3)
    return tmp_path / "set.parquet"


def test_scan(path):
    images = list(Parquet(path).scan())
    assert [image.uri for image in images] == [f"row/{i}" for i in range(11)]
    assert isinstance(images[4], UnreadableFile)
    assert images[0] == Image(content_key(PICTURES[0]), "row/0", "cat", "pool")
    assert images[5].label is None
    assert images[10] == Image(content_key(PICTURES[10]), "row/10", "dog", "test")


def test_unlabelled_pool_keeps_test_labels(path):
    images = [image for image in Parquet(path, labelled=False).scan() if isinstance(image, Image)]
    assert {image.label for image in images if image.split == "pool"} == {None}
    assert [image.label for image in images if image.split == "test"] == ["cat", "dog"]


def test_workers_and_skip_change_nothing_else(path, monkeypatch):
    monkeypatch.setattr(workers, "IN_PROCESS", 3)
    all_ = list(Parquet(path).scan())
    assert list(Parquet(path).scan(workers=2)) == all_
    assert list(Parquet(path).scan(skip={"row/0", "row/9"})) == all_[1:9] + all_[10:]


def test_rows_are_read_in_any_order_by_threads(path):
    source = Parquet(path)
    rows = [i for i in np.random.default_rng(0).integers(0, 11, 200).tolist() if i != 4]
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(source.read, [f"row/{i}" for i in rows]))
    assert images == [PICTURES[i] for i in rows]


@pytest.mark.parametrize("uri", ["row/11", "row/-1", "row/x", "../a.png"])
def test_no_such_row(path, uri):
    with pytest.raises(SourceError, match="11 rows"):
        Parquet(path).read(uri)


def test_a_row_has_no_file(path):
    assert Parquet(path).shown("row/2") == "row/2"


def test_other_label_columns(path):
    assert set(Parquet(path).labels("human1").values()) == {"dog"}
    with pytest.raises(SourceError, match="human9"):
        Parquet(path).labels("human9")


def test_class_names_without_metadata(tmp_path):
    pq.write_table(pa.table({"image": [b""] * 3, "label": ["b", "a", "b"]}), tmp_path / "s.parquet")
    assert class_names(tmp_path / "s.parquet") == ["a", "b"]


@pytest.mark.parametrize(
    "labels", [[10, 2, -1, 3, None], [10.0, 2.0, -1.0, 3.0, float("nan")]], ids=["whole", "float"]
)
def test_numbers_without_metadata_are_the_names(tmp_path, labels):
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"image": PICTURES[:5], "label": labels}), path)
    assert class_names(path) == ["2", "3", "10"]
    assert [image.label for image in Parquet(path).scan()] == ["10", "2", None, "3", None]
    assert list(Parquet(path).labels("label").values()) == ["10", "2", None, "3", None]


def test_fractions_are_no_labels(tmp_path):
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"image": PICTURES[:2], "label": [1.0, 0.25]}), path)
    with pytest.raises(SourceError, match=r"label 0\.25 is a fraction"):
        class_names(path)
    with pytest.raises(SourceError, match=r"label 0\.25 is a fraction"):
        list(Parquet(path).scan())


def test_bad_files(tmp_path):
    with pytest.raises(SourceError, match=r"none\.parquet"):
        list(Parquet(tmp_path / "none.parquet").scan())
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(SourceError, match="parquet"):
        list(Parquet(tmp_path / "text.parquet").scan())
    pq.write_table(pa.table({"picture": [1]}), tmp_path / "other.parquet")
    with pytest.raises(SourceError, match="no column 'image'"):
        list(Parquet(tmp_path / "other.parquet").scan())


def test_a_test_folder_beside_a_parquet_file_is_refused(tmp_path):
    values = small_values(tmp_path)
    values["pool"] = {"source": "parquet", "path": "a.parquet", "test_path": "test"}
    with pytest.raises(ConfigError, match="column 'split'"):
        config.check(values, "test")
