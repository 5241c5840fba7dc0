"""docs/glossary.md has a line for each noun that the records and the contracts are made of."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TERMS = re.findall(r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
CONTRACTS = ["Source", "Labeler", "Encoder", "Inputs", "Scorer", "Task", "Trainer", "Engine"]


def tables():
    """Names of the classes that are tables."""
    classes = ast.parse((ROOT / "db/models.py").read_text()).body
    return [
        node.name
        for node in classes
        if isinstance(node, ast.ClassDef) and ast.unparse(node.bases[0]) == "Base"
    ]


@pytest.mark.parametrize("noun", [*tables(), *CONTRACTS])
def test_each_noun_has_one_line(noun):
    assert TERMS.count(noun) == 1


def test_each_class_name_has_one_meaning():
    modules = [
        path for folder in ("loop", "connectors", "db") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    names = Counter(
        node.name.removeprefix("_")
        for module in modules
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def test_no_term_is_explained_twice():
    assert len(tables()) >= 14
    assert len(TERMS) == len(set(TERMS))
