"""Guesses on tasks: the server checks neither class nor score, and knows no duplicates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.base import Mismatch, Prediction, Unknown
from connectors.label_studio.answers import PredictionsAnswer
from connectors.label_studio.config import Controls
from connectors.label_studio.project import RemoteProject
from connectors.label_studio.tasks import list_tasks

LIVE = "coreloop"
"""Title of our ML backend; as a project's model version it means that the backend is asked."""
OURS = re.compile(r"round-\d+|zero-shot|coreloop")
"""Model versions that we name."""


def predict(
    project: RemoteProject,
    tasks: Mapping[str, str],
    guesses: Mapping[str, Prediction],
    order: str,
) -> None:
    """Shows these guesses (by item key) on tasks that are there, and no others of their
    versions: what the server has of them is replaced, so that repeating it adds nothing.

    Raises:
        Mismatch: a guess names no class of the label config.
        Unknown: the server stored fewer; the same call puts it right.
    """
    controls = project.controls()
    if len(project.projects) > 1:  # the server takes no guess for a task of another project
        ids = {str(task.id) for task in list_tasks(project.client, project.id)}
        tasks = {key: id_ for key, id_ in tasks.items() if id_ in ids}
    wanted = [
        {"task": int(tasks[key]), **prediction(guess, controls)}
        for key, guess in guesses.items()
        if key in tasks
    ]
    versions = {guess.version for guess in guesses.values()}
    for version in versions:
        project.client.write("DELETE", f"{project.path}model-versions/", {"model_version": version})
    path = f"{project.path}import/predictions"
    kept = project.client.write("POST", path, wanted, answer=PredictionsAnswer).created
    if kept != len(wanted):
        raise Unknown(f"the server kept {kept} of {len(wanted)} predictions; repeat it")
    show_newest(project, versions, order)


def show_newest(project: RemoteProject, versions: set[str], order: str) -> None:
    """The server keeps showing the first version it ever got; this names the newest, unless our
    backend is asked live, which an order by score knows nothing of."""
    live = project.description.model_version == LIVE and order != "uncertain"
    values = {
        "model_version": LIVE if live else max(versions),
        "show_collab_predictions": True,
    }
    if order == "uncertain":
        values["sampling"] = "Uncertainty sampling"
    project.change(values)


def prediction(guess: Prediction, controls: Controls) -> dict[str, Any]:
    """A guess as the server takes it. Raises Mismatch if it fits no choice."""
    if guess.label not in controls.classes or not 0 <= guess.score <= 1:
        raise Mismatch(
            f"the guess {guess.label!r} with score {guess.score} fits no choice of the label config"
        )
    return {
        "model_version": guess.version,
        "score": guess.score,
        "result": [
            {
                "from_name": controls.label,
                "to_name": controls.image,
                "type": "choices",
                "value": {"choices": [controls.stored[guess.label]]},
            }
        ],
    }
