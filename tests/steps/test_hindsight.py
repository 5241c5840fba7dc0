"""compare, where people label: only what they labelled can be chosen again, and it is said."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from loop import config
from loop.project import create
from loop.project.comparison import compared
from loop.reports.answers import beats_random
from loop.reports.facts import Control
from loop.steps.labels import labels
from loop.steps.plan import Wish, plan
from loop.steps.pull import pull
from loop.steps.report import facts, report
from loop.steps.run import run
from tests.conftest import rows, small_values, write_images


def answer(project, seconds=""):
    """Fills each sheet in, by the folder that an image lies in."""
    for sheet in project.root.glob("sheets/round-*.csv"):
        with sheet.open(newline="") as file:
            lines = list(csv.DictReader(file))
        for line in lines:
            line["label"] = next(part for part in line["image"].split("/") if "digit-" in part)
        with sheet.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)


def labelled_by_people(folder, images, **changes):
    values = small_values(images, labeler={"kind": "csv", "error_rate": 0.0}, **changes)
    project = create(folder, config.check(values, "test"))
    while run(project).why == "waiting":
        answer(project)
    return project


def cells(project):
    """(method, budget, seed) -> outcome of each cell of the newest comparison."""
    stored = rows(
        project,
        "SELECT cell.method, cell.budget, cell.seed, cell.outcome FROM cell JOIN comparison "
        "ON comparison.simulation_id = cell.simulation_id JOIN round "
        "ON round.id = comparison.round_id "
        "WHERE round.number = (SELECT max(number) FROM round JOIN comparison ON round_id = id)",
    )
    return {
        (method, budget, seed): json.loads(outcome) if isinstance(outcome, str) else outcome
        for method, budget, seed, outcome in stored
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    write_images(folder / "images")
    return labelled_by_people(
        folder / "p", folder / "images", selection={"scorer": "auto", "budgets": [6, 6, 6]}
    )


def test_hindsight_is_said_everywhere_and_saves_no_labels(finished):
    comparison = compared(finished)
    assert comparison.among == 18
    assert {row.budget for row in comparison.rows} == {6, 12}
    assert all(row.saved is None for row in comparison.rows)
    text = beats_random(facts(finished))
    assert text.startswith("Not known")
    assert "Of those 18 images" in text
    assert not any(word in text for word in ("Yes", "Random needs"))
    written = report(finished)
    for form in ("html", "md"):
        assert "chose among the 18" in " ".join(written[form].read_text().split())


def test_auto_stays_itself_in_hindsight(finished):
    """12 of 18 images are more than half of them, which would be random."""
    picks = {key: set(outcome["picks"]) for key, outcome in cells(finished).items()}
    assert len(picks) == 8
    assert all(picks["auto", 12, seed] != picks["random", 12, seed] for seed in (0, 1))
    for seed in (0, 1):
        assert picks["auto", 6, seed] < picks["auto", 12, seed]


def test_a_random_control_answers_what_hindsight_cannot(tmp_path, images):
    project = labelled_by_people(
        tmp_path / "p", images, selection={"budgets": [10, 10], "control": 0.3}
    )
    query = "SELECT arm, labels FROM run WHERE arm IN ('coreset', 'control') ORDER BY id"
    assert set(rows(project, query)) == {
        ("coreset", 3),
        ("control", 3),
        ("coreset", 6),
        ("control", 6),
    }
    evidence = facts(project)
    by_arm = {c.kind: c.points[-1].accuracy for c in evidence.curves}
    gap = by_arm["coreset"] - by_arm["control"]
    assert evidence.control.labels == 6
    assert evidence.control.mean == pytest.approx(gap)
    assert evidence.control.low <= gap <= evidence.control.high
    text = beats_random(evidence)
    assert "first 6 picks" in text
    ahead = beats_random(replace(evidence, control=Control(6, 0.1, 0.05, 0.15, 12)))
    assert ahead.startswith("Yes. The first 6 picks against the 6 random ones")
    assert "+10.0 points, 95 % interval +5.0 to +15.0 over 12 test images" in ahead
    assert text in " ".join(report(project)["md"].read_text().split())


def test_a_network_can_be_compared_too(tmp_path, images):
    project = labelled_by_people(
        tmp_path / "p",
        images,
        training={"trainer": "timm:test_resnet", "params": {"steps": 2, "side": 8}},
    )
    assert rows(project, "SELECT state FROM round ORDER BY number")[-1] == ("compared",)
    assert {row.budget for row in compared(project).rows} == {6}


def test_cells_of_another_trainer_are_computed_again(tmp_path, images):
    project = create(tmp_path / "p", config.check(small_values(images), "test"))
    run(project)
    training = project.config.training.model_copy(update={"trainer": "linear"})
    linear = replace(project, written=project.config.model_copy(update={"training": training}))
    run(linear, budget=6)
    measured = cells(linear)
    assert "propagate" not in str(measured)
    assert {row.budget for row in compared(linear).rows} == {6, 12, 18}
    assert len(measured) == len(compared(linear).rows) * 2


def test_cells_measured_on_other_test_labels_are_computed_again(tmp_path, images):
    project = labelled_by_people(tmp_path / "p", images, selection={"budgets": [6, 6]})
    before = compared(project).cells
    assert {cell.budget for cell in before} == {6}
    (sheet,) = project.root.glob("sheets/round-0-*.csv")
    text = sheet.read_text()
    sheet.write_text(text.replace(",digit-0\n", ",digit-1\n", 1))
    assert text != sheet.read_text()
    pull(project)
    assert run(project, budget=6).why == "waiting"
    keep = sheet.read_text()
    answer(project)
    sheet.write_text(keep)
    assert run(project).why == "done"
    after = compared(project).cells
    assert {cell.budget for cell in after} == {6, 12}
    assert not {cell.id for cell in before} & {cell.id for cell in after}


def test_the_own_method_picks_by_the_projects_rule(tmp_path, images):
    picks = []
    for rule in ("top", "middle"):
        values = small_values(images, selection={"scorer": "norm", "rule": rule})
        project = create(tmp_path / rule, config.check(values, "test"))
        run(project)
        picks.append({key: outcome["picks"] for key, outcome in cells(project).items()})
        own = rows(project, "SELECT item_id FROM pick WHERE arm = 'coreset'")
        assert len(own) == 12
        assert {row.method for row in compared(project).rows} == {"norm", "random"}
    top, middle = picks
    assert top["random", 12, 0] == middle["random", 12, 0]
    assert top["norm", 12, 0] != middle["norm middle", 12, 0]


def test_labels_that_came_with_test_images_cost_nothing(tmp_path, images):
    write_images(tmp_path / "test", count=30)
    values = small_values(
        images,
        pool={"test_path": str(tmp_path / "test"), "labelled": False},
        labeler={"kind": "csv", "error_rate": 0.0},
        costs={"per_label": 1.0},
    )
    for path in sorted(images.rglob("*.png"))[::2]:  # else every image would be one of the test
        path.write_bytes(path.read_bytes() + b"another")
    project = create(tmp_path / "p", config.check(values, "test"))
    while run(project).why == "waiting":
        answer(project)
    shown = facts(project)
    assert shown.money == 12
    assert "source" not in [annotator.name for annotator in shown.annotators]
    assert "source" not in [annotator.name for annotator in labels(project).people]
    assert plan(project, Wish(target=0.9)).price.votes == 1
    assert np.isclose(shown.metrics["n"], 30)


def test_cells_of_other_embeddings_under_the_same_name_are_computed_again(tmp_path, images):
    from loop.steps.embed import embed
    from loop.steps.scan import scan
    from loop.steps.simulate import Grid, all_methods, simulate

    file = tmp_path / "own.npy"
    names = sorted(p.relative_to(images).as_posix() for p in images.rglob("*.png"))
    rng = np.random.default_rng(0)
    good = np.eye(3)[[int(n[6]) for n in names]] + 0.01 * rng.normal(size=(len(names), 3))
    file.with_suffix(".keys").write_text("\n".join(names))
    np.save(file, good.astype(np.float32))
    values = small_values(images, encoder=f"file:{file}")
    project = create(tmp_path / "p", config.check(values, "test"))
    grid = Grid(all_methods(["kmeans"]), [9], 2, "linear", {}, share=1.0)

    def measured():
        scan(project)
        embed(project)
        return {row.method: row.mean for row in simulate(project, grid)}

    assert measured()["kmeans"] > 0.9
    noise = rng.normal(size=good.shape)
    np.save(file, noise.astype(np.float32))
    assert measured()["kmeans"] < 0.8


def test_network_cells_are_stored_one_by_one(tmp_path, images, monkeypatch):
    """They take minutes each: a kill loses one, not all budgets of a method."""
    from loop.steps.embed import embed
    from loop.steps.scan import scan
    from loop.steps.simulate import Grid, all_methods, simulate

    project = create(tmp_path / "p", config.check(small_values(images), "test"))
    scan(project)
    embed(project)
    grid = Grid(
        all_methods(["random"]),
        [6, 9, 12],
        1,
        "timm:test_resnet",
        {"steps": 2, "side": 8},
        share=1.0,
    )

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(project, grid, on_progress=stop)
    assert rows(project, "SELECT budget FROM cell ORDER BY budget") == [(6,), (9,)]
    seen = []
    simulate(project, grid, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 3)]
