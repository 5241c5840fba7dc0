"""Images and settings of the demo: scikit-learn's 1,797 handwritten digits as PNG files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SIDE = 32
"""Pixels; the originals are 8 x 8."""

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def write_digits(folder: Path) -> int:
    """Writes ``<class>/<number>.png`` files that are not there yet; returns how many there are.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI), the test
    part, as shipped with scikit-learn.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / NAMES[int(label)] / f"{i:04d}.png"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((255 - pixels * (255 / 16)).astype("uint8"))
        draft = path.with_suffix(f".{os.getpid()}.draft")
        image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(draft, format="PNG")
        draft.replace(path)
    return len(digits.target)


def settings(images: Path, seed: int, *, server: bool = False) -> dict[str, Any]:
    """The demo's coreloop.toml, as plain values; with ``server`` labels come from Label Studio."""
    return {
        "project": {"name": "handwritten digits", "classes": NAMES, "seed": seed},
        "pool": {"path": str(images), "labelled": True},
        "measure": {"images": 60},
        "encoder": "pixels",
        "selection": {"scorer": "auto", "budgets": [20, 40, 80]},
        "labeler": {"kind": "label-studio"} if server else {"kind": "oracle", "error_rate": 0.03},
        "compare": {"baselines": ["random", "margin", "el2n"], "seeds": 5},
        "costs": {"hourly_rate": 25.0},
    }
