"""Tar shards: images at their offsets, labels beside them, every member accounted for."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from connectors.base import Image, SourceError, UnreadableFile
from connectors.folder import content_key
from connectors.walk import HIDDEN, SUFFIX
from connectors.webdataset import CAPTION, NO_IMAGE, UNUSABLE, WebDataset
from tests.connectors.test_bucket import png


def shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            data = data if isinstance(data, bytes) else str(data).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path):
    """Three shards of four images each, their labels in three ways."""
    for number in range(3):
        members = {}
        for i in range(4):
            name, label = f"a/{number}{i}", ["cat", "dog"][i % 2]
            members[f"{name}.png"] = png(10 * number + i)
            suffix = (".cls", ".json", ".txt")[number]
            members[name + suffix] = json.dumps({"label": label}) if number == 1 else f"{label}\n"
        shard(tmp_path / "set" / f"part-{number:03d}.tar", members)
    return tmp_path / "set"


def test_images_stay_where_they_are(shards, monkeypatch):
    source = WebDataset(shards, labelled=True)
    scanned = list(source.scan())
    assert [each.uri for each in scanned][:2] == ["part-000.tar/a/00.png", "part-000.tar/a/01.png"]
    assert [each.label for each in scanned] == ["cat", "dog"] * 6
    assert [each.key for each in scanned][4] == content_key(png(10))
    assert not source.passed_over
    assert all(content_key(source.read(each.uri)) == each.key for each in scanned)
    assert source.classes() == ["cat", "dog"]
    assert {each.label for each in WebDataset(shards).scan()} == {None}
    assert list(source.scan(skip={each.uri for each in scanned[:-1]})) == scanned[-1:]
    monkeypatch.setattr("connectors.workers.IN_PROCESS", 2)
    assert list(source.scan(workers=1)) == scanned


def test_a_range_of_shards(shards):
    scanned = list(WebDataset(shards / "part-{000..001}.tar").scan())
    assert len(scanned) == 8
    assert scanned[0].uri == "part-000.tar/a/00.png"
    with pytest.raises(SourceError, match=r"there is no .*part-003.tar \(1 of 4 are missing\)"):
        list(WebDataset(shards / "part-{000..003}.tar").scan())
    with pytest.raises(SourceError, match="there is no"):
        list(WebDataset(shards / "none.tar").scan())
    (shards.parent / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no \.tar file"):
        list(WebDataset(shards.parent / "empty").scan())


def test_every_member_is_accounted_for(tmp_path):
    members = {
        "1.png": png(1),
        "1.cls": "3",
        "1.json": {"label": "not asked"},
        "2.png": b"torn",
        "3.png": png(3),
        "3.txt": "a caption " * 20,
        "4.png": png(4),
        "4.json": "{",
        "5.cls": "7",
        "1.seg.npy": b"x",
        ".hidden.png": png(9),
    }
    source = WebDataset(shard(tmp_path / "a.tar", members), labelled=True)
    scanned = list(source.scan())
    images = {each.uri: each.label for each in scanned if isinstance(each, Image)}
    assert images == {"a.tar/1.png": "3", "a.tar/3.png": None, "a.tar/4.png": None}
    assert [each.uri for each in scanned if isinstance(each, UnreadableFile)] == ["a.tar/2.png"]
    passed = {(each.what, each.reason, each.suffix): each.count for each in source.passed_over}
    assert passed == {
        ("file", SUFFIX, ".seg.npy"): 1,
        ("file", HIDDEN, ""): 1,
        ("file", NO_IMAGE, ""): 1,
        ("label", CAPTION, ""): 1,
        ("label", UNUSABLE, ""): 1,
    }


def test_torn_and_foreign_shards_are_named(shards):
    whole = (shards / "part-001.tar").read_bytes()
    (shards / "part-001.tar").write_bytes(whole[: 512 * 3 + 100])
    (shards / "part-002.tar").write_bytes(b"\x1f\x8b" + b"x" * 2000)
    scanned = list(WebDataset(shards).scan())
    assert sum(isinstance(each, Image) for each in scanned) == 5
    troubles = {each.uri: each.reason for each in scanned if isinstance(each, UnreadableFile)}
    assert troubles["part-001.tar"] == "the tar file is torn, its end is missing"
    assert "compressed" in troubles["part-002.tar"]


def test_what_has_gone(shards):
    source = WebDataset(shards)
    uris = [each.uri for each in source.scan()]
    (shards / "part-000.tar").unlink()
    shard(shards / "part-001.tar", {"a/10.png": png(10)})
    later = WebDataset(shards)
    assert later.missing(uris) == [*uris[:4], *uris[5:8]]
    with pytest.raises(SourceError, match=r"has no a/11\.png"):
        later.read(uris[5])


def test_a_test_shard_is_labelled(tmp_path):
    shard(tmp_path / "test-0.tar", {"1.png": png(1), "1.cls": "cat"})
    shard(tmp_path / "train-0.tar", {"2.png": png(2), "2.cls": "cat"})
    scanned = list(WebDataset(tmp_path).scan())
    assert [(each.split, each.label) for each in scanned] == [("test", "cat"), ("pool", None)]
