"""The labeler contract as a test: for authors of labelers, and for ours."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from connectors.base import BatchToLabel, ItemToLabel, Labeler, RemoteAnnotation


def check_labeler(
    make: Callable[[], Labeler],
    items: Sequence[ItemToLabel],
    classes: Sequence[str],
    answer: Callable[[Labeler, str, str], None] | None,
) -> None:
    """Runs the contract; raises AssertionError with what does not hold.

    Args:
        make: a labeler over the same other side at each call, as after a restart.
        items: at least three items that can be pushed.
        answer: lets a person answer (labeler, item key, class name); None if the labeler answers
            by itself.
    """
    labeler, batch = make(), BatchToLabel(uuid.uuid4().hex, 1)
    labeler.prepare(classes)
    labeler.prepare(classes)
    assert dict(labeler.find(batch)) == {}, "find must know nothing of a batch never pushed"
    first_ids = dict(labeler.push(batch, items[:2]))
    assert set(first_ids) == {i.key for i in items[:2]}, "push must answer with every key"
    again = dict(make().push(batch, items[:2]))
    assert again == first_ids, "a repeated push must add nothing"
    all_ids = dict(make().push(batch, items))
    kept = {key: all_ids[key] for key in first_ids}
    assert kept == first_ids, "a push of more items must keep those there"
    assert dict(make().find(batch)) == all_ids, "find must tell what push told"
    assert len(set(all_ids.values())) == len(items), "remote ids must differ"
    listed = {key: list(ids) for key, ids in make().inventory(all_ids).items()}
    assert listed == {key: [id_] for key, id_ in all_ids.items()}, "inventory must list the tasks"
    if answer is not None:
        assert list(make().pull(None)) == [], "nobody has answered yet"
        for item in items:
            answer(make(), item.key, classes[0])
    answers = _pull(make())
    assert {a.key for a in answers} == {i.key for i in items}, "pull must bring every answer"
    assert all(a.label in classes for a in answers), "labels must be class names"
    assert all(a.annotator and a.version for a in answers)
    versions = [(a.id, a.version) for a in answers]
    assert len(set(versions)) == len(versions), "an answer must not come twice in one pull"
    assert [(a.id, a.version) for a in _pull(make())] == versions, "pull must be repeatable"
    progress = make().progress()
    assert progress.tasks is None or progress.tasks >= len(items), "progress must count the tasks"
    assert progress.annotated >= len(items), "progress must count the answers"


def _pull(labeler: Labeler) -> list[RemoteAnnotation]:
    answers = list(labeler.pull(None))
    later = list(labeler.pull(labeler.cursor)) if labeler.cursor else []
    known = {(a.id, a.version) for a in answers}
    assert {(a.id, a.version) for a in later} <= known, "the cursor must not invent answers"
    return answers
