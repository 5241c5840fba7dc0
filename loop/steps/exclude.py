"""exclude: images out of the pool for good: junk, private ones, what is none of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.base import Source
from db import queries
from db.models import Absence, Duplicate, Item, Pool
from db.state import log
from loop.errors import ConfigError
from loop.project import Project
from loop.project.absence import NamedItem, named, pass_over, take_back
from loop.project.labels import collect
from loop.wording import counted

KEY_PREFIX = 8
"""Digits of a key that name an image."""


@dataclass(frozen=True)
class Excluded:
    """What was taken out, or back in.

    Attributes:
        files: of the images, in row order; ``already`` were out (or in) before.
        labelled: of these, images with a label: it stays in the records, and does not count.
        picked: of these, picks of the open round; ``sample``: images of the random sample, or test
            images: these leave the measurement.
        sent: of these, images that the labeler has.
        excluded: images that are out now, in all.
    """

    files: tuple[str, ...]
    already: int
    labelled: int
    picked: int
    sample: int
    sent: int
    excluded: int


def exclude(project: Project, files: Sequence[str], *, undo: bool = False) -> Excluded:
    """Takes images out of the pool: they are never scored, picked, predicted, labelled by the model
    or exported from now on; with ``undo`` takes them back.

    Args:
        files: paths, glob patterns, keys or their first 8 digits; a path below the folder of the
            images, or relative to here.

    Raises:
        ConfigError: nothing is called so.
        Missing: the images have not been scanned.
    """
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            items = _matching(session, pool, project, files)
            out = set(session.scalars(select(Absence.item_id).where(Absence.why == "excluded")))
        changing = [item for item in items if (item.id in out) == undo]
        with records.write("exclude") as session:
            told = _told(session, pool, project, changing)
            ids = [item.id for item in changing]
            if undo:
                take_back(session, project, ids)
            else:
                pass_over(session, ids, "excluded")
            if changing:
                done = "taken back" if undo else "taken out"
                log(
                    session,
                    "exclude",
                    f"{counted(len(changing), 'image')} {done}: {named(changing)}",
                )
            excluded = list(queries.absences(session, pool.id).values()).count("excluded")
        return Excluded(
            files=tuple(item.uri for item in changing),
            already=len(items) - len(changing),
            excluded=excluded,
            **told,
        )


def _told(
    session: Session, pool: Pool, project: Project, items: Sequence[NamedItem]
) -> dict[str, int]:
    """Counts of what leaves with these images, as ``Excluded`` names them."""
    rows = {item.row for item in items}
    labels = collect(session, pool, project.config, absent=True).by_row
    newest = queries.newest_round(session, pool.id)
    picks = [p for p in queries.picks(session, pool.id, absent=True) if p.row in rows]
    open_ = newest is not None and newest.state in ("selected", "pushed")
    number = newest.number if newest and open_ else None
    sent = queries.sent_picks(session)
    return {
        "labelled": len(rows & labels.keys()),
        "picked": sum(pick.round == number for pick in picks),
        "sample": sum(pick.draw is not None or pick.arm == "test" for pick in picks),
        "sent": sum(pick.pick_id in sent for pick in picks),
    }


def _matching(
    session: Session, pool: Pool, project: Project, files: Sequence[str]
) -> list[NamedItem]:
    """The images that these name, in row order. Raises ConfigError: one names none."""
    names = session.execute(
        select(Item.id, Item.row, Item.key, Item.uri).where(Item.pool_id == pool.id)
    )
    items = {id_: NamedItem(id_, row, key, uri) for id_, row, key, uri in names}
    uris = [(item.uri, item.id) for item in items.values()]
    uris += [(uri, id_) for uri, id_ in session.execute(select(Duplicate.uri, Duplicate.item_id))]
    found: set[int] = set()
    for file in files:
        matched = _ids_of(file, uris, items, project.source)
        if not matched:
            raise ConfigError(
                f"no image is called {file!r}; give a path, a pattern such as 'junk/*', or a key "
                "('coreloop export --picks' lists them); nothing was changed"
            )
        found |= matched
    return sorted((items[id_] for id_ in found), key=lambda item: item.row)


def _ids_of(
    file: str, uris: Sequence[tuple[str, int]], items: dict[int, NamedItem], source: Source
) -> set[int]:
    exact = {id_ for uri, id_ in uris if uri == file}
    if exact:
        return exact
    if len(file) >= KEY_PREFIX and all(digit in "0123456789abcdef" for digit in file):
        by_key = {item.id for item in items.values() if item.key.startswith(file)}
        if by_key:
            return by_key
    path = str(Path(file).expanduser().absolute())
    by_path = {id_ for uri, id_ in uris if source.shown(uri) == path}
    if by_path:
        return by_path
    return {
        id_ for uri, id_ in uris if fnmatchcase(uri, file) or fnmatchcase(source.shown(uri), path)
    }
