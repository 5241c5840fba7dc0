"""Which encoder suits a project, by its labels: embeddings at hand compared by held-out loss, and
the better one used from then on where candidates are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from db import arrays, queries
from db.models import Round
from db.state import Records, log
from loop import encoders
from loop import train as trainers
from loop.encoders import spec as specs
from loop.errors import NotReady
from loop.project.embeddings import columns_of, encoders_of, join_stored, stored_embeddings
from loop.project.labels import collect
from loop.project.problem import problem
from loop.project.project import ENCODER, Project
from loop.seeds import generator
from loop.train.base import Task, Trainer
from loop.wording import counted

LEAST_LABELS = 10
LEAST = 1e-6
"""Probability below which an answer counts as this."""
EVIDENCE = 1.0
"""Standard errors by which another encoder has to be better: picks of the one in use flatter it,
and with two errors many switches that would have been right were missed (docs/encoders.md)."""
LEAST_GAP = 0.01
"""Less log-loss than this is worth no change."""


@dataclass(frozen=True)
class EncoderScore:
    """How well a model on an encoder's embeddings predicts labels that it did not learn.

    Attributes:
        encoder: its spec, or its digest where another project's setting made it.
        in_use: it is the project's own.
        labels: judged, of classes with two labels or more.
        loss: mean log-loss of the held-out labels; accuracy: share predicted right.
        behind: loss more than that of the best, and the standard error of this difference.
    """

    encoder: str
    in_use: bool
    dim: int
    labels: int
    loss: float
    accuracy: float
    behind: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class EncoderChoice:
    """What labels said of the candidates, as a round's explanation keeps it.

    Attributes:
        encoder: spec of the one used from then on; before: of the one used until then.
        why: in words, for people.
        scores: the best first.
    """

    encoder: str
    before: str
    why: str
    scores: tuple[EncoderScore, ...] = ()

    @property
    def changed(self) -> bool:
        return self.encoder != self.before


@dataclass(frozen=True)
class _Judged:
    """Held-out labels by one encoder: (k,) losses, NaN where none was held out, and which were
    predicted right."""

    spec: str
    dim: int
    losses: NDArray[np.float64]
    right: NDArray[np.bool_]

    @property
    def loss(self) -> float:
        return float(np.nanmean(self.losses)) if len(self.losses) else np.inf

    def behind(self, best: _Judged) -> tuple[float, float]:
        """Loss more than that of another, and its standard error, paired by label."""
        more = self.losses - best.losses
        return float(more.mean()), float(more.std(ddof=1) / np.sqrt(len(more)))


def choose_encoder(project: Project, records: Records, number: int) -> EncoderChoice | None:
    """Compares the encoder in use with the candidates, and with the two best of them joined, by the
    labels of the rounds up to this one; the best is in use from now on if it is better by more than
    ``EVIDENCE`` standard errors. No other label is looked at. The round keeps what was found.

    Returns:
        None where the config names no candidates, or a network learns from the images themselves.

    Raises:
        NotReady: the images are not embedded with a candidate, or the disk has no room to join two.
    """
    settings = project.config.training
    trainer = trainers.get(settings.trainer, **settings.params)
    if not project.written.encoder_candidates or trainer.wants == "images":
        return None
    _check_embedded(project, records)
    before = project.config.encoder
    labels = _labels_until(project, records, number)
    if too_few := _too_few(labels):
        choice = _stays(before, too_few)
    else:
        choice = _chosen(project, records, labels, trainer)
    with records.write("encoder") as session:
        pool = queries.the_pool(session)
        among = [project.written.encoder, *project.written.encoder_candidates]
        pool.source = {**pool.source, ENCODER: {"among": among, "encoder": choice.encoder}}
        round_ = session.get_one(Round, _round_id(session, number))
        round_.explanation = {**round_.explanation, "encoder": asdict(choice)}
        log(session, "encoder", choice.why, round=number)
    project.read_config_again()
    return choice


def _chosen(
    project: Project, records: Records, labels: NDArray[np.int64], trainer: Trainer
) -> EncoderChoice:
    before = project.config.encoder
    judged = {
        spec: _judged(project, records, spec, labels, trainer) for spec in encoders_of(project)
    }
    singles = [project.written.encoder, *project.written.encoder_candidates]
    two = sorted(sorted(singles, key=lambda spec: judged[spec].loss)[:2], key=singles.index)
    joined = specs.joined(*two)
    if joined not in judged and _join(project, records, joined):
        judged[joined] = _judged(project, records, joined, labels, trainer)
    ranked = _on_same_labels(list(judged.values()))
    best, current = ranked[0], next(each for each in ranked if each.spec == before)
    if len(best.losses) < LEAST_LABELS:
        return _stays(before, _cannot_tell(len(best.losses)))
    gap, error = current.behind(best)
    chosen = best.spec if gap > max(EVIDENCE * error, LEAST_GAP) else before
    return EncoderChoice(
        encoder=chosen,
        before=before,
        why=_why(current, best, changed=chosen != before),
        scores=tuple(_score(each, best, in_use=each.spec == before) for each in ranked),
    )


def _stays(encoder: str, why: str) -> EncoderChoice:
    return EncoderChoice(encoder, encoder, f"{specs.short(encoder)} stays: {why}")


def _why(current: _Judged, best: _Judged, *, changed: bool) -> str:
    gap, error = current.behind(best)
    labels = f"{counted(len(current.losses), 'label')}, each predicted by models without it"
    if best is current:
        return f"{specs.short(current.spec)} stays: it predicts best ({labels})"
    loss = f"log-loss {best.loss:.3f} against {current.loss:.3f}, {gap:.3f} +- {error:.3f} less"
    if changed:
        return (
            f"{specs.short(best.spec)} from now on in place of {specs.short(current.spec)}: "
            f"{loss} ({labels})"
        )
    return (
        f"{specs.short(current.spec)} stays: {specs.short(best.spec)} is not better by enough, "
        f"{loss} ({labels})"
    )


def _check_embedded(project: Project, records: Records) -> None:
    """Raises NotReady: the pool as it is lacks embeddings of a candidate."""
    with records.read() as session:
        rows = queries.split_rows(session, queries.the_pool(session).id, "pool")
        for spec in encoders_of(project):
            array = stored_embeddings(session, encoders.get(spec))
            if array is None or np.isnan(arrays.load(array, project.arrays)[rows, 0]).any():
                raise NotReady(
                    f"not every image is embedded with {spec!r}, which encoder_candidates are to "
                    "be compared with; run 'coreloop embed'"
                )


def _labels_until(project: Project, records: Records, number: int) -> NDArray[np.int64]:
    """(N,) of the pool's rows, picked up to this round; -1 elsewhere."""
    with records.read() as session:
        pool = queries.the_pool(session)
        rows = queries.split_rows(session, pool.id, "pool")
        labels = collect(session, pool, project.config).of(rows)
        later = [pick.row for pick in queries.picks(session, pool.id) if pick.round > number]
    return np.where(np.isin(rows, later), -1, labels)


