"""A project that a random sample measures, from the first push to an enlarged sample."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from db import queries
from db.soundness import contradictions
from loop import config
from loop.cli.measure import measure as command
from loop.errors import ConfigError, DataError, NotReady
from loop.measuring.runs import DIFFERENCE
from loop.project import create
from loop.project.predictions import pool_confidence, predictions
from loop.project.problem import problem
from loop.reports.answers import beats_random
from loop.scorers import Inputs
from loop.steps.measure import enlarge, measure, wanted
from loop.steps.pull import pull
from loop.steps.report import facts, report
from loop.steps.run import run
from loop.steps.score import _inputs
from loop.steps.status import status
from tests.conftest import rows, small_values


def sampled_values(images, **changes):
    values = small_values(images, measure={"images": 20, "folds": 5}, **changes)
    del values["pool"]["test"]
    return values


@pytest.fixture
def project(tmp_path, images):
    return create(tmp_path / "project", config.check(sampled_values(images), "test"))


def picks_of(project, number):
    return rows(
        project,
        "SELECT arm, pick.rank, draw, probability FROM pick JOIN round ON round.id = round_id "
        f"WHERE number = {number} ORDER BY pick.rank",
    )


def test_the_sample_goes_out_with_the_first_round_and_measures_every_round(project):
    assert run(project).why == "done"
    assert rows(project, "SELECT count(*) FROM round WHERE number = 0") == [(0,)]
    first = picks_of(project, 1)
    assert sorted(rank for _, rank, _, _ in first) == list(range(26))
    arms = [arm for arm, *_ in first]
    assert (arms.count("sample"), arms.count("coreset")) == (20, 6)
    assert arms != sorted(arms), "the order tells which is which"
    assert arms != sorted(arms, reverse=True)
    draws = [draw for _, _, draw, _ in first if draw is not None]
    assert draws == list(range(20)), "the sample lost its order"
    assert {p for *_, p in first if p is not None} == {20 / 60}
    measured = measure(project)
    assert (measured.by, measured.images, measured.labels) == ("sample", 20, 32)
    assert measured.lower < measured.accuracy < measured.upper
    assert status(project).rounds[-1].accuracy == measured.accuracy
    with project.records.read() as session:
        assert list(contradictions(session, queries.the_pool(session))) == []


def test_every_label_is_learned_and_the_difference_is_noted(project):
    run(project)
    runs = rows(project, "SELECT number, arm, labels FROM run JOIN round ON round.id = round_id")
    assert (2, "all", 32) in runs
    shown = facts(project)
    assert shown.control is not None
    assert shown.control.by_sample
    assert (shown.control.labels, shown.control.images) == (12, 20)
    assert shown.control.low <= shown.control.mean <= shown.control.high
    assert shown.spent == {"of the random sample": 20, "picks": 12}
    notes = json.loads(rows(project, "SELECT notes FROM run WHERE arm = 'control'")[-1][0])
    assert len(notes[DIFFERENCE]) == 3


def test_a_report_says_what_it_is_judged_on(project):
    run(project)
    text = report(project)["md"].read_text()
    assert "judged on the 20 labelled images of the random sample" in text
    assert "labels of the random sample" in text
    assert "32 labels (20 of the random sample, 12 picks)" in text
    assert "test images" not in text.splitlines()[2]


def test_scorers_are_shown_nothing_of_the_sample(tmp_path, images, monkeypatch):
    """Neither that its images are labelled nor how: a scorer that goes by labels sees those of its
    own picks alone."""
    values = sampled_values(images, selection={"scorer": "auto"})
    project = create(tmp_path / "project", config.check(values, "test"))
    seen: list[Inputs] = []

    def spy(*args):
        inputs = _inputs(*args)
        seen.append(inputs)
        return inputs

    monkeypatch.setattr("loop.steps.score._inputs", spy)
    run(project)
    with project.records.read() as session:
        pool = queries.the_pool(session)
        sample = np.searchsorted(
            queries.split_rows(session, pool.id, "pool"), queries.sample_rows(session, pool.id)
        )
        labelled = problem(session, project).labels >= 0
    assert labelled[sample].all()
    for inputs, covered in zip(seen, (0, 6), strict=True):
        assert inputs.covered.sum() == covered
        assert not inputs.covered[sample].any()
        assert not inputs.available[sample].any()
        assert (inputs.labels[sample] == -1).all()
        assert (inputs.labels >= 0).sum() == covered


def test_one_push_and_one_wait_for_sample_and_picks(tmp_path, images):
    values = sampled_values(images, labeler={"kind": "csv"})
    values["labeler"].pop("error_rate", None)
    project = create(tmp_path / "project", config.check(values, "test"))
    ended = run(project)
    assert (ended.why, ended.message) == ("waiting", "round 1: 0 of 26 images labelled")
    (sheet,) = (project.root / "sheets").glob("*.csv")
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8-sig").splitlines()))
    assert len(lines) == 26
    assert not {"arm", "draw", "sample"} & set(lines[0])


def test_a_larger_sample(project):
    run(project)
    before = measure(project)
    assert wanted(project, 0.9) == 0
    enlarged = enlarge(project, 15)
    assert enlarged.images == 35
    assert enlarged.to_label == sum(arm == "sample" for arm, *_ in picks_of(project, 3))
    with pytest.raises(NotReady, match="round 3"):
        enlarge(project, 5)
    assert run(project).why == "done"
    after = measure(project)
    assert after.images == 35
    assert after.labels == 32 + enlarged.to_label
    assert after.upper - after.lower < before.upper - before.lower
    assert run(project).why == "done", "an enlargement is no planned round"
    with project.records.read() as session:
        assert list(contradictions(session, queries.the_pool(session))) == []


def test_an_enlargement_by_doubt_stores_how_likely_each_image_was(project, monkeypatch):
    """Scores of such a draw are above 0; the comparison and all other figures stay with what was
    drawn at random, the accuracy is from all."""
    monkeypatch.setattr("loop.steps.measure.WORTHWHILE", 0.0)
    run(project)
    before = measure(project)
    assert enlarge(project, 12).by_doubt
    with project.records.read() as session:
        pool = queries.the_pool(session)
        first, added = queries.sample_draws(session, pool.id)[:20], drawn_later(session, pool.id)
        confidence = pool_confidence(session, project)
    assert {batch for *_, batch in first} == {0}
    assert {probability for _, probability, _ in first} == {20 / 60}
    assert [batch for *_, batch in added] == [3] * 12
    assert len({probability for _, probability, _ in added}) > 1
    sure, doubtful = (order(added, key=lambda row: confidence[row[0]]) for order in (max, min))
    assert doubtful[1] > sure[1]
    assert rows(project, "SELECT count(*) FROM pick WHERE arm = 'sample' AND score > 0") == [(12,)]
    assert run(project).why == "done"
    after = measure(project)
    assert (after.images, after.labels) == (32, before.labels + 12)
    assert after.difference.labels == before.difference.labels
    assert after.difference.images == 20
    confusion = rows(project, "SELECT metrics ->> 'confusion' FROM run WHERE arm = 'all'")[-1][0]
    assert sum(map(sum, json.loads(confusion))) == 20
    with project.records.read() as session:
        assert list(contradictions(session, queries.the_pool(session))) == []
    assert enlarge(project, 5, at_random=True).by_doubt is False


def drawn_later(session, pool_id):
    return queries.sample_draws(session, pool_id)[20:]


def test_a_model_that_is_nowhere_surer_than_elsewhere_has_them_drawn_at_random(
    project, monkeypatch
):
    run(project)
    even = dict.fromkeys(range(200), 0.7)
    monkeypatch.setattr("loop.steps.measure.pool_confidence", lambda session, project: even)
    assert not enlarge(project, 12).by_doubt


def test_a_picked_image_that_is_drawn_costs_nothing(project):
    run(project)
    enlarged = enlarge(project, 40)  # the whole pool
    assert (enlarged.images, enlarged.to_label) == (60, 28)
    drawn = rows(project, "SELECT count(*) FROM pick WHERE arm = 'coreset' AND draw IS NOT NULL")
    assert drawn == [(12,)]
    run(project)
    assert measure(project).images == 60


@pytest.mark.parametrize(
    ("count", "error", "words"),
    [(0, ConfigError, "at least 1"), (41, DataError, "the pool has 40 others")],
)
def test_a_sample_cannot_grow_so(project, count, error, words):
    run(project)
    with pytest.raises(error, match=words):
        enlarge(project, count)
    assert rows(project, "SELECT count(*) FROM round") == [(2,)]


def test_people_see_no_guess_where_images_measure(project):
    run(project)
    assert len(predictions(project, 2)) == 6
    assert predictions(project, 1) == {}
    enlarge(project, 5)
    assert predictions(project, 3) == {}


@pytest.mark.parametrize("width", [0.0, 1.0, -0.1, 0.0001])
def test_no_interval_is_so_wide(project, width):
    run(project)
    with pytest.raises(ConfigError):
        wanted(project, width)


def test_a_sample_needs_twenty_images(images):
    with pytest.raises(ConfigError, match="a sample of 19 says next to nothing"):
        config.check(
            {**small_values(images), "pool": {"path": str(images)}, "measure": {"images": 19}}, "x"
        )


def test_a_small_pool_gives_half_of_its_images(tmp_path, images):
    values = sampled_values(images)
    values["measure"] = {"images": 100}
    values["selection"] = {"budgets": [6]}
    project = create(tmp_path / "project", config.check(values, "test"))
    run(project)
    assert measure(project).images == 30


def test_a_control_share_beside_a_sample_is_refused(tmp_path, images):
    values = sampled_values(images, selection={"control": 0.2})
    project = create(tmp_path / "project", config.check(values, "test"))
    with pytest.raises(ConfigError, match="take 'control' out"):
        run(project)
    assert rows(project, "SELECT count(*) FROM round") == [(0,)]
    assert rows(project, "SELECT count(*) FROM pick") == [(0,)]


def test_settings_of_older_versions_hold_images_out(images):
    checked = config.check(small_values(images), "old")
    assert (checked.measure.by, checked.measure.images) == ("holdout", 12)
    assert config.check(checked.model_dump(), "new") == checked
    with pytest.raises(ConfigError, match="former name of measure"):
        config.check({**small_values(images), "measure": {"images": 50}}, "both")


def test_a_person_who_changes_the_samples_labels_changes_the_measurement(tmp_path, images):
    values = sampled_values(images, labeler={"kind": "csv"}, selection={"budgets": [6]})
    values["labeler"].pop("error_rate", None)
    project = create(tmp_path / "project", config.check(values, "test"))
    run(project)
    (sheet,) = (project.root / "sheets").glob("*.csv")
    fill(sheet, project, lambda name: name)
    run(project)
    good = measure(project).accuracy
    fill(sheet, project, lambda name: "digit-0")
    pull(project, full=True)
    enlarge(project, 2)
    for further in sorted((project.root / "sheets").glob("*.csv")):
        fill(further, project, lambda name: "digit-0")
    run(project)
    newest = sorted((project.root / "sheets").glob("*.csv"))
    for further in newest:
        fill(further, project, lambda name: "digit-0")
    run(project)
    assert good > 0.5
    assert measure(project).accuracy == 1.0, "every label says digit-0 now"


def fill(sheet, project, answer):
    """Writes an answer, made of the true label, into every line of a sheet."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lines, names = list(reader), reader.fieldnames
    truth = dict(rows(project, "SELECT key, known_label FROM item"))
    for line in lines:
        line["label"] = answer(truth[line["key"]])
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(lines)


