"""A folder with a model that works without coreloop: ONNX, weights, labels, card, an example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loop.encoders.base import Encoder
from loop.errors import ConfigError
from loop.export.agreement import Agreement, compare
from loop.export.card import GraphFile, Origin, card, config
from loop.export.preprocessing import DECODING, RESIZING
from loop.files import draft_of
from loop.train.kept import KeptModel

NEEDS = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class ModelFolder:
    """What was written.

    Attributes:
        files: name -> bytes.
        outside: why the encoder is not in the graph; empty where it is.
        agreement: of graph and kept model.
    """

    path: Path
    files: dict[str, int]
    outside: str
    agreement: Agreement


def check_packages() -> None:
    """Raises ConfigError: what exporting needs is not installed."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"exporting a model needs {', '.join(missing)}; type: pip install 'coreloop[onnx]'"
        )


def write_model_folder(
    out: Path,
    model: KeptModel,
    encoder: Encoder | None,
    origin: Origin,
    images: Sequence[bytes],
    embeddings: NDArray[np.float32],
) -> ModelFolder:
    """Writes the folder, compares its answers with the model's, and gives it its name at last.

    Args:
        encoder: whose embeddings the model takes; None for a network.
        images: encoded, some of the pool, to compare by; those that cannot be decoded do not count.
        embeddings: (n, D) of some of the pool, to compare by where the encoder stays outside.

    Raises:
        ConfigError: ``out`` exists; a package is missing; a network has no form in ONNX.
        DataError: the graph answers otherwise than the model.
    """
    check_packages()
    if out.exists():
        raise ConfigError(f"{out} exists; choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    shown = replace(model, about=replace(model.about, encoder=origin.encoder))
    with draft_of(out) as draft:
        draft.mkdir()
        graph = _write_graph(model, encoder, draft)
        (draft / "model.safetensors").write_bytes(shown.to_bytes())
        _write_json(draft / "labels.json", list(model.about.classes))
        _write_json(draft / "preprocessor.json", _preprocessor(graph, origin))
        _write_json(draft / "config.json", config(shown, origin, graph))
        script = Path(__file__).with_name("script.py").read_text(encoding="utf-8")
        (draft / "predict.py").write_text(script, encoding="utf-8")
        (draft / "requirements.txt").write_text(_requirements(), encoding="utf-8")
        agreement = compare(draft, model, encoder, images, embeddings)
        text = card(shown, origin, graph, agreement)
        (draft / "README.md").write_text(text, encoding="utf-8")
    files = {file.name: file.stat().st_size for file in sorted(out.iterdir())}
    return ModelFolder(out, files, graph.outside, agreement)


def _write_graph(model: KeptModel, encoder: Encoder | None, folder: Path) -> GraphFile:
    """The graph with the encoder in it, or of the classifier alone.

    Raises:
        CannotBeExported: a network has no form in ONNX.
    """
    from loop.export.graph import CannotBeExported, head_graph, whole_graph, write_graph

    file, outside = folder / "model.onnx", ""
    try:
        graph = whole_graph(model, encoder)
        weights_file = write_graph(graph, file)
    except CannotBeExported as error:
        if model.classifier.wants == "images":
            raise
        graph, outside = head_graph(model), str(error)
        weights_file = write_graph(graph, file)
    return GraphFile(graph.images, graph.dim, outside, weights_file)


def _preprocessor(graph: GraphFile, origin: Origin) -> dict[str, Any]:
    """Values of preprocessor.json."""
    if graph.images:
        inputs = [each.to_json() for each in graph.images]
        return {"inputs": inputs, "decoding": DECODING, "resizing": RESIZING}
    embeddings = {
        "name": "embeddings",
        "dtype": "float32",
        "shape": ["batch", graph.dim],
        "encoder": origin.encoder,
    }
    return {"inputs": [embeddings]}


def _requirements() -> str:
    """What predict.py needs; behind it the versions it was tried with."""
    least = {"onnxruntime": "1.18", "numpy": "1.26", "pillow": "10.3"}
    return "".join(f"{name}>={at_least}  # {version(name)}\n" for name, at_least in least.items())


def _write_json(file: Path, values: object) -> None:
    file.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
