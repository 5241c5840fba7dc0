"""autolabel: a frozen model, a calibration sample like a round, a threshold, and a last round."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sqlalchemy import delete

from db import queries
from db.errors import Damaged, Missing, StaleRound
from db.models import Annotation, Array, Pick, Promise, Round
from db.soundness import contradictions
from loop import config
from loop.errors import ConfigError, DataError, NotReady
from loop.finish.promise import spent
from loop.project import create, find
from loop.project.completion import completion
from loop.project.labels import collect
from loop.project.model import newest_model
from loop.project.promise import load_frozen, model_labels
from loop.steps.autolabel import Goal, autolabel, outlook
from loop.steps.backup import backup, restore
from loop.steps.doctor import doctor
from loop.steps.export import export
from loop.steps.labels import label_issues
from loop.steps.predict import predict
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.run import run
from loop.steps.status import status
from tests.conftest import small_values, write_images

GOAL = Goal(max_error=0.2)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    write_images(folder / "images", 180)
    values = small_values(folder / "images", labeler={"error_rate": 0.0})
    project = create(folder / "project", config.check(values, "test"))
    run(project)
    return project


@pytest.fixture
def trained(original, tmp_path):
    """A project whose planned rounds are over, with right answers."""
    copied = backup(original, tmp_path / "backup")
    return find(restore(copied.folder, tmp_path / "copy").folder)


def done(project):
    with project.records.read() as session:
        return completion(session, project)


def sound(project):
    with project.records.read() as session:
        return list(contradictions(session, queries.the_pool(session)))


def test_the_whole_way(trained, tmp_path):
    before = done(trained)
    assert (before.by_model, before.promise) == (0, None)
    assert before.cost is not None
    expected = outlook(trained, GOAL)
    assert expected.unlabelled == before.left
    assert expected.cost.lower <= expected.cost.median <= expected.cost.upper
    number = autolabel(trained, GOAL, 40)
    assert number == 3
    assert sound(trained) == []
    ended = run(trained)
    assert ended.why == "done"
    after = done(trained)
    assert after.finished
    assert after.images == after.by_people + after.by_model == 180
    promise = after.promise
    assert (promise.sample, promise.labelled, promise.round) == (40, 40, 3)
    assert promise.accepted == after.by_model > 0
    assert promise.upper <= promise.allowed == 36
    assert sound(trained) == []
    path, count = export(trained, "csv", tmp_path / "all.csv", everything=True)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert count == len(rows) == 180
    by_model = [row for row in rows if row["by"] == "model"]
    assert len(by_model) == after.by_model
    assert all(float(row["confidence"]) >= promise.threshold for row in by_model)
    wrong = sum(row["label"] != row["uri"].split("/")[0] for row in by_model)
    assert wrong <= promise.allowed
    assert all(row["label"] == row["uri"].split("/")[0] for row in rows if row["by"] == "people")
    last = [row for row in rows if row["round"] == "4"]
    assert len(last) == 180 - 12 - 12 - 40 - after.by_model


def test_the_last_round_begins_with_the_most_doubtful_and_people_go_before(trained):
    autolabel(trained, Goal(0.05), 60)
    push(trained)
    pull(trained)
    from loop.steps.autolabel import settle

    settle(trained)
    with trained.records.read() as session:
        (promise,) = queries.promises(session, queries.the_pool(session).id)
        frozen = load_frozen(session, trained, promise)
        labels = collect(session, queries.the_pool(session), trained.config)
        kept = model_labels(session, trained, labels)
        if promise.rest_id:
            rest = queries.round_rows(session, promise.rest_id)
            assert (np.diff(frozen.confidence[rest]) >= 0).all()
            assert not set(rest.tolist()) & set(labels.by_row)
        assert not set(kept.by_row) & set(labels.by_row)
        for row, (label, confidence) in kept.by_row.items():
            assert frozen.labels[row] == label
            assert frozen.confidence[row] == pytest.approx(confidence)


def test_no_more_people_leaves_the_doubtful_out(trained):
    autolabel(trained, Goal(0.05, more_people=False), 70)
    assert run(trained).why == "done"
    after = done(trained)
    with trained.records.read() as session:
        assert not session.query(Pick).filter(Pick.arm == "rest").count()
    assert after.left == 180 - after.by_people - after.by_model


def test_the_promise_of_each_name(trained):
    autolabel(trained, Goal(0.3, per_class=True), 90)
    run(trained)
    after = done(trained)
    assert after.promise.per_class
    assert after.promise.accepted == after.by_model
    assert after.finished


def test_looks_spend_the_confidence_and_draw_fresh_images(trained):
    autolabel(trained, Goal(0.3, more_people=False), 20)
    run(trained)
    run(trained, budget=5)  # a further round, and a model that learned the sample too
    with trained.records.read() as session:
        assert newest_model(session, trained).model.about.round == 4
    autolabel(trained, Goal(0.3, more_people=False), 20)
    run(trained)
    with trained.records.read() as session:
        first, second = queries.promises(session, queries.the_pool(session).id)
        assert (first.look, second.look) == (1, 2)
        assert second.alpha == pytest.approx(spent(0.05, 2))
        assert first.model != second.model
        samples = [set(queries.round_rows(session, p.round_id).tolist()) for p in (first, second)]
    assert not samples[0] & samples[1]
    assert sound(trained) == []


@pytest.mark.parametrize(
    ("goal", "size", "words"),
    [
        (Goal(0.0), 40, "label every image"),
        (Goal(1.0), 40, "between 0 and 1"),
        (Goal(-0.1), 40, "between 0 and 1"),
        (Goal(float("nan")), 40, "between 0 and 1"),
        (Goal(0.2, confidence=1.0), 40, "confidence of a promise"),
        (Goal(0.2, confidence=0.0), 40, "confidence of a promise"),
        (Goal(0.001), 40, "no wrong label"),
        (Goal(0.02), 5, "takes"),
        (GOAL, 0, "between 1 and"),
        (GOAL, 10_000, "between 1 and"),
    ],
)
def test_what_cannot_be_promised(trained, goal, size, words):
    with pytest.raises((DataError, ConfigError), match=words):
        autolabel(trained, goal, size)
    with trained.records.read() as session:
        assert session.query(Promise).count() == 0
        assert session.query(Round).count() == 3


def test_a_second_one_while_one_is_open_and_without_a_model(trained, project):
    autolabel(trained, GOAL, 30)
    for _ in range(2):
        with pytest.raises(StaleRound, match="is open"):
            autolabel(trained, GOAL, 30)
        push(trained) if status(trained).rounds[-1].state == "selected" else None
    assert run(trained).why == "done"
    with pytest.raises((NotReady, Missing)):
        autolabel(project, GOAL, 10)


def test_labels_that_are_missing_count_as_wrong(trained):
    """A sample that is closed half answered promises less, never more."""
    autolabel(trained, GOAL, 40)
    push(trained)
    pull(trained)
    with trained.writing() as records, records.write() as session:
        (promise,) = session.query(Promise)
        rows = queries.round_rows(session, promise.round_id)[:38]
        ids = list(queries.item_ids(session, promise.round_id and 1, rows.tolist()).values())
        session.execute(delete(Annotation).where(Annotation.item_id.in_(ids)))
    run(trained)
    after = done(trained)
    assert after.promise.labelled == 2
    assert after.by_model <= after.promise.allowed, "no more than could all be wrong"
    assert after.promise.upper == after.by_model


def test_killed_before_it_is_stored_nothing_has_happened(trained, monkeypatch):
    import db.state

    def die(point):
        if point == "before-autolabel":
            raise KeyboardInterrupt

    monkeypatch.setattr(db.state, "reached", die)
    with pytest.raises(KeyboardInterrupt):
        autolabel(trained, GOAL, 30)
    monkeypatch.undo()
    with trained.records.read() as session:
        assert session.query(Promise).count() == 0
    assert autolabel(trained, GOAL, 30) == 3


def test_new_images_are_left_and_predicted(trained, tmp_path):
    autolabel(trained, GOAL, 40)
    run(trained)
    folder = trained.path(trained.config.pool.path)
    extra = folder / "digit-0" / "new.png"
    from PIL import Image

    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(extra)
    try:
        from loop.steps.embed import embed
        from loop.steps.scan import scan

        scan(trained)
        embed(trained)
        assert done(trained).left == 1
        assert predict(trained, out=tmp_path / "p.csv").images >= 1
    finally:
        extra.unlink()


@pytest.mark.parametrize("damaged", [["labels"], ["confidence", "labels"]])
def test_what_the_model_said_is_computed_again(trained, damaged):
    autolabel(trained, GOAL, 40)
    with trained.records.read() as session:
        stored = session.query(Array).filter(Array.kind == "predicted").all()
    for row in stored:
        if row.name in damaged:
            (trained.arrays / row.file).unlink()
    push(trained)
    pull(trained)
    with pytest.raises((Missing, Damaged), match="doctor"):
        run(trained)
    assert all(check.ok for check in doctor(trained.root, mend=True))
    with trained.records.read() as session:
        again = session.query(Array).filter(Array.kind == "predicted").all()
    assert {row.digest for row in again} == {row.digest for row in stored}
    assert run(trained).why == "done"


def test_status_answers_where_what_the_model_said_has_gone(trained, tmp_path):
    autolabel(trained, GOAL, 40)
    run(trained)
    before = done(trained)
    with trained.records.read() as session:
        stored = session.query(Array).filter(Array.kind == "predicted").all()
    for row in stored:
        (trained.arrays / row.file).unlink()
    assert status(trained).completion == before
    with pytest.raises((Missing, Damaged), match="doctor"):
        export(trained, "csv", tmp_path / "all.csv", everything=True)
    assert all(check.ok for check in doctor(trained.root, mend=True))
    assert export(trained, "csv", tmp_path / "all.csv", everything=True)[1] == 180


def test_labels_of_the_model_are_looked_at_as_well(trained):
    """A label of the model that all others contradict is found among people's."""
    autolabel(trained, GOAL, 40)
    run(trained)
    with trained.records.read() as session:
        labels = collect(session, queries.the_pool(session), trained.config)
        given = model_labels(session, trained, labels).by_row
        names = {row: uri for row, _, uri in queries.row_names(session, 1)}
    wrong = {names[row] for row, (label, _) in given.items() if f"digit-{label}" not in names[row]}
    issues = label_issues(trained)
    assert {issue.by for issue in issues} <= {"people", "model"}
    assert {issue.uri for issue in issues if issue.by == "model"} <= set(names.values())
    by_model = {names[row] for row in given}
    assert all((issue.uri in by_model) == (issue.by == "model") for issue in issues)
    assert not wrong or wrong & {issue.uri for issue in issues}
