"""Every file below a folder is an image of the pool, unreadable, or counted with why it is not."""

from __future__ import annotations

import os

import pytest

from connectors import heif
from connectors.walk import (
    DANGLING,
    HIDDEN,
    LINKED,
    NO_HEIF,
    OURS,
    READ_ALREADY,
    SUFFIX,
    SYSTEM,
    Walk,
)
from loop.export.folders import MARK

TAKEN = ["a/1.png", "a/2.JPG", "b/3.jfif", "b/4.jpe", "b/5.avif", "b/c/6.tiff", "7.webp"]
LEFT = {
    (HIDDEN, ""): [".hidden.png", ".git/objects/a.png", ".git/b", "a/.DS_Store"],
    (SYSTEM, ""): [
        *("a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/x.png", "$RECYCLE.BIN/S-1/y.jpg"),
        *("lost+found/z.png", "b/.@__thumb/3.jpg", "__MACOSX/._1.png"),
    ],
    (OURS, ""): [
        *("project/coreloop.toml", "project/dataset/cat/1.png", "backup/backup.json"),
        *(f"dataset/{MARK}", "dataset/train/cat/1.png", f"a/new/{MARK}", "a/new/cat/2.png"),
    ],
    (NO_HEIF, ".heic"): ["a/IMG_1.HEIC", "a/IMG_2.heic"],
    (SUFFIX, ".jpg_original"): ["a/1.jpg_original"],
    (SUFFIX, ".jpg~"): ["a/1.jpg~"],
    (SUFFIX, ".part"): ["a/1.jpg.part"],
    (SUFFIX, ""): ["a/README", "b/picture"],
    (SUFFIX, ".db"): ["b/Thumbs.db"],
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Read where the extra for HEIC is not installed."""
    monkeypatch.setattr(heif, "can_be_read", lambda: False)
    for name in [*TAKEN, *(name for names in LEFT.values() for name in names)]:
        (tmp_path / "pool" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pool" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "8.png").touch()
    (tmp_path / "pool" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pool" / "b" / "circle").symlink_to(tmp_path / "pool")
    return tmp_path / "pool"


def test_each_file_is_taken_or_counted(tree):
    walk = Walk(tree)
    assert sorted(path.relative_to(tree).as_posix() for path in walk) == sorted(TAKEN)
    counted = {(each.reason, each.suffix): each.count for each in walk.passed_over}
    assert counted == {key: len(names) for key, names in LEFT.items()} | {(LINKED, ""): 2}
    everything = sum(len(files) for _, _, files in os.walk(tree))
    links = counted.pop((LINKED, ""))
    assert everything == len(TAKEN) + sum(counted.values())
    assert links == 2


def test_an_example_is_named_and_the_most_come_first(tree):
    walk = Walk(tree)
    list(walk)
    counts = [each.count for each in walk.passed_over]
    assert counts == sorted(counts, reverse=True)
    for each in walk.passed_over:
        assert (tree / each.example).exists()
        assert each.example in LEFT.get((each.reason, each.suffix), [each.example])


def test_the_order_is_that_of_the_paths(tree):
    paths = list(Walk(tree))
    assert paths == list(Walk(tree))
    assert paths.index(tree / "a" / "1.png") < paths.index(tree / "b" / "3.jfif")


@pytest.mark.skipif(os.geteuid() == 0 and not hasattr(os, "seteuid"), reason="root may read all")
def test_a_folder_that_may_not_be_listed_is_named(tree):
    closed = tree / "closed"
    closed.mkdir()
    (closed / "1.png").touch()
    closed.chmod(0)
    user = os.geteuid()
    if user == 0:
        for folder in (tree, *tree.parents):
            folder.chmod(folder.stat().st_mode | 0o555)
        os.seteuid(65534)
    try:
        walk = Walk(tree)
        taken = list(walk)
    finally:
        os.seteuid(user)
        closed.chmod(0o755)
    assert len(taken) == len(TAKEN)
    assert walk.closed == [("closed", "this folder cannot be listed: Permission denied")]


def test_linked_folders_are_followed_each_place_once(tree):
    (tree / "twice").symlink_to(tree.parent / "elsewhere")
    (tree / "a" / "back").symlink_to(tree / "b")
    (tree.parent / "elsewhere" / "round").symlink_to(tree)
    (tree.parent / "elsewhere" / "self").symlink_to(tree.parent / "elsewhere")
    walk = Walk(tree, follow_links=True)
    taken = [path.relative_to(tree).as_posix() for path in walk]
    followed = {name for name in taken if name not in TAKEN}
    assert followed == {"linked/8.png"}
    counted = {each.reason: each.count for each in walk.passed_over}
    assert LINKED not in counted
    assert counted[READ_ALREADY] == 5
    assert len(taken) == len(set(taken)) == len(TAKEN) + 1


def test_heic_is_taken_where_it_can_be_read(tree, monkeypatch):
    monkeypatch.setattr(heif, "can_be_read", lambda: True)
    walk = Walk(tree)
    assert {path.name for path in walk if path.suffix.lower() == ".heic"} == {
        "IMG_1.HEIC",
        "IMG_2.heic",
    }
    assert (NO_HEIF, ".heic") not in {(each.reason, each.suffix) for each in walk.passed_over}


def test_a_link_that_leads_nowhere_is_called_so(tmp_path):
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "b").symlink_to(tmp_path / "unmounted")
    (tmp_path / "notes.txt").write_text("")
    walk = Walk(tmp_path)
    assert [path.name for path in walk] == ["0.png"]
    assert {each.reason: each.example for each in walk.passed_over} == {
        DANGLING: "b",
        SUFFIX: "notes.txt",
    }
