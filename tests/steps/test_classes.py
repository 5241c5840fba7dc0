"""Classes that are renamed, taken out, reordered or added while a project is at work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loop import config
from loop.errors import ConfigError
from loop.project import create
from loop.steps.export import export
from loop.steps.report import report
from loop.steps.run import run
from loop.steps.status import status
from tests.conftest import rows, small_values


@pytest.fixture
def project(tmp_path, images):
    """One round is over, another is to come."""
    values = small_values(images, selection={"budgets": [6]})
    made = create(tmp_path / "p", config.check(values, "test"))
    run(made)
    return having(made, "selection", budgets=[6, 6])


def having(project, section, **keys):
    changed = getattr(project.config, section).model_copy(update=keys)
    return replace(project, written=project.config.model_copy(update={section: changed}))


def test_a_renamed_class_stops_what_uses_labels(project):
    before = rows(project, "SELECT count(*) FROM run"), rows(project, "SELECT count(*) FROM round")
    wrong = having(project, "project", classes=["digit-0", "Digit One", "digit-2"])
    for step in (run, report, lambda p: export(p, "csv", p.root / "out")):
        with pytest.raises(ConfigError, match="answers say 'digit-1'"):
            step(wrong)
    assert any("digit-1" in trouble for trouble in status(wrong).troubles)
    after = rows(project, "SELECT count(*) FROM run"), rows(project, "SELECT count(*) FROM round")
    assert before == after
    assert run(project).why == "done"
    assert not status(project).troubles


def test_another_order_is_refused_once_a_model_has_learned_it(project):
    with pytest.raises(ConfigError, match="digit-0, digit-1, digit-2"):
        run(having(project, "project", classes=["digit-2", "digit-1", "digit-0"]))


def test_a_class_may_be_added_at_the_end(project):
    grown = having(project, "project", classes=["digit-0", "digit-1", "digit-2", "new"])
    assert run(grown).why == "done"
    assert report(grown)


def test_before_anything_is_trained_classes_may_change(tmp_path, images):
    values = small_values(images, labeler={"kind": "csv", "error_rate": 0.0})
    made = create(tmp_path / "p", config.check(values, "test"))
    run(made)  # nobody has answered
    turned = having(made, "project", classes=["digit-2", "digit-0", "digit-1"])
    assert run(turned).why == "waiting"


def test_the_oracle_knows_a_class_that_the_config_lacks(tmp_path, images):
    values = small_values(images, project={"classes": ["digit-0", "digit-2", "digit-one"]})
    made = create(tmp_path / "p", config.check(values, "test"))
    with pytest.raises(ConfigError, match=r"'digit-1'.*\(did you mean"):
        run(made)
    assert not rows(made, "SELECT * FROM batch")
