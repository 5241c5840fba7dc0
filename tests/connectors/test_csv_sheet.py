"""Sheets as people and spreadsheet programs leave them."""

from __future__ import annotations

from contextlib import suppress

import pytest

from connectors.base import BatchToLabel, ItemToLabel, Rejected
from connectors.csv_sheet import SKIP, CsvSheet
from loop import config
from loop.errors import ConfigError

CLASSES = ["Glas", "Papier", "Restmüll"]
KEYS = [f"{i:032x}" for i in range(4)]


@pytest.fixture
def labeler(tmp_path):
    made = CsvSheet(tmp_path / "sheets", CLASSES)
    made.prepare(CLASSES)
    made.push(BatchToLabel("ab" * 16, 1), [ItemToLabel(key, f"{key}.png") for key in KEYS])
    return made


def write(labeler, *lines, encoding="utf-8"):
    (sheet,) = labeler.folder.glob("*.csv")
    sheet.write_bytes("\n".join(["key,image,label", *lines]).encode(encoding))
    return sheet


def pulled(labeler):
    return {note.key: note.label for note in labeler.pull(None)}


def test_all_wrong_lines_are_named_at_once(labeler):
    sheet = write(labeler, f"{KEYS[0]},a,Glas", f"{KEYS[1]},b,Pappe", f"{KEYS[2]},c,Holz")
    with pytest.raises(Rejected) as refused:
        pulled(labeler)
    message = str(refused.value)
    assert sheet.name in message
    assert "line 3: 'Pappe' is no class" in message
    assert "line 4: 'Holz' is no class" in message


def test_capital_letters_do_not_matter_where_one_class_is_meant(labeler):
    write(labeler, f"{KEYS[0]},a,glas", f"{KEYS[1]},b,PAPIER", f"{KEYS[2]},c,RESTMÜLL")
    assert list(pulled(labeler).values()) == ["Glas", "Papier", "Restmüll"]
    write(labeler, f"{KEYS[0]},a,Skip")
    (note,) = labeler.pull(None)
    assert (note.label, note.cancelled) == (None, True)


def test_an_exact_name_comes_first_and_an_ambiguous_one_is_refused(tmp_path):
    labeler = CsvSheet(tmp_path / "sheets", ["Polish", "polish", "Skip"])
    labeler.prepare(labeler.classes)
    labeler.push(BatchToLabel("ab" * 16, 1), [ItemToLabel(key, f"{key}.png") for key in KEYS])
    write(labeler, f"{KEYS[0]},a,Polish", f"{KEYS[1]},b,polish", f"{KEYS[2]},c,Skip")
    assert list(pulled(labeler).values()) == ["Polish", "polish", "Skip"]
    write(labeler, f"{KEYS[0]},a,POLISH", f"{KEYS[1]},b,SKIP")
    with pytest.raises(Rejected) as refused:
        pulled(labeler)
    message = str(refused.value)
    assert "line 2: 'POLISH' is no class (it may be 'Polish' or 'polish')" in message
    assert "line 3: 'SKIP' is no class (it may be 'Skip' or 'skip')" in message


def test_one_image_with_two_answers(labeler):
    write(labeler, f"{KEYS[0]},a,Glas", f"{KEYS[1]},b,Glas", f"{KEYS[0]},a,Papier")
    with pytest.raises(Rejected, match="lines 2 and 4: one image, 'Glas' and 'Papier'"):
        pulled(labeler)


@pytest.mark.parametrize("labels", [("Glas", "Glas"), ("Glas", ""), ("", "Glas")])
def test_a_copied_line_is_no_second_answer(labeler, labels):
    write(labeler, *(f"{KEYS[0]},a,{label}" for label in labels))
    assert pulled(labeler) == {KEYS[0]: "Glas"}
    assert len(labeler.inventory({})[KEYS[0]]) == 1
    assert labeler.progress().annotated == 1


