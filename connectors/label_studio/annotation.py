"""One annotation as people made it: the server stores whatever it is given, so that each is looked
at alone, and an odd one is named and passed over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from connectors.base import RemoteAnnotation
from connectors.label_studio.answers import ListedAnnotation, ServerAnswer, Time, moment
from connectors.label_studio.config import Controls
from connectors.label_studio.errors import printable
from connectors.label_studio.people import annotator

MOST_SECONDS = 1e8
"""Three years: nobody looked at an image for longer."""
MOST_SHOWN = 120
"""Characters of a problem."""
MOST_CHARACTERS = 1000
"""Nobody calls a class by more."""
NO_TIME = "no time"
"""Version of an annotation that the server gives none."""


class CompletedBy(ServerAnswer):
    """Who annotated, where the server tells more than a number."""

    id: int


Choice = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


Path = Annotated[list[Choice], Field(min_length=1, max_length=20)]
"""A nested choice, with those above it."""


class ChoicesValue(ServerAnswer):
    """The value of a Choices control with ``choice="single"``."""

    choices: Annotated[list[Choice | Path], Field(max_length=1)]


class Region(ServerAnswer):
    """What was chosen at our control."""

    type: Literal["choices"]
    value: ChoicesValue


class Updated(ServerAnswer):
    """When the server changed an annotation last: a version is told from others by this text."""

    updated_at: Time


class AnnotationContent(Updated):
    """What people, and programs of theirs, put into an annotation. A skip without its flag would
    read as an answer: no field may be missing."""

    result: list[dict[str, Any]] | None
    was_cancelled: bool
    lead_time: Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)] | None
    completed_by: int | CompletedBy | None


def read_annotation(
    entry: ListedAnnotation, key: str, task: str, controls: Controls, url: str
) -> RemoteAnnotation:
    """The annotation in our own type; an odd one has a ``problem`` and no label.

    Args:
        key, task: item key and identity of its task.
        url: where people see it.
    """
    label, seconds, skipped, problem = None, None, False, None
    person: int | CompletedBy | None = None
    version = NO_TIME
    try:
        version = Updated.model_validate(entry.model_dump()).updated_at
        content = AnnotationContent.model_validate(entry.model_dump())
        label = _label(content.result or [], controls)
        seconds, skipped = content.lead_time, content.was_cancelled
        person = content.completed_by
    except ValueError as error:
        problem = _explain(error)
    return RemoteAnnotation(
        id=identity(entry, key),
        version=version,
        key=key,
        annotator=annotator(person.id if isinstance(person, CompletedBy) else person, entry.id),
        label=None if skipped else label,
        seconds=seconds,
        cancelled=skipped,
        at=None if version == NO_TIME else moment(version),
        task=task,
        url=url,
        problem=problem,
    )


def identity(entry: ListedAnnotation, key: str) -> str:
    """``<annotation id>@<key>``: a server set up anew counts from 1 again, on other images."""
    return f"{entry.id}@{key[:12]}"


def _label(result: list[dict[str, Any]], controls: Controls) -> str | None:
    """The class chosen at our control, None if nothing was. Raises ValueError."""
    ours = [region for region in result if region.get("from_name") == controls.label]
    if len(ours) > 1:
        raise ValueError(f"{len(ours)} results of one control")
    chosen = Region.model_validate(ours[0]).value.choices if ours else []
    if not chosen:
        return None
    choice = chosen[0] if isinstance(chosen[0], str) else chosen[0][-1]
    if not choice.isprintable():
        raise ValueError("a choice with control characters")
    return controls.answers.get(choice, choice)


def _explain(error: ValueError) -> str:
    """Which field is odd, and how: ``value.choices: Input should be a valid list``."""
    text = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        text = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return printable(text)[:MOST_SHOWN]
