"""Class names in a project: an answer before any label, one judged by labels, and bad names."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from db import queries
from loop import config
from loop.errors import ConfigError, NotReady
from loop.project import Project, create
from loop.project import problem as problems
from loop.project.names import name_head_of
from loop.reports.answers import beats_random, before_any_label
from loop.steps.embed import embed
from loop.steps.export import export_model
from loop.steps.predict import Asked, predict
from loop.steps.report import facts
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.simulate import Grid, simulate
from tests.conftest import rows as records
from tests.conftest import small_values
from tests.encoders.test_pretrained import clip  # noqa: F401

CLASSES = ["digit-0", "digit-1", "digit-2"]


def prior_of(images, folder, right=1.0):
    """A file of zero-shot probabilities for the images below a folder, by their true classes."""
    rng = np.random.default_rng(0)
    files = sorted(path for path in images.rglob("*.png"))
    said = [
        CLASSES.index(path.parent.name) if rng.random() < right else int(rng.integers(3))
        for path in files
    ]
    keys = [path.relative_to(images).as_posix() for path in files]
    file = folder / "prior.npz"
    np.savez(file, probabilities=0.7 * np.eye(3)[said] + 0.1, keys=keys, classes=CLASSES)
    return f"pixels+prior:{file}"


@pytest.fixture
def named(tmp_path, images):
    """A project whose names are right on three of four images, embedded; no label yet."""
    values = small_values(images, encoder=prior_of(images, tmp_path, 0.75))
    del values["pool"]["test"]
    values["measure"] = {"images": 24, "folds": 4}
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    embed(project)
    return project


def test_an_answer_before_any_label(named, tmp_path):
    written = predict(named, out=tmp_path / "first.csv", asked=Asked())
    assert (written.labels, written.model) == (0, 0)
    with (tmp_path / "first.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = [row["label"] == row["uri"].split("/")[0] for row in rows]
    assert len(rows) == written.images > 30
    assert np.mean(right) > 0.85  # the names alone: three of four
    told = facts(named).notes[0]
    assert told.startswith("Before any label the class names alone say of")
    counted = dict.fromkeys(CLASSES, 0)
    for row in rows:
        counted[row["label"]] += 1
    assert ", ".join(f"{c} {100 * n / len(rows):.0f} %" for c, n in counted.items()) in told
    assert "the labels of round 1 tell" in beats_random(facts(named))


def test_a_class_that_names_see_is_not_called_unseen_where_the_answer_has_none_of_it(
    tmp_path, images
):
    """A few images are named so, amid neighbours of another class: spreading outvotes them."""
    spec = prior_of(images, tmp_path, 1.0)
    with np.load(tmp_path / "prior.npz") as kept:
        said, keys = kept["probabilities"].argmax(axis=1), kept["keys"]
    said[said == 2] = 1
    said[::12] = 2
    probabilities = np.full((len(said), 3), 0.32)
    probabilities[np.arange(len(said)), said] = 0.36
    np.savez(tmp_path / "prior.npz", probabilities=probabilities, keys=keys, classes=CLASSES)
    values = small_values(images, encoder=spec)
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    embed(project)
    told, *remarks = facts(project).notes
    assert f"{CLASSES[2]} 0 %" in told
    assert not [remark for remark in remarks if "no image is" in remark]


def test_few_images_are_not_none():
    assert "dog under 1 %, ox 0 %" in before_any_label({"cat": 999, "dog": 1, "ox": 0})


def test_labels_judge_the_names_and_the_model_keeps_them(named, tmp_path):
    run(named)
    newest = facts(named)
    assert newest.trained.endswith("; class names come on top)")
    noted = [note for note in newest.notes if note.startswith("Class names have")]
    assert len(noted) == 1
    assert "judged on 24 labels of the random sample, of which they alone get" in noted[0]
    with named.records.read() as session:
        run_ = queries.runs(session, 1, "all")[-1][1]
    assert run_.notes["names"]["rule"] == "sample"
    assert 0 < run_.notes["names"]["weight"] < 1
    written = predict(named, out=tmp_path / "later.csv")
    assert written.labels > 0
    folder = named.path(named.config.pool.path)  # names of images that the file knows
    again = predict(named, folder, tmp_path / "again.csv")
    assert again.images > written.images


def test_a_class_without_a_column_is_said_before_anything_is_embedded(tmp_path, images):
    values = small_values(images, encoder=prior_of(images, tmp_path))
    values["project"]["classes"] = [*CLASSES, "yak"]
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    with pytest.raises(ConfigError, match="no column for the class 'yak'"):
        embed(project)
    assert not list(project.arrays.glob("*.npy"))


def test_without_words_there_is_no_first_answer(project):
    scan(project)
    embed(project)
    with pytest.raises(NotReady, match="no model is kept yet"):
        predict(project)
    assert facts(project).notes == []


def test_a_clip_encoder_alone_answers_and_goes_on(tmp_path, images, clip):  # noqa: F811
    words = {"prompts": ["the {}, by hand."], "synonyms": {"digit-0": ["a nought", "zero"]}}
    values = small_values(images, encoder=clip[2], project=words)
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    embed(project)
    assert predict(project, out=tmp_path / "first.csv").labels == 0
    run(project)
    assert predict(project, out=tmp_path / "later.csv").labels > 0
    with project.records.read() as session:
        told = problems.problem(session, project).task.prior.head
        values["project"] = {**values["project"], "prompts": ["a {}."]}
        other = problems.problem(session, Project(project.root, config.check(values, "test")))
        assert other.task.prior.head.digest != told.digest  # so simulations share no cell
    written = export_model(project, tmp_path / "model")
    assert written.agreement.largest < 1e-4


def test_test_images_of_a_simulation_have_what_the_names_say_of_them(named):
    with named.records.read() as session:
        pool = problems.problem(session, named)
    tested = problems.tested_on(pool, np.arange(12))
    np.testing.assert_array_equal(tested.task.prior.test, pool.task.prior.pool[:12])
    np.testing.assert_array_equal(tested.task.prior.pool, pool.task.prior.pool[12:])
    rows = simulate(named, Grid(["random"], [30], seeds=1, trainer="propagate", sample=20))
    assert rows[0].mean > 0.9
    notes = records(named, "select outcome from cell")[0][0]
    assert '"rule": "sample"' in notes


@pytest.mark.parametrize(
    ("encoder", "project_", "words"),
    [
        ("pixels", {"names": "on"}, "the encoder pixels has no text side"),
        ("pixels", {"prompts": ["a {}."]}, "the encoder pixels has no text side"),
        ("open_clip:a:b", {"prompts": ["a photo."]}, "no place for the name"),
        ("open_clip:a:b", {"prompts": ["a {} and {}."]}, "no place for the name"),
        ("open_clip:a:b", {"prompts": ["a {name} {}."]}, "no place for the name"),
        ("open_clip:a:b", {"names": "on", "classes": ["7", "cat"]}, "such as '7' are no words"),
        ("open_clip:a:b", {"synonyms": {"3": ["three"]}}, "synonyms of '3'.* no such class"),
        ("prior:p.npz", {}, "beside an encoder of pictures"),
        ("pixels+prior:p.npz", {"names": "off"}, "beside an encoder of pictures"),
    ],
)
def test_names_that_cannot_be_used_are_refused_where_asked_for(images, encoder, project_, words):
    values = small_values(images, encoder=encoder, project=project_)
    with pytest.raises(ConfigError, match=words):
        config.check(values, "test")


def test_codes_are_not_used_and_that_is_said(tmp_path, images, clip):  # noqa: F811
    codes = {"classes": ["class_0", "class_1", "n02084071"]}
    values = small_values(images, encoder=clip[2], project=codes, labeler={"kind": "csv"})
    values["pool"]["labelled"] = False
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    assert name_head_of(project.config) is None
    assert facts(project).notes == [
        "Class names are not used: class names such as 'class_0' are no words; give words: "
        "synonyms under [project]."
    ]


def test_texts_that_are_all_but_equal_are_named(tmp_path, images):
    from loop.name_head import NameHead, remarks_on

    texts = np.array([[1.0, 0.0], [0.999, 0.0447], [0.0, 1.0]])
    head = NameHead(texts, 0, 1.0, unit=True)
    remarks = remarks_on(head, np.array([5, 0, 5]), ["sofa", "couch", "cat"])
    assert "texts of 'sofa' and 'couch' are all but equal (cosine 0.999)" in remarks[0]
    assert remarks[1] == "by the names no image is couch"
