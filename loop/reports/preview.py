"""The page that the owner looks at before a round is pushed: its picks, why each, and the map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loop.files import draft_of
from loop.printable import printable
from loop.reports.facts import MapPoint, jpeg_uri
from loop.reports.pages import template
from loop.wording import counted

FILE = "preview.html"


@dataclass(frozen=True)
class PreviewedPick:
    """One pick and why it is one.

    Attributes:
        place: in the order that people are shown, from 1 on.
        arm: sample, coreset, control, test, calibration or rest.
        thumbnail: JPEG; None where the file cannot be read, or the page has pictures enough.
        chosen: how it came to be picked, in words.
        score: of the scorer, and how many images that could be picked score higher; None where no
            scorer chose it.
        density: share of the pool with fewer images nearby, in [0, 1].
        stands_for: images of the pool nearer to it than to any other pick, about.
        nearest: the labelled image nearest to it, and its class; None without labels.
    """

    key: str
    uri: str
    place: int
    arm: str
    chosen: str
    thumbnail: bytes | None = None
    score: float | None = None
    higher: int | None = None
    density: float | None = None
    stands_for: int | None = None
    nearest: tuple[str, str] | None = None

    @property
    def data_uri(self) -> str:
        """The thumbnail for an ``img`` tag; empty without one."""
        return jpeg_uri(self.thumbnail) if self.thumbnail else ""

    @property
    def reasons(self) -> list[str]:
        """Lines of its card."""
        lines = [self.chosen]
        if self.density is not None:
            lines.append(_surrounded(self.density))
        if self.stands_for is not None:
            images = counted(self.stands_for, "image")
            lines.append(f"stands for {images}: no other pick is nearer")
        if self.nearest is not None:
            uri, label = self.nearest
            lines.append(f"most like {uri} ({label})")
        return lines


def _surrounded(density: float) -> str:
    """``closer neighbours than 93 % of the pool``, or fewer, whichever says more."""
    if density >= 0.5:
        return f"closer neighbours than {100 * density:.0f} % of the pool"
    return f"farther neighbours than {100 * (1 - density):.0f} % of the pool"


@dataclass(frozen=True)
class Preview:
    """What a push of the current round would have people label.

    Attributes:
        round: its number; ``name`` in words.
        chosen_by: scorer, choice and reason, in words; empty where nothing was scored.
        picks: in the order that people are shown.
        pool: images of it.
        troubles: what a push would stumble over.
        ways_on: (what for, what to type).
    """

    project: str
    round: int
    name: str
    chosen_by: str
    labeler: str
    pool: int
    picks: list[PreviewedPick]
    points: list[MapPoint]
    troubles: list[str]
    ways_on: list[tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Plain values, pictures left out."""
        values = asdict(self)
        for pick in values["picks"]:
            del pick["thumbnail"]
        return values

    @property
    def others(self) -> list[PreviewedPick]:
        """Picks that no scorer chose."""
        return [pick for pick in self.picks if pick.score is None]

    @property
    def scored(self) -> list[PreviewedPick]:
        """Picks of the scorer, the one that it would label first in front."""
        scored = [pick for pick in self.picks if pick.score is not None]
        return sorted(scored, key=lambda pick: (pick.higher or 0, pick.place))


def write_preview(preview: Preview, folder: Path) -> Path:
    """Writes the page, whole or not at all; it opens without a network.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with draft_of(path) as draft:
        text = template("preview.html.j2").render(preview=preview)
        draft.write_text(printable(text), encoding="utf-8")
    return path
