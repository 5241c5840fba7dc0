"""make gpu: every CUDA path once, in under eight minutes on one card.

    python -m tests.gpu.run [PART ...]    parts: see tests.gpu.parts.PARTS

Each part is a process of its own with a time limit; one that fails does not stop the others. Where
the variable OUT names a folder, gpu.txt and gpu.json are written there. Without a card everything
runs in miniature, which shows that it starts and measures nothing. Exit code 1: a part failed.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.gpu.parts import CARD, MINIATURE, PARTS, ROOT

TOTAL = 470
"""Seconds for everything."""
PACKAGES = ("torch", "torchvision", "timm", "peft", "numpy", "scikit-learn", "numba")
COMMAND = "python -m tests.gpu.run"


def hardware() -> dict[str, str]:
    """The card, its driver's CUDA, and the versions that figures depend on."""
    import torch

    cuda = torch.cuda.is_available()
    card = torch.cuda.get_device_name() if cuda else "no CUDA device: in miniature, on the CPU"
    known = {"card": card, "cores": str(os.cpu_count()), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            known[package] = "not installed"
    return known | {"cuda": str(torch.version.cuda)}


def work(name: str, file: Path) -> None:
    """One part, in this process: a line of JSON per figure, as they come."""
    import torch

    device, size = ("cuda", CARD) if torch.cuda.is_available() else ("cpu", MINIATURE)
    with file.open("a") as figures:
        for what, value, unit in PARTS[name][0](device, size):
            figures.write(json.dumps({"figure": what, "value": value, "unit": unit}) + "\n")
            figures.flush()


def part(name: str, limit: float) -> dict[str, Any]:
    """One part in a process of its own: outcome, seconds, figures, and its output if it failed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        file, log = Path(folder) / "figures", Path(folder) / "log"
        file.touch()
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.gpu.run", "--work", name, str(file)],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
                outcome = "done" if code == 0 else f"failed with {code}"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # what it started, too
                process.wait()
                outcome = f"stopped after {limit:.1f} s"
        return {
            "part": name,
            "command": f"{COMMAND} {name}",
            "outcome": outcome,
            "seconds": round(time.monotonic() - began, 1),
            "figures": [json.loads(line) for line in file.read_text().splitlines()],
            "output": log.read_text(errors="replace")[-20_000:],
        }


def lines(result: dict[str, Any]) -> list[str]:
    """A part as text: its figures, and the end of its output where it failed."""
    head = f"{result['part']}: {result['outcome']}, {result['seconds']} s ({result['command']})"
    figures = [f"  {f['figure']}: {f['value']:,.4g} {f['unit']}" for f in result["figures"]]
    failed = result["outcome"] != "done"
    output = result["output"].splitlines()[-40:] if failed or not figures else []
    return [head, *figures, *(f"  | {line}" for line in output)]


def main(names: list[str]) -> int:
    """Runs the named parts, or all of them."""
    ends = time.monotonic() + TOTAL
    known = hardware()
    text = [", ".join(f"{name} {value}" for name, value in known.items())]
    print(text[0], flush=True)
    results = []
    for name in names or PARTS:
        left = ends - time.monotonic()
        results.append(part(name, min(PARTS[name][1], max(left, 1))))
        text += lines(results[-1])
        print("\n".join(lines(results[-1])), flush=True)
    if folder := os.environ.get("OUT"):
        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        (out / "gpu.txt").write_text("\n".join(text) + "\n")
        (out / "gpu.json").write_text(json.dumps({"hardware": known, "parts": results}, indent=1))
    return int(any(result["outcome"] != "done" for result in results))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
