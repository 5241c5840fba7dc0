"""Images in a bucket, on a real S3-compatible server: read in order, once, and through faults."""

from __future__ import annotations

import io
import os

import fsspec
import numpy as np
import pytest
from PIL import Image as Pillow

from connectors.base import Image, SourceError, Unauthorized, Unreachable, UnreadableFile
from connectors.bucket import Bucket
from connectors.folder import content_key
from connectors.image_cache import ImageCache
from connectors.manifest import Manifest
from connectors.walk import HIDDEN, OURS, SUFFIX, SYSTEM
from tests.connectors.buckets import s3_server


def png(seed, side=12):
    data = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Pillow.fromarray(values).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def s3(monkeypatch):
    fsspec.filesystem("s3").clear_instance_cache()
    with s3_server(monkeypatch) as server:
        for i in range(40):
            server.put(f"set/{'cat' if i % 2 else 'dog é'}/IMG {i:02d}.png", png(i))
        server.put("set/cat/broken.png", b"no image")
        for key in ("notes.txt", "cat/@eaDir/a/T.jpg", ".hidden.png", "p/coreloop.toml", "p/x.png"):
            server.put(f"set/{key}", b"x")
        server.put("elsewhere/1.png", png(99))
        yield server
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture
def bucket(s3, tmp_path):
    return Bucket("s3://photos/set", labelled=True, cache=ImageCache(tmp_path / "cache"))


def test_every_object_is_an_image_unreadable_or_counted(bucket):
    scanned = list(bucket.scan())
    images = [each for each in scanned if isinstance(each, Image)]
    assert len(images) == 40
    assert [each.uri for each in scanned] == sorted(each.uri for each in scanned)
    assert images[0] == Image(content_key(png(1)), "cat/IMG 01.png", "cat")
    assert {image.label for image in images} == {"cat", "dog é"}
    assert [each for each in scanned if isinstance(each, UnreadableFile)] == [
        UnreadableFile("cat/broken.png", "not an image of a known format")
    ]
    counts = {(each.reason, each.suffix): each.count for each in bucket.passed_over}
    assert counts == {(SUFFIX, ".txt"): 1, (SYSTEM, ""): 1, (HIDDEN, ""): 1, (OURS, ""): 2}
    assert list(bucket.scan(workers=2)) == scanned
    assert bucket.classes() == ["cat", "dog é"]


def test_an_object_is_fetched_once(bucket, s3):
    images = [each for each in bucket.scan() if isinstance(each, Image)]
    asked = len(s3.gets)
    assert not s3.heads, "a request for the size would be as dear as the image"
    assert all(content_key(bucket.read(each.uri)) == each.key for each in images)
    assert len(s3.gets) == asked
    known = {each.uri for each in images}
    assert len(list(bucket.scan(skip=known))) == 1
    assert len(s3.gets) == asked + 1, "only what was unreadable is looked at again"
    assert bucket.shown("cat/IMG 01.png") == "s3://photos/set/cat/IMG 01.png"


def test_nothing_is_kept_without_room(s3, tmp_path):
    bucket = Bucket("s3://photos/set", cache=ImageCache(tmp_path / "cache", limit=0))
    list(bucket.scan())
    assert bucket.read("cat/IMG 01.png") == png(1)
    assert not (tmp_path / "cache").exists()


def test_the_cache_stays_below_its_size_and_is_this_users_alone(tmp_path):
    cache = ImageCache(tmp_path / "cache", limit=100_000)
    for i in range(300):
        cache.write(f"s3://b/{i}", os.urandom(1000))
        cache.read("s3://b/0")
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert 50_000 < sum(path.stat().st_size for path in kept) <= 102_000
    assert cache.read("s3://b/0") is not None, "what is read often stays"
    assert cache.read("s3://b/1") is None
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "cache").iterdir()} == {0}


