"""Questions that a command asks before it goes on."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from loop.cli.mend import undo
from loop.steps.run import run
from tests.steps.test_corrections import sheet_project


@pytest.mark.parametrize(
    ("typed", "exit_code", "told"),
    [("", 2, "--yes goes on without asking"), ("n\n", 1, "Aborted"), ("y\n", 0, "was taken back")],
)
def test_where_nobody_can_answer_the_way_without_a_question_is_named(
    tmp_path, images, typed, exit_code, told
):
    """It was called interrupted, and that the same command continues."""
    project = sheet_project(tmp_path / "sheets", images)
    run(project)
    done = CliRunner().invoke(undo, ["-p", str(project.root)], input=typed)
    assert (done.exit_code, told in done.output) == (exit_code, True), (done.output, done.exception)
