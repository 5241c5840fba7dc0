"""Labels written into a sheet beside people and spreadsheet programs that edit it."""

from __future__ import annotations

import threading

import pytest

from connectors.base import BatchToLabel, ItemToLabel, Mismatch, Rejected
from connectors.csv_sheet import SKIP, CsvSheet

CLASSES = ["Glas", "=1+1", 'a "b", c', "Restmüll"]
KEYS = [f"{i:032x}" for i in range(5)]
BATCH = BatchToLabel("ab" * 16, 1)


@pytest.fixture
def labeler(tmp_path):
    made = CsvSheet(tmp_path / "sheets", CLASSES)
    made.push(BATCH, [ItemToLabel(key, f"{key}.png") for key in KEYS])
    return made


@pytest.fixture
def sheet(labeler):
    (path,) = labeler.folder.glob("*.csv")
    return path


def pulled(labeler):
    return {note.key: note.label for note in labeler.pull(None)}


@pytest.mark.parametrize("label", CLASSES)
def test_what_is_filled_in_is_what_is_pulled(labeler, label):
    labeler.fill(BATCH, KEYS[1], label, "")
    assert labeler.labels(BATCH)[KEYS[1]] == label
    assert pulled(labeler) == {KEYS[1]: label}
    labeler.fill(BATCH, KEYS[1], SKIP, label)
    (skipped,) = labeler.pull(None)
    assert skipped.cancelled
    labeler.fill(BATCH, KEYS[1], "", SKIP)
    assert pulled(labeler) == {}


def test_no_formula_reaches_a_spreadsheet_program(labeler, sheet):
    labeler.fill(BATCH, KEYS[0], "=1+1", "")
    assert "'=1+1" in sheet.read_text()


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", ["", "end"])
def test_every_other_byte_stays(labeler, sheet, delimiter, ending, mark, last):
    """Columns moved, notes added, quotes and line ends of another program's taste."""
    lines = [
        ["image", "note", "key", "label"],
        ['"a\nphoto.png"', "'quoted'", KEYS[0], '"Glas"'],
        ["b\u2028.png", '"x ""y"""', f'"{KEYS[1]}"', ""],
        [""],
        ["c.png", " spaces ", KEYS[2], " Restmüll "],
    ]
    text = mark + ending.join(delimiter.join(line) for line in lines) + (ending if last else "")
    sheet.write_bytes(text.encode())
    labeler.fill(BATCH, KEYS[1], "Restmüll", "")
    (before, after) = text.split(delimiter.join(lines[2]))
    written = sheet.read_bytes().decode()
    assert written.startswith(before)
    assert written.endswith(after)
    assert pulled(labeler) == {KEYS[0]: "Glas", KEYS[1]: "Restmüll", KEYS[2]: "Restmüll"}


def test_a_line_copied_by_a_person_does_not_contradict(labeler, sheet):
    with sheet.open("a") as file:
        file.write(f"{KEYS[0]},again,\n")
    labeler.fill(BATCH, KEYS[0], "Glas", "")
    assert pulled(labeler) == {KEYS[0]: "Glas"}


def test_an_answer_that_came_meanwhile_is_not_written_over(labeler, sheet):
    text = sheet.read_text().replace(f"{KEYS[2]}.png,", f"{KEYS[2]}.png,Glas")
    sheet.write_text(text)
    with pytest.raises(Mismatch, match="says 'Glas' of this image by now"):
        labeler.fill(BATCH, KEYS[2], "Restmüll", "")
    assert sheet.read_text() == text
    labeler.fill(BATCH, KEYS[3], "Restmüll", "")
    assert pulled(labeler) == {KEYS[2]: "Glas", KEYS[3]: "Restmüll"}


def test_a_sheet_that_a_program_saves_at_that_moment(labeler, sheet, monkeypatch):
    from connectors import csv_sheet

    def slow(text, key, label):
        sheet.write_text(text.replace(f"{KEYS[4]}.png,", f"{KEYS[4]}.png,Glas"))
        return text

    monkeypatch.setattr(csv_sheet, "with_label", slow)
    with pytest.raises(Mismatch, match="just now"):
        labeler.fill(BATCH, KEYS[0], "Glas", "")
    assert pulled(labeler) == {KEYS[4]: "Glas"}


def test_a_sheet_that_is_open_elsewhere(labeler, sheet):
    mark = sheet.with_name(f".~lock.{sheet.name}#")
    mark.touch()
    with pytest.raises(Rejected, match="open in LibreOffice"):
        labeler.fill(BATCH, KEYS[0], "Glas", "")
    mark.unlink()
    labeler.fill(BATCH, KEYS[0], "Glas", "")
    assert pulled(labeler) == {KEYS[0]: "Glas"}


def test_what_cannot_be_filled_in(labeler, sheet):
    text = sheet.read_bytes()
    for key, label, words in [
        (KEYS[0], "Holz", "no class"),
        ("f" * 32, "Glas", "no line of this image"),
    ]:
        with pytest.raises(Rejected, match=words):
            labeler.fill(BATCH, key, label, "")
    assert sheet.read_bytes() == text
    other = sheet.rename(sheet.with_suffix(".elsewhere"))
    sheet.symlink_to(other)
    with pytest.raises(Rejected, match="is a link"):
        labeler.fill(BATCH, KEYS[0], "Glas", "")
    sheet.unlink()
    with pytest.raises(Rejected, match="cannot be"):
        labeler.fill(BATCH, KEYS[0], "Glas", "")
    assert other.read_bytes() == text
    assert [path.name for path in sheet.parent.glob(".edit/*")] == ["lock"]


def test_its_permissions_stay(labeler, sheet):
    sheet.chmod(0o660)
    labeler.fill(BATCH, KEYS[0], "Glas", "")
    assert sheet.stat().st_mode & 0o777 == 0o660


def test_clicks_at_the_same_time_all_count(labeler):
    threads = [threading.Thread(target=labeler.fill, args=(BATCH, key, "Glas", "")) for key in KEYS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pulled(labeler) == dict.fromkeys(KEYS, "Glas")
