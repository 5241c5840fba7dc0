"""Folder source: every file is an item or a named reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from connectors import workers
from connectors.base import Image, SourceError, UnreadableFile
from connectors.folder import Folder, content_key
from connectors.synsets import synset_names


def save(path, seed=0, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Pillow.fromarray(values).save(path)


def test_scan_is_sorted_and_labelled(tmp_path):
    for i, name in enumerate(["b/2.png", "a/1.png", "a/0.jpg"]):
        save(tmp_path / name, i)
    images = list(Folder(tmp_path, labelled=True).scan())
    assert [image.uri for image in images] == ["a/0.jpg", "a/1.png", "b/2.png"]
    assert [image.label for image in images] == ["a", "a", "b"]
    assert Folder(tmp_path).read("a/1.png") == (tmp_path / "a/1.png").read_bytes()


def test_equal_bytes_have_equal_keys(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    a, b = Folder(tmp_path).scan()
    assert a.key == b.key


def test_bad_files_are_listed(tmp_path):
    save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "notes.txt").write_text("not looked at")
    images = {image.uri: type(image) for image in Folder(tmp_path).scan()}
    assert images == {
        "good.png": Image,
        "cut.png": UnreadableFile,
        "empty.jpg": UnreadableFile,
        "text.png": UnreadableFile,
    }


def test_links_and_paths_do_not_leave_the_folder(tmp_path):
    outside = tmp_path / "secret.png"
    save(outside)
    inside = tmp_path / "pool"
    save(inside / "a.png", 1)
    (inside / "link.png").symlink_to(outside)
    images = {image.uri: image for image in Folder(inside).scan()}
    assert isinstance(images["link.png"], UnreadableFile)
    with pytest.raises(SourceError, match="leads out"):
        Folder(inside).read("../secret.png")


def test_hidden_files_are_passed_over(tmp_path):
    save(tmp_path / ".thumbs" / "a.png")
    save(tmp_path / ".b.png")
    assert list(Folder(tmp_path).scan()) == []


def test_test_folder_is_the_test_split(tmp_path):
    save(tmp_path / "pool" / "a.png", 1)
    save(tmp_path / "test" / "cat" / "b.png", 2)
    source = Folder(tmp_path / "pool", test=tmp_path / "test")
    images = list(source.scan())
    assert [(image.split, image.label) for image in images] == [("pool", None), ("test", "cat")]
    assert source.read(images[1].uri) == (tmp_path / "test/cat/b.png").read_bytes()


def test_missing_folder(tmp_path):
    with pytest.raises(SourceError, match="path"):
        list(Folder(tmp_path / "none").scan())


def test_decompression_bomb_is_refused(tmp_path):
    Pillow.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    (image,) = Folder(tmp_path).scan()
    assert isinstance(image, UnreadableFile)
    assert "Decompression" in image.reason


def test_workers_and_skip_change_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "IN_PROCESS", 7)
    for i in range(150):
        save(tmp_path / f"{i % 3}" / f"{i:03d}.png", i)
    (tmp_path / "1" / "bad.jpg").write_text("no")
    source = Folder(tmp_path, labelled=True)
    images = list(source.scan())
    assert len(images) == 151
    assert list(source.scan(workers=2)) == images
    assert list(source.scan(skip={image.uri for image in images[:-1]})) == images[-1:]


def test_a_scan_with_workers_can_be_left(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "IN_PROCESS", 0)
    for i in range(5):
        save(tmp_path / f"{i}.png", i)
    scan = Folder(tmp_path).scan(workers=1)
    assert next(scan).uri == "0.png"
    scan.close()


def test_other_formats_under_an_image_name_are_refused(tmp_path):
    Pillow.new("RGB", (4, 4)).save(tmp_path / "page.eps")
    (tmp_path / "page.eps").rename(tmp_path / "page.png")  # would start an interpreter if opened
    (image,) = Folder(tmp_path).scan()
    assert isinstance(image, UnreadableFile)


def test_circular_links_and_pipes_are_listed(tmp_path):
    import os

    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    os.mkfifo(tmp_path / "c.png")
    images = list(Folder(tmp_path).scan())
    assert [type(image) for image in images] == [UnreadableFile] * 3


def test_heic_is_read(tmp_path):
    """A telephone's picture, written by the library that reads it."""
    pillow_heif = pytest.importorskip("pillow_heif")
    from loop.images import browsable, decode

    values = np.zeros((40, 60, 3), dtype=np.uint8)
    values[:, :30] = (255, 0, 0)
    pillow_heif.from_pillow(Pillow.fromarray(values)).save(tmp_path / "a.heic", quality=-1)
    (tmp_path / "torn.heif").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
    source = Folder(tmp_path)
    image, torn = source.scan()
    assert isinstance(image, Image)
    assert isinstance(torn, UnreadableFile)
    encoded = source.read("a.heic")
    decoded = np.asarray(decode(encoded))
    assert decoded.shape == (40, 60, 3)
    assert decoded[20, 10].tolist() == pytest.approx([255, 0, 0], abs=20)
    assert Pillow.open(io.BytesIO(browsable(encoded))).format == "PNG"


def test_links_are_followed_where_asked(tmp_path):
    save(tmp_path / "disk2" / "cat" / "1.png", 1)
    save(tmp_path / "disk3" / "one.png", 2)
    save(tmp_path / "pool" / "dog" / "2.png", 3)
    (tmp_path / "pool" / "cat").symlink_to(tmp_path / "disk2" / "cat")
    (tmp_path / "pool" / "dog" / "3.png").symlink_to(tmp_path / "disk3" / "one.png")
    source = Folder(tmp_path / "pool", labelled=True, follow_links=True)
    scanned = list(source.scan())
    assert [(each.uri, each.label) for each in scanned] == [
        ("cat/1.png", "cat"),
        ("dog/2.png", "dog"),
        ("dog/3.png", "dog"),
    ]
    assert all(content_key(source.read(each.uri)) == each.key for each in scanned)
    with pytest.raises(SourceError, match="leads out"):
        source.read("../disk3/one.png")


def test_synsets_get_their_names(tmp_path):
    words = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane, lifting\nbad line\n"
    (tmp_path / "synset_words.txt").write_text(words)
    for i, folder in enumerate(("n01440764", "n02012849", "n03126707", "n99999999")):
        save(tmp_path / "train" / folder / "1.png", i)
    names = synset_names(tmp_path / "train")
    assert names == {
        "n01440764": "tench",
        "n02012849": "crane",
        "n03126707": "crane, lifting",
    }
    source = Folder(tmp_path / "train", labelled=True, class_names=names)
    assert [each.label for each in source.scan()] == [
        "tench",
        "crane",
        "crane, lifting",
        "n99999999",
    ]
    assert synset_names(tmp_path / "train" / "n01440764") == {}
