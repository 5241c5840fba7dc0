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
from loop.export import Exported, export
from loop.steps.init import init
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


NAMES = ["cat", "dog"]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
HUB = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
NUMBERS = [i % 2 for i in range(11)]


def stored(path, image="image", label="label", images=None, labels=None, metadata=None, **more):
    """A file of the pictures as another program would store them."""
    structs = [{"bytes": png(i), "path": f"{i}.png"} for i in range(11)]
    table = pa.table(
        {
            image: pa.array(structs, STRUCT) if images is None else images,
            label: NUMBERS if labels is None else labels,
            **more,
        }
    ).replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=4)
    return path


def labels_of(path):
    return [image.label for image in Parquet(path).scan()]


@pytest.mark.parametrize(
    ("columns", "classes", "first"),
    [
        ({"metadata": HUB}, NAMES, ["cat", "dog"]),
        ({"images": [png(i) for i in range(11)], "metadata": HUB}, NAMES, ["cat", "dog"]),
        ({"image": "img"}, ["0", "1"], ["0", "1"]),
        ({"image": "photo", "metadata": None}, ["0", "1"], ["0", "1"]),
        ({"labels": [str(n).encode() for n in NUMBERS]}, ["0", "1"], ["0", "1"]),
        ({"labels": [bool(n) for n in NUMBERS]}, ["False", "True"], ["False", "True"]),
        (
            {"labels": pa.array([NAMES[n] for n in NUMBERS]).dictionary_encode()},
            NAMES,
            ["cat", "dog"],
        ),
        ({"labels": ["", "dog"] + ["cat"] * 9}, NAMES, [None, "dog"]),
        ({"labels": ["None", "nan"] + ["nan"] * 9}, ["None", "nan"], ["None", "nan"]),
        (
            {
                "label": "kind",
                "metadata": {
                    "huggingface": json.dumps(
                        {"info": {"features": {"kind": {"names": NAMES, "_type": "ClassLabel"}}}}
                    )
                },
            },
            NAMES,
            ["cat", "dog"],
        ),
    ],
)
def test_tables_as_other_programs_store_them(columns, classes, first, tmp_path):
    path = stored(tmp_path / "set.parquet", **columns)
    assert class_names(path) == classes
    assert labels_of(path)[:2] == first
    assert Parquet(path).read("row/7") == png(7)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"images": [f"/data/{i}.png" for i in range(11)]}, "'image' of .* holds string"),
        ({"labels": [[n] for n in NUMBERS]}, "one class per image"),
        ({"image": "front", "back": [b"x"] * 11}, "front, back could be it"),
    ],
)
def test_a_table_that_says_something_else_is_refused(columns, words, tmp_path):
    path = stored(tmp_path / "set.parquet", **columns)
    with pytest.raises(SourceError, match=words):
        list(Parquet(path).scan())
    with pytest.raises(SourceError, match=words):
        class_names(path)


def test_a_row_that_names_a_file_instead_of_holding_it_is_unreadable(tmp_path):
    structs = [{"bytes": None, "path": "a.png"}, *({"bytes": png(i)} for i in range(10))]
    path = stored(tmp_path / "set.parquet", images=pa.array(structs, STRUCT))
    assert next(iter(Parquet(path).scan())) == UnreadableFile(
        "row/0", "no bytes, only the path 'a.png'; store the bytes too (embed them)"
    )


def test_shards_in_a_folder_are_one_pool(tmp_path):
    """As ``datasets`` keeps them: the shard's name says the split; hidden files are passed over."""
    data = tmp_path / "set" / "data"
    shards = ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")
    for number, name in enumerate(shards):
        pictures = [png(100 * number + i) for i in range(11)]
        stored(data / f"{name}.parquet", images=pictures, metadata=HUB)
    stored(tmp_path / "set" / ".cache" / "old.parquet")
    source = Parquet(tmp_path / "set", labelled=False)
    images = list(source.scan())
    assert len(images) == 33
    assert {image.split for image in images if "/test-" in image.uri} == {"test"}
    assert {image.label for image in images if image.split == "pool"} == {None}
    assert [image.label for image in images if image.split == "test"][:2] == NAMES
    assert images[12].uri == "data/train-00000-of-00002.parquet/row/1"
    assert all(content_key(source.read(image.uri)) == image.key for image in images)
    assert class_names(tmp_path / "set") == NAMES
    assert list(source.scan(workers=2)) == images
    with pytest.raises(SourceError, match="put the file back"):
        source.read("data/train-9.parquet/row/1")


def test_a_project_of_shards(tmp_path):
    stored(tmp_path / "set" / "data" / "train-00000-of-00001.parquet", metadata=HUB)
    project, scanned = init(tmp_path / "p", tmp_path / "set", measure={"images": 20})
    assert project.config.pool.source == "parquet"
    assert project.config.project.classes == NAMES
    assert scanned.images == 11


