"""What the people who label have said: agreement, pace, and which labels to look at again."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from connectors.base import AskedAgain, AsksAgain, SharesPool
from db import queries
from db.answers import Answer, by_people
from db.state import log
from loop import annotators
from loop.annotators import Pair, Vote
from loop.costs import Pace, pace, paces
from loop.errors import ConfigError, NotReady
from loop.label_issues import LabelIssue
from loop.project import Project
from loop.project.embeddings import embeddings
from loop.project.labeler import connect_labeler
from loop.project.labels import collect, note_asked_again
from loop.project.left_out import (
    LabelledImage,
    issues_among,
    labelled_images,
    predict_left_out,
)
from loop.project.promise import model_labels
from loop.wording import counted


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
class Opinions:
    """What people said, and how far they agree.

    Attributes:
        images: how many have a label; ``several``: of them, those with votes of two people or more.
        consensus: how votes become one label.
        alpha: Krippendorff's, None where nobody could disagree.
        divided: images on which people differ.
    """

    images: int
    several: int
    consensus: str
    alpha: float | None
    pairs: list[Pair]
    people: list[Person]
    by_class: dict[str, Pace]
    divided: list[Divided]


def labels(project: Project) -> Opinions:
    """Reads only.

    Raises:
        NotReady: nobody has labelled anything.
        ConfigError: the consensus needs a package that is not installed.
    """
    with project.records.read() as session:
        pool = queries.the_pool(session)
        collected = collect(session, pool, project.config)
        uris = queries.row_uris(session, pool.id)
    answers, votes = by_people(collected.answers), collected.votes
    if not answers or not votes:
        raise NotReady("nobody has labelled anything yet; 'coreloop pull' brings what there is")
    classes, keys = project.config.project.classes, {a.row: a.key for a in collected.answers}
    agreed = {row: classes[index] for row, index in collected.by_row.items()}
    return Opinions(
        images=len(agreed),
        several=sum(len(cast) > 1 for cast in annotators.by_item(votes).values()),
        consensus=project.config.labeler.consensus,
        alpha=annotators.krippendorff_alpha(votes),
        pairs=annotators.cohen_kappa(votes),
        people=_people(answers, votes, agreed),
        by_class=_paces_by_class(answers),
        divided=[
            Divided(keys[row], uris[row], agreed[row], cast)
            for row, cast in annotators.disagreements(votes)
        ],
    )


def _people(answers: list[Answer], votes: list[Vote], agreed: dict[int, str]) -> list[Person]:
    by_name: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_name[answer.annotator].append(answer)
    agrees: dict[str, list[bool]] = defaultdict(list)
    for row, cast in annotators.by_item(votes).items():
        if len(cast) > 1:
            for name, label in cast.items():
                agrees[name].append(label == agreed[row])
    people = []
    for name, own in sorted(by_name.items()):
        labelled = [answer for answer in own if answer.label is not None]
        shared = agrees[name]
        people.append(
            Person(
                name=name,
                skips=len(own) - len(labelled),
                shared=len(shared),
                agreed=sum(shared) / len(shared) if shared else None,
                pace=pace([answer.seconds for answer in labelled]),
                by_class=_paces_by_class(labelled),
            )
        )
    return people


def _paces_by_class(answers: list[Answer]) -> dict[str, Pace]:
    timed = [(a.label, a.seconds) for a in answers if a.label is not None]
    return {
        str(label): class_pace
        for label, class_pace in sorted(paces(timed).items(), key=lambda x: str(x[0]))
    }


def label_issues(project: Project) -> list[LabelIssue]:
    """Label issues, test images' and those of the model of a promise too, the largest label margin
    first.

    Raises:
        NotReady: the images are not embedded, or too few are labelled.
    """
    with project.records.read() as session:
        pool = queries.the_pool(session)
        collected = collect(session, pool, project.config)
        images = labelled_images(queries.picks(session, pool.id))
        by_row = dict(collected.by_row)
        if by_model := model_labels(session, project, collected):
            by_row |= {row: label for row, (label, _) in by_model.by_row.items()}
            images |= {
                row: LabelledImage(key, uri, "train", "model")
                for row, key, uri in queries.row_names(session, pool.id, list(by_model.by_row))
            }
        embedded = embeddings(session, project)
    classes = project.config.project.classes
    return issues_among(images, classes, predict_left_out(embedded, by_row, len(classes)))


def send_back(project: Project, keys: list[str]) -> AskedAgain:
    """Asks one more person about each of these images; how many tasks are open again, and where
    people get them.

    Raises:
        ConfigError: this labeler cannot ask again.
        Unreachable, Unauthorized, Mismatch: see connectors.base.
    """
    with project.writing() as records:
        with records.read() as session:
            labeler = connect_labeler(session, project)
            tasks = queries.remote_ids(session, labeler.name)
        if isinstance(labeler, SharesPool):  # labels that nobody asked for may be doubtful too
            tasks = dict(labeler.tasks_of(keys))
        if not isinstance(labeler, AsksAgain):
            raise ConfigError(
                f"the labeler {project.config.labeler.kind!r} cannot ask again; "
                "Label Studio can (kind = 'label-studio' under [labeler])"
            )
        sent = {key: tasks[key] for key in keys if key in tasks}
        asked = labeler.ask_again(sent)
        with records.write("labels-sent-back") as session:
            note_asked_again(session, queries.the_pool(session).id, list(sent))
            text = f"{counted(asked.count, 'image')} sent back for one more opinion"
            log(session, "labels", text)
        return asked
