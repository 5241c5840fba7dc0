"""Several people on the same images: how far they agree.

Votes are (item, annotator, label) triples with any hashable values.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

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
