"""Labels that people gave before anybody asked them: picks of round 0, of an arm of their own, so
that training learns them, scorers know them as covered, and nobody is asked again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from connectors.base import HoldsLabels, RemoteAnnotation
from db import queries
from db.answers import BEFORE, labelled_before, newest_annotations, standing_answers
from db.models import Duplicate, Item, Pick, Pool, Round, Sent
from db.picks import add_picks
from db.state import Records, log
from loop.config import Config
from loop.project.annotation_versions import deletion, store_versions
from loop.project.project import Project
from loop.project.versions import versions
from loop.wording import counted

CHUNK = 1000
"""Annotations, or keys, of one query."""


def read_before(records: Records, source: HoldsLabels | None, config: Config) -> int:
    """Stores what people have labelled where the images are, or in the Label Studio project that
    was adopted, as far as nobody asked them for it; how many images have such a label.

    Raises:
        Unreachable, Unauthorized, Mismatch, Rejected: see connectors.base.
    """
    if source is None:
        return 0
    with records.read() as session:
        keys = uri_keys(session)
    notes = list(source.labels(keys))
    seen = {note.id for note in notes}
    with records.write("scan-before") as session:
        for start in range(0, len(notes), CHUNK):
            chunk = notes[start : start + CHUNK]
            store_versions(session, unasked(session, [note.key for note in chunk]), chunk)
        session.flush()
        held = sorted(set(keys.values()))
        for start in range(0, len(held), CHUNK):
            for note, _ in newest_annotations(session, [BEFORE], held[start : start + CHUNK]):
                if not note.deleted and note.external_id not in seen:
                    session.add(deletion(note))
        keep_before(session, config)
        session.flush()
        labelled = select(func.count()).where(Item.id.in_(labelled_before(config.project.classes)))
        return int(session.scalar(labelled) or 0)


def labels_before(project: Project) -> HoldsLabels | None:
    """Where labels may be that nobody asked for; None where nowhere."""
    from connectors.label_studio.task_images import ForeignLabels, TaskImages
    from loop.project.servers import label_studio_url
    from loop.secrets import label_studio_token

    config = project.config
    if config.pool.source == "label-studio":
        return project.source if isinstance(project.source, HoldsLabels) else None
    listed = project.source if config.pool.source == "list" else None
    holders: list[HoldsLabels] = [listed] if isinstance(listed, HoldsLabels) else []
    if config.labeler.kind != "label-studio" or not config.labeler.project:
        return LabelsTogether(holders) if holders else None
    adopted = ForeignLabels(
        TaskImages(
            label_studio_url(config.labeler.url).rstrip("/"),
            label_studio_token(project.root),
            config.labeler.project,
            classes=tuple(config.project.classes),
            control=config.labeler.control,
        )
    )
    return LabelsTogether([*holders, adopted])


@dataclass(frozen=True)
class LabelsTogether:
    """Labels of several places."""

    holders: Sequence[HoldsLabels]

    def labels(self, keys: Mapping[str, str]) -> Iterator[RemoteAnnotation]:
        """See ``HoldsLabels``."""
        for holder in self.holders:
            yield from holder.labels(keys)


def uri_keys(session: Session) -> dict[str, str]:
    """Uri -> item key, of every image and of its copies."""
    copies = select(Duplicate.uri, Item.key).join(Item, Item.id == Duplicate.item_id)
    rows = [*session.execute(copies), *session.execute(select(Item.uri, Item.key))]
    return {str(uri): str(key) for uri, key in rows}


def unasked(session: Session, keys: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Item key -> (item id, connector) of those that were never sent to anybody."""
    targets = {}
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), CHUNK):
        rows = session.execute(
            select(Item.key, Item.id)
            .outerjoin(Pick, Pick.item_id == Item.id)
            .outerjoin(Sent, Sent.pick_id == Pick.id)
            .where(Item.key.in_(wanted[start : start + CHUNK]), Sent.id.is_(None))
        )
        targets.update({key: (item_id, BEFORE) for key, item_id in rows})
    return targets


def keep_before(session: Session, config: Config) -> None:
    """Makes picks of the images with a label that nobody asked for, and takes away those whose
    label has gone, unless they are of the random sample."""
    session.flush()
    pool = queries.the_pool(session)
    classes = set(config.project.classes)
    labelled = {
        answer.item_id: answer.row
        for answer in standing_answers(session, pool.id)
        if answer.connector == BEFORE and answer.label in classes
    }
    picks = {
        item_id: (arm, draw)
        for item_id, arm, draw in session.execute(select(Pick.item_id, Pick.arm, Pick.draw))
    }
    lost = [
        item_id
        for item_id, (arm, draw) in picks.items()
        if arm == BEFORE and draw is None and item_id not in labelled
    ]
    new = sorted(row for item_id, row in labelled.items() if item_id not in picks)
    if not lost and not new:
        return
    round_ = _round_zero(session, pool, config)
    for start in range(0, len(lost), CHUNK):
        part = lost[start : start + CHUNK]
        session.execute(delete(Pick).where(Pick.item_id.in_(part), Pick.arm == BEFORE))
    of_arm = select(Pick.rank).where(Pick.arm == BEFORE).order_by(Pick.rank.desc()).limit(1)
    last = session.scalar(of_arm)
    first = 0 if last is None else last + 1
    add_picks(session, round_, np.array(new, dtype=np.int64), BEFORE, first_rank=first)
    changed = round_.budget + len(new) - len(lost)
    session.execute(update(Round).where(Round.id == round_.id).values(budget=changed))
    text = f"{counted(len(new), 'image')} labelled before, {len(lost)} no more"
    log(session, "scan", text, round=0)


def _round_zero(session: Session, pool: Pool, config: Config) -> Round:
    """Round 0, which is over from the beginning where it holds no test images."""
    round_ = session.scalar(select(Round).where(Round.pool_id == pool.id, Round.number == 0))
    if round_ is None:
        round_ = Round(
            pool_id=pool.id,
            number=0,
            seed=config.project.seed,
            budget=0,
            config=config.public(),
            versions=versions(),
            state="labeled",
        )
        session.add(round_)
        session.flush()
    return round_
