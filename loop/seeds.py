"""One generator per (seed, purpose): no step's randomness depends on what ran before it."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """A generator that depends on ``seed`` and the words of ``purpose`` alone."""
    text = "\x1f".join(str(word) for word in purpose).encode()
    key = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return np.random.default_rng(np.random.SeedSequence([seed, key]))