def test_our_own_export_is_read_back(tmp_path):
    """``export --format huggingface`` of one project as the labelled pool of another."""
    rows = [
        Exported(
            key=content_key(png(i)), uri=f"{i}.png", split="train", round=1, rank=i, label=name
        )
        for i, name in enumerate(NAMES * 3)
    ]
    export(rows, "huggingface", tmp_path / "out", lambda uri: png(int(uri[:-4])), NAMES)
    images = list(Parquet(tmp_path / "out").scan())
    assert [image.key for image in images] == [row.key for row in rows]
    assert [image.label for image in images] == [row.label for row in rows]


def test_what_datasets_saves_to_disk(tmp_path):
    """``save_to_disk`` of splits: their folders, arrow files, class names of the ClassLabel."""
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    splits = {
        name: datasets.Dataset.from_dict(
            {
                "image": [{"bytes": data, "path": None} for data in PICTURES[start : start + 4]],
                "label": [0, 1, 1, 0],
            },
            features=features,
        )
        for name, start in (("train", 0), ("test", 4))
    }
    datasets.DatasetDict(splits).save_to_disk(
        str(tmp_path / "saved"), num_shards={"train": 2, "test": 1}
    )
    (tmp_path / "saved" / "train" / "cache-1.arrow").write_bytes(b"not ours")
    source = Parquet(tmp_path / "saved")
    images = list(source.scan())
    assert [each.key for each in images] == [
        content_key(PICTURES[i]) for i in (4, 5, 6, 7, 0, 1, 2, 3)
    ]
    assert [each.label for each in images] == ["cat", "dog", "dog", "cat"] * 2
    assert [each.split for each in images] == ["test"] * 4 + ["pool"] * 4
    assert all(content_key(source.read(each.uri)) == each.key for each in images)
    project, scanned = init(tmp_path / "p", tmp_path / "saved", encoder="pixels:4")
    assert (scanned.images, scanned.test) == (8, 4)
    assert project.config.project.classes == ["cat", "dog"]
    (tmp_path / "torn.arrow").write_bytes(b"torn")
    with pytest.raises(SourceError, match="as arrow"):
        list(Parquet(tmp_path / "torn.arrow").scan())


def labelled_table(path, labels, names=None, **columns):
    """A file of 11 pictures with labels, as ``datasets`` writes names of numbers."""
    features = {"label": {"names": names, "_type": "ClassLabel"}} if names else {}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": PICTURES, "label": labels, **columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize("label", [2, "bird", "0"])
def test_a_label_that_is_none_of_the_names_is_no_class(tmp_path, label):
    """It would be left out in silence."""
    numbers = isinstance(label, int)
    labels = [label, *([0, 1] * 5 if numbers else ["cat", "dog"] * 5)]
    path = labelled_table(tmp_path / "set.parquet", labels, ["cat", "dog"])
    for read in (class_names, lambda path: list(Parquet(path).scan())):
        with pytest.raises(SourceError, match=f"label {label!r} in .* is none of the 2 names"):
            read(path)


@pytest.mark.parametrize(
    ("column", "test", "train"),
    [("split", "Test", "Train"), ("Split", "testing", "x"), ("SPLIT", "TEST ", "val")],
)
def test_a_split_in_other_letters(tmp_path, column, test, train):
    """Test images would be learned."""
    splits = {column: [test] * 3 + [train] * 8}
    path = labelled_table(tmp_path / "set.parquet", [0, 1] * 5 + [0], **splits)
    assert [image.split for image in Parquet(path).scan()] == ["test"] * 3 + ["pool"] * 8


