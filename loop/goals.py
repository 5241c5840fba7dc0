"""What a project is after: the metric that report and plan go by, and the trainer too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loop.errors import ConfigError, nearest

METRICS = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "macro-F1": "macro_f1"}
"""As ``metric`` under ``[goal]`` says it -> key in the metrics of a run and of a simulated cell."""
NORMAL = 1.96
"""Standard deviations to each side in a 95 % interval."""
AUTO = "auto"
"""Accuracy; the trainer makes up for rare classes where the labels show that there are some."""


def named(metric: str) -> str:
    """A metric by its name or its key. Raises ConfigError: there is no such metric."""
    by_key = {key: name for name, key in METRICS.items()}
    name = by_key.get(metric, metric)
    if name not in METRICS:
        raise ConfigError(f"no metric {metric!r}{nearest(metric, METRICS)}")
    return name


def metric_name(metric: str) -> str:
    """What is reported."""
    return "accuracy" if metric == AUTO else metric


def key_of(metric: str) -> str:
    """Where it stands."""
    return METRICS[metric_name(metric)]


def value(metrics: Mapping[str, Any], metric: str) -> float:
    """Of a run, in [0, 1]."""
    return float(metrics[key_of(metric)])


def images_worth(metrics: Mapping[str, Any], metric: str) -> int:
    """Images of which a share has an interval as wide; those that measured, for the accuracy."""
    images = int(metrics["n"])
    lower, upper = interval(metrics, metric)
    if key_of(metric) == "accuracy" or lower == upper:
        return images
    now = min(max(value(metrics, metric), 0.01), 0.99)
    return max(1, min(images, round(now * (1 - now) * (2 * NORMAL / (upper - lower)) ** 2)))


def interval(metrics: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """Ends of its 95 % interval; where resampling gives it no width, that of the accuracy, which
    has one where every image is right, and the value itself."""
    ends = metrics["intervals"].get(key_of(metric))
    if ends is None:
        lower, upper = metrics["intervals"]["accuracy"]
        now = value(metrics, metric)
        return min(float(lower), now), max(float(upper), now)
    return float(ends[0]), float(ends[1])