def test_many_wrong_lines_are_cut_short(labeler):
    write(labeler, *(f"{KEYS[0]},a,wrong-{i}" for i in range(30)))
    with pytest.raises(Rejected, match="and 20 more"):
        pulled(labeler)


def test_another_encoding(labeler):
    write(labeler, f"{KEYS[0]},a,Restmüll", encoding="latin-1")
    with pytest.raises(Rejected, match="save it again as 'CSV UTF-8'"):
        pulled(labeler)
    write(labeler, f"{KEYS[0]},a,Restmüll", encoding="utf-16")
    with pytest.raises(Rejected, match="UTF-8"):
        pulled(labeler)
    write(labeler, f"{KEYS[0]},a,Restmüll", encoding="utf-8-sig")
    assert pulled(labeler) == {KEYS[0]: "Restmüll"}


def test_excel_of_windows(labeler):
    (sheet,) = labeler.folder.glob("*.csv")
    text = f'key;image;label;note\r\n{KEYS[0]};a;Papier;"ok, so"\r\n'
    sheet.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert pulled(labeler) == {KEYS[0]: "Papier"}


@pytest.mark.parametrize("garbage", [b"\x00\x00,\x00,\x00", b'"x', b",", b"x" * 200_000])
def test_garbage_is_no_traceback(labeler, garbage):
    (sheet,) = labeler.folder.glob("*.csv")
    sheet.write_bytes(b"key,image,label\n" + garbage)
    with suppress(Rejected):
        assert pulled(labeler) == {}


@pytest.mark.parametrize("name", [SKIP, f" {SKIP} "])
def test_no_class_is_called_as_a_skip(name):
    values = {"project": {"name": "p", "classes": ["Glas", name]}, "pool": {"path": "."}}
    with pytest.raises(ConfigError, match=r"'[ ]?skip[ ]?', which on a sheet means"):
        config.check(values, "test")
    config.check({**values, "labeler": {"kind": "oracle"}}, "test")
    values["project"]["classes"][1] = "Skip"  # a sheet tells these apart
    config.check(values, "test")


