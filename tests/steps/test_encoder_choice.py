"""Encoders at hand compared by held-out labels: the better one is found, and chance is not news."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sqlalchemy import select

from db import queries
from db.models import Event
from loop import config, encoders
from loop import train as trainers
from loop.cli import cli
from loop.errors import ConfigError, NotReady
from loop.geometry import unit
from loop.project import create, find
from loop.project.embeddings import stored_embeddings
from loop.project.encoder_choice import compare_encoders
from loop.project.model import newest_model
from loop.project.predictor import TaskImage, TaskPredictor
from loop.steps.autolabel import Goal, autolabel
from loop.steps.backup import backup, restore
from loop.steps.doctor import doctor
from loop.steps.embed import embed, embed_all
from loop.steps.export import export_model
from loop.steps.predict import predict
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.report import facts
from loop.steps.run import Watcher, run
from loop.steps.scan import scan
from loop.steps.score import score
from loop.steps.select import select as choose_picks
from loop.steps.status import status
from loop.steps.train import train
from loop.train import Task
from tests.conftest import small_values, write_images


def noise(images, folder):
    """An encoder that knows nothing of the pictures."""
    files = [path.relative_to(images).as_posix() for path in sorted(images.rglob("*.png"))]
    x = np.random.default_rng(0).standard_normal((len(files), 8)).astype(np.float32)
    np.save(folder / "noise.npy", x)
    (folder / "noise.keys").write_text("\n".join(files) + "\n")
    return f"file:{folder / 'noise.npy'}"


def test_parts_and_earlier_encoders_are_compared_by_held_out_labels(tmp_path, images):
    useless = noise(images, tmp_path)
    values = small_values(
        images, encoder=f"pixels:8+{useless}", selection={"scorer": "random", "budgets": [24]}
    )
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    with pytest.raises(NotReady, match="0 labels cannot tell encoders apart"):
        compare_encoders(project)
    run(project)
    values["encoder"] = useless
    other = type(project)(project.root, config.check(values, "test"))
    embed(other)
    scores = compare_encoders(other)  # the joined one was embedded before
    by_name = {score.encoder: score for score in scores}
    assert by_name["file:noise.npy"].in_use
    assert len(scores) == 2
    assert scores[0].encoder.startswith("pixels")
    gap, error = by_name["file:noise.npy"].behind
    assert gap > 2 * error > 0
    parts = {score.encoder: score for score in compare_encoders(project)}
    assert {"pixels:8", "file:noise.npy", "pixels:8+file:noise.npy"} <= parts.keys()
    assert parts["pixels:8"].dim == 64
    assert parts["pixels:8"].loss < parts["file:noise.npy"].loss
    assert all(score.labels == 24 for score in parts.values())
    answered = CliRunner().invoke(cli, ["encoders", "--compare", "-p", str(project.root)])
    assert answered.exit_code == 0
    assert "> pixels:8+file:noise.npy" in answered.output


def choosing(images, folder, **changes):
    """A project that begins with an encoder that sees no more than how bright a picture is."""
    values = small_values(
        images,
        encoder="pixels:1",
        encoder_candidates=["pixels:8"],
        selection={"scorer": "random", "budgets": [15, 6]},
        labeler={"error_rate": 0.0},
    )
    return create(folder, config.check({**values, **changes}, "test"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    write_images(folder / "images")
    write_images(folder / "others", 12)
    project = choosing(folder / "images", folder / "project")
    told = []
    run(project, Watcher(begin=told.append))
    return project, told


@pytest.fixture
def chosen(original, tmp_path):
    """A project whose first round chose another encoder, all rounds being over."""
    copied = backup(original[0], tmp_path / "backup")
    return find(restore(copied.folder, tmp_path / "copy").folder)


def runs_of(project):
    with project.records.read() as session:
        return queries.runs(session, queries.the_pool(session).id, "all")


def kept_encoder(project):
    with project.records.read() as session:
        return newest_model(session, project).model.about.encoder


def test_labels_choose_the_encoder_after_the_first_round_and_that_is_said(original):
    project, told = original
    assert project.written.encoder == "pixels:1"
    assert find(project.root).config.encoder == project.config.encoder == "pixels:8"
    assert kept_encoder(project) == "pixels:8"
    assert [text for text in told if "pixels:8 from now on in place of pixels:1: log-loss" in text]
    standing = status(project)
    assert standing.settings["encoder"] == "pixels:8; candidates: pixels:1"
    assert "pixels:8 stays" in standing.encoder_choice
    shown = facts(project)
    assert shown.encoder == "pixels:8"
    assert [note for note in shown.notes if note.startswith("Round 1 compared the encoders: pix")]
    first, second = (round_.encoder for round_ in shown.rounds)
    assert (first["before"], first["encoder"]) == ("pixels:1", "pixels:8")
    assert (second["before"], second["encoder"]) == ("pixels:8", "pixels:8")
    assert {score["labels"] for score in first["scores"]} == {15}  # those of round 1, no other
    joined = "1*pixels:1+1*pixels:8"
    assert {score["encoder"] for score in first["scores"]} == {"pixels:1", "pixels:8", joined}
    answered = CliRunner().invoke(cli, ["status", "-p", str(project.root)])
    assert "round 2 compared the encoders" in answered.output
    assert joined in {score.encoder for score in compare_encoders(project)}  # as it may be typed


def test_a_candidate_that_knows_nothing_is_not_taken_nor_joined(images, tmp_path):
    useless = noise(images, tmp_path)
    project = choosing(images, tmp_path / "p", encoder="pixels:8", encoder_candidates=[useless])
    run(project)
    assert project.config.encoder == "pixels:8"
    with project.records.read() as session:
        rounds = queries.rounds(session, queries.the_pool(session).id)
        found = [round_.explanation["encoder"] for round_ in rounds if round_.number]
    assert [each["encoder"] for each in found] == ["pixels:8", "pixels:8"]


@pytest.mark.parametrize("name", ["propagate", "linear"])
def test_no_label_helps_to_predict_itself(name):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((200, 64)).astype(np.float32), np.full(200, -1)
    labels[:60] = rng.integers(2, size=60)  # of nothing that could be seen
    task = Task(2, x, x[:0], np.empty(0, np.int64))
    p = trainers.get(name).left_out(task, labels, rng)
    assert p.shape == (60, 2)
    right = (p.argmax(axis=1) == labels[:60]).mean()
    assert 0.25 < right < 0.75
    labels[:60] = x[:60, 0] > 0
    task = Task(2, np.repeat(x[:, :1], 64, axis=1), x[:0], np.empty(0, np.int64))
    p = trainers.get(name).left_out(task, labels, rng)
    assert (p.argmax(axis=1) == labels[:60]).mean() > 0.9


def test_few_labels_choose_nothing(images, tmp_path):
    selection = {"scorer": "random", "budgets": [5]}
    project = choosing(images, tmp_path / "p", selection=selection)
    run(project)
    assert project.config.encoder == "pixels:1"
    assert "pixels:1 stays: " in status(project).encoder_choice
    assert "cannot tell encoders apart" in status(project).encoder_choice


def test_earlier_rounds_are_measured_with_the_encoder_that_a_later_one_chose(images, tmp_path):
    selection = {"scorer": "random", "budgets": [5, 20]}
    project = choosing(images, tmp_path / "p", selection=selection)
    run(project)
    assert project.config.encoder != "pixels:1"
    with project.records.read() as session:
        told = [event.message for event in session.scalars(select(Event))]
    assert "again, with another encoder" in told
    accuracies = [run_.metrics["accuracy"] for _, run_ in runs_of(project)]
    alone = choosing(
        images,
        tmp_path / "q",
        selection=selection,
        encoder=project.config.encoder,
        encoder_candidates=[],
    )
    run(alone)
    assert accuracies == [run_.metrics["accuracy"] for _, run_ in runs_of(alone)]


def test_another_setting_voids_the_choice_and_the_old_model_still_answers(chosen, tmp_path):
    others = chosen.path(chosen.config.pool.path).parent / "others"
    file = chosen.root / "coreloop.toml"
    values = {**chosen.written.model_dump(), "encoder_candidates": []}
    file.write_text(config.dump(config.check(values, "test")))
    project = find(chosen.root)
    assert project.config.encoder == "pixels:1"
    assert status(project).encoder_choice == ""
    assert predict(project, out=tmp_path / "pool.csv").images == 27
    assert predict(project, others, out=tmp_path / "others.csv").images == 12
    picture = next(others.rglob("*.png")).read_bytes()
    version, guesses = TaskPredictor(project).predict(
        [TaskImage("", ("other.png",), lambda: picture)]
    )
    assert (version, guesses[0].how) in [("round-2", "stored"), ("round-2", "embedded")]
    assert guesses[0].prediction is not None
    assert autolabel(project, Goal(0.3), 10) == 3
    pytest.importorskip("onnxscript", reason="extra 'onnx' not installed")
    written = export_model(project, tmp_path / "model")
    assert written.agreement.largest < 1e-4
    assert "pixels:8" in (written.path / "README.md").read_text()


def test_a_candidate_that_lacks_images_is_named(images, tmp_path):
    project = choosing(images, tmp_path / "p")
    scan(project)
    embed(project)
    for step in (push, pull, score, choose_picks, push, pull):
        step(project)
    with pytest.raises(NotReady, match="not every image is embedded with 'pixels:8'"):
        train(project)
    assert embed_all(project).keys() == {"pixels:1", "pixels:8"}
    train(project)
    assert project.config.encoder == "pixels:8"


def test_parts_that_are_stored_are_joined_without_reading_an_image(images, tmp_path):
    project = choosing(images, tmp_path / "p")
    scan(project)
    embed_all(project)
    shutil.rmtree(images)
    assert embed(project, spec="1*pixels:8+0.5*pixels:1") == (60, 65)
    assert embed(project, spec="pixels:8+pixels:1") == (60, 65)
    with project.records.read() as session:
        joined = stored_embeddings(session, encoders.get("1*pixels:8+0.5*pixels:1"))
        stored = stored_embeddings(session, encoders.get("pixels:8"))
        x, alone = (np.load(project.arrays / f"{row.digest}.npy") for row in (joined, stored))
    np.testing.assert_allclose(x[:, :64], unit(alone.copy()))
    np.testing.assert_allclose(x[:, 64], 0.5)


def test_one_failing_part_of_a_joined_encoder_is_named(images, tmp_path):
    spec = f"pixels:4+0.5*timm:mobilenetv1_100:{tmp_path}/none.safetensors"
    project = choosing(images, tmp_path / "p", encoder_candidates=[spec])
    with pytest.raises(ConfigError, match=r"none\.safetensors"):
        run(project)
    assert find(project.root).config.encoder == "pixels:1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder_candidates": ["pixels:8"], "encoder": "pixels:8"}, "is named twice"),
        ({"encoder_candidates": [""]}, "an encoder is empty"),
        ({"encoder_candidates": ["prior:a.npz"]}, "beside an encoder of pictures"),
        (
            {
                "encoder": "pixels+prior:a.npz",
                "encoder_candidates": ["pixels:8"],
                "project": {"names": "on"},
            },
            "pixels:8 has no text side",
        ),
    ],
)
def test_candidates_that_cannot_be_are_an_error(images, changes, words):
    values = small_values(images, **{"encoder": "pixels", **changes})
    with pytest.raises(ConfigError, match=f"^test: .*{words}") as refused:
        config.check(values, "test")
    assert "{" not in str(refused.value)  # the whole file


def test_a_candidate_that_is_not_there_is_said_before_anything_is_embedded(images, tmp_path):
    values = small_values(images, encoder="pixels:1", encoder_candidates=["file:nowhere.npy"])
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    begun = []
    with pytest.raises(ConfigError, match="nowhere"):
        embed_all(project, on_begin=begun.append)
    assert begun == []
    (looked_at,) = [line for line in doctor(project.root) if line.name == "encoder"]
    assert "nowhere" in looked_at.detail
    assert not looked_at.ok


def test_several_encoders_of_init_are_candidates(images, tmp_path):
    words = ["init", str(tmp_path / "p"), "--images", str(images), "--labelled"]
    answered = CliRunner().invoke(cli, [*words, "--encoder", "pixels:1", "--encoder", "pixels:8"])
    assert answered.exit_code == 0, answered.output
    project = find(tmp_path / "p")
    assert (project.written.encoder, project.written.encoder_candidates) == (
        "pixels:1",
        ["pixels:8"],
    )
    answered = CliRunner().invoke(cli, ["embed", "-p", str(project.root)])
    assert "60 images, 1 dimension each, 64 with pixels:8" in answered.output


@pytest.mark.parametrize(
    ("encoder", "candidate", "seed"),
    [("pixels:6", "pixels:5", 1), ("pixels:8", "pixels:16", 3)],
    ids=["within its standard error", "by next to nothing"],
)
def test_a_candidate_that_is_hardly_better_is_not_taken(images, tmp_path, encoder, candidate, seed):
    project = choosing(
        images,
        tmp_path / "p",
        project={**small_values(images)["project"], "seed": seed},
        encoder=encoder,
        encoder_candidates=[candidate],
        selection={"scorer": "random", "budgets": [12]},
    )
    run(project)
    found = facts(project).rounds[0].encoder
    assert found["scores"][0]["encoder"] == candidate
    assert found["encoder"] == project.config.encoder == encoder
    assert "is not better by enough" in found["why"]


def test_images_that_come_later_are_embedded_with_every_candidate(chosen, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(chosen.path(chosen.config.pool.path), images)
    for number, path in enumerate(sorted(images.rglob("*.png"))[:9]):
        turned = Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        turned.save(path.with_stem(f"more{number}"))
    values = chosen.written.model_dump()
    values["pool"]["path"] = str(images)
    (chosen.root / "coreloop.toml").write_text(config.dump(config.check(values, "test")))
    project = find(chosen.root)
    scan(project)
    run(project, budget=6)
    assert project.config.encoder == "pixels:8"
    scores = facts(project).rounds[-1].encoder["scores"]
    assert {score["encoder"] for score in scores} >= {"pixels:1", "pixels:8"}
    assert {score["labels"] for score in scores} == {27}
    with project.records.read() as session:
        assert stored_embeddings(session, encoders.get("pixels:1")).shape == [69, 1]


def test_candidates_beside_given_probabilities_are_joined_with_these_once(images, tmp_path):
    files = sorted(images.rglob("*.png"))
    keys = [path.relative_to(images).as_posix() for path in files]
    classes = ["digit-0", "digit-1", "digit-2"]
    true = np.array([classes.index(path.parent.name) for path in files])
    given = f"prior:{tmp_path / 'given.npz'}"
    p = 0.9 * np.eye(3)[true] + 0.1 / 3
    np.savez(tmp_path / "given.npz", probabilities=p, keys=keys, classes=classes)
    project = choosing(
        images,
        tmp_path / "p",
        encoder=f"pixels:1+{given}",
        encoder_candidates=[f"pixels:8+{given}"],
        selection={"scorer": "random", "budgets": [24]},
    )
    run(project)
    scores = facts(project).rounds[0].encoder["scores"]
    names = {score["encoder"]: score for score in scores}
    short = "prior:given.npz"
    assert names.keys() == {
        f"pixels:1+{short}",
        f"pixels:8+{short}",
        f"1*pixels:1+{short}+1*pixels:8",
    }
    with project.records.read() as session:
        joined = stored_embeddings(session, encoders.get(f"1*pixels:1+{given}+1*pixels:8"))
        x = np.load(project.arrays / f"{joined.digest}.npy")
        rows = [int(row) for row, _, _ in queries.row_names(session, joined.pool_id)]
        uris = [uri for _, _, uri in queries.row_names(session, joined.pool_id)]
    assert x.shape[1] == 1 + 3 + 64
    of_first = p[keys.index(uris[0])]
    np.testing.assert_allclose(x[rows[0], 1:4], np.log(of_first), rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(x[:, 4:], axis=1), 1, atol=1e-6)
