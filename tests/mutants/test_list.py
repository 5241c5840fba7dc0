"""The list of make mutants fits the code: each fault can be put in, and its tests are there."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.run import ROOT, applied, mutants

MUTANTS = mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_each_fault_can_be_put_in(mutant, tmp_path):
    assert mutant.misfit(ROOT) == ""
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    copy.write_bytes((ROOT / mutant.file).read_bytes())
    with applied(mutant, tmp_path):
        ast.parse(copy.read_text())  # a tree that does not parse would be noticed by any test
        assert copy.read_bytes() != (ROOT / mutant.file).read_bytes()
    assert copy.read_bytes() == (ROOT / mutant.file).read_bytes()


def test_there_are_forty_different_ones():
    assert len({mutant.fault for mutant in MUTANTS}) == len(MUTANTS) >= 40
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
