"""Agreement and consensus against the field's packages and real votes; costs of odd lead times."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from loop.annotators import (
    answer_error,
    cohen_kappa,
    consensus,
    dawid_skene,
    disagreements,
    krippendorff_alpha,
    majority,
)
from loop.costs import hours, learning, pace, paces, typical, upcoming
from loop.errors import ConfigError


def noisy_votes(accuracies, items=400, classes=4, seed=0):
    """Truth and votes of people who are right at these rates, each image seen by all."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=items)
    votes = []
    for who, accuracy in enumerate(accuracies):
        wrong = (truth + rng.integers(1, classes, size=items)) % classes
        given = np.where(rng.random(items) < accuracy, truth, wrong)
        votes += [(i, f"p{who}", int(given[i])) for i in range(items)]
    return truth, votes


def errors(votes, method, truth):
    """Share of items on which the consensus is wrong."""
    chosen = consensus(votes, method)
    return np.mean([chosen[i] != label for i, label in enumerate(truth)])


def test_alpha_agrees_with_the_package():
    krippendorff = pytest.importorskip("krippendorff", reason="extra 'test' not installed")
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=60)
    table = np.where(rng.random((3, 60)) < 0.7, truth, rng.integers(4, size=(3, 60))).astype(float)
    table[rng.random((3, 60)) < 0.3] = np.nan
    votes = [(i, a, table[a, i]) for a in range(3) for i in range(60) if not np.isnan(table[a, i])]
    expected = krippendorff.alpha(table, level_of_measurement="nominal")
    assert krippendorff_alpha(votes) == pytest.approx(expected)


def test_alpha_needs_two_votes_and_two_labels():
    assert krippendorff_alpha([(1, "a", "x"), (2, "b", "y")]) is None
    assert krippendorff_alpha([(1, "a", "x"), (1, "b", "x")]) is None
    assert krippendorff_alpha([(1, "a", "x"), (1, "b", "x"), (2, "a", "y"), (2, "b", "y")]) == 1


def test_kappa_agrees_with_scikit_learn():
    _, votes = noisy_votes([0.9, 0.6, 0.3])
    labels = {who: [v for _, w, v in votes if w == who] for who in ("p0", "p1", "p2")}
    pairs = cohen_kappa([*votes, ("alone", "p0", 1)])
    assert len(pairs) == 3
    for pair in pairs:
        expected = cohen_kappa_score(labels[pair.first], labels[pair.second])
        assert pair.kappa == pytest.approx(expected)
        assert pair.images == 400
    assert cohen_kappa([(1, "a", "x"), (1, "b", "x")])[0].kappa is None
    assert cohen_kappa([(1, "a", "x"), (1, "b", "y")])[0].kappa == 0


def test_majority_and_on_a_tie_the_newest():
    votes = [(1, "a", "x"), (1, "b", "y"), (1, "c", "x"), (2, "a", "x"), (2, "b", "y")]
    assert majority(votes) == {1: "x", 2: "y"}
    assert disagreements(votes) == [
        (2, {"a": "x", "b": "y"}),
        (1, {"a": "x", "b": "y", "c": "x"}),
    ]


def test_dawid_skene_trusts_the_reliable_one():
    pytest.importorskip("crowdkit", reason="extra 'annotators' not installed")
    truth, votes = noisy_votes([0.95, 0.5, 0.5])
    wrong = {method: errors(votes, method, truth) for method in ("majority", "dawid-skene")}
    assert wrong["dawid-skene"] < 0.1 < 0.15 < wrong["majority"]
    assert dawid_skene([(1, "p1", 2), (2, "p0", 3)]) == {1: 2, 2: 3}  # one vote each: kept


def test_unknown_consensus():
    with pytest.raises(ConfigError, match="majority, dawid-skene"):
        consensus([], "mean")


