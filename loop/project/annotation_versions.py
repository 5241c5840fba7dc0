"""Annotations in the records: every version that says something new is kept, none is changed."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import RemoteAnnotation
from db import models


@dataclass(frozen=True)
class Content:
    """What a version of an annotation says."""

    label: str | None
    cancelled: bool
    deleted: bool
    seconds: float | None
    problem: str | None


def store_versions(
    session: Session, targets: Mapping[str, tuple[int, str]], notes: Sequence[RemoteAnnotation]
) -> list[RemoteAnnotation]:
    """Stores each annotation that says something new; those stored.

    Args:
        targets: item key -> (item id, connector that the annotation is stored under); annotations
            of other keys are passed over.
    """
    connectors = {connector for _, connector in targets.values()}
    stored = _stored(session, connectors, [note.id for note in notes])
    new = []
    for note in notes:
        if note.key not in targets:
            continue
        item_id, connector = targets[note.key]
        content = Content(note.label, note.cancelled, note.deleted, note.seconds, note.problem)
        versions = stored.setdefault((connector, note.id), {})
        if versions and list(versions.values())[-1] == content:
            continue
        version = _unused(note.version, versions)
        versions[version] = content
        session.add(_row(note, version, item_id, connector))
        new.append(note)
    return new


def deletion(note: models.Annotation) -> models.Annotation:
    """The last version of an annotation that has gone."""
    return models.Annotation(
        item_id=note.item_id,
        connector=note.connector,
        external_id=note.external_id,
        version=f"deleted after {note.version}",
        annotator=note.annotator,
        label=None,
        deleted=True,
        task=note.task,
        url=note.url,
    )


def _stored(
    session: Session, connectors: set[str], ids: list[str]
) -> dict[tuple[str, str], dict[str, Content]]:
    """(connector, annotation id) -> version -> what it says, the newest last."""
    note = models.Annotation
    rows = session.execute(
        select(
            note.connector,
            note.external_id,
            note.version,
            note.label,
            note.cancelled,
            note.deleted,
            note.seconds,
            note.problem,
        )
        .where(note.connector.in_(connectors), note.external_id.in_(set(ids)))
        .order_by(note.id)
    )
    stored: dict[tuple[str, str], dict[str, Content]] = {}
    for row in rows:
        content = Content(row.label, row.cancelled, row.deleted, row.seconds, row.problem)
        stored.setdefault((row.connector, row.external_id), {})[row.version] = content
    return stored


def _unused(version: str, stored: Container[str]) -> str:
    """The version, or with a number if it was stored earlier: an old file may come back."""
    name, number = version, 0
    while name in stored:
        number += 1
        name = f"{version} again {number}"
    return name


def _row(note: RemoteAnnotation, version: str, item_id: int, connector: str) -> models.Annotation:
    return models.Annotation(
        item_id=item_id,
        connector=connector,
        external_id=note.id,
        version=version,
        annotator=note.annotator,
        label=note.label,
        seconds=note.seconds,
        cancelled=note.cancelled,
        deleted=note.deleted,
        task=note.task,
        url=note.url,
        problem=note.problem,
        at=note.at,
    )
