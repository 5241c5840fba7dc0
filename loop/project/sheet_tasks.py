"""The open round of a project with sheets, as tasks that a person can answer in the browser."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from connectors.base import BatchToLabel
from connectors.csv_sheet import CsvSheet
from db import queries
from db.models import Round
from loop.config import SKIP
from loop.errors import ConfigError, NotReady
from loop.project.labeler import connect_labeler
from loop.project.project import Project
from loop.project.rounds import next_command


@dataclass(frozen=True)
class SheetTask:
    """An image of the open round.

    Attributes:
        label: what stands on the sheet now: a class, ``skip``, something wrong, or empty.
    """

    key: str
    uri: str
    label: str


@dataclass(frozen=True)
class OpenSheets:
    """What people are asked in the open round.

    Attributes:
        round: its name.
        tasks: in an order that does not tell picks from a sample, where both are mixed.
        skip: what stands on a sheet for an image that cannot be judged.
    """

    round: str
    classes: list[str]
    tasks: list[SheetTask]
    skip: str = SKIP


def open_sheets(project: Project) -> OpenSheets:
    """The sheets as they are now, whoever filled them in.

    Raises:
        ConfigError: the project has no sheets.
        NotReady: no round is open.
        Rejected: a sheet cannot be read.
    """
    with project.records.read() as session:
        labeler = _labeler(session, project)
        round_ = _open_round(session)
        batches = _batches(session, round_)
        picks = queries.picks(session, round_.pool_id, round_.number)
    labels = {key: label for batch in batches for key, label in labeler.labels(batch).items()}
    if len({pick.arm for pick in picks}) > 1:
        picks.sort(key=lambda pick: pick.key)  # a digest of the image: as good as shuffled
    tasks = [
        SheetTask(pick.key, pick.uri, labels[pick.key]) for pick in picks if pick.key in labels
    ]
    return OpenSheets(round_.name, project.config.project.classes, tasks)


def fill_in(project: Project, key: str, label: str, before: str) -> None:
    """Writes the answer for an image into its sheet; see ``CsvSheet.fill``.

    Raises:
        ConfigError, NotReady, Rejected: see ``open_sheets``.
        Mismatch: the sheet says otherwise than ``before`` by now.
    """
    with project.records.read() as session:
        labeler = _labeler(session, project)
        batches = _batches(session, _open_round(session))
    holding = [batch for batch in batches if key in labeler.labels(batch)]
    if not holding:
        raise NotReady("this image is not on a sheet of the open round; load the page anew")
    labeler.fill(holding[0], key, label, before)


def _labeler(session: Session, project: Project) -> CsvSheet:
    if project.config.labeler.kind != "csv":
        raise ConfigError(
            f"this project is labelled by {project.config.labeler.kind!r}; pages only fill in "
            "sheets (kind = 'csv' under [labeler])"
        )
    labeler = connect_labeler(session, project)
    assert isinstance(labeler, CsvSheet)
    return labeler


def _open_round(session: Session) -> Round:
    newest = queries.newest_round(session, queries.the_pool(session).id)
    if newest is None:
        raise NotReady("there is no round yet; 'coreloop run' starts the first")
    if newest.state != "pushed":
        raise NotReady(
            f"nothing is to be labelled now: {newest.name} is {newest.state!r}; next: "
            f"{next_command(newest)}"
        )
    return newest


def _batches(session: Session, round_: Round) -> list[BatchToLabel]:
    return [BatchToLabel(uuid, round_.number) for uuid in queries.round_batches(session, round_.id)]