def test_real_votes_on_cifar10(shared):
    """CIFAR-10N, all 50,000 images: Dawid-Skene errs less than the majority."""
    pytest.importorskip("crowdkit", reason="extra 'annotators' not installed")
    import pyarrow.parquet as parquet

    people = ["human1", "human2", "human3"]
    table = parquet.read_table(
        shared / "data" / "cifar10.parquet", columns=["label", "split", *people]
    ).to_pandas()
    table = table[table.split == "train"]
    truth = table.label.to_numpy()
    votes = [(i, who, int(v)) for who in people for i, v in enumerate(table[who])]
    wrong = {method: errors(votes, method, truth) for method in ("majority", "dawid-skene")}
    assert wrong["dawid-skene"] < 0.083 < wrong["majority"] < 0.095
    assert len(disagreements(votes)) > 15_000


def test_a_lunch_break_does_not_count():
    assert typical([2.0] * 99 + [3600.0]) == pytest.approx(2.08)
    assert hours([2.0, None, 0.0, 2.0]) == pytest.approx(4 * 2 / 3600)
    assert hours([None]) is None


def test_pace_per_group():
    groups = paces([("a", 2.0), ("b", None), ("a", 2.0), ("a", None), ("a", 900.0)])
    assert (groups["a"].labels, groups["a"].timed) == (4, 3)
    assert groups["a"].seconds == pytest.approx((2 + 2 + 10) / 3)
    assert groups["a"].per_hour == pytest.approx(3600 / groups["a"].seconds)
    assert (groups["b"].seconds, groups["b"].per_hour) == (None, None)
    assert pace([]).labels == 0


def test_doubled_and_missing_times_move_the_estimate_little():
    """A tenth doubled (Label Studio did that once), a tenth missing, three left over lunch."""
    rng = np.random.default_rng(0)
    true = 3 * np.exp(0.65 * rng.standard_normal(1000))
    seen = true.copy()
    seen[:100] *= 2
    seen[100:103] = 3000
    reported = [None if i % 10 == 9 else float(s) for i, s in enumerate(seen)]
    assert typical(reported) == pytest.approx(true.mean(), rel=0.12)
    assert np.nanmean(seen) > 2.5 * true.mean()


def test_learning_is_seen_and_pauses_are_not():
    rng = np.random.default_rng(0)
    n = np.arange(1, 401)
    noise = rng.lognormal(0, 0.5, 400)
    faster = list(8.0 * n**-0.25 * noise)
    assert learning(faster) == pytest.approx(-0.25, abs=0.08)
    with_pauses = [t * (60 if i % 97 == 0 else 1) for i, t in enumerate(faster)]
    assert learning(with_pauses) == pytest.approx(-0.25, abs=0.08)
    assert learning(list(3.0 * noise)) == 0.0
    assert learning([3.0] * 10) == 0.0
    assert learning([2.0] * 100) == 0.0


def test_what_comes_next_is_what_people_take_by_now():
    n = np.arange(1, 401)
    faster = [("ann", float(t)) for t in 8.0 * n**-0.25]
    assert upcoming(faster) == pytest.approx(8.0 * 400**-0.25, rel=0.03)
    steady = [("bob", 4.0)] * 400
    both = [pair for two in zip(faster, steady, strict=True) for pair in two]
    assert upcoming(both) == pytest.approx((8.0 * 400**-0.25 + 4.0) / 2, rel=0.03)
    assert upcoming([("ann", None)]) is None
    assert upcoming([]) is None
    assert upcoming([("ann", 2.0), ("bob", None)]) == 2.0


@pytest.mark.parametrize(("error", "classes"), [(0.0, 3), (0.05, 2), (0.1, 5), (0.3, 10)])
def test_how_often_people_are_wrong_is_found_from_their_disagreement(error, classes):
    rng = np.random.default_rng(int(100 * error))
    votes = []
    for item in range(3000):
        true = int(rng.integers(classes))
        for person in ("ann", "bob", "eve")[: 2 + item % 2]:
            others = [label for label in range(classes) if label != true]
            label = int(rng.choice(others)) if rng.random() < error else true
            votes.append((item, person, label))
    found = answer_error(votes, classes)
    assert found.images == 3000
    assert found.rate == pytest.approx(error, abs=0.012)


def test_answers_by_chance_and_by_one_person():
    assert answer_error([(1, "ann", "cat"), (2, "bob", "dog")], 2) is None
    always = [(n, who, label) for n in range(9) for who, label in (("ann", "cat"), ("bob", "dog"))]
    assert answer_error(always, 2).rate == pytest.approx(0.5)
