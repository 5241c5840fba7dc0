"""From human answers to the one label per image that training uses, and what is still open."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import queries
from db.answers import BEFORE, Answer, answer_tallies, current_answers
from db.models import Pool, Round
from db.queries import Picked
from loop.annotators import Vote, consensus
from loop.config import Config
from loop.errors import ConfigError
from loop.wording import counted

ASKED_AGAIN = "asked_again"
"""Key in a pool's source: item key -> people who had answered when one more was asked."""
CLASSES = "classes"
"""Key in a trained round's versions: the class names, in the order of the model's outputs."""
PEOPLE = "people_per_image"
"""Key in a pushed round's versions: different people that its push asked for."""


@dataclass(frozen=True)
class Labels:
    """What people say now, read from the records once.

    Attributes:
        answers: what each annotator says of each image, oldest first; skips too.
        votes: (array row, annotator, class name) of the answers that name a class, oldest first.
        by_row: array row -> class index of every image with a label, pool and test split.
    """

    answers: list[Answer]
    votes: list[Vote]
    by_row: dict[int, int]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(rows),) class index of array rows, -1 where there is no label."""
        return np.array([self.by_row.get(int(row), -1) for row in rows], dtype=np.int64)


def collect(session: Session, pool: Pool, config: Config, *, absent: bool = False) -> Labels:
    """The labels collected so far; those of images passed over count with ``absent`` alone.

    Raises:
        ConfigError: see ``changed_classes``; or the consensus needs a package that is missing.
    """
    answers = current_answers(session, pool.id)
    if changed := changed_classes(session, pool.id, config.project.classes, answers):
        raise ConfigError(changed)
    index = {name: i for i, name in enumerate(config.project.classes)}
    passed_over = {} if absent else queries.absences(session, pool.id)
    votes = [
        (answer.row, answer.annotator, answer.label)
        for answer in answers
        if answer.label in index and answer.row not in passed_over
    ]
    agreed = consensus(votes, config.labeler.consensus)
    return Labels(answers, votes, {int(row): index[label] for row, label in agreed.items()})


def changed_classes(
    session: Session, pool_id: int, classes: list[str], answers: list[Answer] | None = None
) -> str:
    """What to do about classes that were renamed, taken out or put in another order after people or
    models used them; empty if none was. Classes may be added at the end."""
    rounds = queries.rounds(session, pool_id)
    gone = {name for round_ in rounds for name in round_.config["project"]["classes"]}
    gone -= set(classes)
    if gone and answers is None:
        answers = current_answers(session, pool_id)
    used = Counter(answer.label for answer in answers or [] if answer.label in gone)
    if used:
        name, count = used.most_common(1)[0]
        return (
            f"{counted(count, 'answer')} say {name!r}, which is no more among the 'classes' under "
            "[project]; put it back under its old name"
        )
    for round_ in rounds:
        learned = round_.versions.get(CLASSES, [])
        if classes[: len(learned)] != learned:
            return (
                f"a model was trained with the classes {', '.join(learned)}; put them back under "
                "[project] in that order (new ones may follow)"
            )
    return ""


@dataclass(frozen=True)
class Outstanding:
    """How much of a round is answered. A pick with skips only counts as skipped."""

    picked: int
    unanswered: int
    skipped: int

    @property
    def answered(self) -> int:
        """Picks with a label."""
        return self.picked - self.unanswered - self.skipped


def outstanding(session: Session, pool_id: int, config: Config) -> dict[int, Outstanding]:
    """Round number -> counts over its picks, made by the database without loading an answer."""
    people = people_by_round(queries.rounds(session, pool_id), config)
    counts = {
        overlap: answer_tallies(session, pool_id, config.project.classes, overlap)
        for overlap in set(people.values())
    }
    return {
        number: Outstanding(*counts[overlap][number])
        for number, overlap in people.items()
        if number in counts[overlap]
    }


def second_opinions(session: Session, pool: Pool, config: Config) -> int:
    """Images that somebody answered and that wait for one more person: of the open round where
    ``overlap`` asks for several, and those that were sent back."""
    newest = queries.newest_round(session, pool.id)
    waits: set[int] = set()
    if newest is not None and newest.state == "pushed" and people_of(newest, config) > 1:
        tallied = set(waiting(session, newest, config))
        picks = queries.picks(session, pool.id, newest.number)
        waits = {pick.item_id for pick in picks if pick.pick_id in tallied}
    asked = pool.source.get(ASKED_AGAIN, {})
    if not waits and not asked:
        return 0
    people: dict[int, set[str]] = defaultdict(set)
    keys: dict[str, int] = {}
    for answer in current_answers(session, pool.id):
        people[answer.item_id].add(answer.annotator)
        keys[answer.key] = answer.item_id
    waits = {item for item in waits if people[item]}
    waits |= {
        keys[key] for key, count in asked.items() if key in keys and len(people[keys[key]]) <= count
    }
    return len(waits)


def note_asked_again(session: Session, pool_id: int, keys: Sequence[str]) -> None:
    """Notes how many people had answered each of these images when one more was asked."""
    people: dict[str, set[str]] = defaultdict(set)
    for answer in current_answers(session, pool_id):
        people[answer.key].add(answer.annotator)
    pool = session.get_one(Pool, pool_id)
    asked = pool.source.get(ASKED_AGAIN, {}) | {key: len(people[key]) for key in keys}
    pool.source = {**pool.source, ASKED_AGAIN: asked}


def waiting(session: Session, round_: Round, config: Config) -> list[int]:
    """Pick ids of a round that still wait for people, in labelling order."""
    picks = queries.picks(session, round_.pool_id, round_.number)
    answers = current_answers(session, round_.pool_id)
    states = pick_states([round_], picks, answers, config)
    return [pick.pick_id for pick, state in zip(picks, states, strict=True) if state == "waiting"]


def tally(
    rounds: Sequence[Round], picks: list[Picked], answers: list[Answer], config: Config
) -> dict[int, Outstanding]:
    """Round number -> the counts of ``outstanding``, from answers that were read already."""
    by_round: dict[int, Counter[str]] = defaultdict(Counter)
    states_of_picks = pick_states(rounds, picks, answers, config)
    for pick, state in zip(picks, states_of_picks, strict=True):
        by_round[pick.round][state] += 1
    return {
        number: Outstanding(states.total(), states["waiting"], states["skipped"])
        for number, states in by_round.items()
    }


def pick_states(
    rounds: Sequence[Round], picks: list[Picked], answers: list[Answer], config: Config
) -> list[str]:
    """Of each pick of these rounds: answered, skipped or waiting."""
    by_item: dict[int, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_item[answer.item_id].append(answer)
    classes, people = set(config.project.classes), people_by_round(rounds, config)
    return [_state(by_item[pick.item_id], classes, people[pick.round]) for pick in picks]


def _state(answers: list[Answer], classes: set[str], people: int) -> str:
    """``people`` different people must have answered an image, or skipped it; each has at most one
    of these answers. Who labelled it before anybody asked is enough."""
    if any(answer.connector == BEFORE and answer.label in classes for answer in answers):
        return "answered"
    labels = sum(answer.label in classes for answer in answers)
    skips = sum(answer.cancelled or answer.label is None for answer in answers)
    if labels >= people or (labels and len(answers) >= people):
        return "answered"
    return "skipped" if not labels and skips >= people else "waiting"


def people_by_round(rounds: Sequence[Round], config: Config) -> dict[int, int]:
    """Round number -> different people that are to answer each of its images."""
    return {round_.number: people_of(round_, config) for round_ in rounds}


def people_of(round_: Round, config: Config) -> int:
    """How many different people are to answer an image of a round: as many as it was pushed for, or
    fewer if the config asks for fewer now. A larger ``overlap`` asks nobody again by itself, so
    that a round which is over stays answered. An oracle answers once, whatever the overlap."""
    overlap = config.labeler.overlap
    if config.labeler.kind == "oracle":
        return 1
    if round_.state in ("planned", "scored", "selected"):
        return overlap
    if round_.state == "pushed" and config.labeler.kind != "label-studio":
        return overlap  # more copies of a sheet may be filled in at any time
    begun = round_.config.get("labeler", {}).get("overlap", overlap)
    unnoted = overlap if round_.state == "pushed" else begun
    return min(overlap, int(round_.versions.get(PEOPLE, unnoted)))


def overlap_not_asked(round_: Round, config: Config) -> str:
    """What to know where ``overlap`` was raised since an open round was pushed; empty if it was
    not."""
    people = people_of(round_, config)
    asks = config.labeler.kind != "oracle" and round_.state == "pushed"
    if not asks or people >= config.labeler.overlap:
        return ""
    return (
        f"overlap = {config.labeler.overlap} under [labeler], and {round_.name} was pushed for "
        f"{people} per image; 'coreloop push' asks for more, and says what that opens again"
    )
