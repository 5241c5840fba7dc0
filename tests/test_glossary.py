"""docs/glossary.md has a line for each noun that the records and the contracts are made of."""

from __future__ import annotations

import ast
import re
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


def test_no_term_is_explained_twice():
    assert len(tables()) >= 14
    assert len(TERMS) == len(set(TERMS))
