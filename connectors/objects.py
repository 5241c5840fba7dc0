"""Objects at addresses that fsspec knows: fetched several at a time, tried again, kept in a cache.

Credentials are found as each library finds them (environment, profiles, instance roles); none is
taken or stored here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from itertools import groupby
from typing import Any

from connectors.base import SourceError, Unauthorized, Unreachable
from connectors.files import MAX_BYTES
from connectors.image_cache import ImageCache, default_folder

AT_ONCE = 32
"""Objects that are fetched at the same time."""
TOGETHER = 256
"""Objects that fsspec is asked for in one call; it has ``AT_ONCE`` of them under way."""
BYTES_TOGETHER = 64_000_000
"""Of these, unless one alone is larger."""
TRIES = 4
EXTRAS = {
    **{"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"},
    **{"http": "http", "https": "http"},
}
"""Scheme -> what to install with coreloop."""
WEB = ("http://", "https://")
SCHEMES = (*EXTRAS, "hf")
"""Of the addresses that a list may name; others could lead to files of this machine."""
TEMPORARY = (408, 425, 429)
"""HTTP answers below 500 that another try may not bring."""


def is_address(images: str) -> bool:
    """Whether it leads elsewhere than to a path on this machine."""
    return "://" in images


@dataclass(frozen=True)
class Fetched:
    """An object's bytes; ``reason``: why it has none."""

    data: bytes
    reason: str = ""


@dataclass(frozen=True)
class Objects:
    """Objects by their addresses, with scheme and without credentials."""

    cache: ImageCache = field(default_factory=lambda: ImageCache(default_folder()))

    def read(self, address: str) -> bytes:
        """Bytes of one object, from the cache where it is kept.

        Raises:
            SourceError: it is gone.
            Unauthorized, Unreachable: see ``fetch``.
        """
        kept = self.cache.read(address)
        if kept is not None:
            return kept
        fetched = self.fetch([address])[address]
        if fetched.reason:
            raise SourceError(f"cannot read {address}: {fetched.reason}")
        return fetched.data

    def fetch(self, addresses: Sequence[str]) -> dict[str, Fetched]:
        """Address -> object, kept in the cache; temporary failures are tried again.

        Raises:
            SourceError: what reads such addresses is not installed.
            Unauthorized: the credentials are missing or refused.
            Unreachable: a bucket does not answer, several times. A web server that does not is the
                reason of its objects alone: a list may name many.
        """
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
        from tenacity import wait_exponential_jitter as wait

        fetched: dict[str, Fetched] = {}
        failed: dict[str, Exception] = {}
        trying = Retrying(
            retry=retry_if_exception_type(Unreachable),
            stop=stop_after_attempt(TRIES),
            wait=wait(initial=0.5, max=8),
            reraise=True,
        )
        try:
            for attempt in trying:
                with attempt:
                    missing = [each for each in addresses if each not in fetched]
                    failed = self._fetch_once(missing, fetched)
                    for address, error in failed.items():
                        with mapped(address):
                            raise error
        except Unreachable:
            missing = [each for each in addresses if each not in fetched]
            if any(each not in failed or not each.startswith(WEB) for each in missing):
                raise
            for address in missing:
                reason = f"cannot be reached: {_first_line(failed[address])}"
                fetched[address] = Fetched(b"", reason)
        return {address: fetched[address] for address in addresses}

    def _fetch_once(
        self, addresses: list[str], fetched: dict[str, Fetched]
    ) -> dict[str, Exception]:
        """Adds what could be had; address -> why another could not be had now."""
        failed: dict[str, Exception] = {}
        for _, group in groupby(addresses, key=_store):
            alike = list(group)
            with mapped(alike[0]):
                system = system_of(alike[0])[0]
                paths = [system._strip_protocol(address) for address in alike]
                whole = [None] * len(paths)  # ``cat`` would take [1] in a name for a pattern
                options = _options(system)
                answers = system.cat_ranges(paths, whole, whole, on_error="return", **options)
            for address, answer in zip(alike, answers, strict=True):
                if isinstance(answer, FileNotFoundError):
                    fetched[address] = Fetched(b"", "it has gone")
                elif isinstance(answer, Exception):
                    if reason := _refusal(answer):
                        fetched[address] = Fetched(b"", reason)
                    else:
                        failed[address] = answer
                elif len(answer) > MAX_BYTES:
                    large = f"larger than {MAX_BYTES // 1_000_000} MB"
                    fetched[address] = Fetched(b"", large)
                else:
                    fetched[address] = Fetched(answer)
                    self.cache.write(address, answer)
        return failed


def system_of(address: str) -> tuple[Any, str]:
    """(fsspec's file system, path in it). Raises SourceError: it is not installed."""
    import fsspec

    scheme = address.partition("://")[0]
    try:
        system, root = fsspec.core.url_to_fs(address)
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        remedy = f"pip install 'coreloop[{extra}]'" if extra else str(error)
        raise SourceError(f"{scheme}:// needs a library that is not installed: {remedy}") from None
    except ValueError as error:
        raise SourceError(f"cannot read {address}: {error}") from None
    system.invalidate_cache()
    return system, root


def _options(system: Any) -> dict[str, int]:
    """Of ``cat_ranges``: what is under way at a time; and each object in one piece, as s3fs would
    ask for its size first."""
    if not system.async_impl:
        return {}
    in_pieces = "max_concurrency" in signature(system._cat_file).parameters
    return {"batch_size": AT_ONCE, **({"max_concurrency": 1} if in_pieces else {})}


def _store(address: str) -> str:
    """Of addresses that one request of fsspec may fetch together: scheme and host or bucket."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _refusal(error: Exception) -> str:
    """Why a web server gives one object and never will; empty where it may yet."""
    status = getattr(error, "status", None)
    if not isinstance(status, int) or not 400 <= status < 500 or status in TEMPORARY:
        return ""
    return f"the server answers {status} {getattr(error, 'message', '')}".rstrip()


@contextmanager
def mapped(address: str) -> Iterator[None]:
    """Errors of the libraries below as ours; they have no common family."""
    try:
        yield
    except (SourceError, Unauthorized, Unreachable):
        raise
    except FileNotFoundError:
        raise SourceError(f"there is no {address}; check 'path' under [pool]") from None
    except PermissionError as error:
        raise Unauthorized(f"{address} may not be read: {_first_line(error)}") from None
    except Exception as error:
        if "Credentials" in type(error).__name__ or "Token" in type(error).__name__:
            raise Unauthorized(
                f"no credentials for {address}: {_first_line(error)}; set them as its own "
                "command line finds them (e.g. AWS_PROFILE)"
            ) from None
        raise Unreachable(
            f"{address} cannot be reached: {type(error).__name__}: {_first_line(error)}; "
            "what was read before is kept, type the same command again"
        ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
