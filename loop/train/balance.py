"""Rare classes: a linear part that learned few labels of a class seldom answers with it.

Its probabilities are divided by the label shares and normalised, so that every class weighs the
same, where balanced accuracy is the goal; by their square root, half way, where macro-F1 is, or
where no goal is set and the labels are shared out unevenly. On a pool's own mix of classes that is
better for macro-F1 than all the way, and costs little plain accuracy (docs/rare.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from loop.train.probe import Head, Matrix
from loop.wording import counted

LEAST_SAMPLE = 20
"""Labels of a random sample that tell how the pool is shared out."""
RARE = 3
"""A class is rare of which the pool has less than one in so many of an even share, at 95 %."""
EVEN_SAMPLE, EVEN_MANY, EVEN_FEW = 0.85, 0.85, 0.80
"""Evenness below which classes count as rare: of a random sample, of picks from five labels per
class on, of picks from two on."""


def evenness(y: NDArray[np.int64], n_classes: int) -> float:
    """Entropy of the labels over that of classes of one size, in [0, 1], with the correction of
    Miller and Madow (1955) for few labels."""
    counts = np.bincount(y, minlength=n_classes)
    shares = counts[counts > 0] / len(y)
    entropy = -float((shares * np.log(shares)).sum()) + (len(shares) - 1) / (2 * len(y))
    return min(1.0, entropy / np.log(n_classes))


def uneven(y: NDArray[np.int64], at_random: NDArray[np.bool_], n_classes: int) -> tuple[bool, str]:
    """Whether the labels show rare classes, and by what, in words.

    Args:
        y: (k,) labels; at_random: (k,) those of a random sample.
    """
    per_class = len(y) / n_classes
    if at_random.sum() >= LEAST_SAMPLE:
        judged, limit, whose = y[at_random], EVEN_SAMPLE, "of the random sample"
        counts = np.bincount(judged, minlength=n_classes)
        most = largest_share(int(counts.min()), len(judged))
        if most < 1 / (RARE * n_classes):
            drawn = counted(len(judged), "label")
            labels = f"{counts.min()} of {drawn} {whose}"
            return (
                True,
                f"a class has {labels}, at most {most:.1%} of the pool with 95 % confidence",
            )
    elif per_class >= 2:
        judged, whose = y, "collected"
        limit = EVEN_MANY if per_class >= 5 else EVEN_FEW
    else:
        return False, ""
    even = evenness(judged, n_classes)
    return even < limit, f"entropy of the labels {whose}: {even:.0%} of that of even classes"


def largest_share(count: int, n: int) -> float:
    """Upper 95 % bound of a class's share of the pool, which has ``count`` of ``n`` labels drawn at
    random (C. J. Clopper and E. S. Pearson 1934, one side)."""
    from scipy.stats import beta

    return 1.0 if count == n else float(beta.ppf(0.95, count + 1, n - count))


def label_shares(y: NDArray[np.int64], n_classes: int) -> Matrix:
    """(C,) share of the labels; of a class without any, 1 / C."""
    counts = np.bincount(y, minlength=n_classes)
    return np.where(counts > 0, counts / len(y), 1 / n_classes)


def divisor(y: NDArray[np.int64], n_classes: int, weigh_classes: str) -> Matrix:
    """(C,) what probabilities are divided by.

    Args:
        weigh_classes: see ``Task``; not ``never``.
    """
    shares = label_shares(y, n_classes)
    return shares if weigh_classes == "always" else np.sqrt(shares)


def divided(head: Head, shares: Matrix) -> Head:
    """The head whose probabilities are divided by the shares and normalised."""
    held_out = head.held_out
    if held_out is not None:
        held_out = held_out / shares
        held_out /= held_out.sum(axis=1, keepdims=True)
    return replace(head, bias=head.bias - np.log(shares), held_out=held_out)
