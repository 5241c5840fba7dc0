"""doctor --deep finds what is wrong; --repair computes again what can be."""

from __future__ import annotations

import pytest
from sqlalchemy import text, update

from db import queries
from db.models import Array, Item, Pick, Pool, Round, Sent, TrainingRun
from loop.project import find
from loop.project.damage import verify
from loop.project.rounds import begin_round
from loop.steps.backup import backup, restore
from loop.steps.doctor import doctor, repair
from loop.steps.run import run
from loop.steps.score import score
from loop.steps.select import select
from tests.conftest import finished_project


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return finished_project(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def finished(original, tmp_path):
    """A finished project for each test to break."""
    copied = backup(original, tmp_path / "backup")
    return find(restore(copied.folder, tmp_path / "copy").folder)


def digests(project):
    with project.records.read() as session:
        stored = session.execute(
            text('SELECT kind, name, "of", digest FROM "array" ORDER BY 1, 2, 3')
        )
        return [tuple(row) for row in stored]


def test_a_sound_project(finished):
    assert verify(finished) == ([], [])
    assert all(check.ok for check in doctor(finished.root, deep=True))


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
def test_embeddings_and_what_was_trained_last_are_computed_again(finished, how):
    before = digests(finished)
    for kind, name, of, digest in before:
        if kind == "embeddings" or (kind in ("probabilities", "model") and of == "round-2"):
            path = finished.arrays / f"{digest}.{'safetensors' if kind == 'model' else 'npy'}"
            data = bytearray(path.read_bytes())
            data[-3] ^= 1
            path.write_bytes(data if how == "flip" else data[:-20])
            if how == "gone":
                path.unlink()
            assert (kind, name) in [(array.kind, array.name) for array in verify(finished)[1]]
    failing = [check for check in doctor(finished.root, deep=True) if not check.ok]
    assert any("--repair" in check.detail for check in failing)
    assert all(check.ok for check in doctor(finished.root, mend=True))
    assert digests(finished) == before
    assert verify(finished) == ([], [])


def test_scores_that_a_round_still_needs_are_computed_again(finished):
    begin_round(finished, 4)
    score(finished)
    (digest,) = [d for kind, _, of, d in digests(finished) if (kind, of) == ("scores", "round-3")]
    (finished.arrays / f"{digest}.npy").write_bytes(b"")
    repaired = repair(finished, verify(finished)[1])
    assert repaired == ["scores coreset of round-3: computed again"]
    assert select(finished).coreset == 4


def test_older_arrays_are_let_go(finished):
    (old,) = [d for kind, _, of, d in digests(finished) if (kind, of) == ("scores", "round-1")]
    (finished.arrays / f"{old}.npy").unlink()
    (repaired,) = repair(finished, verify(finished)[1])
    assert "nothing needs it" in repaired
    assert run(finished, budget=3).why == "done"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (update(Item).where(Item.row == 59).values(row=99), "the last has row 99"),
        (update(Pool).values(digest="0" * 32), "digest is not that"),
        (update(Item).where(Item.split == "test").values(split="pool"), "side of the test split"),
        (update(Round).where(Round.number == 1).values(budget=5), "6 picks, not 5"),
        (update(TrainingRun).values(arm="lost"), "without a training run"),
        (Sent.__table__.delete(), "0 of 6 picks sent"),
        (update(Array).where(Array.kind == "embeddings").values(shape=[3, 64]), "3 embeddings"),
    ],
)
def test_each_contradiction_is_named(finished, change, words):
    with finished.writing() as records, records.write() as session:
        session.execute(change)
    wrong, _ = verify(finished)
    assert any(words in sentence for sentence in wrong), wrong


@pytest.mark.skipif("config.getoption('--postgresql')", reason="a server forbids it")
def test_rows_without_parent_are_named(finished):
    with finished.writing() as records:
        raw = records.engine.raw_connection()
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("DELETE FROM item WHERE id IN (SELECT item_id FROM pick LIMIT 1)")
        raw.commit()
        raw.close()
    wrong, _ = verify(finished)
    assert any("pick row" in sentence and "has no item" in sentence for sentence in wrong)


def test_the_pool_digest_is_stated_anew(finished):
    with finished.writing() as records, records.write() as session:
        pool = queries.the_pool(session)
        right = pool.digest
        pool.digest = "0" * 32
    repair(finished, [])
    with finished.records.read() as session:
        assert queries.the_pool(session).digest == right
        assert session.query(Pick).count() == 24
