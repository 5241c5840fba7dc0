"""Lists of images: every line is an image, unreadable, or counted; labels are never guessed."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image as Pillow

from connectors.base import Image, SourceError, UnreadableFile
from connectors.entries import SEVERAL_LABELS
from connectors.folder import LEAVES
from connectors.manifest import NAMED_AGAIN, Manifest
from connectors.table import NO_IMAGE, NO_OBJECT, TOO_LONG


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Pillow.fromarray(values).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    for i in range(4):
        save(tmp_path / "photos" / f"{i}.png", i)
    return tmp_path / "photos"


def listed(path, **settings):
    manifest = Manifest(path, root=path.parent, labelled=True, **settings)
    scanned = list(manifest.scan())
    images = {each.uri: each.label for each in scanned if isinstance(each, Image)}
    unreadable = {each.uri: each.reason for each in scanned if isinstance(each, UnreadableFile)}
    passed = {(each.what, each.reason): each.count for each in manifest.passed_over}
    return images, unreadable, passed


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "path,label\n0.png,cat\n./1.png, dog \n2.png,\n"),
        ("l.csv", "\ufeffpath;label\r\n0.png;cat\r\n1.png;dog\r\n2.png;\r\n"),
        ("l.csv", "sep=;\npath;label\n0.png;cat\n1.png;dog\n2.png;\n"),
        (
            "l.csv",
            'id,path,label,"a\nnote"\n1,0.png,cat,"two\nlines, a comma"\n\n,1.png,dog\n,2.png',
        ),
        ("l.tsv", "label\tpath\ncat\t0.png\ndog\t1.png\n\t2.png\n"),
        (
            "l.jsonl",
            '{"path": "0.png", "label": "cat"}\n\n{"path":"1.png","label":"dog"}\n{"path":"2.png"}',
        ),
    ],
)
def test_a_table_as_programs_write_it(photos, name, text):
    for encoding in ("utf-8", "utf-16"):
        (photos / name).write_bytes(text.encode(encoding))
        images, unreadable, passed = listed(photos / name, label_column="label")
        assert images == {"0.png": "cat", "1.png": "dog", "2.png": None}
        assert not unreadable
        assert not passed
    manifest = Manifest(photos / name, label_column="label", root=photos)
    assert {each.label for each in manifest.scan()} == {None}, "unless this is a rehearsal"
    before = [(each.id, each.key, each.label) for each in manifest.labels({"0.png": "k", "9": "l"})]
    assert before == [("0.png", "k", "cat")]
    assert not list(
        Manifest(photos / name, label_column="label", labelled=True).labels({"0.png": ""})
    )
    assert manifest.classes() == ["cat", "dog"]
    assert manifest.read("1.png") == (photos / "1.png").read_bytes()


def test_every_odd_line_is_named(photos):
    save(photos.parent / "outside.png", 9)
    (photos / "link.png").symlink_to(photos.parent / "outside.png")
    composed, decomposed = (unicodedata.normalize(form, "é/ü.png") for form in ("NFC", "NFD"))
    save(photos / decomposed, 10)
    (photos / "l.csv").write_text(
        "path,label\n0.png,cat\n0.png,cat\n1.png,cat\n1.png,dog\n,cat\n2.png,dog,shifted\n"
        f"gone.png,cat\n../outside.png,cat\n{photos.parent}/outside.png,cat\n{photos}/3.png,dog\n"
        f"link.png,cat\n{composed},dog\nfile:///etc/passwd,cat\nhttps://me:pw@h.org/a.png,cat\n"
        "a\0b.png,cat\n"
    )
    images, unreadable, passed = listed(photos / "l.csv", label_column="label")
    assert images == {"0.png": "cat", "1.png": None, "3.png": "dog", decomposed: "dog"}
    assert passed == {
        ("line", NAMED_AGAIN): 2,
        ("line", NO_IMAGE): 1,
        ("line", TOO_LONG): 1,
        ("label", SEVERAL_LABELS): 1,
    }
    assert sum(passed.values()) - 1 + len(images) + len(unreadable) == 15, "every line"
    outside = f"lies outside of {photos}; give a folder around it as --image-root"
    assert unreadable == {
        "gone.png": "No such file or directory",
        "../outside.png": f"line 9: {outside}",
        f"{photos.parent}/outside.png": f"line 10: {outside}",
        "link.png": LEAVES,
        "file:///etc/passwd": "line 14: addresses of file:// are not read",
        "https://...@h.org/a.png": (
            "line 15: the address holds a user name or password; take it out"
        ),
        "a\\0b.png": "line 16: no path: it holds a NUL character",
    }
    with pytest.raises(SourceError, match="leads out"):
        Manifest(photos / "l.csv", root=photos).read("../outside.png")


def test_backslashes_of_another_system(photos):
    (photos.parent / "l.csv").write_text("file\nphotos\\0.png\n")
    assert listed(photos.parent / "l.csv")[0] == {"photos/0.png": None}


def test_lines_that_are_no_object(photos):
    (photos / "l.jsonl").write_text('{"image": "0.png"}\n[1]\n{"image": \n')
    images, _, passed = listed(photos / "l.jsonl")
    assert images == {"0.png": None}
    assert passed == {("line", NO_OBJECT): 2}


def test_a_split_column_names_test_images(photos):
    (photos / "l.csv").write_text(
        "path,label,split\n0.png,cat,train\n1.png,dog,Test\n2.png,cat,val"
    )
    scanned = list(Manifest(photos / "l.csv", label_column="label", root=photos).scan())
    assert [(each.split, each.label) for each in scanned] == [
        ("pool", None),
        ("test", "dog"),
        ("pool", None),
    ]


@pytest.mark.parametrize(
    ("name", "data", "settings", "message"),
    [
        ("l.csv", b"a,b\n1,2\n", {}, "which column .* with --column; it has 'a', 'b'"),
        ("l.csv", b"path,url\n1,2\n", {}, "which column"),
        ("l.csv", b"path\n1\n", {"column": "file"}, "no column 'file'; it has 'path'"),
        ("l.csv", b"path\n1\n", {"label_column": "y"}, "no column 'y'"),
        ("l.csv", b"path,x,x\n1,2,3\n", {}, "two columns called 'x'"),
        ("l.csv", b"path\n\xe9.png\n", {}, "save the list as UTF-8"),
        ("l.csv", b"", {}, "it has none"),
        ("l.jsonl", b'{"path": "a", "y": [1, 2]}', {"label_column": "y"}, "line 1: label .* list"),
        ("none.csv", None, {}, "No such file"),
    ],
)
def test_a_list_that_cannot_be_read(tmp_path, name, data, settings, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        list(Manifest(tmp_path / name, root=tmp_path, **settings).scan())


def test_what_a_list_names_no_more_has_gone(photos):
    (photos / "l.csv").write_text("path\n0.png\n1.png\n2.png\n")
    (photos / "l.csv").write_text("path\n0.png\n1.png\n")
    (photos / "1.png").unlink()
    manifest = Manifest(photos / "l.csv", root=photos)
    assert manifest.missing(["0.png", "1.png", "2.png"]) == ["1.png", "2.png"]


def test_numbers_are_classes_by_value(photos):
    lines = [json.dumps({"path": f"{i}.png", "y": [10, 9, 2.0, None][i]}) for i in range(4)]
    (photos / "l.jsonl").write_text("\n".join(lines))
    manifest = Manifest(photos / "l.jsonl", label_column="y", root=photos)
    assert manifest.classes() == ["2", "9", "10"]


@pytest.mark.parametrize("column", ["Split", " SPLIT"])
def test_a_column_of_splits_in_other_letters(photos, column):
    """Test images would be learned."""
    list_ = photos / "list.csv"
    list_.write_text(f"path,{column}\n0.png,Test\n1.png,train\n2.png,TESTING\n3.png,\n")
    splits = [image.split for image in Manifest(list_).scan()]
    assert splits == ["test", "pool", "test", "pool"]
