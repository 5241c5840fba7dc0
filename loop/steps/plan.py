"""plan: the project's own learning curve -> what a target takes."""

from __future__ import annotations

import numpy as np

from db import queries
from loop.costs import typical
from loop.errors import NotReady
from loop.plan import Curve, Plan, affordable
from loop.plan import plan as plan_target
from loop.project import Project
from loop.seeds import generator
from loop.steps.opened import reading


def plan(
    project: Project, target: float, hourly_rate: float | None = None,
    per_label: float | None = None,
) -> tuple[Plan, list[tuple[int, float, float, float]]]:  # fmt: skip
    """The plan, and what doubling the labels once, twice, three times would buy.

    Raises:
        NotReady: fewer than two trained rounds.
        ConfigError: see loop.plan.
    """
    costs = project.config.costs
    curve, seconds = _measured(project)
    rng = generator(project.config.project.seed, "plan")
    found = plan_target(
        curve, target, rng, seconds_per_label=seconds,
        hourly_rate=costs.hourly_rate if hourly_rate is None else hourly_rate,
        per_label=costs.per_label if per_label is None else per_label,
    )  # fmt: skip
    have = int(curve.labels[-1])
    return found, affordable(curve, [2 * have, 4 * have, 8 * have], rng)


def _measured(project: Project) -> tuple[Curve, float | None]:
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        runs = [run for _, run in queries.runs(session, pool.id) if run.arm == "all"]
        answers = queries.answers(session, pool.id)
    by_labels: dict[int, list[float]] = {}
    for run in runs:
        by_labels.setdefault(run.labels, []).append(float(run.metrics["accuracy"]))
    if len(by_labels) < 2:
        raise NotReady(
            f"a plan needs two trained rounds, there are {len(by_labels)}; before that, "
            "'coreloop simulate' on a similar set of labelled images shows what to expect"
        )
    labels = sorted(by_labels)
    seeds = min(len(values) for values in by_labels.values())
    table = np.array([by_labels[n][:seeds] for n in labels]).T
    curve = Curve(np.array(labels, dtype=np.float64), table, int(runs[-1].metrics["n"]))
    return curve, typical([a.seconds for a in answers])