def test_the_command_says_asks_and_draws(project):
    def coreloop(*args, answer=""):
        return CliRunner().invoke(command, ["-p", str(project.root), *args], input=answer)

    run(project)
    said = coreloop()
    assert "judged on 20 images of the random sample" in " ".join(said.output.split())
    assert max(map(len, said.output.splitlines())) <= 80
    assert "Does the selection beat random?" in said.output
    facts_ = json.loads(coreloop("--json").output)
    assert (facts_["by"], facts_["images"], facts_["difference"]["labels"]) == ("sample", 20, 12)
    width = facts_["upper"] - facts_["lower"] - 0.01
    refused = coreloop("--to", f"{width:.3f}", answer="n\n")
    assert refused.exit_code == 1
    assert "more images in the sample" in refused.output
    assert rows(project, "SELECT count(*) FROM round") == [(2,)]
    drawn = coreloop("--to", f"{width:.3f}", "--yes")
    assert "next: coreloop run" in drawn.output
    assert rows(project, "SELECT state, budget FROM round WHERE number = 3") == [("selected", 0)]


def test_a_round_whose_picks_nobody_can_judge_ends(tmp_path, images):
    """The sample alone is labelled: a model, a measurement, and nothing to compare."""
    values = sampled_values(images, labeler={"kind": "csv"}, selection={"budgets": [6, 6]})
    values["labeler"].pop("error_rate", None)
    project = create(tmp_path / "project", config.check(values, "test"))
    assert "Not measured yet" in beats_random(waiting_facts(project))
    arms = dict(rows(project, "SELECT key, arm FROM pick JOIN item ON item.id = item_id"))
    (sheet,) = (project.root / "sheets").glob("*.csv")
    fill(sheet, project, lambda name: name)
    lines = list(csv.DictReader(sheet.read_text(encoding="utf-8-sig").splitlines()))
    for line in lines:
        if arms[line["key"]] == "coreset":
            line["label"] = "skip"
    with sheet.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    assert run(project).message == "round 2: 0 of 6 images labelled"
    measured = measure(project)
    assert (measured.images, measured.labels, measured.difference) == (20, 20, None)


def waiting_facts(project):
    run(project)
    return facts(project)
