"""Class names: from files, and where two are one to the eye."""

from __future__ import annotations

import unicodedata

import pytest
from click.testing import CliRunner

from loop.class_spelling import check_distinct, classes_in, hint, remarks_on, spelling
from loop.cli import cli
from loop.errors import ConfigError
from loop.project import find
from loop.steps.init import init
from tests.conftest import rows, write_images

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def test_names_in_a_file(tmp_path):
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbfcat, wild\r\n\r\n dog \nbird\x0bof prey")
    assert classes_in(tmp_path / "c.txt") == ["cat, wild", "dog", "bird\x0bof prey"]
    (tmp_path / "c.toml").write_text('classes = ["cat, wild", " dog"]')
    assert classes_in(tmp_path / "c.toml") == ["cat, wild", " dog"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("c.toml", b"classes = 3", "names no classes"),
        ("c.toml", b"classes = [", "no list of classes"),
        ("c.txt", b"\xff\xfe\x00", "no list of classes"),
        ("none.txt", None, "cannot read"),
    ],
)
def test_a_file_that_names_none(tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        classes_in(tmp_path / name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "cat "], "blanks at an end"),
        ([COMPOSED, DECOMPOSED], "an accent is one character"),
    ],
)
def test_two_names_that_look_the_same(names, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        check_distinct(names)
    write_images(tmp_path / "images", 6)
    with pytest.raises(ConfigError, match="look the same"):
        init(tmp_path / "p", tmp_path / "images", project={"classes": names})


def test_slips_are_remarked():
    assert remarks_on(["cat", "dog", "2", "10"]) == []
    assert remarks_on(["001", "1", "true", "TRUE", "cat "]) == [
        "the class 'cat ' has a blank at an end",
        "the classes '001' and '1' differ in leading zeros alone",
        "the classes 'true' and 'TRUE' differ in capital letters alone",
    ]
    (remark,) = remarks_on(["cat", "nan"])
    assert remark.startswith("the class 'nan' may mean that there is no label; if so, empty these")
    assert len(remarks_on(["NA", "-1", "<NA>", "None", "nano", "1", "Unlabeled"])) == 5
    assert "leading zeros" in hint("1", ["001", "002"])
    assert "capital letters" in hint("True", ["TRUE", "FALSE"])
    assert "an accent" in hint(DECOMPOSED, [COMPOSED])
    assert hint("cats", ["cat"]) == " (did you mean 'cat'?)"


def test_a_label_is_spelled_as_its_class():
    spelled = spelling([COMPOSED, "dog"])
    assert [spelled(each) for each in (DECOMPOSED, " dog", "dogs")] == [COMPOSED, "dog", "dogs"]


def test_init_takes_commas_and_accents_as_they_are(tmp_path):
    write_images(tmp_path / "images", 60, 2)
    (tmp_path / "images" / "digit-0").rename(tmp_path / "images" / DECOMPOSED)
    (tmp_path / "images" / "digit-1").rename(tmp_path / "images" / "one, or I")
    (tmp_path / "classes.txt").write_text(f"{COMPOSED}\none, or I\nOne, or I\n")
    arguments = ["init", tmp_path / "p", "--images", tmp_path / "images", "--labelled"]
    arguments += ["--labeler", "oracle", "--classes-file", tmp_path / "classes.txt"]
    told = CliRunner().invoke(cli, list(map(str, arguments)))
    assert told.exit_code == 0, told.output
    assert "differ in capital letters alone" in " ".join(told.output.split())
    labels = rows(find(tmp_path / "p"), "SELECT DISTINCT known_label FROM item ORDER BY 1")
    assert labels == [(COMPOSED,), ("one, or I",)]
    told = CliRunner().invoke(cli, [*map(str, arguments), "--classes", "a,b"])
    assert "give one of them" in str(told.exception)
