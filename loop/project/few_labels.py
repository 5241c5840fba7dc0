"""Classes of which few labels are known, and what finding more takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.queries import Picked

FEW_LABELS = 5
"""Labels of a class under which report and status warn."""


@dataclass(frozen=True)
class FewLabels:
    """A class with few labels.

    Attributes:
        labels: of it, among the picks.
        of_sample: of it, among the ``sample`` labels of images drawn at random.
    """

    name: str
    labels: int
    of_sample: int
    sample: int

    @property
    def wanted(self) -> int:
        """Labels short of FEW_LABELS."""
        return FEW_LABELS - self.labels


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
