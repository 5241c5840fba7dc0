"""What the people who label have said: agreement, pace, and which labels to look at again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from connectors.base import AsksAgain
from db import queries
from db.queries import Answer
from db.state import log
from loop import annotators
from loop.annotators import Pair, Vote
from loop.costs import Pace, pace, paces
from loop.errors import ConfigError, NotReady
from loop.label_issues import LabelIssue
from loop.project import Project
from loop.steps.judged import issues_among, judged
from loop.steps.labels import cast_votes, collected
from loop.steps.opened import labeler, reading, writing


@dataclass(frozen=True)
class Person:
    """One annotator. ``agreed``: share of their votes that the consensus shares, on images with
    votes of others; None without such images."""

    name: str
    skips: int
    shared: int
    agreed: float | None
    pace: Pace
    by_class: dict[str, Pace]


@dataclass(frozen=True)
class Divided:
    """An image on which people differ."""

    key: str
    uri: str
    consensus: str
    votes: dict[str, str]


@dataclass(frozen=True)
class Said:
    """All of it. ``several`` images have votes of two people or more."""

    images: int
    several: int
    consensus: str
    alpha: float | None
    pairs: list[Pair]
    people: list[Person]
    by_class: dict[str, Pace]
    divided: list[Divided]


def said(project: Project) -> Said:
    """Reads only.

    Raises:
        NotReady: nobody has labelled anything.
        ConfigError: the consensus needs a package that is not installed.
    """
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        answers = queries.answers(session, pool.id)
        votes = cast_votes(session, project, pool.id)
        uris = queries.row_uris(session, pool.id)
    keys, people = {a.row: a.key for a in answers}, queries.by_people(answers)
    if not people or not votes:
        raise NotReady("nobody has labelled anything yet; 'coreloop pull' brings what there is")
    method = project.config.labeler.consensus
    together = annotators.consensus(votes, method)
    return Said(
        images=len(together),
        several=sum(len(mine) > 1 for mine in annotators.by_item(votes).values()),
        consensus=method,
        alpha=annotators.krippendorff_alpha(votes),
        pairs=annotators.cohen_kappa(votes),
        people=_people(people, votes, together),
        by_class=_paces_by_class(people),
        divided=[
            Divided(keys[row], uris[row], together[row], mine)
            for row, mine in annotators.disagreements(votes)
        ],
    )


def _people(answers: list[Answer], votes: list[Vote], together: dict[Any, Any]) -> list[Person]:
    mine: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        mine[answer.annotator].append(answer)
    agreed: dict[Any, list[bool]] = defaultdict(list)
    for item, said_by in annotators.by_item(votes).items():
        for who, label in said_by.items() if len(said_by) > 1 else ():
            agreed[who].append(label == together[item])
    found = []
    for name, given in sorted(mine.items()):
        labelled = [a for a in given if a.label is not None]
        shared = agreed[name]
        found.append(
            Person(
                name,
                len(given) - len(labelled),
                len(shared),
                sum(shared) / len(shared) if shared else None,
                pace([a.seconds for a in labelled]),
                _paces_by_class(labelled),
            )
        )
    return found


def _paces_by_class(answers: list[Answer]) -> dict[str, Pace]:
    timed = [(a.label, a.seconds) for a in answers if a.label is not None]
    return {str(label): one for label, one in sorted(paces(timed).items(), key=lambda x: str(x[0]))}


def label_issues(project: Project) -> list[LabelIssue]:
    """Label issues, test images' too, the largest label margin first.

    Raises:
        NotReady: the images are not embedded, or too few are labelled.
    """
    with reading(project) as records, records.read() as session:
        pool = queries.the_pool(session)
        labels = collected(session, project, pool.id)
        return issues_among(session, project, pool.id, judged(session, project, labels))


def send_back(project: Project, keys: list[str]) -> int:
    """Asks one more person about each of these images; returns how many tasks are open again.

    Raises:
        ConfigError: this labeler cannot ask again.
        Unreachable, Unauthorized, Mismatch: see connectors.base.
    """
    with writing(project) as records:
        with records.read() as session:
            people = labeler(project, session)
            tasks = queries.remote_ids(session, people.name)
        if not isinstance(people, AsksAgain):
            raise ConfigError(
                f"the labeler {project.config.labeler.kind!r} cannot ask again; "
                "Label Studio can (kind = 'label-studio' under [labeler])"
            )
        count = people.ask_again({key: tasks[key] for key in keys if key in tasks})
        with records.write("labels-sent-back") as session:
            log(session, "labels", f"{count} images sent back for one more opinion")
        return count
