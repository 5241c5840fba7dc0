"""Engines: the same results wherever the work is done, whoever is killed meanwhile."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from connectors.parquet import Parquet
from db import arrays
from loop import config, encoders
from loop.encoders import shards
from loop.engine import Local, get, in_order
from loop.errors import ConfigError, DataError, NotReady
from loop.geometry import neighbours
from loop.project import create
from loop.scorers.zcore import replay, sample_draws
from loop.steps.embed import embed
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.simulate import Grid, simulate
from loop.train.replicas import launch
from tests.conftest import ROOT, rows, small_values, write_images
from tests.durability.test_disk_and_signals import ENV, MAIN
from tests.engine_work import (
    count_secrets,
    die,
    die_once,
    refuse,
    sleep_a_little,
    square,
    threads,
    where_am_i,
)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each on loopback, in processes of their own."""
    pytest.importorskip("ray", reason="pip install 'coreloop[ray]'")
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        # unset, it follows a token that any local cluster leaves in the home folder
        patch.setenv("RAY_AUTH_MODE", "disabled")
        size = 100 * 2**20
        made = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": size}
        )
        made.add_node(num_cpus=1, object_store_memory=size)
        made.wait_for_nodes()
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


def new_project(folder, images):
    project = create(folder, config.check(small_values(images), "test"))
    scan(project)
    return project


def grid():
    return Grid({"random": ("random", {}), "kmeans": ("kmeans", {})}, [6, 12], 2)


def cells(project):
    query = "SELECT method, budget, seed, outcome FROM cell ORDER BY method, budget, seed"
    return [tuple(map(str, row)) for row in rows(project, query)]


@pytest.fixture(scope="module")
def local_run(tmp_path_factory, images):
    """(digest of the embeddings, cells) as this process computes them."""
    project = new_project(tmp_path_factory.mktemp("here") / "project", images)
    embed(project)
    simulate(project, grid())
    return rows(project, 'SELECT digest FROM "array"'), cells(project)


@pytest.mark.parametrize("workers", [1, 2])
def test_local(workers):
    results = dict(Local(workers).map(square, 2, range(7)))
    assert results == {i: 2 * i**2 for i in range(7)}


def test_a_failing_piece_is_raised():
    with pytest.raises(TypeError):
        list(Local(2).map(square, 2, [1, "x", 3]))


@pytest.mark.parametrize("loaded", [False, True])
def test_a_process_has_one_thread(monkeypatch, loaded):
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    shared = torch.zeros(1) if loaded else None  # what is shared loads its library first
    assert dict(Local(2).map(threads, shared, [0, 1])) == {0: (1, 1), 1: (1, 1)}


def test_names():
    assert get("local", 3) == Local(3)
    with pytest.raises(ConfigError, match="did you mean 'ray'"):
        get("rai")


def test_sources_and_encoders_travel(tmp_path, images):
    encoder = pickle.loads(pickle.dumps(encoders.get("pixels:8")))
    assert encoder.digest == "pixels-8"
    import pyarrow
    import pyarrow.parquet

    data = next(images.rglob("*.png")).read_bytes()
    pyarrow.parquet.write_table(pyarrow.table({"image": [data]}), tmp_path / "a.parquet")
    source = Parquet(tmp_path / "a.parquet")
    source.read("row/0")
    assert pickle.loads(pickle.dumps(source)).read("row/0") == data


def test_ray_uses_both_nodes(cluster):
    results = dict(get("ray").map(where_am_i, None, range(12)))
    assert sorted(results) == list(range(12))
    assert len(set(results.values())) == 2


def test_ray_survives_a_killed_worker(cluster, tmp_path):
    results = dict(get("ray").map(die_once, str(tmp_path), range(6)))
    assert (tmp_path / "died").exists()
    assert results == {i: i + 100 for i in range(6)}


def test_errors_of_a_piece_are_its_own(cluster):
    for engine in (Local(), Local(2), get("ray")):
        with pytest.raises(DataError) as error:
            list(engine.map(refuse, "it", [7]))
        assert (type(error.value), str(error.value)) == (DataError, "piece 7 of it")


def test_a_cluster_that_loses_work_is_an_error_of_ours(cluster, monkeypatch):
    monkeypatch.setattr("loop.engine.RETRIES", 0)
    with pytest.raises(NotReady, match=r"WorkerCrashedError.*RAY_AUTH_MODE"):
        list(get("ray").map(die, None, [0]))


@pytest.mark.slow
def test_embeddings_and_cells_are_the_same(cluster, local_run, tmp_path, images, monkeypatch):
    project = new_project(tmp_path / "project", images)
    monkeypatch.setattr("loop.encoders.shards.SHARD", 7)
    embed(project, where=get("ray"))
    simulate(project, grid(), where=get("ray"))
    assert rows(project, 'SELECT digest FROM "array"') == local_run[0]
    assert cells(project) == local_run[1]


class Backwards:
    """Pieces in this process, the last one first."""

    def map(self, work, shared, pieces):
        for number in reversed(range(len(pieces))):
            yield number, work(shared, pieces[number])


def test_results_come_in_order():
    assert list(in_order(iter([(2, "c"), (0, "a"), (1, "b"), (3, "d")]))) == list("abcd")


def spread(engine):
    """What falls into pieces, computed on an engine: neighbours, and the sums of ZCore's draws."""
    x = np.random.default_rng(0).standard_normal((5000, 12)).astype(np.float32)
    x[4000:] = x[:1000]  # ties, and copies in other tiles
    dims, points = sample_draws(x, np.arange(12), 5000, 2, np.random.default_rng(1))
    return *neighbours(x, 10, engine=engine), *replay(x, dims, points, engine=engine)


