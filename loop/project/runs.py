"""Training runs as the records have them: the live ones, and the control set beside the picks."""

from __future__ import annotations

from db.models import TrainingRun
from loop.goals import key_of, metric_name
from loop.measuring.by_sample import EACH
from loop.measuring.runs import DIFFERENCE, DIFFERENCES
from loop.reports.facts import Control, ExpectedCost

FINISH = "finish"
"""Key in the notes of a run on all labels: see ``ExpectedCost``."""


def newest_control(runs: list[TrainingRun], metric: str) -> Control | None:
    """The first picks against as many random ones, as last trained; None without a control.

    Args:
        metric: see ``loop.goals``; runs of older versions have the difference in accuracy alone.
    """
    noted = [run for run in runs if run.arm == "control" and DIFFERENCE in run.notes]
    if not noted:
        return None
    newest = noted[-1]
    by_metric = {key_of("accuracy"): newest.notes[DIFFERENCE], **newest.notes.get(DIFFERENCES, {})}
    shown = metric_name(metric) if key_of(metric) in by_metric else "accuracy"
    mean, lower, upper = by_metric[key_of(shown)]
    labels = int(newest.notes.get(EACH, newest.labels))
    by_sample = EACH in newest.notes
    images = int(newest.metrics["n"])
    return Control(labels, mean, lower, upper, images, by_sample, shown)


def expected_cost(run: TrainingRun) -> ExpectedCost | None:
    """What finishing was expected to take when a model was trained; older versions noted none."""
    noted = run.notes.get(FINISH)
    return ExpectedCost(**noted) if noted else None
