"""Everything a report shows, as plain values; the JSON report is exactly this."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from loop.label_issues import LabelIssue
from loop.quality import WORDS, Quality
from loop.wording import agreeing, counted

KINDS = {
    "sample": "random",
    "control": "random",
    "calibration": "to calibrate",
    "rest": "the rest",
    "test": "test",
    "before": "labelled before",
}
"""Arm of a pick that no method chose -> what stands under its picture."""
UNSCORED = "-"
"""Stands for the scorer of a round that is not scored yet."""
FEW_LABELS = 5
"""Labels of a class under which report and status warn."""
ODD_FILES = 10
"""Files named of each issue; report.json has all."""


def unseen(classes: Sequence[str], support: Sequence[int]) -> list[str]:
    """Classes of which no image measures; ``support`` has how many do."""
    return [name for name, images in zip(classes, support) if not images]


def jpeg_uri(jpeg: bytes) -> str:
    """A picture for the ``src`` of an ``img`` tag."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


@dataclass(frozen=True)
class Point:
    """A point of a learning curve; accuracies in [0, 1].

    Attributes:
        low, high: ends of the 95 % interval.
        n: training runs, or cells of a comparison, that the accuracy is the mean of.
        runs, cells: their ids.
        outdated: it was measured on labels that have changed since.
    """

    labels: int
    accuracy: float
    low: float
    high: float
    n: int
    runs: list[int] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)
    outdated: bool = False


@dataclass(frozen=True)
class MethodCurve:
    """The learning curve of one method.

    Attributes:
        kind: live, coreset, control, or one of ``loop.simulation.kind``.
        mode: live, simulated or hindsight.
    """

    name: str
    kind: str
    mode: str
    points: list[Point]


