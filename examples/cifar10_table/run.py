"""A table like those of ZCore, ELFS and Moderate: CIFAR-10, accuracy by method and share kept.

Every cell (method, share, seed) is stored in a project beside this script as it finishes, so the
script can be stopped and started again, run in pieces (--minutes), and given more seeds later.
One trainer for all: a ResNet-18 of the same preset, last epoch, no score-weighted loss.

    python examples/cifar10_table/run.py cifar10.parquet --minutes 9     # again until complete
    python examples/cifar10_table/run.py cifar10.parquet --model timm:test_resnet --jobs 2    # CPU
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from loop import config
from loop.device import resolve
from loop.engine import Local
from loop.project import Project, create, find
from loop.project.versions import versions
from loop.steps.embed import embed
from loop.steps.scan import scan
from loop.steps.simulate import Grid, all_methods, simulate

KEPT = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
METHODS = (
    "random",
    "zcore",
    "elfs",
    "moderate",
    "auto",
    "el2n",
    "aum",
    "forgetting",
    "ccs",
    "dual",
)


def project_for(images: Path, folder: Path, encoder: str, classes: list[str], test: int) -> Project:
    """The project that keeps the cells, made at the first run."""
    if (folder / config.FILE).exists():
        made = find(folder)
        if (made.path(made.config.pool.path), made.config.encoder) != (images.resolve(), encoder):
            raise SystemExit(
                f"{folder} was made of {made.config.pool.path} with {made.config.encoder}; name "
                "another --folder"
            )
        return made
    values = {
        "project": {"name": "cifar10", "classes": classes},
        "pool": {
            "source": "parquet",
            "path": str(images.resolve()),
            "labelled": True,
            "test": test,
        },
        "encoder": encoder,
        "labeler": {"kind": "oracle"},
    }
    return create(folder, config.check(values, "run.py"))


class OutOfTime(Exception):
    """The piece of this run is done; what is finished is stored."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=Path, help="parquet with image, label and split columns")
    parser.add_argument("--folder", type=Path, default=Path("cifar10-table"))
    parser.add_argument("--encoder", default="torchvision:resnet18", help="for the label-free ones")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--kept", default=",".join(map(str, KEPT)))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="fast", choices=["fast", "paper"])
    parser.add_argument("--steps", type=int, default=0, help="equal iterations, e.g. 40000")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; 0: never")
    parser.add_argument("--model", default="resnet18", help="for a CPU: timm:test_resnet")
    parser.add_argument("--pool", type=int, default=0, help="images to draw from the pool; 0: all")
    parser.add_argument("--jobs", type=int, default=1, help="processes; on a CPU one per core")
    chosen = parser.parse_args()

    from loop.project.classes import stated_classes

    classes = stated_classes(chosen.images)
    project = project_for(chosen.images, chosen.folder, chosen.encoder, classes, 10_000)
    scan(project)
    embed(project)
    n = pool_size(project)
    share = min(1.0, chosen.pool / n) if chosen.pool else 1.0
    drawn = round(n * share)
    kept = [float(part) for part in chosen.kept.split(",")]
    params = {"preset": chosen.preset, "steps": chosen.steps}
    grid = Grid(
        all_methods(chosen.methods.split(",")),
        [max(1, round(drawn * k)) for k in kept],
        chosen.seeds,
        chosen.model,
        params,
        share=share,
    )
    end = time.monotonic() + chosen.minutes * 60 if chosen.minutes else float("inf")

    def progress(done: int, total: int) -> None:
        print(f"{done}/{total} cells", file=sys.stderr, flush=True)
        if time.monotonic() > end and done < total:
            raise OutOfTime

    try:
        rows = simulate(project, grid, where=Local(chosen.jobs), on_progress=progress)
    except OutOfTime:
        print("time is up; run the same command again to go on")
        return
    print(f"| kept of {drawn} | " + " | ".join(f"{k:.0%}" for k in kept) + " |")
    print("|---" * (len(kept) + 1) + "|")
    for name in grid.methods:
        own_rows = [row for row in rows if row.method == name]
        star = "*" if own_rows[0].kind == "all labels" else ""
        cells = [
            f"{100 * row.mean:.1f}" + f" ± {100 * row.sd:.1f}" * (row.n > 1) for row in own_rows
        ]
        print(f"| {name}{star} | " + " | ".join(cells) + " |")
    device = resolve("auto")
    print(f"\nMean and standard deviation, seeds: {chosen.seeds}, %; * sees all labels.")
    print(f"{chosen.model}, {params}, selection by {chosen.encoder}")
    print(f"{hardware(device)}, {versions()}")


def pool_size(project: Project) -> int:
    from db import queries

    with project.records.read() as session:
        return len(queries.split_rows(session, queries.the_pool(session).id, "pool"))


def hardware(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if "cuda" in device else "CPU"


if __name__ == "__main__":
    main()