@pytest.mark.parametrize("fault", ["503", "cut", "slow"])
def test_a_fault_that_passes_is_waited_for(bucket, s3, fault):
    seen = []

    def once(path):
        if path in seen or "IMG 0" not in path:
            return None
        seen.append(path)
        return fault

    s3.fault = once
    scanned = [each for each in bucket.scan() if isinstance(each, Image)]
    assert len(scanned) == 40
    assert len(seen) == 10


@pytest.mark.timeout(300)
def test_a_fault_that_stays_is_no_unreadable_image(bucket, s3, monkeypatch):
    """The scan ends with "try again later"; what was read before is kept."""
    monkeypatch.setattr("connectors.objects.TRIES", 2)
    monkeypatch.setattr("connectors.bucket.TOGETHER", 8)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)  # it tries five times, with pauses,
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # and each time botocore five times
    s3.fault = lambda path: "503" if "dog" in path else None
    scanned = []
    with pytest.raises(Unreachable, match="type the same command again"):
        for each in bucket.scan():
            scanned.append(each)
    assert {each.uri.split("/")[0] for each in scanned} == {"cat"}
    s3.fault = lambda path: None
    known = {each.uri for each in scanned if isinstance(each, Image)}
    rest = [each for each in bucket.scan(skip=known) if isinstance(each, Image)]
    assert len(known) + len(rest) == 40


def test_what_has_gone_is_said(bucket, s3):
    list(bucket.scan())
    s3.client.delete_object(Bucket="photos", Key="set/cat/IMG 01.png")
    assert bucket.missing(["cat/IMG 01.png", "cat/IMG 03.png"]) == ["cat/IMG 01.png"]
    empty = Bucket("s3://photos/set", cache=ImageCache(bucket.cache.folder / "new"))
    with pytest.raises(SourceError, match="it has gone"):
        empty.read("cat/IMG 01.png")


@pytest.mark.parametrize("address", ["s3://photos/none", "s3://no-such-bucket/set"])
def test_no_such_place(s3, tmp_path, address):
    with pytest.raises(SourceError, match="check 'path'"):
        list(Bucket(address, cache=ImageCache(tmp_path)).scan())


def test_no_credentials(bucket, monkeypatch):
    fsspec.filesystem("s3").clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Unauthorized, match="no credentials for s3://photos/set"):
        list(bucket.scan())


def test_a_scheme_without_its_library(tmp_path):
    with pytest.raises(SourceError, match=r"pip install 'coreloop\[azure\]'"):
        list(Bucket("az://box/set", cache=ImageCache(tmp_path)).scan())


def test_train_val_and_test_in_a_bucket(s3, tmp_path):
    for split in ("train", "test"):
        for i in range(2):
            s3.put(f"laid/{split}/{'ab'[i]}/{i}.png", png(f"{split}".__len__() * 10 + i))
    bucket = Bucket("s3://photos/laid", splits=True, cache=ImageCache(tmp_path))
    assert bucket.laid_out_in_splits()
    scanned = list(bucket.scan())
    assert [(each.label, each.split) for each in scanned] == [
        *(("a", "test"), ("b", "test")),
        *((None, "pool"), (None, "pool")),
    ]
    assert bucket.classes() == ["a", "b"]


def test_objects_that_a_list_names(s3, tmp_path):
    s3.put("set/cat/IMG [1]*.png", png(50))
    names = ["s3://photos/set/cat/IMG 01.png", "s3://photos/set/cat/none.png"]
    names += ["s3://photos/set/cat/IMG [1]*.png"]
    (tmp_path / "l.txt").write_text("\n".join(names))
    source = Manifest(tmp_path / "l.txt", cache=ImageCache(tmp_path / "cache"))
    image, gone, odd = source.scan()
    assert odd.key == content_key(png(50)), "no name is a pattern"
    assert image == Image(content_key(png(1)), names[0])
    assert gone == UnreadableFile(names[1], "it has gone")
    assert source.read(names[0]) == png(1)
