"""train: labels so far -> a model, and how good it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db import queries
from db.models import Comparison, Round, TrainingRun
from db.state import Records, advance, log
from loop.errors import DataError, NotReady
from loop.goals import metric_name, value
from loop.measuring.runs import CALIBRATION, Measured
from loop.project import Project
from loop.project.corrections import outdated_rounds
from loop.project.digests import rows_digest
from loop.project.encoder_choice import choose_encoder
from loop.project.near_duplicates import find_duplicates
from loop.project.problem import unfinished
from loop.project.rounds import current_round
from loop.project.training import (
    KeptFiles,
    Training,
    begin_training,
    store_runs,
    temperature,
    write_kept,
)
from loop.seeds import generator
from loop.train.metrics import Metrics
from loop.wording import counted


def train(
    project: Project,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_choice: Callable[[str], None] = lambda text: None,
) -> Metrics:
    """Trains on everything labelled so far; metrics of the last of ``training.seeds`` runs. Where
    the config names encoders to choose among, the labels choose first, and earlier rounds are
    trained again with what they chose: all arms of all rounds go by one encoder.

    Where a random sample measures, its labels are learned too and compared with the picks; with
    test images a control share compares. The difference is noted with the control's runs. Earlier
    rounds whose labels have changed are trained again, so that a curve is of one state of the
    answers; those of networks, which take long, by ``train_again`` alone.

    Args:
        on_progress: told how many of the models that measure are trained, and how many there are.
        on_choice: told what the labels say of the encoders.

    Raises:
        NotReady: the round is not labelled, or the images are not embedded.
        DataError: no labelled image to learn from or to measure on.
        TrainingFailed: the numbers are unusable; the round stays where it is.
    """
    with project.writing() as records:
        with records.read() as session:
            round_ = current_round(session, queries.the_pool(session), after="labeled")
        choice = choose_encoder(project, records, round_.number)
        if choice is not None:
            on_choice(choice.why)
        if choice is not None and choice.changed:
            _find_duplicates_again(project, records)
        with records.read() as session:
            training = begin_training(session, project)
        measured = training.measure(round_, on_progress)
        files = _files(training, round_, measured)
        runs = training.runs(round_, measured)
        with records.write("train") as session:
            advance(session, round_.id, before="labeled", after="trained")
            store_runs(session, project, round_.id, runs)
            files.record(session, round_)
            text = f"{counted(runs[0].labels, 'label')}, {_in_words(project, measured.metrics)}"
            log(session, "train", text, round=round_.number)
        if training.trainer.wants == "embeddings":
            anew = choice is not None and choice.changed
            _train_earlier(records, training, before=round_.number, anew=anew)
        _forget_drafts(project)
        return measured.metrics


def _find_duplicates_again(project: Project, records: Records) -> None:
    """By the encoder that is in use now, where near-duplicates share their label."""
    selection = project.config.selection
    if selection.near_duplicates == "one":
        find_duplicates(project, records, selection.near_duplicate_cosine)


@dataclass(frozen=True)
class TrainedAgain:
    """What a training on corrected labels changed.

    Attributes:
        rounds: numbers of those trained, ascending.
        before: the newest in the metric of the goal as it was measured; ``metrics`` as it is.
        outdated: rounds that are still measured on earlier labels.
    """

    rounds: tuple[int, ...]
    before: float
    metrics: Metrics
    outdated: tuple[int, ...]


def train_again(
    project: Project,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    earlier: bool = True,
) -> TrainedAgain:
    """Trains and measures the newest trained round on today's labels, whatever its state, and the
    earlier ones whose labels have changed. A promise keeps the model that it was made with.

    Args:
        earlier: also where that means networks, which take long.

    Raises:
        NotReady: no round is trained yet.
        DataError, TrainingFailed: see ``train``; what was trained before stays.
    """
    with project.writing() as records:
        with records.read() as session:
            round_, before = _newest_trained(session, project.config.goal.metric)
            training = begin_training(session, project)
        measured = training.measure(round_, on_progress)
        files = _files(training, round_, measured)
        runs = training.runs(round_, measured)
        with records.write("train-corrected") as session:
            store_runs(session, project, round_.id, runs)
            files.record(session, round_)
            _compare_anew(session, round_)
            now = _in_words(project, measured.metrics)
            change = f"{metric_name(project.config.goal.metric)} {before:.3f} before, now {now}"
            log(
                session,
                "train",
                f"again: {counted(runs[0].labels, 'label')}, {change}",
                round=round_.number,
            )
        numbers: list[int] = []
        if earlier or training.trainer.wants == "embeddings":
            numbers = _train_earlier(records, training, before=round_.number)
        _forget_drafts(project)
        with records.read() as session:
            outdated = outdated_rounds(session, project)
        return TrainedAgain((*numbers, round_.number), before, measured.metrics, outdated)


def train_outdated(
    project: Project, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> TrainedAgain | None:
    """``train_again`` where the newest training is not of today's labels; None where it is. Earlier
    rounds follow, but for networks.

    Raises:
        DataError, TrainingFailed: see ``train``.
    """
    with project.records.read() as session:
        outdated = outdated_rounds(session, project)
        trained = [number for number, _ in queries.runs(session, _pool_id(session), "all")]
    if not outdated or outdated[-1] != trained[-1]:
        return None
    return train_again(project, on_progress, earlier=False)


def _pool_id(session: Session) -> int:
    return queries.the_pool(session).id


def _compare_anew(session: Session, round_: Round) -> None:
    """Has the next ``compare`` go by the labels of now; what it computed before stays in cells.
    A round after it that a scorer picks for is compared in its place."""
    later = [r for r in queries.rounds(session, round_.pool_id) if r.number > round_.number]
    followed = any(queries.promise_of(session, each.id) is None for each in later)
    if session.get_one(Round, round_.id).state == "compared" and not followed:
        advance(session, round_.id, before="compared", after="trained")
    of_pool = select(Round.id).where(Round.pool_id == round_.pool_id)
    session.execute(delete(Comparison).where(Comparison.round_id.in_(of_pool)))


def _newest_trained(session: Session, metric: str) -> tuple[Round, float]:
    """The newest round that is trained, and its value in the metric. Raises NotReady: there is
    none."""
    runs = queries.runs(session, queries.the_pool(session).id, "all")
    if not runs:
        raise NotReady("no round is trained yet, so none can be trained again; next: coreloop run")
    run = runs[-1][1]
    return session.get_one(Round, run.round_id), value(run.metrics, metric)


def _in_words(project: Project, metrics: Metrics) -> str:
    """``accuracy 0.812``; before it the metric of the goal, where that is another."""
    metric = metric_name(project.config.goal.metric)
    accuracy = f"accuracy {metrics.accuracy:.3f}"
    if metric == "accuracy":
        return accuracy
    return f"{metric} {value(metrics.to_json(), metric):.3f}, plain {accuracy}"


def _train_earlier(
    records: Records, training: Training, before: int, *, anew: bool = False
) -> list[int]:
    """Trains the rounds before this one whose labels have changed, or all that were trained where
    ``anew``; their numbers. One that has too few labels left to be measured stays as it was."""
    with records.read() as session:
        pool_id = queries.the_pool(session).id
        outdated = set(outdated_rounds(session, training.project))
        if anew:
            outdated = {number for number, _ in queries.runs(session, pool_id, "all")}
        rounds = queries.rounds(session, pool_id)
    numbers = []
    for round_ in rounds:
        if round_.number not in outdated or round_.number >= before:
            continue
        try:
            runs = training.runs(round_, training.measure(round_))
        except DataError:
            continue
        with records.write("train-earlier") as session:
            store_runs(session, training.project, round_.id, runs)
            why = "with another encoder" if anew else "labels have changed"
            log(session, "train", f"again, {why}", round=round_.number)
        numbers.append(round_.number)
    return numbers


def _files(training: Training, round_: Round, measured: Measured) -> KeptFiles:
    labels = int((training.learned(round_.number) >= 0).sum())
    by_temperature = temperature(measured)
    return write_kept(training, measured.kept, by_temperature, round_.number, labels)


def _forget_drafts(project: Project) -> None:
    """Removes what long trainings kept to go on from."""
    with project.records.read() as session:
        digest = queries.the_pool(session).digest
    shutil.rmtree(unfinished(project, digest), ignore_errors=True)


def recompute(project: Project, of: str) -> None:
    """Repeats the training whose probabilities or model were lost, if the labels are the same.

    Args:
        of: ``round-<number>``.

    Raises:
        DataError: other labels have come since.
    """
    settings = project.config.training
    with project.writing() as records:
        with records.read() as session:
            pool = queries.the_pool(session)
            round_, run = _kept_run(session, pool.id, of, settings.seeds - 1)
            training = begin_training(session, project)
        learned = training.learned(round_.number)
        same = run.rows_digest == rows_digest(training.places, learned)
        if not same or run.method != settings.trainer:
            raise DataError("other labels have come since; the next training makes new ones")
        rng = generator(round_.seed, "train", run.seed)
        task = training.problem.task
        kept = training.trainer.train(task, learned, rng, pool_probabilities=True)
        noted = float(run.notes.get(CALIBRATION, {}).get("temperature", 1.0))
        files = write_kept(training, kept, noted, round_.number, run.labels)
        with records.write("train-again") as session:
            files.record(session, round_)


def _kept_run(session: Session, pool_id: int, of: str, seed: int) -> tuple[Round, TrainingRun]:
    """The round ``of`` names and the run whose probabilities were kept.

    Raises:
        DataError: there is no such run.
    """
    for round_ in queries.rounds(session, pool_id):
        for number, run in queries.runs(session, pool_id, "all"):
            if number == round_.number and of == f"round-{number}" and run.seed == seed:
                return round_, run
    raise DataError(f"no training of {of} is recorded")
