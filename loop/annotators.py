"""Several people on the same images: how far they agree, and the most likely label.

Votes are (item, annotator, label) triples with any hashable values.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

Vote = tuple[Hashable, Hashable, Hashable]


def krippendorff_alpha(votes: Sequence[Vote]) -> float | None:
    """Nominal alpha over items with at least two votes; None if there are none or no disagreement
    is possible.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
    """
    by_item: dict[Hashable, list[Hashable]] = defaultdict(list)
    for item, _, label in votes:
        by_item[item].append(label)
    paired = [labels for labels in by_item.values() if len(labels) > 1]
    totals: Counter[Hashable] = Counter(label for labels in paired for label in labels)
    n = sum(totals.values())
    expected = n * n - sum(count * count for count in totals.values())
    if n < 2 or expected == 0:
        return None
    observed = 0.0
    for labels in paired:
        m = len(labels)
        observed += (m * m - sum(c * c for c in Counter(labels).values())) / (m - 1)
    return 1 - (n - 1) * observed / expected


def dawid_skene(
    votes: Sequence[Vote], *, iterations: int = 100, tolerance: float = 1e-6
) -> dict[Hashable, dict[Hashable, float]]:
    """Item -> {label: probability}, by expectation maximisation over annotators' confusions.

    Source: Dawid and Skene, Applied Statistics 28, 1979. Add-0.01 smoothing keeps every confusion
    possible; with one vote per item the answer is that vote.
    """
    if not votes:
        return {}
    items = {item: i for i, item in enumerate(dict.fromkeys(v[0] for v in votes))}
    people = {name: i for i, name in enumerate(dict.fromkeys(v[1] for v in votes))}
    classes = {label: i for i, label in enumerate(dict.fromkeys(v[2] for v in votes))}
    i, a, c = (np.array(x) for x in zip(
        *[(items[item], people[name], classes[label]) for item, name, label in votes], strict=True
    ))  # fmt: skip
    belief = np.zeros((len(items), len(classes)))
    np.add.at(belief, (i, c), 1.0)
    belief /= belief.sum(axis=1, keepdims=True)
    for _ in range(iterations):
        prior = belief.mean(axis=0)
        confusion = np.full((len(people), len(classes), len(classes)), 0.01)
        for true in range(len(classes)):
            np.add.at(confusion[:, true, :], (a, c), belief[i, true])
        confusion /= confusion.sum(axis=2, keepdims=True)
        logs = np.tile(np.log(prior + 1e-12), (len(items), 1))
        np.add.at(logs, i, np.log(confusion[a, :, c]))
        after = np.exp(logs - logs.max(axis=1, keepdims=True))
        after /= after.sum(axis=1, keepdims=True)
        moved = float(np.abs(after - belief).max())
        belief = after
        if moved < tolerance:
            break
    names = list(classes)
    return {
        item: {names[k]: float(p) for k, p in enumerate(belief[row])} for item, row in items.items()
    }