@dataclass(frozen=True)
class Difference:
    """Paired difference to random at equal labels, in the metric of the goal.

    Attributes:
        low, high: ends of the 95 % interval of ``mean``.
        saved: labels saved, how many more random needs for as much.
        n: paired seeds.
        saved_interval: 95 %; None where it is not known, an end None where it lies beyond random's
            measured curve.
        among: in hindsight, the number of labelled images that both chose among; None where they
            chose from the pool.
    """

    method: str
    kind: str
    labels: int
    mean: float
    low: float
    high: float
    saved: float | None
    n: int
    saved_interval: tuple[float | None, float | None] | None = None
    among: int | None = None

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where the interval has no zero in it, else empty."""
        if self.n < 2 or self.low <= 0 <= self.high:
            return ""
        return "better" if self.low > 0 else "worse"

    @property
    def saved_text(self) -> str:
        """For a table: ``120 (40 to 210)``."""
        if self.saved is None:
            return "-"
        if self.saved_interval is None:
            return f"{self.saved:.0f}"
        lower, upper = ("?" if end is None else f"{end:.0f}" for end in self.saved_interval)
        return f"{self.saved:.0f} ({lower} to {upper})"


@dataclass(frozen=True)
class Control:
    """The first picks against as many random ones, people having labelled both.

    Attributes:
        mean: difference in the metric.
        low, high: ends of its 95 % interval, paired over the images that both are judged on.
        images: of these.
        by_sample: the random ones are labels of the random sample, by cross-fitting; else those of
            a control, judged on test images.
        metric: accuracy, balanced accuracy or macro-F1.
    """

    labels: int
    mean: float
    low: float
    high: float
    images: int
    by_sample: bool = False
    metric: str = "accuracy"


@dataclass(frozen=True)
class ExpectedCost:
    """Labels that finishing is expected to take, said with the newest model.

    Attributes:
        max_error: wrong labels as a share of the collection, at 95 % confidence.
        labels: in the median, calibration and last round; lower, upper: 90 % interval.
    """

    max_error: float
    labels: int
    lower: int
    upper: int


@dataclass(frozen=True)
class PromiseShown:
    """A promise as people see it.

    Attributes:
        round: its calibration round; ``state`` of that: selected, pushed, labeled or compared.
        max_error: wrong labels as a share of the ``images`` of the collection.
        model: digest of the model's file.
        sample: images of the calibration sample, ``labelled`` of these by people; None while open.
        wrong: of the sample at or above the threshold.
        accepted: images with the model's label; at most ``upper`` of these are wrong.
        allowed: wrong labels that the goal allows.
        threshold: confidence from which on the model's label counts; None: for each class its own,
            or none at all.
        least: smallest error that the sample could have promised; ``needed`` the fewest calibration
            labels that could promise ``max_error``.
        since: what has changed since it was settled, and what to type; empty: nothing.
    """

    look: int
    round: int
    state: str
    max_error: float
    confidence: float
    per_class: bool
    images: int
    model: str
    sample: int | None = None
    labelled: int | None = None
    wrong: int | None = None
    accepted: int | None = None
    upper: int | None = None
    allowed: int | None = None
    threshold: float | None = None
    least: float | None = None
    needed: int | None = None
    since: str = ""

    @property
    def kept(self) -> bool:
        """Whether the model labels any image."""
        return bool(self.accepted)


@dataclass(frozen=True)
class Completion:
    """The collection in numbers; ``images`` is the sum of the others.

    Attributes:
        promise: the newest one that labels images, else the newest; None without any.
        cost: what finishing is expected to take; None where nothing is trained, or it has begun.
        people_wrong: share of people's answers that are wrong, and the images that tell; None where
            no image was answered twice, or no model labels any.
        open_round: the number of the round that is not over; 0: none is.
    """

    images: int
    by_people: int
    by_model: int
    left: int
    promise: PromiseShown | None
    cost: ExpectedCost | None = None
    people_wrong: tuple[float, int] | None = None
    open_round: int = 0

    @property
    def finished(self) -> bool:
        """Whether every image has a label."""
        return self.images > 0 and self.left == 0


@dataclass(frozen=True)
class PickShown:
    """A picked image in the contact sheet.

    Attributes:
        predicted: class by a model of all other labels; None without a label.
        thumbnail: JPEG.
        label_issue: its label is one of the label issues.
        skipped: people looked at it and gave no label.
    """

    key: str
    uri: str
    round: int
    arm: str
    rank: int
    label: str | None
    predicted: str | None
    thumbnail: bytes
    label_issue: bool = False
    skipped: bool = False

    @property
    def answer(self) -> str:
        """Its label, or why there is none."""
        return self.label or ("skipped" if self.skipped else "no label yet")

    @property
    def kind(self) -> str:
        """What it was drawn for, where no method chose it."""
        return KINDS.get(self.arm, "")

    @property
    def data_uri(self) -> str:
        """The thumbnail for an ``img`` tag."""
        return jpeg_uri(self.thumbnail)


@dataclass(frozen=True)
class MapPoint:
    """An image on the map.

    Attributes:
        x, y: in [0, 1], first two principal components.
        state: pool, picked (no label yet), drawn (at random, no label yet), skipped, labelled, or
            issue (labelled, and a label issue).
        text: its name and label.
    """

    x: float
    y: float
    state: str = "pool"
    text: str = ""
    key: str = ""


@dataclass(frozen=True)
class RoundShown:
    """A round at a glance; of its ``budget`` images some are labelled, some skipped, and the others
    ``unanswered``. ``encoder``: what its labels said of the encoders to choose among."""

    id: int
    number: int
    state: str
    scorer: str
    reason: str
    reliability: float | None
    budget: int
    labelled: int
    skipped: int
    seed: int
    unanswered: int = 0
    encoder: dict[str, Any] | None = None


@dataclass(frozen=True)
class Annotator:
    """What one person did.

    Attributes:
        labels, skips: images.
        seconds: median per label; None if no time is known.
    """

    name: str
    labels: int
    skips: int
    seconds: float | None


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


@dataclass(frozen=True)
class Facts:
    """One project, now.

    Attributes:
        counts: what the records hold, by kind.
        trained: which trainer made the newest model, and why that one.
        calibration: of the newest model, see ``loop.measuring.calibration``; None: not known.
        completion: how far the collection is.
        spent: what labels were bought for -> how many images people labelled.
        agreement: Krippendorff's alpha; None: no image with two votes.
        hours, money: of labelling so far; None: not known.
        label_issues: the largest label margins first; ``issue_pictures``: item key -> JPEG.
        quality: what ``coreloop scan --quality`` found; None where nobody asked.
        group_pictures: JPEGs of the first groups of near-duplicates.
        provenance: ids, digests, versions and the config behind the numbers.
        notes: what to know before trusting them.
        metric: that the project is after, in the project's own curve.
    """

    project: str
    classes: list[str]
    counts: dict[str, int]
    encoder: str
    labeler: str
    written_at: str
    rounds: list[RoundShown]
    curves: list[MethodCurve]
    differences: list[Difference]
    control: Control | None
    metrics: dict[str, Any] | None
    trained: str
    calibration: dict[str, Any] | None
    completion: Completion
    spent: dict[str, int]
    labels_per_class: dict[str, int]
    annotators: list[Annotator]
    agreement: float | None
    hours: float | None
    money: float | None
    currency: str
    picks: list[PickShown]
    points: list[MapPoint]
    label_issues: list[LabelIssue]
    provenance: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    metric: str = "accuracy"
    issue_pictures: dict[str, bytes] = field(default_factory=dict)
    quality: Quality | None = None
    group_pictures: list[list[bytes]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values, thumbnails left out."""
        values = asdict(self)
        for pick in values["picks"]:
            del pick["thumbnail"]
        del values["issue_pictures"], values["group_pictures"]
        return values

    def picture(self, issue: LabelIssue) -> str:
        """Of a label issue, for an ``img`` tag; empty where the image has gone."""
        picture = self.issue_pictures.get(issue.key)
        return jpeg_uri(picture) if picture else ""

    @property
    def groups_shown(self) -> list[list[str]]:
        """``group_pictures`` for ``img`` tags."""
        return [[jpeg_uri(picture) for picture in group] for group in self.group_pictures]

    @property
    def odd_pictures(self) -> list[str]:
        """``3 pictures are blurred: a.jpg, b.jpg, c.jpg``; a line for each issue."""
        lines = []
        for odd in self.quality.oddities if self.quality else ():
            count = len(odd.files)
            files = ", ".join(odd.files[:ODD_FILES]) + (", ..." if count > ODD_FILES else "")
            words = f"{agreeing(count, 'is')} {WORDS[odd.issue]}"
            lines.append(f"{counted(count, 'picture')} {words}: {files}")
        return lines

    @property
    def measured_on(self) -> str:
        """What the images that measure are called."""
        return "images of the random sample" if self.counts.get("sample") else "test images"

    @property
    def best(self) -> Point | None:
        """The newest point of the live curve."""
        live = [c for c in self.curves if c.kind == "live"]
        return live[0].points[-1] if live and live[0].points else None
