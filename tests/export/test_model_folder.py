"""An exported model answers as the kept one, without coreloop and torch; what its folder says."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxscript", reason="extra 'onnx' not installed")

from loop import config, encoders, train
from loop.demo.digits import write_digits
from loop.encoders.file import File
from loop.encoders.network import TorchEncoder
from loop.encoders.spec import short
from loop.errors import ConfigError, DataError, NotReady
from loop.export import graph
from loop.export import model as folders
from loop.export.card import Origin
from loop.export.graph import NamedLayers, ProbeLayers
from loop.export.model import ModelFolder, write_model_folder
from loop.images import decode, squares
from loop.name_head import NameHead
from loop.project import create
from loop.project.model import encoder_of, newest_model
from loop.steps.export import export_model
from loop.steps.run import run
from loop.steps.scan import scan
from loop.train import Task
from loop.train.kept import About, KeptModel, read_model
from loop.train.metrics import measure
from loop.train.named import NamedProbe
from loop.train.network import TrainedNetwork
from loop.train.opinions import NAMES_ALONE, Trust
from loop.train.probe import Probe
from tests.conftest import small_values

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".build" / "onnxruntime" / "bin" / "python"
"""Of an environment with onnxruntime, numpy and Pillow alone."""
COUNT = 200
LABELLED = 60
SMALL = {"preset": "paper", "steps": 10, "learning_rate": 0.01, "side": 8}
TRAINERS = {"linear": {}, "propagate": {}, "resnet18": SMALL}
MOBILENET = "timm:mobilenetv1_100:{}?size=128&mean=0.5&std=0.5&classes=1001&pad=same"


class ImageSet:
    """``COUNT`` images of a set, as files too, with their true classes.

    Attributes:
        folder: has the files in order of their names.
        data: their bytes.
        labels: (COUNT,) int64.
        spec: of the encoder.
    """

    def __init__(self, folder: Path, data: list[bytes], labels: list[str], spec: str) -> None:
        self.folder, self.data, self.spec = folder, data, spec
        self.classes = sorted(set(labels))
        self.labels = np.array([self.classes.index(label) for label in labels])
        self.encoder = encoders.get(spec)
        folder.mkdir()
        for number, encoded in enumerate(data):
            suffix = ".png" if encoded.startswith(b"\x89PNG") else ".jpg"
            (folder / f"{number:03d}{suffix}").write_bytes(encoded)

    @cached_property
    def embeddings(self) -> np.ndarray:
        prepared = [self.encoder.prepare(decode(encoded)) for encoded in self.data]
        batches = [np.stack(prepared[i : i + 50]) for i in range(0, COUNT, 50)]
        return np.concatenate([self.encoder.forward(batch, "cpu") for batch in batches])

    def squares(self, side: int) -> np.ndarray:
        return squares(lambda number: self.data[int(number)], list(map(str, range(COUNT))), side)

    def trained(self, trainer: str) -> tuple[KeptModel, np.ndarray]:
        """A model of some of the labels, and what it says of all images."""
        params = TRAINERS[trainer]
        side = params.get("side", 8)
        task = Task(
            n_classes=len(self.classes),
            pool=self.embeddings,
            test=self.embeddings[:0],
            test_labels=self.labels[:0],
            pool_images=lambda: self.squares(side),
        )
        labels = np.where(np.arange(COUNT) < LABELLED, self.labels, -1)
        classifier = (
            train.get(trainer, **params).train(task, labels, np.random.default_rng(0)).model
        )
        if trainer == "resnet18":
            classifier = replace(classifier, six_views=True)
        takes_embeddings = classifier.wants == "embeddings"
        about = About(
            classes=tuple(self.classes),
            temperature=0.6,
            encoder=self.spec if takes_embeddings else "",
            encoder_digest=self.encoder.digest if takes_embeddings else "",
            trainer=trainer,
            round=1,
            labels=LABELLED,
        )
        model = KeptModel(classifier, about)
        rows = self.embeddings if takes_embeddings else self.squares(side)
        return model, model.probabilities(rows)


@pytest.fixture(scope="module", params=["digits", "trashnet", "flowers5", "cifar10"])
def image_set(request, tmp_path_factory) -> ImageSet:
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(0)
    if request.param == "digits":
        write_digits(folder / "all")
        files = rng.permutation(sorted((folder / "all").glob("*/*.png")))[:COUNT]
        data = [file.read_bytes() for file in files]
        return ImageSet(folder / "images", data, [file.parent.name for file in files], "pixels")
    from connectors.parquet import Parquet

    shared = request.getfixturevalue("shared")
    source = Parquet(shared / "data" / f"{request.param}.parquet", labelled=True)
    labels = source.labels("label")
    rows = np.sort(rng.permutation(len(labels))[:COUNT])
    uris = [list(labels)[row] for row in rows]
    weights = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    data = [source.read(uri) for uri in uris]
    return ImageSet(
        folder / "images", data, [str(labels[uri]) for uri in uris], MOBILENET.format(weights)
    )


def origin_of(model: KeptModel, **changes) -> Origin:
    about = model.about
    origin = Origin(
        project="a | set: <b>",
        encoder=short(about.encoder) if about.encoder else "",
        licences={},
        start="",
        counts=dict.fromkeys(about.classes, 6),
        counts_of_training=True,
        rounds=1,
        labeler="csv",
        annotators=2,
        metrics=measure(
            np.full((60, len(about.classes)), 1 / len(about.classes)), np.arange(60) % 2
        ),
        sample=True,
        calibration=None,
        trained_at="2026-01-02 03:04 UTC",
        exported_at="2026-01-03 03:04 UTC",
    )
    return replace(origin, **changes)


def exported(model: KeptModel, encoder, out: Path, pictures=(), rows=()) -> ModelFolder:
    return write_model_folder(out, model, encoder, origin_of(model), pictures, np.asarray(rows))


def predicted(folder: Path, *arguments: object) -> list[dict]:
    """Lines of predict.py, run where there is neither coreloop nor torch."""
    done = run_script(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_script(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    if not PYTHON.exists():
        pytest.skip("no environment to predict in: make .build/onnxruntime/installed")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [PYTHON, "-I", folder / "predict.py", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder.parent, env=environment, capture_output=True, text=True
    )


def as_array(answers: list[dict], classes: list[str]) -> np.ndarray:
    return np.array([[answer["top"][name] for name in classes] for answer in answers])


def test_the_environment_has_no_torch_and_no_coreloop():
    if not PYTHON.exists():
        pytest.skip("no environment to predict in: make .build/onnxruntime/installed")
    code = (
        "import importlib.util as i; "
        "print([n for n in ('torch', 'loop', 'scipy', 'safetensors') if i.find_spec(n)])"
    )
    done = subprocess.run([PYTHON, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_folder_answers_as_the_kept_model(image_set, trainer, tmp_path, record_property):
    model, expected = image_set.trained(trainer)
    encoder = image_set.encoder if model.about.encoder else None
    written = exported(model, encoder, tmp_path / "model", image_set.data[:4])
    assert written.outside == ""
    assert written.agreement.images == 4
    answers = predicted(written.path, image_set.folder, "--top", len(image_set.classes))
    assert [Path(answer["image"]).name for answer in answers] == sorted(
        os.listdir(image_set.folder)
    )
    difference = np.abs(as_array(answers, image_set.classes) - expected).max()
    megabytes = written.files["model.onnx"] / 1e6
    record_property("measured", f"largest difference {difference:.1e}, {megabytes:.2f} MB")
    assert difference < 1e-4
    assert expected.std(axis=0).max() > 0.02, "the model says the same of every image"
    assert [answer["label"] for answer in answers] == [
        image_set.classes[number] for number in expected.argmax(axis=1)
    ]


def small_probe(dim: int, heads: int = 1, classes: int = 3) -> Probe:
    rng = np.random.default_rng(0)
    return Probe(
        mean=rng.standard_normal(dim),
        std=rng.uniform(0.5, 2.0, dim),
        weights=rng.standard_normal((heads, dim, classes)) / np.sqrt(dim),
        bias=rng.standard_normal((heads, classes)),
        shares=np.full(heads, 1 / heads),
    )


def small_model(classifier, spec: str = "", digest: str = "") -> KeptModel:
    about = About(("cat", "dog", "a | <yak>"), 1.7, spec, digest, "linear", 2, 18)
    return KeptModel(classifier, about)


PICTURES = [
    Image.fromarray(np.random.default_rng(i).integers(0, 255, (30 + i, 40, 3), dtype=np.uint8))
    for i in range(3)
]


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()


ENCODED = [*map(png, PICTURES), b"no image"]


def clip_spec(folder: Path) -> str:
    import open_clip
    import torch

    towers = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16}
        | {"patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2}
        | {"layers": 1},
    }
    (folder / "tiny-export.json").write_text(json.dumps(towers))
    open_clip.add_model_config(folder / "tiny-export.json")
    torch.save(open_clip.create_model("tiny-export").state_dict(), folder / "clip.pt")
    return f"open_clip:tiny-export:{folder / 'clip.pt'}"


def timm_spec(folder: Path, name: str, options: str) -> str:
    import timm
    import torch

    torch.save(timm.create_model(name, num_classes=3).state_dict(), folder / f"{name}.pth")
    return f"timm:{name}:{folder / f'{name}.pth'}?classes=3{options}"


def torchvision_spec(folder: Path) -> str:
    import torch
    from torchvision import models

    torch.save(models.mobilenet_v3_small(num_classes=2).state_dict(), folder / "small.pth")
    return f"torchvision:mobilenet_v3_small:{folder / 'small.pth'}"


SPECS = {
    "open_clip": clip_spec,
    "torchvision": torchvision_spec,
    "a vision transformer": lambda folder: timm_spec(folder, "test_vit", "&size=96"),
    "cropped, joined": lambda folder: f"pixels:5+{timm_spec(folder, 'test_resnet', '')}",
    "joined by weight": lambda folder: f"0.5*pixels:5+2*{timm_spec(folder, 'test_resnet', '')}",
}


def small_named(dim: int, trust: Trust, *, unit: bool) -> NamedProbe:
    """A probe that listens to names on the last 16 (or given 3) columns of the embeddings."""
    columns = 16 if unit else 3
    texts = np.random.default_rng(1).standard_normal((3, columns)) if unit else np.eye(3)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    head = NameHead(texts, dim - columns, 9.0 if unit else 1.0, unit)
    picture = dim if unit else dim - columns
    labels = None if trust.rule == "names" else small_probe(picture, heads=2)
    return NamedProbe(head, small_probe(picture), trust, labels)


TRUSTS = {
    "sample": Trust("sample", np.full(14, 1 / 14)),
    "picks": Trust("picks", np.full(11, 1 / 11), 0.4),
    "names": NAMES_ALONE,
}


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("rule", TRUSTS)
def test_a_probe_that_listens_to_names_says_the_same_as_a_graph(rule, unit):
    classifier = small_named(24, TRUSTS[rule], unit=unit)
    rows = np.random.default_rng(2).standard_normal((50, 24)).astype(np.float32)
    import torch

    layers = NamedLayers(classifier)
    answered = layers(torch.from_numpy(rows)).exp().numpy()
    np.testing.assert_allclose(answered, classifier.probabilities(rows), atol=2e-6)


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_encoder_goes_into_the_graph(name, tmp_path):
    """The comparison at the end of an export, with every kind of input; no path gets out."""
    spec = SPECS[name](tmp_path)
    encoder = encoders.get(spec)
    model = small_model(small_probe(encoder.dim, heads=2), spec, encoder.digest)
    written = exported(model, encoder, tmp_path / "out" / "model", ENCODED)
    assert written.outside == ""
    assert written.agreement.images == 3
    assert written.agreement.largest < 1e-4
    for file in written.path.iterdir():
        content = file.read_bytes()
        for path in (tmp_path, ROOT, Path(np.__file__).parents[1]):
            assert str(path).encode() not in content, f"{path} is in {file.name}"
    kept = read_model(written.path / "model.safetensors")
    assert kept.about.encoder == short(spec)
    assert kept.about.encoder_digest == encoder.digest
    inputs = json.loads((written.path / "preprocessor.json").read_text())["inputs"]
    names = ["images_1", "images_2"] if "joined" in name else ["images"]
    assert [each["name"] for each in inputs] == names


def test_a_network_of_timm_is_read_back_by_timm(tmp_path):
    import timm
    import torch

    torch.manual_seed(0)
    weights = timm.create_model("test_resnet", num_classes=3).state_dict()
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    network = TrainedNetwork("timm:test_resnet", 3, 48, False, arrays)
    model = small_model(network)
    written = exported(model, None, tmp_path / "model", ENCODED)
    assert written.agreement.largest < 1e-4
    net = timm.create_model(f"local-dir:{written.path}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))
    with torch.inference_mode():
        logits = net(torch.stack([transform(picture) for picture in PICTURES]))
    expected = network.probabilities(np.stack([squeezed(picture, 48) for picture in PICTURES]))
    np.testing.assert_allclose(torch.softmax(logits, 1).numpy(), expected, atol=1e-4)
    assert json.loads((written.path / "config.json").read_text())["label_names"] == [
        "cat",
        "dog",
        "a | <yak>",
    ]


def squeezed(picture: Image.Image, side: int) -> np.ndarray:
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


def own_embeddings(folder: Path, rows: np.ndarray) -> File:
    np.save(folder / "own.npy", rows)
    (folder / "own.keys").write_text("".join(f"{number}.png\n" for number in range(len(rows))))
    return File(folder / "own.npy")


def test_own_embeddings_leave_the_head(tmp_path):
    rows = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    encoder = own_embeddings(tmp_path, rows)
    model = small_model(small_probe(4), f"file:{encoder.path}", encoder.digest)
    written = exported(model, encoder, tmp_path / "model", ENCODED, rows[:5])
    assert "looks embeddings up" in written.outside
    assert written.agreement.images == 5
    card = (written.path / "README.md").read_text()
    assert "The encoder is not in this folder" in card
    assert "`embeddings`, (B, D) float32" in card
    stated = json.loads((written.path / "config.json").read_text())["coreloop"]
    assert stated["input"] == ["embeddings"]
    assert stated["encoder_left_out"] == written.outside
    answers = predicted(written.path, tmp_path / "own.npy", "--top", 3)
    assert [answer["row"] for answer in answers] == list(range(9))
    classes = list(model.about.classes)
    np.testing.assert_allclose(as_array(answers, classes), model.probabilities(rows), atol=1e-4)


def test_an_encoder_that_torch_cannot_translate_leaves_the_head(tmp_path):
    import torch

    class Sorted(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(x.mean(dim=1))

    encoder = TorchEncoder("odd", Sorted(), 8, (0.5,) * 3, (0.5,) * 3)
    model = small_model(small_probe(8), "pixels", encoder.digest)
    written = exported(model, encoder, tmp_path / "model", (), np.ones((2, 8), np.float32))
    assert written.outside.startswith("torch.onnx.export gave up")
    assert (written.path / "model.onnx").stat().st_size < 100_000


def test_a_mean_that_is_large_beside_its_deviation(tmp_path):
    """One float32 would round the mean by a third of the deviation."""
    probe = replace(small_probe(6), mean=np.full(6, 1e4 / 3), std=np.full(6, 4e-4))
    steps = np.arange(-4, 4, dtype=np.float32)[:, None] * np.float32(2.5e-4)
    rows = (np.float32(1e4 / 3) + steps).repeat(6, 1)
    encoder = own_embeddings(tmp_path, rows)
    model = small_model(probe, f"file:{encoder.path}", encoder.digest)
    written = exported(model, encoder, tmp_path / "model", (), rows)
    assert written.agreement.images == 8


def test_a_graph_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    forward = ProbeLayers.forward
    monkeypatch.setattr(ProbeLayers, "forward", lambda self, x: forward(self, x * 1.01))
    model = small_model(small_probe(25), "pixels:5", "pixels-5")
    with pytest.raises(DataError, match="is not the model: a probability differs by"):
        exported(model, encoders.get("pixels:5"), tmp_path / "model", ENCODED)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_and_missing_packages_are_named(tmp_path, monkeypatch):
    model = small_model(small_probe(25), "pixels:5", "pixels-5")
    (tmp_path / "model").mkdir()
    with pytest.raises(ConfigError, match="model exists; choose another --out"):
        exported(model, encoders.get("pixels:5"), tmp_path / "model")
    monkeypatch.setattr(folders, "NEEDS", ("onnx", "no_such_package"))
    with pytest.raises(ConfigError, match=r"needs no_such_package; .*'coreloop\[onnx\]'"):
        exported(model, encoders.get("pixels:5"), tmp_path / "other")


@pytest.fixture(scope="module")
def of_pixels(tmp_path_factory) -> ModelFolder:
    """The folder of a small model, with a card that has everything."""
    model = small_model(small_probe(25), "pixels:5", "pixels-5")
    origin = origin_of(
        model,
        calibration={"temperature": 1.7, "error": [0.2, 0.1], "log_loss": [0.9, 0.8], "n": 60},
        licences={"pixels:5": "no weights"},
        versions={"torch": "2.9"},
    )
    out = tmp_path_factory.mktemp("pixels") / "model"
    no_rows = np.empty((0, 0), np.float32)
    return write_model_folder(out, model, encoders.get("pixels:5"), origin, ENCODED, no_rows)


def test_the_card_is_one_that_the_hub_reads(of_pixels):
    from huggingface_hub import ModelCard

    card = ModelCard.load(of_pixels.path / "README.md")
    (result,) = card.data.eval_results
    assert (result.task_type, result.dataset_name) == ("image-classification", "a | set: <b>")
    metrics = json.loads(json.dumps(result.metric_value))
    assert 0 < metrics < 1
    assert card.data.pipeline_tag == "image-classification"
    assert "| a \\| &lt;yak> | 6 | - | 0 |" in card.text
    assert "95 % interval" in card.text
    assert "Expected calibration error\n20.0 % before, 10.0 % after" in card.text
    assert "2 people (csv)" in card.text
    assert "a \\| &lt;yak>: fewer than 20 images measured each" in card.text
    for name in of_pixels.files:
        assert f"`{name}`" in card.text or name == "README.md"


def test_weights_too_many_for_one_file_stand_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "LARGEST", 1)
    model = small_model(small_probe(400), "pixels:20", "pixels-20")
    written = exported(model, encoders.get("pixels:20"), tmp_path / "model", ENCODED)
    assert written.files["model.onnx.data"] > written.files["model.onnx"]
    assert written.agreement.images == 3
    assert "| `model.onnx.data` | its weights" in (written.path / "README.md").read_text()


def test_unreadable_images_are_named_and_the_others_answered(of_pixels, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    for name in ("a.png", "c.jpg"):
        PICTURES[0].save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("passed over")
    done = run_script(of_pixels.path, tmp_path / "in", tmp_path / "absent.png", "--top", 2)
    assert done.returncode == 1
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(answer["image"]).name for answer in answers] == [
        "a.png",
        "b.png",
        "c.jpg",
        "absent.png",
    ]
    assert ["error" in answer for answer in answers] == [False, True, False, True]
    assert "UnidentifiedImageError" in answers[1]["error"]
    assert next(iter(answers[0]["top"])) == answers[0]["label"]
    assert len(answers[0]["top"]) == 2


def test_the_command(project, tmp_path):
    """From a project: refused before a model is there, then the whole folder; the card's facts."""
    with pytest.raises(NotReady, match="no model is kept yet"):
        scan(project)
        export_model(project, tmp_path / "model")
    run(project)
    command = [sys.executable, "-c", "from loop.cli import main; main()", "export", "--json"]
    command += ["--format", "model", "--project", project.root, "--out", tmp_path / "model"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["files"] == {
        file.name: file.stat().st_size for file in (tmp_path / "model").iterdir()
    }
    assert facts["agreement"]["images"] == 16
    assert facts["agreement"]["largest"] < 1e-4
    card = (tmp_path / "model" / "README.md").read_text()
    assert "12 labelled images after round 2 (2 trainings in all)" in card
    assert "no person gave them" in card
    assert "12 test images that no model learned" in card
    assert str(tmp_path) not in card
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 2
    assert "exists; choose another --out" in again.stderr
    answers = predicted(tmp_path / "model", tmp_path / "images", "--top", 3)
    assert len(answers) == 60
    right = [Path(answer["image"]).parent.name == answer["label"] for answer in answers]
    assert np.mean(right) > 0.6


def test_an_encoder_that_changed_is_refused(project, tmp_path):
    scan(project)
    run(project)
    with project.records.read() as session:
        model = newest_model(session, project).model
    other = replace(model, about=replace(model.about, encoder="pixels:9"))
    with pytest.raises(DataError, match=r"embeddings of pixels-8, and pixels:9 is pixels-9 now"):
        encoder_of(other)


def test_a_network_that_began_with_a_checkpoint(images, tmp_path):
    """Its card names the file, and not the folder, that the round's network really started from."""
    timm_spec(tmp_path, "test_resnet", "")
    params = {"steps": 2, "side": 16, "checkpoint": str(tmp_path / "test_resnet.pth")}
    training = {"trainer": "timm:test_resnet", "params": params}
    values = small_values(images, training=training, selection={"budgets": [6]})
    project = create(tmp_path / "project", config.check(values, "test"))
    scan(project)
    run(project)
    written = export_model(project, tmp_path / "model")
    assert written.agreement.images == 16
    card = (written.path / "README.md").read_text()
    assert "trainer\n`timm:test_resnet`, started from test_resnet.pth." in card
    assert str(tmp_path) not in card
