"""One generator per seed and purpose: none is shared, each comes again."""

from __future__ import annotations

from loop.seeds import generator


def first(*key: object) -> float:
    return float(generator(*key).random())  # type: ignore[arg-type]


def test_the_same_seed_and_purpose_draw_the_same():
    assert first(3, "train", 20) == first(3, "train", 20)


def test_another_seed_or_purpose_draws_something_else():
    keys = [(seed, *purpose) for seed in range(20) for purpose in (("train",), ("train", 1))]
    keys += [(0, "a", "b"), (0, "ab"), (0, "a b"), (0, "b", "a"), (0,)]
    assert len({first(*key) for key in keys}) == len(keys)
