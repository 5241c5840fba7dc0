"""A project that fine-tunes an encoder: rounds, predictions, export, repair, simulation."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from loop import config
from loop.cli.simulate import _size
from loop.project import create
from loop.project.fine_tuning import MEASURED, told_too_few
from loop.steps.doctor import doctor
from loop.steps.export import export_model
from loop.steps.predict import predict
from loop.steps.run import Watcher, run
from loop.steps.simulate import Grid, all_methods, simulate
from loop.steps.status import status
from loop.train import lora
from tests.conftest import rows, small_values, write_images

pytest.importorskip("peft", reason="pip install 'coreloop[lora]'")


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    import timm
    import torch

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "drawn.pth"
    torch.save(timm.create_model("test_vit").state_dict(), file)
    return f"lora:timm:test_vit:{file}?size=32"


@pytest.fixture(scope="module")
def tuned(trainer, tmp_path_factory):
    """A project after its rounds, and what it said meanwhile."""
    folder = tmp_path_factory.mktemp("tuned")
    write_images(folder / "images")
    values = small_values(
        folder / "images",
        training={"trainer": trainer, "params": {"epochs": 1}},
        selection={"budgets": [6]},
        compare={"baselines": []},
        measure={"by": "sample", "images": 20, "folds": 2},
    )
    values["pool"].pop("test")
    project = create(folder / "project", config.check(values, "test"))
    said: list[str] = []
    run(project, Watcher(begin=said.append))
    return project, said


def test_few_labels_are_said_and_how_many_networks_are_trained(tuned):
    project, said = tuned
    (few,) = [text for text in said if "labels per class" in text]
    assert few.startswith("there are 8.7 labels per class")
    assert MEASURED in few
    assert "'auto'" in few
    assert any("training 6 networks" in text for text in said)
    assert few in status(project).troubles
    assert told_too_few(project) == few


def test_enough_labels_and_other_trainers_are_passed_over(tuned, monkeypatch):
    project, _ = tuned
    monkeypatch.setattr("loop.project.fine_tuning.ENOUGH", 8)
    assert not any("labels per class" in text for text in status(project).troubles)
    monkeypatch.undo()
    values = {**project.config.model_dump(), "training": {"trainer": "linear"}}
    other = type(project)(project.root, config.check(values, "test"))
    assert not any("labels per class" in text for text in status(other).troubles)


def test_predictions_and_the_exported_model_need_no_peft(tuned, tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="pip install 'coreloop[onnx]'")
    project, _ = tuned
    monkeypatch.setitem(sys.modules, "peft", None)
    predicted = predict(project, out=tmp_path / "pool.csv")
    assert predicted.path.exists()
    written = export_model(project, tmp_path / "model")
    assert written.agreement.images == 16
    assert written.agreement.largest < 1e-4
    card = (written.path / "README.md").read_text()
    assert "`lora:timm:test_vit:drawn.pth`, started from timm:test_vit:drawn.pth." in card
    assert "its licence up where you got" in card
    described = json.loads((written.path / "config.json").read_text())
    assert described["architecture"] == "test_vit"
    for name in ("README.md", "config.json", "model.safetensors"):
        assert str(project.root.parent).encode() not in (written.path / name).read_bytes()


def test_a_lost_model_is_trained_again_to_the_same_bytes(tuned):
    project, _ = tuned
    query = "SELECT digest FROM array WHERE kind = 'model'"
    ((digest,),) = rows(project, query)
    (project.arrays / f"{digest}.safetensors").unlink()
    assert all(check.ok for check in doctor(project.root, mend=True))
    assert rows(project, query) == [(digest,)]
    assert (project.arrays / f"{digest}.safetensors").exists()


def test_a_simulation_says_what_it_costs_and_knows_the_weights(tuned, trainer):
    import torch

    project, _ = tuned
    grid = Grid(all_methods(["random"]), [6], 1, trainer, {"epochs": 1}, share=1.0)
    (row,) = simulate(project, grid)
    assert 0 <= row.mean <= 1
    file = trainer.partition("?")[0].rpartition(":")[2]
    stored = torch.load(file, weights_only=True)
    first = rows(project, "SELECT count(*) FROM simulation")
    torch.save({key: each * 1.01 for key, each in stored.items()}, file)
    lora.pretrained.cache_clear()
    simulate(project, grid)
    torch.save(stored, file)
    lora.pretrained.cache_clear()
    assert rows(project, "SELECT count(*) FROM simulation") == [(first[0][0] + 1,)]
    assert _size(grid) == "1 method, 1 budget, 1 seed, up to 1 network to train"
    linear = replace(grid, trainer="linear", params={})
    assert _size(linear) == "1 method, 1 budget, 1 seed"
