"""Images at an address that fsspec knows: ``s3://bucket/photos``, ``gs://``, ``az://``, ``hf://``.

Credentials are found as each library finds them (environment, profiles, instance roles); none is
taken or stored here. What was fetched is kept in a cache of bounded size, so that an image is
fetched once.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from connectors.base import (
    Image,
    PassedOver,
    SourceError,
    Unauthorized,
    Unreachable,
    UnreadableFile,
)
from connectors.files import MAX_BYTES
from connectors.folder import LEARNED, TESTED, check_image, content_key
from connectors.image_cache import ImageCache, default_folder
from connectors.walk import Passed, reason_to_pass
from connectors.workers import in_order

AT_ONCE = 32
"""Objects that are fetched at the same time."""
BYTES_AT_ONCE = 64_000_000
"""Of these together, unless one alone is larger."""
TRIES = 4
EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
"""Scheme -> what to install with coreloop."""


def is_address(images: str) -> bool:
    """Whether it leads elsewhere than to a path on this machine."""
    return "://" in images


@dataclass(frozen=True)
class Fetched:
    """An object's bytes and what its path says; ``reason``: why it has none."""

    uri: str
    data: bytes
    label: str | None
    split: str
    reason: str = ""


def _examine(file: Fetched) -> Image | UnreadableFile:
    reason = file.reason or check_image(file.data)
    if reason:
        return UnreadableFile(file.uri, reason)
    return Image(content_key(file.data), file.uri, file.label, file.split)


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
        yield from in_order(_examine, self._fetched(new), workers)

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
        kept = self.cache.read(self.shown(uri))
        if kept is not None:
            return kept
        fetched = self._fetch([uri])[uri]
        if fetched.reason:
            raise SourceError(f"cannot read {self.shown(uri)}: {fetched.reason}")
        return fetched.data

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
        with self._mapped():
            found: Mapping[str, Any] = self._system.find(self._root, detail=True)
        start = len(self._root.rstrip("/")) + 1
        return {
            path[start:]: int(each.get("size") or 0)
            for path, each in found.items()
            if not path.endswith("/") and len(path) > start
        }

    def _fetched(self, sizes: Mapping[str, int]) -> Iterator[Fetched]:
        """Each object in order, one batch ahead of who takes them."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as ahead:
            coming = None
            for batch in _batches(sizes):
                following = ahead.submit(self._fetch, batch)
                if coming is not None:
                    yield from coming.result().values()
                coming = following
            if coming is not None:
                yield from coming.result().values()

    def _fetch(self, uris: list[str]) -> dict[str, Fetched]:
        """uri -> object, kept in the cache; temporary failures are tried again."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
        from tenacity import wait_exponential_jitter as wait

        fetched: dict[str, Fetched] = {}
        trying = Retrying(
            retry=retry_if_exception_type(Unreachable),
            stop=stop_after_attempt(TRIES),
            wait=wait(initial=0.5, max=8),
            reraise=True,
        )
        for attempt in trying:
            with attempt:
                self._fetch_once([uri for uri in uris if uri not in fetched], fetched)
        return {uri: fetched[uri] for uri in uris}

    def _fetch_once(self, uris: list[str], fetched: dict[str, Fetched]) -> None:
        """Adds what could be had. Raises Unreachable where something could not."""
        paths = {f"{self._root.rstrip('/')}/{uri}": uri for uri in uris}
        with self._mapped():
            answers = self._system.cat(list(paths), on_error="return")
        failed: list[Exception] = []
        for path, uri in paths.items():
            answer = answers.get(path, FileNotFoundError(path))
            label, split, _ = self._label_and_split(uri)
            if isinstance(answer, FileNotFoundError):
                fetched[uri] = Fetched(uri, b"", label, split, "it has gone")
            elif isinstance(answer, Exception):
                failed.append(answer)
            elif len(answer) > MAX_BYTES:
                large = f"larger than {MAX_BYTES // 1_000_000} MB"
                fetched[uri] = Fetched(uri, b"", label, split, large)
            else:
                fetched[uri] = Fetched(uri, answer, label, split)
                self.cache.write(self.shown(uri), answer)
        if failed:
            with self._mapped():
                raise failed[0]

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        scheme = self.address.partition("://")[0]
        try:
            system, root = fsspec.core.url_to_fs(self.address)
        except ImportError as error:
            extra = EXTRAS.get(scheme)
            remedy = f"pip install 'coreloop[{extra}]'" if extra else str(error)
            raise SourceError(
                f"{scheme}:// needs a library that is not installed: {remedy}"
            ) from None
        except ValueError as error:
            raise SourceError(f"cannot read {self.address}: {error}") from None
        return system, root

    @property
    def _system(self) -> Any:
        system = self._opened[0]
        system.invalidate_cache()
        return system

    @property
    def _root(self) -> str:
        return self._opened[1]

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Errors of the libraries below as ours; they have no common family."""
        try:
            yield
        except (SourceError, Unauthorized, Unreachable):
            raise
        except FileNotFoundError:
            raise SourceError(f"there is no {self.address}; check 'path' under [pool]") from None
        except PermissionError as error:
            raise Unauthorized(f"{self.address} may not be read: {_first_line(error)}") from None
        except Exception as error:
            if "Credentials" in type(error).__name__ or "Token" in type(error).__name__:
                raise Unauthorized(
                    f"no credentials for {self.address}: {_first_line(error)}; set them as its own "
                    "command line finds them (e.g. AWS_PROFILE)"
                ) from None
            raise Unreachable(
                f"{self.address} cannot be reached: {type(error).__name__}: {_first_line(error)}; "
                "what was read before is kept, type the same command again"
            ) from None


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Uris that are fetched together."""
    number, count, together = 0, 0, 0
    numbered = []
    for uri, size in sizes.items():
        if count == AT_ONCE or (count and together + size > BYTES_AT_ONCE):
            number, count, together = number + 1, 0, 0
        numbered.append((number, uri))
        count, together = count + 1, together + size
    for _, batch in groupby(numbered, key=lambda each: each[0]):
        yield [uri for _, uri in batch]


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
