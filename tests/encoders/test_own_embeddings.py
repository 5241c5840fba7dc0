"""examples/own_embeddings, run as a reader would, drives a whole selection."""

from __future__ import annotations

import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from connectors.base import Image
from connectors.folder import Folder
from loop import encoders
from loop.encoders import shards
from loop.errors import ConfigError, DataError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_embeddings" / "make.py"


def test_example(images, tmp_path):
    array = tmp_path / "mine.npy"
    subprocess.run([sys.executable, EXAMPLE, images, array], check=True)
    source = Folder(images)
    scanned = [image for image in source.scan() if isinstance(image, Image)]
    encoder = encoders.get(f"file:{array}")
    shards.encode(
        encoder,
        source.read,
        [image.uri for image in scanned],
        [image.key for image in scanned],
        tmp_path / "pool.npy",
    )
    x = np.load(tmp_path / "pool.npy")
    assert x.shape == (60, 27)
    assert x.std(axis=0).max() > 0.1  # digits differ in their middle


def test_a_relative_path_is_that_of_where_init_was_typed(images, tmp_path):
    subprocess.run([sys.executable, EXAMPLE, images, tmp_path / "mine.npy"], check=True)
    command = [sys.executable, "-c", "from loop.cli import main; main()"]
    made = ["init", "p", "--images", "images", "--encoder", "file:mine.npy"]
    subprocess.run([*command, *made], cwd=tmp_path, check=True)
    subprocess.run([*command, "embed"], cwd=tmp_path / "p", check=True)
    assert f"file:{tmp_path}/mine.npy" in (tmp_path / "p" / "coreloop.toml").read_text()


NAMES = ["left/00.png", "left/two  spaces.png", "left/caf\u00e9.png", "left/trailing .png"]
ODD = [*NAMES, "left/line\u2028sep.png", "left/next\x85line.png"]


def written(path, names, encoding="utf-8", end="\n", values=None):
    """An encoder of one-hot rows with these names beside them."""
    rows = np.eye(len(names), dtype=np.float32) if values is None else values
    np.save(path / "mine.npy", rows)
    (path / "mine.keys").write_bytes((end.join(names) + end).encode(encoding))
    return encoders.get(f"file:{path / 'mine.npy'}")


@pytest.mark.parametrize(
    ("how", "encoding", "end"),
    [
        (lambda name: name, "utf-8", "\n"),
        (lambda name: name, "utf-8-sig", "\n"),
        (lambda name: name, "utf-8", "\r\n"),
        (lambda name: name, "utf-16", "\r\n"),
        (lambda name: name.replace("/", "\\"), "utf-8-sig", "\r\n"),
        (lambda name: "./" + name, "utf-8", "\n"),
        (lambda name: unicodedata.normalize("NFD", name), "utf-8", "\n"),
    ],
)
def test_names_as_other_systems_write_them(how, encoding, end, tmp_path):
    """Only a line feed ends a line; what cannot be told from an image's name to the letter is."""
    encoder = written(tmp_path, [how(name) for name in ODD], encoding, end)
    for row, name in enumerate(ODD):
        assert encoder.take(None, "0" * 32, name).argmax() == row, name


def test_a_name_that_two_lines_could_mean_is_asked_for(tmp_path):
    encoder = written(tmp_path, ["./a.png", ".\\a.png", "b.png"])
    with pytest.raises(DataError, match="no row for it"):
        encoder.take(None, "0" * 32, "a.png")
    assert encoder.take(None, "0" * 32, "b.png").argmax() == 2


def test_the_name_to_the_letter_comes_first(tmp_path):
    encoder = written(tmp_path, ["caf\u00e9.png", "cafe\u0301.png"])
    assert encoder.take(None, "0" * 32, "cafe\u0301.png").argmax() == 1


def test_rows_that_are_all_alike_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="all alike"):
        written(tmp_path, NAMES, values=np.ones((4, 8), np.float32))


def test_names_in_another_code_page_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="keys"):
        written(tmp_path, ["caf\u00e9.png", "b.png"], encoding="latin-1")


ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)


class Code:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no .npy file, or an empty one"),
        (pickle.dumps(ROWS), "no .npy file"),
        (pickle.dumps(Code()), "no .npy file"),
        (b"0.1,0.2\n", "no .npy file"),
        ("npz", "an archive, as np.savez and torch.save write"),
        ("objects", "objects, not numbers"),
        ("short", "cannot read"),
    ],
)
def test_what_is_no_array_is_refused_and_never_run(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        written(tmp_path, NAMES[:3], values=ROWS)
    array = tmp_path / "mine.npy"
    if content == "npz":
        np.savez(tmp_path / "mine.npz", emb=ROWS)
        content = (tmp_path / "mine.npz").read_bytes()
    elif content == "objects":
        np.save(array, np.array([Code()] * 4, dtype=object), allow_pickle=True)
        content = array.read_bytes()
    elif content == "short":
        content = array.read_bytes()[:-6]
    array.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as refused:
        encoders.get(f"file:{array}")
    assert "allow_pickle" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("names", "values", "words"),
    [
        (["a", "b", "a"], ROWS[:3], "names 'a' 2 times"),
        (["a", "b"], ROWS, "4 rows, mine.keys 2 lines; .*; the array may be transposed"),
        (["a", "b", "c"], ROWS, "4 rows, mine.keys 3 lines; one name per row is wanted$"),
        (["a", "b"], ROWS[:2, :0], r"float32 \(2, 0\); floats of shape"),
    ],
)
def test_rows_and_names_that_do_not_fit(tmp_path, names, values, words):
    with pytest.raises(ConfigError, match=words):
        written(tmp_path, names, values=values)


def test_empty_lines_at_the_end_are_no_names(tmp_path):
    encoder = written(tmp_path, [*NAMES, "", ""], values=np.eye(4, dtype=np.float32))
    assert encoder.take(None, "", NAMES[3]).argmax() == 3


def test_names_in_another_encoding_are_said(tmp_path):
    with pytest.raises(ConfigError, match=r"mine\.keys: .*; save it as UTF-8"):
        written(tmp_path, NAMES, encoding="latin-1")
