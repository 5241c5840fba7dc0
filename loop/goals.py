"""What a project is after: the metric that report and plan go by, and the trainer too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METRICS = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "macro-F1": "macro_f1"}
"""As ``metric`` under ``[goal]`` says it -> key in the metrics of a run and of a simulated cell."""
AUTO = "auto"
"""Accuracy; the trainer makes up for rare classes where the labels show that there are some."""


def metric_name(metric: str) -> str:
    """What is reported."""
    return "accuracy" if metric == AUTO else metric


def key_of(metric: str) -> str:
    """Where it stands."""
    return METRICS[metric_name(metric)]


def value(metrics: Mapping[str, Any], metric: str) -> float:
    """Of a run, in [0, 1]."""
    return float(metrics[key_of(metric)])


def interval(metrics: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """Ends of its 95 % interval; where resampling gives it no width, that of the accuracy, which
    has one where every image is right, and the value itself."""
    ends = metrics["intervals"].get(key_of(metric))
    if ends is None:
        lower, upper = metrics["intervals"]["accuracy"]
        now = value(metrics, metric)
        return min(float(lower), now), max(float(upper), now)
    return float(ends[0]), float(ends[1])