def test_letters_that_look_the_same_are_the_same(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    made = CsvSheet(tmp_path / "sheets", [apart, "Glas"])
    made.prepare([apart, "Glas"])
    made.push(BatchToLabel("ab" * 16, 1), [ItemToLabel(key, f"{key}.png") for key in KEYS])
    write(made, f"{KEYS[0]},a,{composed}", f"{KEYS[1]},a,{apart}")
    assert pulled(made) == {KEYS[0]: apart, KEYS[1]: apart}


def test_side_files_of_other_systems_are_no_sheets(labeler):
    sheet = write(labeler, f"{KEYS[0]},a,Glas")
    sheet.with_name(f"._{sheet.name}").write_bytes(b"\xff\x00\x05\x16")
    assert pulled(labeler) == {KEYS[0]: "Glas"}
    assert labeler.progress().annotated == 1


@pytest.mark.parametrize("name", ["cat ", "\u00a0cat", "e\u0301", "cat\u2028"])
def test_a_class_is_read_back_as_people_see_it(labeler, name):
    """Nothing could be written for a class with a blank at an end."""
    labeler.prepare([name, "dog"])
    write(labeler, f"{KEYS[0]},a,{name.strip()}", f'{KEYS[1]},b,"{name}"')
    assert pulled(labeler) == {KEYS[0]: name, KEYS[1]: name}


def test_classes_that_look_the_same_are_told_apart_by_what_is_written(labeler):
    labeler.prepare(["\u00e9", "e\u0301"])
    write(labeler, f"{KEYS[0]},a,\u00e9", f"{KEYS[1]},b,e\u0301")
    assert pulled(labeler) == {KEYS[0]: "\u00e9", KEYS[1]: "e\u0301"}


@pytest.mark.parametrize("first", ["sep=;", "SEP=;"])
def test_a_first_line_that_names_the_delimiter(labeler, first):
    """Some spreadsheet programs write and read it; the page writes around it."""
    (sheet,) = labeler.folder.glob("*.csv")
    lines = [first, "key;image;label", f"{KEYS[0]};a;Papier", f"{KEYS[1]};b;"]
    sheet.write_bytes("\r\n".join(lines).encode())
    assert pulled(labeler) == {KEYS[0]: "Papier"}
    labeler.fill(BatchToLabel("ab" * 16, 1), KEYS[1], "Glas", "")
    assert sheet.read_bytes().startswith(f"{first}\r\nkey;image;label\r\n".encode())
    assert pulled(labeler) == {KEYS[0]: "Papier", KEYS[1]: "Glas"}


def test_tabs_and_columns_in_other_letters(labeler):
    (sheet,) = labeler.folder.glob("*.csv")
    sheet.write_text(f"Key\t Image \tLABEL\n{KEYS[0].upper()}\ta\tPapier\n")
    assert pulled(labeler) == {KEYS[0]: "Papier"}
    labeler.fill(BatchToLabel("ab" * 16, 1), KEYS[0], "Glas", "Papier")
    assert sheet.read_text() == f"Key\t Image \tLABEL\n{KEYS[0].upper()}\ta\tGlas\n"


def test_a_column_that_is_there_twice_is_refused(labeler):
    """The second, empty one would take the answers back."""
    (sheet,) = labeler.folder.glob("*.csv")
    sheet.write_text(f"key,image,label,Label\n{KEYS[0]},a,Papier,\n")
    with pytest.raises(Rejected, match="2 columns called 'label'"):
        pulled(labeler)


def test_an_answer_without_its_key_is_named(labeler):
    """Spreadsheet programs take some keys for numbers."""
    write(labeler, f"{KEYS[0]},a,Glas", "1.23E+30,b,Glas", ",,Papier", ",,", "")
    with pytest.raises(Rejected) as refused:
        pulled(labeler)
    assert "line 3: '1.23e+30' is no key; put back what stood there" in str(refused.value)
    assert "line 4: '' is no key" in str(refused.value)
    assert "line 5" not in str(refused.value)
    write(labeler, f"{KEYS[0]},a,Glas", "1.23E+30,b,", ",,", "")
    assert pulled(labeler) == {KEYS[0]: "Glas"}


def test_columns_sorted_without_the_others_are_no_answers(tmp_path):
    """Each label would be another image's."""
    names = {key: f"{key[-1]}.png" for key in KEYS}
    made = CsvSheet(tmp_path / "sheets", CLASSES, uris=lambda keys: names)
    made.push(BatchToLabel("ab" * 16, 1), [ItemToLabel(key, names[key]) for key in KEYS])
    write(made, f"{KEYS[0]},1.png,Glas", f"{KEYS[1]},0.png,Papier", f"{KEYS[2]},3.png,")
    with pytest.raises(Rejected) as refused:
        pulled(made)
    message = str(refused.value)
    assert "line 2: the key is that of 0.png, the name that of 1.png; sort whole lines" in message
    assert "line 3" in message
    assert "line 4" not in message
    write(made, f"{KEYS[0]},,Glas", f"{KEYS[1]},moved/1.png,Papier", f"{KEYS[2]},2.png,Glas")
    assert len(pulled(made)) == 3


@pytest.mark.parametrize("suffix", [".xlsx", ".ods", ".CSV", ".txt"])
def test_a_sheet_saved_in_another_form_is_named(labeler, suffix):
    (sheet,) = labeler.folder.glob("*.csv")
    sheet.with_suffix(suffix).write_bytes(b"PK")
    (note,) = labeler.progress().notes
    assert note.startswith(f"{sheet.stem}{suffix} is not read; save it as 'CSV UTF-8'")
    sheet.with_name(f"~${sheet.stem}.xlsx").write_bytes(b"")  # Excel has it open
    assert len(labeler.progress().notes) == 1
