"""The labeler contract as a test: for authors of labelers, and for ours."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence

from connectors.base import Annotation, Batch, Item, Labeler


def check_labeler(
    make: Callable[[], Labeler],
    items: Sequence[Item],
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
    people, batch = make(), Batch(uuid.uuid4().hex, 1)
    people.prepare(classes)
    people.prepare(classes)
    assert dict(people.find(batch)) == {}, "find must know nothing of a batch never pushed"
    first = dict(people.push(batch, items[:2]))
    assert set(first) == {i.key for i in items[:2]}, "push must answer with every key"
    again = dict(make().push(batch, items[:2]))
    assert again == first, "a repeated push must add nothing"
    whole = dict(make().push(batch, items))
    assert {k: whole[k] for k in first} == first, "a push of more items must keep those there"
    assert dict(make().find(batch)) == whole, "find must tell what push told"
    assert len(set(whole.values())) == len(items), "remote ids must differ"
    assert {key: list(ids) for key, ids in make().inventory().items()} == {
        key: [id_] for key, id_ in whole.items()
    }, "inventory must list the tasks"
    if answer is not None:
        assert list(make().pull(None)) == [], "nobody has answered yet"
        for item in items:
            answer(make(), item.key, classes[0])
    notes = _pull(make(), None)
    assert {n.key for n in notes} == {i.key for i in items}, "pull must bring every answer"
    assert all(n.label in classes for n in notes), "labels must be class names"
    assert all(n.annotator and n.version for n in notes)
    ids = [(n.id, n.version) for n in notes]
    assert len(set(ids)) == len(ids), "an answer must not come twice in one pull"
    assert [(n.id, n.version) for n in _pull(make(), None)] == ids, "pull must be repeatable"
    counts = make().progress()
    assert counts.tasks >= len(items), "progress must count the tasks"
    assert counts.annotated >= len(items), "progress must count the answers"


def _pull(people: Labeler, since: str | None) -> list[Annotation]:
    notes = list(people.pull(since))
    later = list(people.pull(people.cursor)) if people.cursor else []
    known = {(n.id, n.version) for n in notes}
    assert {(n.id, n.version) for n in later} <= known, "the cursor must not invent answers"
    return notes
