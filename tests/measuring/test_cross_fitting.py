"""Each image of the sample is judged by a model that did not learn it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from loop import train
from loop.errors import DataError
from loop.measuring.difference import picks_against_sample
from loop.measuring.held_out import predict_held_out
from loop.train import Task
from loop.train.base import revealed


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(images))[:400]
    pool = (images[rows] / 16).astype(np.float32)
    nothing = np.empty((0, pool.shape[1]), np.float32)
    return Task(10, pool, nothing, np.empty(0, np.int64)), labels[rows].astype(np.int64)


@pytest.mark.parametrize("name", ["linear", "propagate"])
def test_folds_are_what_training_without_them_gives(digits, name):
    """The batched descent, and the one spreading of labels, against a training for each fold."""
    task, labels = digits
    known = revealed(labels, np.arange(120))
    trainer = train.get(name, **({"l2": 1e-3} if name == "linear" else {}))
    fold = np.where(np.arange(400) < 60, np.arange(400) % 5, -1)
    for number, folded in enumerate(trainer.cross_fit(task, known, fold, np.random.default_rng(1))):
        kept = np.where(fold == number, -1, known)
        alone = trainer.train(task, kept, np.random.default_rng(1), pool_probabilities=True)
        same = folded.argmax(axis=1) == alone.pool_probabilities.argmax(axis=1)
        if name == "linear":
            assert np.abs(folded - alone.pool_probabilities).max() < 1e-3
        assert same.mean() > 0.97  # propagate chooses its penalty once, by all labels


@pytest.mark.parametrize("name", ["linear", "propagate"])
def test_a_label_never_tells_of_its_own_image(digits, name):
    """Labels of the sample at random: whoever saw its own label would be right more often."""
    task, labels = digits
    rng = np.random.default_rng(2)
    noise = labels.copy()
    sample = np.arange(100)
    noise[sample] = rng.integers(10, size=100)
    held_out = predict_held_out(
        train.get(name), task, revealed(noise, np.arange(100)), sample, 10, rng
    )
    assert held_out.right.mean() < 0.25
    learned = train.get(name).train(
        task, revealed(noise, np.arange(100)), rng, pool_probabilities=True
    )
    resubstituted = learned.pool_probabilities[sample].argmax(axis=1) == noise[sample]
    assert resubstituted.mean() > held_out.right.mean()


def test_images_without_a_label_are_left_out(digits):
    task, labels = digits
    known = revealed(labels, np.arange(80))
    known[[0, 3]] = -1
    held_out = predict_held_out(
        train.get("linear"), task, known, np.arange(30), 10, np.random.default_rng(0)
    )
    assert held_out.rows.tolist() == [row for row in range(30) if row not in (0, 3)]
    assert np.isfinite(held_out.probabilities).all()
    assert held_out.pool_confidence.shape == (400,)


@pytest.mark.parametrize("labelled", [0, 1])
def test_a_sample_that_nobody_labelled_is_named(digits, labelled):
    task, labels = digits
    known = revealed(labels, np.arange(50, 80))
    known[:labelled] = labels[:labelled]
    with pytest.raises(
        DataError, match=rf"^{labelled} images? of the random sample (is|are) labelled"
    ):
        predict_held_out(
            train.get("linear"), task, known, np.arange(30), 10, np.random.default_rng(0)
        )


@pytest.mark.parametrize("name", ["linear", "propagate"])
def test_a_class_in_one_fold_alone_and_labels_of_one_class(digits, name):
    task, labels = digits
    rare = np.flatnonzero(labels == 7)[:1]
    others = np.flatnonzero(labels == 1)[:20]
    trainer = train.get(name)
    for rows in (np.concatenate([others, rare]), others):
        held_out = predict_held_out(
            trainer, task, revealed(labels, rows), rows, 5, np.random.default_rng(0)
        )
        assert np.allclose(held_out.probabilities.sum(axis=1), 1)
        assert held_out.right[:20].all()


def test_both_models_of_the_difference_learn_as_many_labels(digits):
    task, labels = digits
    seen: list[tuple[str, int]] = []

    class Spy(type(train.get("linear"))):
        def train(self, task, labels, rng, *, pool_probabilities=False):
            seen.append(("alone", int((labels >= 0).sum())))
            return super().train(task, labels, rng, pool_probabilities=pool_probabilities)

        def fit_folds(self, x, y, n_classes, fold):
            seen.extend(("fold", int((fold != n).sum())) for n in range(int(fold.max()) + 1))
            return super().fit_folds(x, y, n_classes, fold)

    sample, picks = np.arange(50), np.arange(50, 90)
    difference = picks_against_sample(
        Spy(), task, revealed(labels, np.arange(90)), picks, sample, 5, np.random.default_rng(0)
    )
    assert difference is not None
    assert difference.labels == 40
    assert {count for _, count in seen} == {40}
    assert len(difference.answers) == 50
    assert not (difference.picks_learned[sample] >= 0).any()


@pytest.mark.parametrize("picks", [2, 5, 8, 9, 10])
def test_fewer_picks_than_folds_leave_no_image_without_a_judge(digits, picks):
    task, labels = digits
    difference = picks_against_sample(
        train.get("linear"),
        task,
        revealed(labels, np.arange(60)),
        np.arange(50, 50 + picks),
        np.arange(50),
        10,
        np.random.default_rng(0),
    )
    assert difference is not None
    assert difference.labels == picks
    assert difference.by_sample.sum(axis=1) == pytest.approx(np.ones(50))


@pytest.mark.parametrize(("picks", "sample"), [(1, 50), (40, 2), (0, 50)])
def test_too_few_labels_make_no_difference(digits, picks, sample):
    task, labels = digits
    difference = picks_against_sample(
        train.get("linear"),
        task,
        revealed(labels, np.arange(120)),
        np.arange(60, 60 + picks),
        np.arange(sample),
        10,
        np.random.default_rng(0),
    )
    assert difference is None


def test_labels_of_before_are_learned_on_both_sides(digits):
    """Picks make up for what was labelled before, and alone they would look worse than they are."""
    task, labels = digits
    given = np.arange(100, 160)
    shared, picks = given[labels[given] < 5], given[labels[given] >= 5][:20]
    known = revealed(labels, np.concatenate([np.arange(50), given]))
    sample = np.arange(50)
    asked = train.get("linear"), task, known, picks, sample, 5
    alone = picks_against_sample(*asked, np.random.default_rng(0))
    both = picks_against_sample(*asked, np.random.default_rng(0), shared=shared)
    assert alone is not None
    assert both is not None
    assert both.labels == alone.labels == len(picks)
    for learned in (both.picks_learned, both.sample_learned):
        assert (learned[shared] == labels[shared]).all()
    assert (alone.sample_learned[shared] < 0).all()
    assert both.mean > alone.mean + 0.2
