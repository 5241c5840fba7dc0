"""Classes of which few labels are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from db.queries import Picked
from loop.reports.facts import FEW_LABELS, FewLabels


def few_labels(
    classes: Sequence[str], picks: Sequence[Picked], labels: Mapping[int, int]
) -> list[FewLabels]:
    """The classes with fewer than FEW_LABELS, the fewest first.

    Args:
        labels: array row -> class index, of what is labelled.
    """
    chosen = [pick for pick in picks if pick.arm != "test" and pick.row in labels]
    have = Counter(labels[pick.row] for pick in chosen)
    sampled = [pick for pick in chosen if pick.at_random]
    of_sample = Counter(labels[pick.row] for pick in sampled)
    few = [
        FewLabels(name, have[number], of_sample[number], len(sampled))
        for number, name in enumerate(classes)
        if have[number] < FEW_LABELS
    ]
    return sorted(few, key=lambda each: each.labels)
