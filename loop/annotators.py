"""Several people on the same images: how far they agree, and what they say together.

Votes are (item, annotator, label) triples of any hashable values, oldest first; a person has at
most one vote on an item.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from loop.errors import ConfigError

Vote = tuple[Any, Any, Any]
CONSENSUS = ("majority", "dawid-skene")
EXTRA = "needs the extra 'annotators'; type: pip install 'coreloop[annotators]'"


def krippendorff_alpha(votes: Sequence[Vote]) -> float | None:
    """Nominal alpha over items with at least two votes; None if there are none or no disagreement
    is possible.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
    """
    paired = [list(mine.values()) for mine in by_item(votes).values() if len(mine) > 1]
    totals: Counter[Any] = Counter(label for labels in paired for label in labels)
    n = sum(totals.values())
    expected = n * n - sum(count * count for count in totals.values())
    if n < 2 or expected == 0:
        return None
    observed = 0.0
    for labels in paired:
        m = len(labels)
        observed += (m * m - sum(c * c for c in Counter(labels).values())) / (m - 1)
    return 1 - (n - 1) * observed / expected


@dataclass(frozen=True)
class Pair:
    """Two annotators on the images that both labelled. ``kappa`` is None where both only ever said
    one and the same class."""

    first: Any
    second: Any
    images: int
    agreed: float
    kappa: float | None


def cohen_kappa(votes: Sequence[Vote]) -> list[Pair]:
    """Cohen's kappa of every two annotators that share an image, most shared images first.

    Source: Cohen, A Coefficient of Agreement for Nominal Scales, 1960.
    """
    shared: dict[tuple[Any, Any], list[tuple[Any, Any]]] = defaultdict(list)
    for mine in by_item(votes).values():
        for first, second in combinations(sorted(mine, key=str), 2):
            shared[first, second].append((mine[first], mine[second]))
    pairs = []
    for (first, second), said in shared.items():
        n = len(said)
        agreed = sum(a == b for a, b in said) / n
        left, right = Counter(a for a, _ in said), Counter(b for _, b in said)
        chance = sum(left[label] * right[label] for label in left) / n**2
        kappa = None if chance == 1 else (agreed - chance) / (1 - chance)
        pairs.append(Pair(first, second, n, agreed, kappa))
    return sorted(pairs, key=lambda pair: -pair.images)


def majority(votes: Sequence[Vote]) -> dict[Any, Any]:
    """Item -> the label most people gave; of labels with equally many the one voted last."""
    said = {}
    for item, mine in by_item(votes).items():
        counts = Counter(mine.values())
        top = max(counts.values())
        said[item] = next(label for label in reversed(mine.values()) if counts[label] == top)
    return said


def dawid_skene(votes: Sequence[Vote]) -> dict[Any, Any]:
    """Item -> the likeliest label when each annotator's own confusions are estimated as well.

    An item with one vote keeps it: nothing there tells the annotator's mistake from the image.

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
    single = {item for item, mine in by_item(votes).items() if len(mine) == 1}
    said = {item: label for item, _, label in votes if item in single}
    several = [vote for vote in votes if vote[0] not in single]
    if several:
        table = pandas.DataFrame(several, columns=["task", "worker", "label"])
        found = DawidSkene(n_iter=100).fit_predict(table)
        said |= dict(zip(found.index.tolist(), found.tolist(), strict=True))
    return said


def consensus(votes: Sequence[Vote], method: str) -> dict[Any, Any]:
    """Item -> what the annotators say together.

    Raises:
        ConfigError: ``method`` is not in ``CONSENSUS``, or its package is not installed.
    """
    if method not in CONSENSUS:
        raise ConfigError(f"consensus {method!r} is unknown; one of {', '.join(CONSENSUS)}")
    return dawid_skene(votes) if method == "dawid-skene" else majority(votes)


def disagreements(votes: Sequence[Vote]) -> list[tuple[Any, dict[Any, Any]]]:
    """(item, annotator -> label) wherever two people differ, the most divided first."""
    divided = [(item, mine) for item, mine in by_item(votes).items() if len({*mine.values()}) > 1]

    def agreed(entry: tuple[Any, dict[Any, Any]]) -> float:
        counts = Counter(entry[1].values())
        return max(counts.values()) / len(entry[1])

    return sorted(divided, key=agreed)


def by_item(votes: Sequence[Vote]) -> dict[Any, dict[Any, Any]]:
    """Item -> annotator -> label, oldest vote first."""
    found: dict[Any, dict[Any, Any]] = defaultdict(dict)
    for item, annotator, label in votes:
        found[item].pop(annotator, None)
        found[item][annotator] = label
    return found
