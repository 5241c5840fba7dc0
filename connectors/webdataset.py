"""Tar shards as WebDataset writes them: images and their labels as members of one name.

Images are read at their offset; nothing is unpacked. The label of ``a/0001.jpg`` is that of
``a/0001.cls``, else of ``a/0001.json`` (``label``, ``class``, ``cls``), else the text of
``a/0001.txt``. Uris are the shard's path and the member's name: ``shard-000.tar/a/0001.jpg``.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from connectors.base import Image, PassedOver, SourceError, UnreadableFile
from connectors.files import has_gone, read_part
from connectors.folder import TESTED, ImageFile, examine
from connectors.label import class_name, in_order_of_values
from connectors.parquet_shard import TEST_SHARD
from connectors.walk import SUFFIX, Passed, reason_by_name
from connectors.workers import in_order

TAR = ".tar"
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
CLASS, JSON, TEXT = ".cls", ".json", ".txt"
"""Suffixes of members that hold a label, the first that is there counts."""
KEYS = ("label", "class", "cls")
"""Of the JSON."""
LONGEST = 100
"""Characters of a text that may be a class; a longer one is a caption."""
KEPT = 64
"""Shards whose members are remembered; images are read shard by shard."""
NO_IMAGE = "label without an image of its name"
CAPTION = "text that is longer than a class name, so it is none"
UNUSABLE = "label that is no class name"


def shards_at(images: Path) -> list[Path]:
    """Shards that a path names: itself, ``shard-{000..009}.tar``, or a folder's at any depth.

    Raises:
        SourceError: one of a range is not there.
    """
    if images.is_dir():
        inside = sorted(file.relative_to(images) for file in images.rglob(f"*{TAR}"))
        return [images / file for file in inside if not any(p[0] == "." for p in file.parts)]
    parts = RANGE.split(str(images))
    ranges = [
        [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
        for first, last in zip(parts[1::3], parts[2::3], strict=True)
    ]
    texts = parts[::3]
    shards = []
    for numbers in product(*ranges):
        pairs = zip(texts, [*numbers, ""], strict=True)
        shards.append(Path("".join(text + number for text, number in pairs)))
    if missing := [shard for shard in shards if not shard.is_file()]:
        raise SourceError(f"there is no {missing[0]} ({len(missing)} of {len(shards)} are missing)")
    return shards


@dataclass(frozen=True)
class Sample:
    """An image of a shard: where it stands in it, and what its label members say."""

    name: str
    offset: int
    size: int
    label: str | None


@dataclass(frozen=True)
class WebDataset:
    """Source over tar shards.

    Attributes:
        images: see ``shards_at``.
        labelled: hand the labels on; without it only those of test shards are.
    """

    images: Path
    labelled: bool = False
    _files: Passed = field(default_factory=Passed, repr=False, compare=False)
    _labels: Passed = field(default_factory=lambda: Passed("label"), repr=False, compare=False)

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """Every image once, shard by shard in the order of their paths.

        Args:
            workers: processes that read, decode and hash; the order stays the same.
            skip: uris that are known already; they are not read.

        Raises:
            SourceError: there is no shard.
        """
        self._files.clear()
        self._labels.clear()
        yield from in_order(examine, self._image_files(skip), workers)

    @property
    def passed_over(self) -> list[PassedOver]:
        """Members that are neither an image nor its label; valid once a scan is exhausted."""
        return [*self._files.counted, *self._labels.counted]

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one image. Raises SourceError: it is gone, or the shard is torn."""
        shard, name = self._shard_and_name(uri)
        place = self._places(shard).get(name)
        if place is None:
            raise SourceError(f"{shard} has no {name}; put the shard back")
        try:
            return read_part(shard, *place)
        except OSError as error:
            raise SourceError(f"cannot read {shard} ({error.strerror})") from None

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Those that their shard has no more, or whose shard has gone. Raises SourceError: there is
        no shard."""
        shards = set(self._shards)
        gone = []
        for uri in uris:
            shard, name = self._shard_and_name(uri)
            if shard not in shards or has_gone(shard) or name not in self._places(shard):
                gone.append(uri)
        return gone

    def shown(self, uri: str) -> str:
        """The uri: a member has no file of its own."""
        return uri

    def classes(self) -> list[str]:
        """Distinct labels, numbers by value. Raises SourceError: there is no shard."""
        labels = {
            sample.label
            for shard in self._shards
            for sample in self._samples(shard)
            if isinstance(sample, Sample) and sample.label is not None
        }
        return in_order_of_values(labels)

    def __reduce__(self) -> Any:
        """Travels to other processes as its path."""
        return WebDataset, (self.images, self.labelled)

    @cached_property
    def _shards(self) -> list[Path]:
        shards = shards_at(self.images)
        if not shards:
            raise SourceError(f"no {TAR} file in {self.images}")
        return shards

    @property
    def _root(self) -> Path:
        return self.images if self.images.is_dir() else self.images.parent

    @cached_property
    def _known_places(self) -> dict[Path, dict[str, tuple[int, int]]]:
        return {}

    def _places(self, shard: Path) -> dict[str, tuple[int, int]]:
        """Name -> (offset, bytes) of the images of a shard, read at first use."""
        places = self._known_places.get(shard)
        if places is None:
            samples = self._samples(shard, counting=False)
            places = {s.name: (s.offset, s.size) for s in samples if isinstance(s, Sample)}
            self._known_places[shard] = places
            if len(self._known_places) > KEPT:
                self._known_places.pop(next(iter(self._known_places)), None)
        return places

    def _shard_and_name(self, uri: str) -> tuple[Path, str]:
        shard, _, name = uri.partition(f"{TAR}/")
        return self._root / f"{shard}{TAR}", name

    def _image_files(self, skip: Container[str]) -> Iterator[ImageFile | UnreadableFile]:
        for shard in self._shards:
            relative = shard.relative_to(self._root)
            tested = TEST_SHARD.match(shard.name) or {p.lower() for p in relative.parts} & TESTED
            for sample in self._samples(shard):
                if isinstance(sample, UnreadableFile):
                    yield sample
                    continue
                uri = f"{relative.as_posix()}/{sample.name}"
                if uri not in skip:
                    label = sample.label if self.labelled or tested else None
                    split = "test" if tested else "pool"
                    part = (sample.offset, sample.size)
                    yield ImageFile(shard, None, uri, label, split, part)

    def _samples(self, shard: Path, *, counting: bool = True) -> Iterator[Sample | UnreadableFile]:
        """Images of a shard, and what is wrong with it; counts its other members."""
        members, trouble = _members(shard)
        by_stem: dict[str, dict[str, tarfile.TarInfo]] = defaultdict(dict)
        images = []
        for member in members:
            stem, suffix = _stem_and_suffix(member.name)
            reason, _ = reason_by_name(Path(member.name).name)
            if not reason:
                images.append((stem, member))
            elif suffix in (CLASS, JSON, TEXT):
                by_stem[stem][suffix] = member
            elif counting:
                self._files.add(reason, suffix if reason == SUFFIX else "", self._at(shard, member))
        for stem, member in images:
            label = self._label(shard, by_stem[stem]) if counting else None
            yield Sample(member.name, member.offset_data, member.size, label)
        if counting:
            for stem in by_stem.keys() - {stem for stem, _ in images}:
                self._files.add(NO_IMAGE, "", f"{shard.name}/{stem}", len(by_stem[stem]))
        if trouble:
            yield UnreadableFile(shard.relative_to(self._root).as_posix(), trouble)

    def _label(self, shard: Path, members: dict[str, tarfile.TarInfo]) -> str | None:
        for suffix in (CLASS, JSON, TEXT):
            member = members.get(suffix)
            if member is None:
                continue
            try:
                text = read_part(shard, member.offset_data, member.size).decode()
                value = _stated(json.loads(text)) if suffix == JSON else text.strip()
                label = class_name(value, [])
            except (OSError, ValueError, RecursionError, SourceError):
                self._labels.add(UNUSABLE, "", self._at(shard, member))
                continue
            if label and len(label) > LONGEST:
                self._labels.add(CAPTION, "", self._at(shard, member))
            elif label:
                return label
        return None

    def _at(self, shard: Path, member: tarfile.TarInfo) -> str:
        return f"{shard.relative_to(self._root).as_posix()}/{member.name}"


def _members(shard: Path) -> tuple[list[tarfile.TarInfo], str]:
    """(ordinary files of a shard, why there may be more of them)"""
    members: list[tarfile.TarInfo] = []
    if not shard.is_file():
        return [], "no ordinary file"
    size = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isreg() and not member.issparse():
                    members.append(member)
    except tarfile.TarError as error:
        if not members:
            return [], f"no tar file: {error}; what is compressed cannot be read at an offset"
    except OSError as error:
        return [], error.strerror or str(error)
    whole = [member for member in members if member.offset_data + member.size <= size]
    torn = bool(members) and _padded(members[-1]) + tarfile.BLOCKSIZE > size
    return whole, "the tar file is torn, its end is missing" if torn else ""


def _padded(member: tarfile.TarInfo) -> int:
    """Where a member ends; behind the last one there are empty blocks."""
    blocks = -(-member.size // tarfile.BLOCKSIZE)
    return member.offset_data + blocks * tarfile.BLOCKSIZE


def _stem_and_suffix(name: str) -> tuple[str, str]:
    """WebDataset's: what stands before and behind the first full stop of the file's name."""
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{suffix}".lower()


def _stated(content: Any) -> Any:
    """The label in a sample's JSON."""
    if not isinstance(content, dict):
        return content
    return next((content[key] for key in KEYS if content.get(key) is not None), None)