def test_a_split_that_is_a_number_with_a_name(tmp_path):
    features = {"split": {"names": ["train", "test"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": PICTURES, "label": [0, 1] * 5 + [1], "split": [1] * 3 + [0] * 8})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "set.parquet")
    images = list(Parquet(tmp_path / "set.parquet").scan())
    assert [image.split for image in images] == ["test"] * 3 + ["pool"] * 8
    assert {image.label for image in images} == {"0", "1"}  # the names are those of the splits


@pytest.mark.parametrize("name", ["TEST-00000.parquet", "Testing_0.parquet", "testing.parquet"])
def test_a_shard_of_test_images_in_other_letters(tmp_path, name):
    labelled_table(tmp_path / "set" / name, [0, 1] * 5 + [0], ["cat", "dog"])
    assert {image.split for image in Parquet(tmp_path / "set").scan()} == {"test"}


def test_numbers_of_one_shard_have_the_names_of_no_other(tmp_path):
    labelled_table(tmp_path / "set" / "a.parquet", [0, 1] * 5 + [0], ["cat", "dog"])
    labelled_table(tmp_path / "set" / "b.parquet", [0, 1] * 5 + [0])
    with pytest.raises(SourceError, match="others hold numbers without names, such as 0"):
        class_names(tmp_path / "set")


def test_shards_state_their_names_in_any_order(tmp_path):
    labelled_table(tmp_path / "set" / "a.parquet", [0, 1] * 5 + [0], ["cat", "dog"])
    labelled_table(tmp_path / "set" / "b.parquet", [1, 0] * 5 + [1], ["dog", "cat"])
    assert class_names(tmp_path / "set") == ["cat", "dog"]
    labels = [image.label for image in Parquet(tmp_path / "set").scan()]
    assert labels == 2 * (["cat", "dog"] * 5 + ["cat"])


def test_an_empty_shard_says_nothing(tmp_path):
    labelled_table(tmp_path / "set" / "a.parquet", [0, 1] * 5 + [0], ["cat", "dog"])
    empty = pa.table({"image": pa.nulls(0), "label": pa.nulls(0)})
    pq.write_table(empty, tmp_path / "set" / "b.parquet")
    assert class_names(tmp_path / "set") == ["cat", "dog"]
    assert len(list(Parquet(tmp_path / "set").scan())) == 11


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"class_names": "[cat, dog"}, "no list of names such as"),
        ({"class_names": '{"a": "cat"}'}, "no list of names such as"),
        (
            {"huggingface": '{"info": {"features": {"label": {"names": {"a": "x"}}}}}'},
            "as names of the column 'label'",
        ),
    ],
)
def test_names_that_are_none(tmp_path, stated, words):
    table = pa.table({"image": PICTURES, "label": [0, 1] * 5 + [0]})
    pq.write_table(table.replace_schema_metadata(stated), tmp_path / "s.parquet")
    with pytest.raises(SourceError, match=words):
        class_names(tmp_path / "s.parquet")


def test_metadata_of_another_shape_states_nothing(tmp_path):
    stated = {"huggingface": '{"info": {"features": {"label": "ClassLabel"}}}'}
    table = pa.table({"image": PICTURES, "label": [0, 1] * 5 + [0]})
    pq.write_table(table.replace_schema_metadata(stated), tmp_path / "s.parquet")
    assert class_names(tmp_path / "s.parquet") == ["0", "1"]


def test_labels_with_parts_are_no_classes(tmp_path):
    path = labelled_table(tmp_path / "s.parquet", [{"name": "cat"}] * 11)
    with pytest.raises(SourceError, match="is a dict; write one class per image"):
        class_names(path)


def test_the_column_of_labels_can_be_named(tmp_path):
    """As where ``datasets`` has two ClassLabels; it was passed over in silence."""
    coarse = {"names": ["animal", "plant"], "_type": "ClassLabel"}
    fine = {"names": ["cat", "oak"], "_type": "ClassLabel"}
    features = {"coarse": coarse, "fine": fine}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    columns = {"image": PICTURES, "coarse": [0] * 6 + [1] * 5, "fine": [0] * 6 + [1] * 5}
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    with pytest.raises(ConfigError, match="columns are image, coarse, fine: --label-column"):
        init(tmp_path / "p", path, encoder="pixels:8")
    assert not (tmp_path / "p").exists()
    assert class_names(path, label_column="fine") == ["cat", "oak"]
    assert {i.label for i in Parquet(path, label_column="coarse").scan()} == {"animal", "plant"}
    with pytest.raises(SourceError, match="no column 'finer'; it has image, coarse, fine"):
        class_names(path, label_column="finer")


def test_the_column_of_images_can_be_named(tmp_path):
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"front": PICTURES, "back": PICTURES[::-1]}), path)
    with pytest.raises(SourceError, match="front, back could be it: say which with --column"):
        list(Parquet(path).scan())
    assert Parquet(path, column="back").read("row/0") == PICTURES[-1]
    with pytest.raises(SourceError, match="no column 'side' of encoded bytes"):
        list(Parquet(path, column="side").scan())


def test_an_export_among_the_shards_is_none_of_them(tmp_path):
    """Its test images would be those of the pool."""
    labelled_table(tmp_path / "set" / "train-0.parquet", [0, 1] * 5 + [0], ["cat", "dog"])
    key = content_key(png(99))
    rows = [Exported(key=key, uri="row/0", split="test", round=0, rank=None, label="cat")]
    export(rows, "huggingface", tmp_path / "set" / "out", lambda uri: png(99), ["cat"])
    assert (tmp_path / "set" / "out" / "data").is_dir()
    images = list(Parquet(tmp_path / "set").scan())
    assert len(images) == 11
    assert {image.split for image in images} == {"pool"}
