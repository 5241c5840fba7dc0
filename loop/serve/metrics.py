"""What the service counts, in Prometheus' text form."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from loop.project.watch import WatchState

KIND = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)
"""Upper ends of the histogram's bins."""


class ServiceMetrics:
    """Counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.predictions = Counter(
            "coreloop_predictions",
            "Tasks that predictions were asked for, by how they were answered.",
            ["how"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "coreloop_predict_seconds",
            "Seconds from a request for predictions to its answer.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.webhooks = Counter(
            "coreloop_webhooks",
            "Webhooks taken, by event; others are not counted.",
            ["event"],
            registry=self._registry,
        )
        self.refused = Counter(
            "coreloop_refused_requests",
            "Requests without the right secret, host or origin.",
            ["path"],
            registry=self._registry,
        )
        self._failures = Gauge(
            "coreloop_watch_failures",
            "Turns of the loop that failed in a row; 0: all is well.",
            registry=self._registry,
        )
        self._alive = Gauge(
            "coreloop_watch_alive",
            "Whether the loop turns by itself.",
            registry=self._registry,
        )
        self._model_round = Gauge(
            "coreloop_model_round",
            "Round after which the model was trained that predicts; 0: none yet.",
            registry=self._registry,
        )

    def shown(self, state: WatchState | None, version: str) -> bytes:
        """All of them as text."""
        self._failures.set(state.tries if state else 0)
        self._alive.set(state is not None and state.alive)
        self._model_round.set(int(version.removeprefix("round-") or 0))
        return generate_latest(self._registry)
