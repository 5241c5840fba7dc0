"""Training runs as the records have them: the live ones, and the control set beside the picks."""

from __future__ import annotations

from db.models import TrainingRun
from loop.measuring.by_sample import EACH
from loop.measuring.runs import DIFFERENCE
from loop.reports.facts import Control, ExpectedCost

FINISH = "finish"
"""Key in the notes of a run on all labels: see ``ExpectedCost``."""


def newest_control(runs: list[TrainingRun]) -> Control | None:
    """The first picks against as many random ones, as last trained; None without a control."""
    noted = [run for run in runs if run.arm == "control" and DIFFERENCE in run.notes]
    if not noted:
        return None
    mean, lower, upper = noted[-1].notes[DIFFERENCE]
    newest = noted[-1]
    labels = int(newest.notes.get(EACH, newest.labels))
    by_sample = EACH in newest.notes
    return Control(labels, mean, lower, upper, int(newest.metrics["n"]), by_sample)


def expected_cost(run: TrainingRun) -> ExpectedCost | None:
    """What finishing was expected to take when a model was trained; older versions noted none."""
    noted = run.notes.get(FINISH)
    return ExpectedCost(**noted) if noted else None
