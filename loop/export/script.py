"""Labels for images, by the model in this folder. Needs onnxruntime, numpy and Pillow alone.

    python predict.py IMAGE_OR_FOLDER ... [--top 3]

prints one JSON object per image: the label, its probability, and the likeliest labels. An image
that cannot be read has an "error" instead; the exit code is then 1. A model whose encoder stayed
outside (see README.md) takes .npy files of embeddings, (N, D), and prints one object per row.

From Python: predictor.probabilities([predictor.prepare(decode(data)), ...]).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageFile, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_BYTES = 500_000_000
MAX_PIXELS = 89_000_000
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
LARGEST = 20_000_000
"""Pixels of a resized image that is cropped afterwards, instead of resizing the part alone."""
BATCH = 32


class Predictor:
    """The model of a folder."""

    def __init__(self, folder: Path) -> None:
        self.labels: list[str] = _read_json(folder / "labels.json")
        self.inputs: list[dict[str, Any]] = _read_json(folder / "preprocessor.json")["inputs"]
        self.session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
        )

    @property
    def takes_images(self) -> bool:
        """False: embeddings."""
        return self.inputs[0]["name"] != "embeddings"

    def prepare(self, image: Image.Image) -> list[np.ndarray]:
        """An upright 8-bit RGB image, see ``decode``, as a row of each input."""
        return [prepare(image, wanted) for wanted in self.inputs]

    def probabilities(self, prepared: Sequence[list[np.ndarray]]) -> np.ndarray:
        """N images, prepared -> (N, C) float32."""
        columns = [np.stack(rows) for rows in zip(*prepared)]
        batch = {wanted["name"]: rows for wanted, rows in zip(self.inputs, columns)}
        return self.session.run(None, batch)[0]  # type: ignore[no-any-return]

    def probabilities_of_embeddings(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) floats -> (N, C) float32."""
        rows = np.ascontiguousarray(embeddings, dtype=np.float32)
        return self.session.run(None, {"embeddings": rows})[0]  # type: ignore[no-any-return]


def prepare(image: Image.Image, wanted: dict[str, Any]) -> np.ndarray:
    """(S, S, channels) uint8 of an RGB image, by an entry of "inputs" in preprocessor.json."""
    size, shorter_edge = wanted["size"], wanted["shorter_edge"]
    resample = Image.Resampling[wanted["resample"].upper()]
    image = image.convert(wanted["mode"])
    if shorter_edge is None:
        resized = _resized(image, size, size, resample)
    else:
        shortest = min(image.size)
        factor = shorter_edge / shortest
        edges = [shorter_edge if edge == shortest else int(edge * factor) for edge in image.size]
        width, height = (max(size, edge) for edge in edges)
        left, top = round((width - size) / 2), round((height - size) / 2)
        if width * height > LARGEST:
            across, down = image.width / width, image.height / height
            box = (left * across, top * down, (left + size) * across, (top + size) * down)
            resized = image.resize((size, size), resample, box=box)
        else:
            resized = _resized(image, width, height, resample)
            resized = resized.crop((left, top, left + size, top + size))
    return np.asarray(resized, dtype=np.uint8).reshape(size, size, -1)


def _resized(
    image: Image.Image, width: int, height: int, resample: Image.Resampling
) -> Image.Image:
    if image.size == (width, height):
        return image
    return image.resize((width, height), resample)


def read(file: Path) -> bytes:
    """The bytes of an ordinary file; a pipe would be waited for."""
    if not file.is_file():
        raise OSError("no ordinary file" if file.exists() else "no such file")
    if file.stat().st_size > MAX_BYTES:
        raise OSError(f"larger than {MAX_BYTES // 1_000_000} MB")
    return file.read_bytes()


def decode(data: bytes) -> Image.Image:
    """The first frame as upright 8-bit RGB; transparency over white, 16-bit scaled to 8."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels is too large")
    image.load()
    with suppress(Exception):  # a damaged EXIF block is ignored
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        image = _eight_bit(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey values of 16 or 32 bits or floats, scaled to 8 bits by the range they seem to use."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    largest = values.max(initial=0)
    if image.mode == "F" and largest <= 1:
        white = 1.0
    elif image.mode.startswith("I;16") or largest > 255:
        white = 65535.0
    else:
        white = 255.0
    grey = (np.clip(values, 0, white) * (255.0 / white)).round()
    return Image.fromarray(grey.astype(np.uint8))


def files_in(paths: Sequence[str], suffixes: set[str]) -> Iterator[Path]:
    """The files named, and those with such a suffix in the folders named, sorted."""
    for path in map(Path, paths):
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix.lower() in suffixes)
            yield from sorted(inside)
        else:
            yield path


def answers_to_images(predictor: Predictor, files: Iterator[Path], top: int) -> Iterator[dict]:
    """One answer per file, in order; one image is in memory at full size."""
    while batch := list(islice(files, BATCH)):
        prepared: list[list[np.ndarray]] = []
        errors: dict[Path, str] = {}
        for file in batch:
            try:
                prepared.append(predictor.prepare(decode(read(file))))
            except Exception as error:  # decoders raise many types on damaged bytes
                errors[file] = f"{type(error).__name__}: {error}"
        rows = iter(predictor.probabilities(prepared) if prepared else ())
        for file in batch:
            if file in errors:
                yield {"image": str(file), "error": errors[file]}
            else:
                yield {"image": str(file), **_answer(next(rows), predictor.labels, top)}


def answers_to_embeddings(predictor: Predictor, files: Iterator[Path], top: int) -> Iterator[dict]:
    """One answer per row of each array."""
    for file in files:
        embeddings = np.load(file, mmap_mode="r", allow_pickle=False)
        for start in range(0, len(embeddings), 4096):
            rows = predictor.probabilities_of_embeddings(embeddings[start : start + 4096])
            for number, row in enumerate(rows, start):
                answer = _answer(row, predictor.labels, top)
                yield {"embeddings": str(file), "row": number, **answer}


def _answer(row: np.ndarray, labels: Sequence[str], top: int) -> dict[str, Any]:
    order = np.argsort(-row, kind="stable")[:top]
    likeliest = {labels[i]: float(row[i]) for i in order}
    label, probability = next(iter(likeliest.items()))
    return {"label": label, "probability": probability, "top": likeliest}


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Labels for images, one JSON object per line.")
    parser.add_argument("paths", nargs="+", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--top", type=int, default=1, help="likeliest labels shown (default: 1)")
    arguments = parser.parse_args()
    if arguments.top < 1:
        parser.error(f"--top {arguments.top}: a whole number above 0 is wanted")
    predictor = Predictor(Path(__file__).resolve().parent)
    suffixes = SUFFIXES if predictor.takes_images else {".npy"}
    files = files_in(arguments.paths, suffixes)
    answers = answers_to_images if predictor.takes_images else answers_to_embeddings
    failed = False
    for answer in answers(predictor, files, arguments.top):
        failed = failed or "error" in answer
        print(json.dumps(answer))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
