"""What people and tools read of an exported model: README.md (a model card) and config.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from loop.encoders.spec import parts
from loop.export.agreement import Agreement
from loop.export.preprocessing import Preprocessing
from loop.printable import printable
from loop.train.kept import KeptModel
from loop.train.metrics import Metrics

FEW = 20
"""Images of a class under which its accuracy says little."""


@dataclass(frozen=True)
class Origin:
    """Where a kept model comes from, as the records have it.

    Attributes:
        project: its name.
        encoder: its name without folders; empty for a network.
        licences: of each encoder's weights, one sentence by name.
        start: of a network: the checkpoint that it started from, without its folder, or empty.
        counts: labels learned by class.
        counts_of_training: False: labels have come or changed since, and ``counts`` has those.
        rounds: that were trained.
        labeler, annotators: who answered: the kind of labeler, and how many people.
        metrics: of the model.
        sample: whether a random sample of the pool measured it, else test images.
        calibration: see ``loop.measuring.calibration.Calibration``; None: not calibrated.
        trained_at, exported_at: ISO 8601 times.
        versions: by package.
    """

    project: str
    encoder: str
    licences: dict[str, str]
    start: str
    counts: dict[str, int]
    counts_of_training: bool
    rounds: int
    labeler: str
    annotators: int
    metrics: Metrics
    sample: bool
    calibration: dict[str, Any] | None
    trained_at: str
    exported_at: str
    versions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphFile:
    """model.onnx, as its readers need to know it.

    Attributes:
        images: of each input; none: the one input is ``embeddings``.
        dim: D of the embeddings; 0 for a network.
        outside: why the encoder is not in the graph; empty where it is.
        weights_file: beside it; empty where the weights are inside.
    """

    images: tuple[Preprocessing, ...]
    dim: int
    outside: str
    weights_file: str


def card(model: KeptModel, origin: Origin, graph: GraphFile, agreement: Agreement) -> str:
    """Markdown with the YAML front matter of the Hugging Face Hub."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("loop.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _cell, "yaml": _yaml, "pct": _percent}
    template = environment.get_template("card.md.j2")
    text = template.render(
        about=model.about,
        origin=origin,
        metrics=origin.metrics,
        rare=_rarely_measured(model, origin.metrics),
        inputs=graph.images,
        outside=graph.outside,
        weights_file=graph.weights_file,
        agreement=agreement,
        few=FEW,
    )
    return printable(text)


def config(model: KeptModel, origin: Origin, graph: GraphFile) -> dict[str, Any]:
    """Values of config.json: keys of timm's and of transformers' configurations, and ``coreloop``
    for what they have no key for."""
    classes = list(model.about.classes)
    about = asdict(model.about)
    del about["classes"]
    values: dict[str, Any] = {
        "architecture": _architecture(model),
        "num_classes": len(classes),
        "label_names": classes,
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
        "problem_type": "single_label_classification",
        "pretrained_cfg": _pretrained_config(model, graph.images),
        "coreloop": {
            **about,
            "kind": model.classifier.wants,
            "settings": model.classifier.settings(),
            "input": [each.name for each in graph.images] or ["embeddings"],
            "encoder_in_graph": not graph.outside,
            "trained_at": origin.trained_at,
            "exported_at": origin.exported_at,
            "versions": origin.versions,
        },
    }
    padding = str(model.classifier.settings().get("model", "")).partition("?pad=")[2]
    if padding:
        values["model_args"] = {"pad_type": padding}
    if graph.dim:
        values["num_features"] = graph.dim
    if graph.outside:
        values["coreloop"]["encoder_left_out"] = graph.outside
    return values


def _architecture(model: KeptModel) -> str:
    """Name of the network or of the encoder as its own library knows it."""
    name = model.about.encoder or str(model.classifier.settings().get("model", ""))
    library, _, rest = name.partition(":")
    if len(parts(name)) > 1 or library not in ("timm", "torchvision", "open_clip"):
        return name
    return rest.partition(":")[0].partition("?")[0]


def _pretrained_config(model: KeptModel, images: tuple[Preprocessing, ...]) -> dict[str, Any]:
    """timm's description of the input, of a graph with one."""
    values: dict[str, Any] = {"num_classes": len(model.about.classes)}
    if len(images) == 1:
        (image,) = images
        values |= {
            "input_size": [image.shape[2], image.size, image.size],
            "interpolation": image.resample,
            "crop_pct": image.size / (image.shorter_edge or image.size),
            "crop_mode": "center" if image.shorter_edge else "squash",
            "mean": image.mean,
            "std": image.std,
        }
    return values


def _rarely_measured(model: KeptModel, metrics: Metrics) -> list[str]:
    """Classes with fewer than ``FEW`` images that measure."""
    pairs = zip(model.about.classes, metrics.class_support, strict=True)
    return [name for name, support in pairs if support < FEW]


def _cell(text: object) -> str:
    """Text that cannot leave its cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _yaml(text: object) -> str:
    """A YAML scalar: JSON is one."""
    return json.dumps(text)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
