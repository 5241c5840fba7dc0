"""How far the collection is: images labelled by people, by the model, and left; and the promise."""

from __future__ import annotations

from sqlalchemy.orm import Session

from db import queries
from db.errors import Damaged, Missing
from db.models import Promise, Round
from loop.annotators import answer_error
from loop.project.labels import Labels, collect, outstanding
from loop.project.outcome import since_settled
from loop.project.project import Project
from loop.project.promise import model_labels
from loop.project.runs import expected_cost
from loop.reports.facts import Completion, PromiseShown


def completion(session: Session, project: Project, labels: Labels | None = None) -> Completion:
    """Without ``labels``, which may be at hand, by the database's counts where no model labels any
    image.

    Where what the model of a promise said has gone, the number of its labels is that noted then.

    Raises:
        ConfigError: see ``collect``.
    """
    pool = queries.the_pool(session)
    images = queries.image_count(session, pool.id)
    promises = queries.promises(session, pool.id)
    if not any(each.outcome.get("accepted") for each in promises):
        trained = [run for _, run in queries.runs(session, pool.id, "all")]
        waits = bool(promises) and not promises[-1].outcome
        cost = expected_cost(trained[-1]) if trained and not waits else None
        if labels is not None:
            by_people = len(labels.by_row)
        else:
            answered = outstanding(session, pool.id, project.config).values()
            by_people = sum(counts.answered for counts in answered)
        shown = _shown(session, project, promises[-1]) if promises else None
        return Completion(
            images=images,
            by_people=by_people,
            by_model=0,
            left=images - by_people,
            promise=shown,
            cost=cost,
            open_round=_open_round(session, pool.id),
        )
    labels = labels or collect(session, pool, project.config)
    promise = next(each for each in reversed(promises) if each.outcome.get("accepted"))
    people, model = len(labels.by_row), int(promise.outcome["accepted"])
    try:
        by_model = model_labels(session, project, labels)
    except (Missing, Damaged):  # 'coreloop doctor' says so; the numbers stay
        by_model = None
    if by_model is not None:
        model = len(by_model.by_row)
    left = max(0, images - people - model)
    error = answer_error(labels.votes, len(project.config.project.classes))
    wrong = (error.rate, error.images) if error else None
    return Completion(
        images, people, model, left, _shown(session, project, promise), people_wrong=wrong
    )


def _open_round(session: Session, pool_id: int) -> int:
    newest = queries.newest_round(session, pool_id)
    return newest.number if newest is not None and newest.state != "compared" else 0


def _shown(session: Session, project: Project, promise: Promise) -> PromiseShown:
    round_ = session.get_one(Round, promise.round_id)
    known = ("sample", "labelled", "wrong", "accepted", "upper", "allowed", "threshold", "least")
    return PromiseShown(
        look=promise.look,
        round=round_.number,
        state=round_.state,
        max_error=promise.max_error,
        confidence=promise.confidence,
        per_class=promise.per_class,
        images=promise.images,
        model=promise.model,
        since=since_settled(session, project, promise),
        **{name: promise.outcome.get(name) for name in (*known, "needed")},
    )
