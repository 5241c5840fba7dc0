"""A report of ten rounds of a thousand picks: seconds and bytes.

pytest tests/benchmarks/test_report_speed.py --benchmark-only -s
"""

from __future__ import annotations

import sys

import pytest

from loop import config
from loop.project import create
from loop.steps.report import report
from loop.steps.run import run

ROUNDS, PICKS = 10, 1000


@pytest.fixture(scope="module")
def long_project(shared, tmp_path_factory):
    """12,000 images of CIFAR-10 as 192 numbers each; how well it trains is not the question."""
    import pyarrow.parquet

    from connectors.parquet import class_names

    folder = tmp_path_factory.mktemp("long")
    path = folder / "cifar10.parquet"
    table = pyarrow.parquet.read_table(shared / "data" / "cifar10.parquet").slice(0, 12_000)
    pyarrow.parquet.write_table(table, path)
    values = {
        "project": {"name": "long", "classes": class_names(path)},
        "pool": {"source": "parquet", "path": str(path), "labelled": True, "test": 1000},
        "encoder": "pixels:8",
        "selection": {"scorer": "random", "budgets": [PICKS] * ROUNDS},
        "labeler": {"kind": "oracle", "error_rate": 0.05},
        "training": {"trainer": "linear", "params": {"l2": 0.01, "steps": 20}},
        "compare": {"baselines": ["random"], "seeds": 1},
    }
    project = create(folder / "p", config.check(values, "benchmark"))
    run(project)
    return project


def test_ten_rounds_of_a_thousand_picks(benchmark, long_project):
    paths = benchmark.pedantic(lambda: report(long_project), rounds=1)
    seconds, size = benchmark.stats["max"], paths["html"].stat().st_size
    print(f"\n  report: {seconds:.1f} s, {size / 1e6:.2f} MB", file=sys.stderr)
    html = paths["html"].read_text()
    assert html.count("<img ") == 200
    assert size < 8e6
    assert seconds < 20
