"""Training runs as the records have them: the live ones, and the control set beside the picks."""

from __future__ import annotations

from db.models import TrainingRun
from loop.reports.facts import Control

CONTROL = "coreset minus control"
"""Key in the notes of a control's runs: the difference in accuracy and its 95 % interval over the
test images."""


def newest_control(runs: list[TrainingRun]) -> Control | None:
    """The first picks against as many random ones, as last trained; None without a control."""
    noted = [run for run in runs if run.arm == "control" and CONTROL in run.notes]
    if not noted:
        return None
    mean, lower, upper = noted[-1].notes[CONTROL]
    return Control(noted[-1].labels, mean, lower, upper, int(noted[-1].metrics["n"]))
