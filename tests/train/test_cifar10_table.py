"""examples/cifar10_table, run as a reader would, in pieces."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10_table" / "run.py"


def digits(path: Path) -> Path:
    digits = load_digits(n_class=3)
    rows = []
    for i, (pixels, label) in enumerate(zip(digits.images[:160], digits.target, strict=False)):
        out = io.BytesIO()
        Image.fromarray((pixels * 15).astype(np.uint8)).save(out, "PNG")
        split = "test" if i >= 120 else "train"
        rows.append({"image": out.getvalue(), "label": int(label), "split": split})
    table = pa.Table.from_pylist(rows)
    names = {"class_names": json.dumps(["zero", "one", "two"])}
    pq.write_table(table.replace_schema_metadata(names), path)
    return path


@pytest.mark.slow
def test_table_in_pieces(tmp_path):
    command = [
        sys.executable,
        str(EXAMPLE),
        str(digits(tmp_path / "digits.parquet")),
        "--encoder",
        "pixels",
        "--folder",
        str(tmp_path / "cells"),
        "--methods",
        "el2n",
        "--kept",
        "0.2,0.5",
        "--seeds",
        "1",
        "--model",
        "timm:test_resnet",
        "--steps",
        "20",
        "--pool",
        "60",
    ]
    first = subprocess.run([*command, "--minutes", "0.0001"], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "again to go on" in first.stdout
    assert "1/4 cells" in first.stderr
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "1/4 cells" not in second.stderr  # kept, not computed again
    lines = second.stdout.splitlines()
    assert lines[0] == "| kept of 60 | 20% | 50% |"
    assert [line.split(" |")[0] for line in lines[2:4]] == ["| random", "| el2n*"]
    assert "CPU" in second.stdout or "NVIDIA" in second.stdout
