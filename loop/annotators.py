"""Several annotators of the same images: inter-annotator agreement and consensus labels.

Votes are (item, annotator, label) triples of any hashable values, oldest first; a person has at
most one vote on an item.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

from loop.errors import ConfigError

Vote = tuple[Any, Any, Any]
CONSENSUS = ("majority", "dawid-skene")
EXTRA = "needs the extra 'annotators'; type: pip install 'coreloop[annotators]'"


def krippendorff_alpha(votes: Sequence[Vote]) -> float | None:
    """Krippendorff's alpha for nominal labels over the items with at least two votes.

    1: all agree; 0: as by chance. None where no item has two votes, or all votes are one label.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011. The package
    ``krippendorff``, against which this is tested, holds items x classes x classes numbers in
    memory: 4 GB and 20 s for 2,000 images of 300 classes.
    """
    shared = [list(labels.values()) for labels in by_item(votes).values() if len(labels) > 1]
    totals = Counter(label for labels in shared for label in labels)
    n = sum(totals.values())
    expected_pairs = n * n - sum(count * count for count in totals.values())
    if expected_pairs == 0:
        return None
    differing_pairs = 0.0
    for labels in shared:
        alike = sum(count * count for count in Counter(labels).values())
        differing_pairs += (len(labels) ** 2 - alike) / (len(labels) - 1)
    return 1 - (n - 1) * differing_pairs / expected_pairs


@dataclass(frozen=True)
class Pair:
    """Agreement of two annotators on the images that both labelled.

    Attributes:
        agreed: share of ``images`` with the same label.
        kappa: Cohen's, in [-1, 1]; None where all their labels are one class.
    """

    first: Any
    second: Any
    images: int
    agreed: float
    kappa: float | None


def cohen_kappa(votes: Sequence[Vote]) -> list[Pair]:
    """Cohen's kappa of every two annotators that share an image, most shared images first.

    Source: Cohen, A Coefficient of Agreement for Nominal Scales, 1960; scikit-learn's.
    """
    shared: dict[tuple[Any, Any], list[tuple[Any, Any]]] = defaultdict(list)
    for labels in by_item(votes).values():
        for first, second in combinations(sorted(labels, key=str), 2):
            shared[first, second].append((labels[first], labels[second]))
    pairs = [_pair(*names, labels) for names, labels in shared.items()]
    return sorted(pairs, key=lambda pair: -pair.images)


def _pair(first: Any, second: Any, labels: list[tuple[Any, Any]]) -> Pair:
    from sklearn.metrics import cohen_kappa_score

    agreed = sum(ours == theirs for ours, theirs in labels) / len(labels)
    numbers = {label: number for number, label in enumerate(dict.fromkeys(chain(*labels)))}
    kappa = None
    if len(numbers) > 1:  # of one class alone kappa is 0 / 0
        ratings = [[numbers[label] for label in pair] for pair in labels]
        kappa = float(cohen_kappa_score(*zip(*ratings, strict=True)))
    return Pair(first, second, len(labels), agreed, kappa)


def majority(votes: Sequence[Vote]) -> dict[Any, Any]:
    """Item -> the label most annotators gave; of labels with equally many the one voted last."""
    chosen = {}
    for item, labels in by_item(votes).items():
        counts = Counter(labels.values())
        most = max(counts.values())
        chosen[item] = next(label for label in reversed(labels.values()) if counts[label] == most)
    return chosen


def dawid_skene(votes: Sequence[Vote]) -> dict[Any, Any]:
    """Item -> the likeliest label when each annotator's confusion matrix is estimated as well.

    An item with one vote keeps it: nothing tells the annotator's mistake from the image.

    Source: Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM
    Algorithm, 1979; crowd-kit's implementation.

    Raises:
        ConfigError: crowd-kit is not installed.
    """
    try:
        import pandas
        from crowdkit.aggregation import DawidSkene
    except ImportError:
        raise ConfigError(f"consensus 'dawid-skene' {EXTRA}") from None
    single = {item for item, labels in by_item(votes).items() if len(labels) == 1}
    chosen = {item: label for item, _, label in votes if item in single}
    several = [vote for vote in votes if vote[0] not in single]
    if several:
        table = pandas.DataFrame(several, columns=["task", "worker", "label"])
        estimated = DawidSkene(n_iter=100).fit_predict(table)
        chosen |= dict(zip(estimated.index.tolist(), estimated.tolist(), strict=True))
    return chosen


def consensus(votes: Sequence[Vote], method: str) -> dict[Any, Any]:
    """Item -> the consensus label of its annotators.

    Raises:
        ConfigError: ``method`` is not in ``CONSENSUS``, or its package is not installed.
    """
    if method not in CONSENSUS:
        raise ConfigError(f"consensus {method!r} is unknown; one of {', '.join(CONSENSUS)}")
    return dawid_skene(votes) if method == "dawid-skene" else majority(votes)


@dataclass(frozen=True)
class AnswerError:
    """How often people are wrong, as their disagreement tells.

    Attributes:
        rate: share of answers that are wrong, in [0, 1].
        images: that two people or more answered.
    """

    rate: float
    images: int


def answer_error(votes: Sequence[Vote], classes: int) -> AnswerError | None:
    """From the share d of pairs of answers to one image that differ: where people are wrong with
    probability e, apart from each other and in each other class alike, two of them differ with
    d = 2 e - e^2 C / (C - 1). Mistakes that people share, on images that mislead them all, are not
    seen. None where no image has two answers.

    Args:
        classes: C, at least 2.
    """
    shared = [list(labels.values()) for labels in by_item(votes).values() if len(labels) > 1]
    if not shared:
        return None
    differing = 0.0
    for labels in shared:
        pairs = list(combinations(labels, 2))
        differing += sum(first != second for first, second in pairs) / len(pairs)
    most = (classes - 1) / classes  # beyond which answers are as by chance
    inside = max(0.0, 1 - differing / len(shared) / most)
    return AnswerError(most * (1 - inside**0.5), len(shared))


def disagreements(votes: Sequence[Vote]) -> list[tuple[Any, dict[Any, Any]]]:
    """(item, annotator -> label) wherever two people differ, the most divided first."""
    divided = [
        (item, labels) for item, labels in by_item(votes).items() if len(set(labels.values())) > 1
    ]

    def agreed(entry: tuple[Any, dict[Any, Any]]) -> float:
        _, labels = entry
        return max(Counter(labels.values()).values()) / len(labels)

    return sorted(divided, key=agreed)


def by_item(votes: Sequence[Vote]) -> dict[Any, dict[Any, Any]]:
    """Item -> annotator -> label, oldest vote first."""
    items: dict[Any, dict[Any, Any]] = defaultdict(dict)
    for item, annotator, label in votes:
        items[item].pop(annotator, None)  # a changed vote counts as the newest
        items[item][annotator] = label
    return items
