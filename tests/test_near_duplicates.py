"""Near-duplicates: what counts as one, one of each group, and the label that the others have."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from loop.near_duplicates import (
    group_numbers,
    measured_cosine,
    near_duplicates,
    offered,
    one_of_each,
    slightly_changed,
)


def test_the_first_of_each_group_and_none_of_a_picked_one():
    numbers = np.array([0, 0, -1, 1, 1, 1, -1, 2, 2])
    available = np.array([1, 1, 1, 0, 1, 1, 0, 1, 0], bool)
    covered = np.array([0, 0, 0, 0, 0, 0, 1, 0, 1], bool)
    open_ = one_of_each(numbers, available, covered)
    assert open_.tolist() == [True, False, True, False, True, False, False, False, False]
    assert (one_of_each(np.full(9, -1), available, covered) == available).all()


def test_a_label_is_offered_where_the_group_agrees():
    numbers = np.array([0, 0, 0, 1, 1, 1, -1, 2, 2])
    labels = np.array([4, -1, 4, 1, 2, -1, -1, -1, -1])
    assert offered(numbers, labels).tolist() == [-1, 4, -1, -1, -1, -1, -1, -1, -1]
    assert offered(np.full(3, -1), np.array([1, -1, 0])).tolist() == [-1, -1, -1]


def test_groups_have_numbers():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((30, 8)).astype(np.float32)
    rows[7] = rows[3] + 0.001
    rows[21] = rows[20] + 0.001
    numbers = group_numbers(near_duplicates(rows, 0.99), 30)
    assert numbers[7] == numbers[3] >= 0
    assert numbers[21] == numbers[20] >= 0
    assert numbers[3] != numbers[20]
    assert (numbers >= 0).sum() == 4


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (64, 48)])
def test_a_changed_copy_is_a_picture_of_the_same_size(size):
    image = Image.new("RGB", size, (200, 20, 90))
    for seed in range(5):
        copy = slightly_changed(image, np.random.default_rng(seed))
        assert Image.open(io.BytesIO(copy)).size == size


def test_the_cosine_is_that_of_half_of_the_copies():
    rng = np.random.default_rng(1)
    pool = rng.standard_normal((400, 32)).astype(np.float32) + 3
    noise = rng.standard_normal((400, 32)).astype(np.float32)
    for amount in (0.1, 0.3, 0.6):
        cosine = measured_cosine(pool, pool + amount * noise, pool)
        pairs = near_duplicates(np.concatenate([pool, pool + amount * noise]), cosine)
        assert 150 <= sum(len(group.rows) == 2 for group in pairs) <= 250
    assert measured_cosine(pool, rng.permutation(pool), pool) == 0.5, "no less, whatever it says"
    assert measured_cosine(pool, pool, pool) == pytest.approx(0.999)
