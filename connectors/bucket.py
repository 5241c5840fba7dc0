"""Images at an address that fsspec knows: ``s3://bucket/photos``, ``gs://``, ``az://``, ``hf://``.

Credentials are found as each library finds them (environment, profiles, instance roles); none is
taken or stored here. What was fetched is kept in a cache of bounded size, so that an image is
fetched once.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from connectors.base import Image, PassedOver, SourceError, UnreadableFile
from connectors.folder import LEARNED, TESTED, Encoded, examine
from connectors.image_cache import ImageCache, default_folder
from connectors.objects import BYTES_TOGETHER, TOGETHER, Objects, mapped, system_of
from connectors.walk import Passed, reason_to_pass
from connectors.workers import in_order, one_ahead


@dataclass(frozen=True)
class Bucket:
    """Source over the objects below an address.

    Attributes:
        address: with its scheme, without credentials.
        labelled: the first folder level below is each image's true label.
        splits: see ``connectors.folder.Folder``.
        cache: of what was fetched.
    """

    address: str
    labelled: bool = False
    splits: bool = False
    cache: ImageCache = field(default_factory=lambda: ImageCache(default_folder()), compare=False)
    _passed: list[PassedOver] = field(default_factory=list, repr=False, compare=False)

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """Every image once per path, sorted by path; some are fetched while others are decoded.

        Args:
            workers: processes that decode and hash; the order stays the same.
            skip: uris that are known already; they are not fetched.

        Raises:
            SourceError: there is no such place, or what reads it is not installed.
            Unauthorized: the credentials are missing or refused.
            Unreachable: nobody answered, several times; what was read before counts.
        """
        sizes = self._image_sizes()
        if not sizes and not self._passed:
            raise SourceError(f"nothing is at {self.address}; check 'path' under [pool]")
        new = {uri: size for uri, size in sizes.items() if uri not in skip}
        yield from in_order(examine, self._fetched(new), workers)

    @property
    def passed_over(self) -> list[PassedOver]:
        """What else is there, the most first; valid once a scan is exhausted."""
        return list(self._passed)

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one image, from the cache where it is kept.

        Raises:
            SourceError: it is gone.
            Unauthorized, Unreachable: see ``scan``.
        """
        return self._objects.read(self.shown(uri))

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Those that are not there any more. Raises as ``scan`` does."""
        there = self._listed()
        if not there:
            raise SourceError(f"nothing is at {self.address}; check 'path' under [pool]")
        return [uri for uri in uris if uri not in there]

    def shown(self, uri: str) -> str:
        """Its address."""
        return f"{self.address.rstrip('/')}/{uri}"

    def classes(self) -> list[str]:
        """Names of the folders that images lie in, sorted. Raises as ``scan`` does."""
        labels = (self._label_and_split(uri)[2] for uri in self._image_sizes())
        return sorted({label for label in labels if label is not None})

    def laid_out_in_splits(self) -> bool:
        """Whether the first level is train, val and test. Raises as ``scan`` does."""
        paths = [uri.split("/") for uri in self._image_sizes()]
        above = {parts[0].lower() for parts in paths}
        nested = all(len(parts) > 2 for parts in paths)
        return bool(nested and above <= LEARNED | TESTED and above & LEARNED)

    def __reduce__(self) -> Any:
        """Travels to other processes as its address; connections stay behind."""
        return Bucket, (self.address, self.labelled, self.splits, self.cache)

    def _label_and_split(self, uri: str) -> tuple[str | None, str, str | None]:
        """(label as far as it is handed on, split, folder that would be the label)"""
        *above, _ = uri.split("/")
        tested = self.splits and bool(above) and above.pop(0).lower() in TESTED
        name = above[0] if above else None
        return (name if self.labelled or tested else None), ("test" if tested else "pool"), name

    def _image_sizes(self) -> dict[str, int]:
        """uri -> bytes of what is an image by its name, in path order; counts what is not."""
        sizes, passed, listed = {}, Passed(), self._listed()
        for uri in sorted(listed):
            reason, suffix = reason_to_pass(uri, listed.keys())
            if reason:
                passed.add(reason, suffix, uri)
            else:
                sizes[uri] = listed[uri]
        self._passed[:] = passed.counted
        return sizes

    def _listed(self) -> dict[str, int]:
        """uri -> bytes of every object."""
        with mapped(self.address):
            system, root = system_of(self.address)
            found: Mapping[str, Any] = system.find(root, detail=True)
        start = len(root.rstrip("/")) + 1
        return {
            path[start:]: int(each.get("size") or 0)
            for path, each in found.items()
            if not path.endswith("/") and len(path) > start
        }

    def _fetched(self, sizes: Mapping[str, int]) -> Iterator[Encoded]:
        """Each object in order, one batch ahead of who takes them."""
        for batch in one_ahead(self._fetch, _batches(sizes)):
            yield from batch

    def _fetch(self, uris: list[str]) -> list[Encoded]:
        """Of these objects, in their order. Raises as ``scan`` does."""
        fetched = self._objects.fetch([self.shown(uri) for uri in uris])
        files = []
        for uri, each in zip(uris, fetched.values(), strict=True):
            label, split, _ = self._label_and_split(uri)
            files.append(Encoded(uri, each.data, label, split, each.reason))
        return files

    @property
    def _objects(self) -> Objects:
        return Objects(self.cache)


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Uris that are fetched together."""
    number, count, together = 0, 0, 0
    numbered = []
    for uri, size in sizes.items():
        if count == TOGETHER or (count and together + size > BYTES_TOGETHER):
            number, count, together = number + 1, 0, 0
        numbered.append((number, uri))
        count, together = count + 1, together + size
    for _, batch in groupby(numbered, key=lambda each: each[0]):
        yield [uri for _, uri in batch]