def _round_id(session: Session, number: int) -> int:
    rounds = queries.rounds(session, queries.the_pool(session).id)
    return next(round_.id for round_ in rounds if round_.number == number)


def _join(project: Project, records: Records, spec: str) -> bool:
    """Whether the pool has embeddings of this joined encoder, now or before."""
    from loop.encoders.joined import Joined

    encoder = encoders.get(spec)
    with records.read() as session:
        if stored_embeddings(session, encoder) is not None:
            return True
    return isinstance(encoder, Joined) and join_stored(project, records, encoder)


def _judged(
    project: Project, records: Records, spec: str, labels: NDArray[np.int64], trainer: Trainer
) -> _Judged:
    """By models as the project would train them on this encoder, class names included."""
    config = project.written.model_copy(update={"encoder": spec, "encoder_candidates": []})
    with records.read() as session:
        task = problem(session, Project(project.root, config)).task
    return _held_out(spec, task, labels, trainer, config.project.seed)


def _judging(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows whose label another one of its class is left to predict."""
    known = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[known], minlength=1)
    return known[counts[labels[known]] > 1]


def _too_few(labels: NDArray[np.int64]) -> str:
    """Why these labels cannot tell encoders apart; empty where they can."""
    judging = _judging(labels)
    if len(judging) >= LEAST_LABELS and len(np.unique(labels[judging])) > 1:
        return ""
    return _cannot_tell(len(judging))


def _cannot_tell(judged: int) -> str:
    return (
        f"{counted(judged, 'label')} cannot tell encoders apart; {LEAST_LABELS} of two classes are "
        "needed, each with another one of its class"
    )


def _held_out(
    spec: str, task: Task, labels: NDArray[np.int64], trainer: Trainer, seed: int
) -> _Judged:
    """The log-loss of each label by a model without it, the folds the same for every encoder."""
    known, judging = np.flatnonzero(labels >= 0), _judging(labels)
    p = trainer.left_out(task, labels, generator(seed, "encoders"))[np.isin(known, judging)]
    of_label = p[np.arange(len(judging)), labels[judging]]
    losses = -np.log(np.maximum(of_label, LEAST))
    return _Judged(spec, task.pool.shape[1], losses, p.argmax(axis=1) == labels[judging])


def _on_same_labels(judged: list[_Judged]) -> list[_Judged]:
    """The best first, on the labels that all have predicted."""
    known = np.all([np.isfinite(each.losses) for each in judged], axis=0)
    same = [replace(each, losses=each.losses[known], right=each.right[known]) for each in judged]
    return sorted(same, key=lambda each: each.loss)


def _score(judged: _Judged, best: _Judged, *, in_use: bool) -> EncoderScore:
    return EncoderScore(
        encoder=specs.short(judged.spec),
        in_use=in_use,
        dim=judged.dim,
        labels=len(judged.losses),
        loss=judged.loss,
        accuracy=float(judged.right.mean()),
        behind=judged.behind(best),
    )


def compare_encoders(project: Project) -> list[EncoderScore]:
    """The best first: every encoder that the pool is embedded with, and each part of the project's
    own where it joins several. Only labels of people are looked at, each by models without it.

    Raises:
        NotReady: too few labels, labels of one class, or nothing is embedded.
    """
    from loop.train.propagate import Propagate

    with project.records.read() as session:
        pool = queries.the_pool(session)
        rows = queries.split_rows(session, pool.id, "pool")
        labels = collect(session, pool, project.config).of(rows)
        if too_few := _too_few(labels):
            raise NotReady(f"{too_few}: coreloop run")
        judged = []
        for name, x in _embedded(session, project, rows):
            task = Task(len(project.config.project.classes), x, x[:0], np.empty(0, np.int64))
            seed = project.config.project.seed
            judged.append(_held_out(name, task, labels, Propagate(), seed))
    if not judged:
        raise NotReady("the images are not embedded; run 'coreloop embed'")
    ranked = _on_same_labels(judged)
    if len(ranked[0].losses) < LEAST_LABELS:
        raise NotReady(f"{_cannot_tell(len(ranked[0].losses))}: coreloop run")
    in_use = project.config.encoder
    return [_score(each, ranked[0], in_use=each.spec == in_use) for each in ranked]


def _embedded(
    session: Session, project: Project, rows: NDArray[np.int64]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(spec, or digest where the config does not name it; (N, D)) one by one."""
    from loop.encoders.prior import GivenPrior

    spec_of: dict[str, str] = {}
    given = set()
    for spec in encoders_of(project):
        encoder = encoders.get(spec)
        spec_of[encoder.digest] = spec
        for part, text in zip(getattr(encoder, "parts", ()), specs.parts(spec), strict=False):
            spec_of.setdefault(part.digest, text)
            given |= {part.digest} if isinstance(part, GivenPrior) else set()
    columns = columns_of(session, project)
    if columns.keys() - spec_of.keys():  # a choice may have joined two of them
        for two in permutations(encoders_of(project), 2):
            joined = specs.joined(*two)
            spec_of.setdefault(encoders.get(joined).digest, joined)
    for digest, stored in columns.items():
        if digest in given:
            continue
        x = arrays.load(stored.array, project.arrays)[rows, stored.columns]
        yield spec_of.get(digest, digest), np.asarray(x, dtype=np.float32)