@pytest.fixture(scope="module")
def computed_locally():
    return spread(Local())


def test_pieces_of_scorers_come_together(computed_locally):
    for local, result in zip(computed_locally, spread(Backwards()), strict=True):
        assert np.array_equal(local, result)


def test_pieces_of_scorers_on_a_cluster(cluster, computed_locally):
    for local, result in zip(computed_locally, spread(get("ray")), strict=True):
        assert np.array_equal(local, result)


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["zcore", "d2"])
def test_a_round_is_the_same(cluster, tmp_path, images, scorer):
    seen = []
    for engine in ("local", "ray"):
        values = small_values(images, selection={"scorer": scorer})
        project = create(tmp_path / engine, config.check(values, "test"))
        scan(project)
        run(project, where=get(engine))
        picked = rows(project, "SELECT item_id, rank, score FROM pick ORDER BY item_id")
        seen.append([tuple(map(str, row)) for row in picked])
    assert len(seen[0]) == 12 + 6 + 6
    assert seen[0] == seen[1]


@pytest.mark.slow
def test_a_killed_driver_is_resumed(cluster, local_run, tmp_path, images):
    project = new_project(tmp_path / "project", images)
    command = [
        *MAIN,
        "simulate",
        "--project",
        str(project.root),
        "--encoder",
        "pixels:8",
        "--methods",
        "random,kmeans",
        "--budgets",
        "6,12",
        "--seeds",
        "2",
        "--engine",
        "ray",
        "--json",
    ]
    env = {**ENV, **{name: value for name, value in os.environ.items() if "RAY_" in name}}
    killed = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        timeout=300,
        env={**env, "CORELOOP_KILL_AT": "after-cell:3"},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = rows(project, "SELECT id FROM cell ORDER BY id")
    assert len(before) == 3
    again = subprocess.run(
        command, cwd=tmp_path, capture_output=True, timeout=300, env=env, text=True
    )
    assert again.returncode == 0, again.stderr
    assert rows(project, "SELECT id FROM cell WHERE id <= 3 ORDER BY id") == before
    assert cells(project) == local_run[1]


def test_digest_is_of_the_file(tmp_path):
    """Shards from an engine end up in the file that one process writes."""
    data = {f"{i}.png": p.read_bytes() for i, p in enumerate(_pictures(tmp_path))}
    for name, engine in (("a", Local(1)), ("b", Local(2))):
        shards.encode(
            encoders.get("pixels:4"),
            data.__getitem__,
            list(data),
            list(data),
            tmp_path / f"{name}.npy",
            engine=engine,
        )
    assert arrays.file_digest(tmp_path / "a.npy") == arrays.file_digest(tmp_path / "b.npy")
    assert np.load(tmp_path / "a.npy").shape == (9, 16)


def _pictures(folder):
    write_images(folder, count=9)
    return sorted(folder.rglob("*.png"))


@pytest.mark.slow
def test_ray_survives_a_killed_node(cluster):
    doomed = cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    results = {}
    for number, result in get("ray").map(sleep_a_little, None, range(12)):
        results[number] = result
        if len(results) == 2:
            cluster.remove_node(doomed, allow_graceful=False)
    assert results == {i: i for i in range(12)}


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


OTHER_SECRETS = {"AWS_SECRET_ACCESS_KEY": "secret", "DATA_URL": "https://me:secret@host/x"}
"""What no command of ours knows of; it matters where hostile images are decoded."""


def shown_by(code, env):
    """What a process of its own prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=env,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["scan", "local"])
def test_processes_are_begun_without_secrets(kind):
    """Not in their environment, nor in what /proc shows of how they were begun; the one that
    tracks semaphores included. The parent keeps what it has."""
    own = {"LABEL_STUDIO_API_KEY": "secret-token", "PGPASSWORD": "secret-word"}
    secrets = own | (OTHER_SECRETS if kind == "scan" else {})
    code = f"from tests.engine_work import look_at_workers as look; look({kind!r})"
    shown = shown_by(code, {**ENV, **secrets})
    assert sorted(shown["held"]) == sorted(secrets)
    assert shown["seen"] == [[], []]
    assert shown["below"] == []


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_training_processes_get_no_token(monkeypatch, devices):
    if devices > 1:
        pytest.importorskip("lightning_fabric", reason="pip install 'coreloop[fabric]'")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret-token")
    assert launch(count_secrets, "cpu", devices)["seen"] == 0
    assert os.environ["LABEL_STUDIO_API_KEY"] == "secret-token"


@pytest.mark.slow
def test_a_cluster_on_this_machine_is_ours_alone(tmp_path):
    """It listens on loopback, its token is for its user, its workers know no secret."""
    pytest.importorskip("ray", reason="pip install 'coreloop[ray]'")
    env = {name: value for name, value in ENV.items() if not name.startswith("RAY_")}
    code = "from tests.engine_work import look_at_a_cluster_of_its_own as look; look()"
    own = {
        "HOME": str(tmp_path),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "LABEL_STUDIO_API_KEY": "secret-token",
        "PGPASSWORD": "secret-word",
    }
    shown = shown_by(code, {**env, **own})
    assert sorted(shown["held"]) == ["LABEL_STUDIO_API_KEY", "PGPASSWORD"]
    assert shown["seen"] == []
    assert shown["files"] == []
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
    assert shown["addresses"]
    assert set(shown["addresses"]) <= LOOPBACK
