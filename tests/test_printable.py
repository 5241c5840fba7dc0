"""What others wrote steers no terminal, browser or spreadsheet."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loop import config
from loop.cli.output import bar
from loop.printable import cell, one_line, printable
from loop.project import create
from loop.steps.export import export
from loop.steps.report import report
from loop.steps.scan import scan
from tests.conftest import small_values, write_images
from tests.durability.test_disk_and_signals import coreloop
from tests.test_security import answer_all

ESCAPE = "\x1b[2J\x1b]0;owned\x07"


def test_control_characters_are_written_out():
    assert printable(f"a{ESCAPE}b\n") == "a\\x1b[2J\\x1b]0;owned\\x07b\n"
    assert one_line("a\nb\u202ec\udcff") == "a\\nb\\u202ec\\udcff"
    assert printable("Müll, 犬, 👩‍🔬, a\tb") == "Müll, 犬, 👩‍🔬, a\tb"


@given(st.text())
def test_printable_text_prints(text):
    shown = printable(text)
    shown.encode()
    assert printable(shown) == shown
    assert not set(map(chr, [*range(9), *range(11, 32), *range(127, 160)])) & set(shown)


@pytest.mark.parametrize(
    "text", ["=1+1", "+2a", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1"]
)
def test_no_cell_is_a_formula(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["cat", "-1", "+2.5", "a=b", "", None, 3, -3.5])
def test_other_cells_stay(value):
    assert cell(value) is value


def test_names_of_files_and_classes_through_a_project(tmp_path):
    """In the terminal, the report and the tables; JSON lines keep every text as it is."""
    classes = ["=1+1", f"red{ESCAPE}", "@cmd|' /C calc'!A0"]
    write_images(tmp_path / "plain")
    pool = tmp_path / "pool"
    for number, path in enumerate(sorted((tmp_path / "plain").rglob("*.png"))):
        pool.mkdir(exist_ok=True)
        path.rename(pool / f"={number}{ESCAPE}.png")
    (pool / f"bad{ESCAPE}.png").write_text("no image")
    init = coreloop(
        "init", "new", "--images", str(pool), "--classes", "a,b", "--labeler", "csv", cwd=tmp_path
    )
    assert "bad\\x1b[2J" in init.stdout
    values = small_values(
        pool, project={"classes": classes}, pool={"labelled": False}, labeler={"kind": "csv"}
    )
    with create(tmp_path / "project", config.check(values, "test")) as project:
        answer_all(project, classes)
        html = report(project)["html"].read_text()
        export(project, "csv", tmp_path / "labels.csv")
        export(project, "annotations", tmp_path / "annotations.csv")
        export(project, "jsonl", tmp_path / "labels.jsonl")
    for command in (["status"], ["labels", "--times"], ["labels", "--disagreements"]):
        shown = coreloop(*command, cwd=project.root)
        assert shown.returncode == 0, shown.stderr
        assert "\x1b" not in shown.stdout + shown.stderr + init.stdout
    assert "\x1b" not in html
    assert "\x07" not in html
    for name in ("labels.csv", "annotations.csv"):
        with (tmp_path / name).open(newline="") as file:
            cells = [text for line in csv.reader(file) for text in line]
        assert not [text for text in cells if text[:1] in ("=", "@")]
        assert "'=1+1" in cells
    lines = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert {line["label"] for line in lines} == set(classes)


@pytest.mark.parametrize("name", ["a\\[/b]", "a[/b]", "a\\", "[red]", f"a{ESCAPE}"])
def test_what_is_being_done_is_shown_as_it_is(capsys, name):
    """Brackets were taken for a style; one that closed none ended in a traceback."""
    with bar() as (begin, _):
        begin(f"looking at {name}")
    assert capsys.readouterr().err == one_line(f"looking at {name}") + "\n"


def test_arguments_and_names_of_arrays_are_not_trusted(project):
    (project.arrays / f"x{ESCAPE}.npy").write_bytes(b"x")
    with project:
        scan(project)
    for command in (["status", f"a{ESCAPE}"], ["doctor", "--prune", "--yes"]):
        ended = coreloop(*command, cwd=project.root)
        assert ended.returncode in (0, 2)
        assert "\\x1b]0;owned" in ended.stderr
        assert "\x1b" not in ended.stdout + ended.stderr


def test_a_picture_name_is_not_trusted_in_an_error(tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    Image.new("L", (8, 8)).save(pool / f"one{ESCAPE}.png")
    ended = coreloop("init", "p", "--images", f"pool/no{ESCAPE}", "--classes", "a,b", cwd=tmp_path)
    assert ended.returncode in (2, 3)
    assert "\x1b" not in ended.stderr
