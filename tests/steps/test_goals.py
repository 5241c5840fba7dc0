"""What a project is after: the metric, rare classes, and more images of a class."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sql
from sklearn.datasets import load_digits

from db import queries
from db.models import Event
from loop import config
from loop.cli.measure import result_sentence
from loop.errors import ConfigError, NotReady
from loop.goals import images_worth, interval, value
from loop.measuring.runs import DIFFERENCES
from loop.project import create
from loop.project.recorded import Wish
from loop.reports.answers import few_labels, not_measured, of_few_labels
from loop.reports.facts import FewLabels, unseen
from loop.steps.embed import embed
from loop.steps.plan import plan
from loop.steps.report import facts, report
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.score import score
from loop.steps.select import select
from loop.steps.status import status
from loop.train import Task
from loop.train.balance import evenness, uneven
from loop.train.metrics import measure
from loop.train.propagate import Propagate
from tests.cli.test_screen import typed
from tests.conftest import small_values


def geometric_digits(seed):
    """A pool whose classes have 1, 1/2, 1/4, ... as many images, a balanced test, 60 labels."""
    x, y = load_digits(return_X_y=True, n_class=6)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    x, y = x[order].astype(np.float32), y[order].astype(np.int64)
    rows = [np.flatnonzero(y == c) for c in range(6)]
    test = np.concatenate([some[:40] for some in rows])
    pool = np.concatenate([some[40 : 40 + 128 // 2**c] for c, some in enumerate(rows)])
    known = np.full(len(pool), -1)
    drawn = rng.permutation(len(pool))[:60]
    known[drawn] = y[pool][drawn]
    return Task(6, x[pool], x[test], y[test]), known


def test_rare_classes_are_answered_more_often_where_that_is_the_goal():
    gains, plain, rarest = [], [], []
    for seed in range(8):
        task, known = geometric_digits(seed)
        each = [
            Propagate().train(replace(task, weigh_classes=how), known, np.random.default_rng(0))
            for how in ("never", "root", "always", "uneven")
        ]
        never, root, always, noticed = each
        assert np.array_equal(root.test_probabilities, noticed.test_probabilities)
        assert noticed.notes["rare classes"]["noticed"]
        rarest.append(
            [trained.test_probabilities[:, 5].mean() for trained in (never, root, always)]
        )
        assert "rare classes" not in never.notes
        gains.append(always.metrics.macro_f1 - never.metrics.macro_f1)
        plain.append(always.metrics.balanced_accuracy - never.metrics.balanced_accuracy)
    none, half, most = np.mean(rarest, axis=0)
    assert none < half < most
    assert np.mean(gains) > 0.01
    assert np.mean(plain) > 0.01


def test_even_labels_are_left_alone():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 60)
    nothing, everything = np.zeros(60, bool), np.ones(60, bool)
    assert not uneven(y, nothing, 6)[0]
    assert not uneven(y, everything, 6)[0]
    geometric = np.repeat(np.arange(6), [32, 16, 8, 4, 2, 1])
    assert uneven(geometric, np.zeros(63, bool), 6)[0]
    assert uneven(geometric, np.ones(63, bool), 6)[0]
    assert not uneven(geometric[::8], np.zeros(8, bool), 6)[0]  # too few to tell
    assert evenness(np.repeat(np.arange(6), 1000), 6) == pytest.approx(1.0, abs=1e-3)


def test_one_rare_class_is_noticed_in_a_random_sample():
    """Of 100 at random, 0 of one of ten classes: at most 3 % of the pool, a third of a tenth is
    3.3 %; of 50, at most 5.8 %."""
    even = np.repeat(np.arange(1, 10), 12)[:100]
    noticed, why = uneven(even, np.ones(100, bool), 10)
    assert noticed
    assert why.startswith("a class has 0 of 100 labels of the random sample, at most 3.0%")
    assert evenness(even, 10) > 0.9  # by which it would not be noticed
    assert not uneven(even[::2], np.ones(50, bool), 10)[0]
    assert not uneven(even, np.zeros(100, bool), 10)[0]  # picks are no sample of the pool
    rng = np.random.default_rng(0)
    alarms = [uneven(rng.integers(0, 10, 100), np.ones(100, bool), 10)[0] for _ in range(200)]
    assert sum(alarms) == 0


def test_classes_that_no_image_measures_are_named():
    assert unseen(["a", "b", "c"], [3, 0, 1]) == ["b"]
    assert not_measured(["b", "d"]).startswith("No image of b, d measures it")
    assert not_measured([]) == ""


def test_folds_are_weighed_as_the_model_is():
    task, known = geometric_digits(0)
    fold = np.full(len(known), -1)
    fold[known >= 0] = np.arange(60) % 3
    always = replace(task, weigh_classes="always")
    by_fold = [
        np.mean(
            [
                p[:, 5].mean()
                for p in Propagate().cross_fit(t, known, fold, np.random.default_rng(0))
            ]
        )
        for t in (task, always)
    ]
    assert by_fold[1] > by_fold[0]  # the rarest class


def test_all_right_is_no_certainty():
    y = np.repeat(np.arange(3), 5)
    metrics = measure(np.eye(3)[y], y).to_json()
    assert value(metrics, "macro-F1") == 1
    lower, upper = interval(metrics, "macro-F1")
    assert (lower, upper) == pytest.approx(tuple(metrics["intervals"]["accuracy"]), abs=0.02)
    del metrics["intervals"]["macro_f1"]  # as versions up to 0.5 left it out
    assert interval(metrics, "macro-F1") == tuple(metrics["intervals"]["accuracy"])


def with_goal(project, metric):
    values = project.config.model_dump()
    values["goal"] = {"metric": metric}
    return type(project)(project.root, config.check(values, "test"))


def test_report_and_plan_go_by_the_goal(tmp_path, images):
    project = create(tmp_path / "p", config.check(small_values(images), "test"))
    run(project)
    asked = with_goal(project, "balanced accuracy")
    with project.records.read() as session:
        metrics = queries.runs(session, 1, "all")[-1][1].metrics
    shown = facts(asked)
    assert shown.best.accuracy == pytest.approx(metrics["balanced_accuracy"])
    assert facts(project).best.accuracy == pytest.approx(metrics["accuracy"])
    outlook = plan(asked, Wish(target=0.99))
    assert outlook.metric == "balanced accuracy"
    assert outlook.points[-1][1] == pytest.approx(metrics["balanced_accuracy"])
    assert plan(project, Wish(target=0.99)).points[-1][1] == pytest.approx(metrics["accuracy"])
    assert 0 < metrics["intervals"]["accuracy"][0] < metrics["accuracy"]
    (within,) = [n for n in plan(project, Wish(target=metrics["accuracy"])).notes if "lies" in n]
    lower, upper = (100 * end for end in metrics["intervals"]["accuracy"])
    assert f"({lower:.1f} to {upper:.1f} %); more test images would tell" in within
    with pytest.raises(ConfigError, match="metric"):
        with_goal(project, "f1")


def test_all_that_is_shown_follows_the_metric(tmp_path, images):
    values = by_sample(images, goal={"metric": "macro-F1"})
    project = create(tmp_path / "p", config.check(values, "test"))
    ended = run(project)
    with project.records.read() as session:
        runs = queries.runs(session, 1, "all")
        control = queries.runs(session, 1, "control")[-1][1]
        told = [event.message for event in session.scalars(sql.select(Event)).all()]
    metrics = runs[-1][1].metrics
    f1, (lower, upper) = metrics["macro_f1"], metrics["intervals"]["macro_f1"]
    assert f1 != metrics["accuracy"]
    assert lower < f1 < upper
    measured = ended.result.measured
    assert (measured.metric, measured.value, measured.accuracy) == (
        *("macro-F1", f1),
        metrics["accuracy"],
    )
    assert ended.result.before[1] == runs[0][1].metrics["macro_f1"]
    assert measured.difference.metric == "macro-F1"
    assert measured.difference.mean == control.notes[DIFFERENCES]["macro_f1"][0]
    figure = f"macro-F1 {100 * f1:.1f} % (95 % interval {100 * lower:.1f} to {100 * upper:.1f} %"
    plain = f"{100 * metrics['accuracy']:.1f} %"
    shown = result_sentence(ended.result)
    assert figure in shown
    assert f"plain accuracy {plain}" in shown
    for command in ("measure", "status"):
        printed = " ".join(typed(project, command).split())
        assert f"Its macro-F1 is about {100 * f1:.1f} %" in printed
        assert f"About {plain} of images are classified correctly" in printed
        assert "points of macro-F1" in printed
    assert "macro-F1 %" in typed(project, "status")
    status = json.loads(typed(project, "status", "--json"))
    assert status["metric"] == status["measured"]["metric"] == "macro-F1"
    assert status["rounds"][-1]["value"] == f1
    assert any(f"macro-F1 {f1:.3f}, plain accuracy" in text for text in told)
    assert f"{figure})" in typed(project, "train", "--again")
    assert "macro-F1 % [95 %]" in typed(project, "compare")
    assert json.loads(typed(project, "compare", "--json"))[0]["metric"] == "macro-F1"
    assert "target macro-F1 99.0 %" in typed(project, "plan", "--target", "0.99")
    page = report(project)["html"].read_text()
    assert '<span class="soft">macro-F1</span>' in page
    assert "points of macro-F1" in page
    assert "20 images of the random sample)" in page


def test_an_interval_says_how_many_images_it_is_worth():
    y = np.repeat(np.arange(4), [40, 40, 40, 3])
    p = np.eye(4)[np.where(np.arange(123) % 3, y, (y + 1) % 4)]
    metrics = measure(p, y).to_json()
    assert images_worth(metrics, "accuracy") == 123
    assert 3 < images_worth(metrics, "balanced accuracy") < 80  # three images say a quarter of it


def test_a_class_with_few_labels_is_named_with_its_price():
    assert few_labels(FewLabels("ox", 2, 2, 100)) == (
        "Class 'ox' has 2 labels, fewer than 5; 3 more at random take about 150 labels (43 to "
        "545). 'coreloop run --like ox' picks more in the next round."
    )
    assert "at least" in few_labels(FewLabels("ox", 0, 0, 100))
    quoted = few_labels(FewLabels("red ox", 1, 0, 0))
    assert quoted.endswith("--like 'red ox'' picks more in the next round.")
    many = [FewLabels(name, 1, 0, 0) for name in "abcde"]
    assert of_few_labels(many, 3)[3:] == ["2 more classes have few labels."]


def test_few_labels_are_named_with_what_more_take_in_status_and_report(tmp_path, images):
    for picture in sorted((images / "digit-0").iterdir())[4:]:
        picture.unlink()
    project = create(
        tmp_path / "p", config.check(by_sample(images, labeler={"error_rate": 0.0}), "test")
    )
    run(project)
    with project.records.read() as session:
        sampled = [pick for pick in queries.picks(session, 1) if pick.at_random]
    of_class = sum(pick.uri.startswith("digit-0") for pick in sampled)
    (few,) = status(project).few_labels
    assert (few.name, few.of_sample, few.sample) == ("digit-0", of_class, 20)
    assert few.of_sample <= few.labels < 5
    told = few_labels(few)
    assert f"{few.wanted} more at random take " in told
    assert told in facts(project).notes
    assert f"note: {told}" in " ".join(typed(project, "status").split())
    asked = json.loads(typed(project, "status", "--json"))
    assert asked["few_labels"][0]["labels"] == few.labels


def by_sample(images, **changes):
    values = small_values(images, selection={"budgets": [6, 12]}, **changes)
    del values["pool"]["test"]
    values["measure"] = {"images": 20, "folds": 2}
    return values


def test_more_of_a_class(tmp_path, images):
    values = by_sample(images)
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    embed(project)
    score(project)
    with pytest.raises(NotReady, match="'digit-1' has no label yet"):
        select(project, ["digit-1"])
    with pytest.raises(ConfigError, match=r"no class 'digit-7' .did you mean"):
        select(project, ["digit-7"])
    with pytest.raises(ConfigError, match="--share"):
        select(project, ["digit-1"], 0)
    assert select(project).like == {}


def test_picks_near_a_class_are_mostly_of_it(tmp_path, images):
    values = by_sample(images, labeler={"error_rate": 0.0})
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    run_one_round(project)
    score(project)
    chosen = select(project, ["digit-1"], 0.5)
    assert chosen.coreset == 12
    assert chosen.like["digit-1"].startswith("6 picks, by")
    with project.records.read() as session:
        picks = [pick for pick in queries.picks(session, 1, 2) if pick.arm == "coreset"][:6]
        explanation = queries.newest_round(session, 1).explanation
    assert sum(pick.uri.startswith("digit-1") for pick in picks) >= 5
    assert json.loads(json.dumps(explanation))["like"] == chosen.like


def test_a_run_picks_more_of_a_class_in_its_next_round_and_says_so(tmp_path, images):
    values = by_sample(images, labeler={"error_rate": 0.0})
    project = create(tmp_path / "p", config.check(values, "test"))
    scan(project)
    with pytest.raises(ConfigError, match=r"no class 'digit-7' .did you mean"):
        run(project, like=["digit-7"])
    run_one_round(project)
    told = typed(project, "run", "--like", "digit-1", "--share", "0.5")
    assert "nothing was picked" not in told
    with project.records.read() as session:
        explanation = queries.newest_round(session, 1).explanation
    assert explanation["like"]["digit-1"].startswith("6 picks, by")
    (shown,) = [round_ for round_ in facts(project).rounds if round_.number == 2]
    assert shown.reason.endswith(f"like digit-1: {explanation['like']['digit-1']}")
    again = " ".join(typed(project, "run", "--like", "digit-1").split())
    assert "nothing was picked now: give --like digit-1 again when the next round is" in again


def run_one_round(project):
    """Everything up to the end of round 1."""
    from loop.steps.compare import compare
    from loop.steps.pull import pull
    from loop.steps.push import push
    from loop.steps.train import train

    embed(project)
    score(project)
    select(project)
    push(project)
    pull(project)
    train(project)
    compare(project)
