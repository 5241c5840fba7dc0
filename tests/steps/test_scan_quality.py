"""scan --quality, and one pick of each group of near-duplicates, in whole projects."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from db import queries
from loop import config
from loop.cli import cli
from loop.near_duplicates import slightly_changed
from loop.project import create
from loop.project.near_duplicates import kept_duplicates
from loop.steps.embed import embed
from loop.steps.predict import predict
from loop.steps.report import facts
from loop.steps.run import run
from loop.steps.scan import look_closer, scan
from tests.conftest import small_values

CLASSES = ["blue", "green", "red"]
SCENES, COPIES = 42, 4


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """42 scenes in three colours, and of every third four nearly the same pictures more."""
    folder, rng = tmp_path_factory.mktemp("scenes") / "images", np.random.default_rng(0)
    for number in range(SCENES):
        label = number % 3
        coarse = rng.integers(0, 200, (5, 5, 3), dtype=np.uint8)
        coarse[..., 2 - label] = np.minimum(255, coarse[..., 2 - label] + 55)
        picture = Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC)
        path = folder / CLASSES[label] / f"scene-{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        for copy in range(COPIES if number % 3 == 0 else 0):
            near = Image.open(io.BytesIO(slightly_changed(picture, rng)))
            near.save(path.with_name(f"{path.stem}-{copy}.png"))
    return folder


def project_at(tmp_path, scenes, **selection):
    values = small_values(
        scenes,
        project={"classes": CLASSES},
        measure={"images": 20},
        selection={"scorer": "norm", "budgets": [8, 8], **selection},
        labeler={"error_rate": 0.0},
    )
    del values["pool"]["test"]
    return create(tmp_path / "project", config.check(values, "test"))


def scene_of(uri):
    return uri.split("scene-")[1][:2]


def picked_scenes(project):
    with project.records.read() as session:
        picks = queries.picks(session, queries.the_pool(session).id)
    return [scene_of(pick.uri) for pick in picks if pick.arm == "coreset"]


def test_planted_near_duplicates_and_odd_pictures_are_listed(tmp_path, scenes):
    project = project_at(tmp_path, scenes)
    scan(project)
    looked_at = look_closer(project)
    assert looked_at.images == SCENES + COPIES * SCENES // 3
    assert all(len({scene_of(uri) for uri in group}) == 1 for group in looked_at.groups)
    assert looked_at.doubled >= 0.7 * (COPIES + 1) * SCENES / 3
    printed = CliRunner().invoke(cli, ["scan", "--quality", "-p", str(project.root)])
    assert printed.exit_code == 0, printed.output
    assert f"in {len(looked_at.groups)} groups of near-duplicates" in " ".join(
        printed.output.split()
    )
    answer = CliRunner().invoke(cli, ["scan", "--quality", "--json", "-p", str(project.root)])
    assert json.loads(answer.stdout)["quality"]["groups"] == looked_at.groups
    shown = facts(project)
    assert shown.quality is not None
    assert len(shown.groups_shown) == min(12, len(looked_at.groups))


def test_at_most_one_of_each_group_is_picked(tmp_path, scenes):
    anything = project_at(tmp_path / "any", scenes)
    run(anything)
    scenes_of_any = picked_scenes(anything)
    assert len(set(scenes_of_any)) < len(scenes_of_any), "this scorer picks some twice"
    project = project_at(tmp_path / "one", scenes, near_duplicates="one")
    run(project)
    with project.records.read() as session:
        groups = kept_duplicates(session, project)
        rows = queries.picked_rows(session, queries.the_pool(session).id, by_scorer=True)
    numbers = groups.of(rows)
    in_groups = numbers[numbers >= 0]
    assert len(in_groups)
    assert len(np.unique(in_groups)) == len(in_groups)


def test_near_duplicates_have_the_label_of_theirs(tmp_path, scenes):
    project = project_at(tmp_path, scenes, near_duplicates="one")
    run(project)
    predict(project, out=tmp_path / "predicted.jsonl", asked=asked())
    answers = [json.loads(line) for line in (tmp_path / "predicted.jsonl").open()]
    offered = [answer for answer in answers if answer["confidence"] >= 0.99]
    with project.records.read() as session:
        picks = queries.picks(session, queries.the_pool(session).id)
    labelled = {scene_of(pick.uri) for pick in picks}
    shared = [answer for answer in offered if scene_of(answer["uri"]) in labelled]
    assert len(shared) >= 10
    assert all(answer["uri"].startswith(answer["label"]) for answer in shared)


def asked():
    from loop.steps.predict import Asked

    return Asked(form="jsonl")


def test_where_nothing_else_is_left_it_is_said(tmp_path, scenes):
    project = project_at(tmp_path, scenes, near_duplicates="one", budgets=[60])
    run(project)
    assert len(picked_scenes(project)) == 60
    with project.records.read() as session:
        (round_,) = [r for r in queries.rounds(session, queries.the_pool(session).id) if r.number]
    assert "near-duplicates are picked too" in round_.explanation["note"]


def test_a_killed_look_goes_on_and_new_images_alone_are_measured(tmp_path, scenes, monkeypatch):
    import shutil

    from loop.project import quality

    folder = tmp_path / "images"
    shutil.copytree(scenes, folder)
    project = project_at(tmp_path, folder)
    scan(project)
    measured = []
    measure = quality.measures_of

    def counting(image, size):
        measured.append(1)
        return measure(image, size)

    def killed(done, total):
        if total and done >= 64 and measured:
            raise KeyboardInterrupt

    monkeypatch.setattr(quality, "measures_of", counting)
    monkeypatch.setattr(quality, "CHUNK", 32)
    embed(project)
    with pytest.raises(KeyboardInterrupt):
        look_closer(project, on_progress=killed)
    looked_at = look_closer(project)
    assert len(measured) == looked_at.images
    Image.new("RGB", (40, 40), (9, 9, 9)).save(folder / "red" / "night.png")
    scan(project)
    looked_at = look_closer(project)
    assert len(measured) == looked_at.images
    assert {"dark", "blank"} <= {odd.issue for odd in looked_at.oddities}
