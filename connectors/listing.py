"""A text file that lists image files, one path per line, as a source."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.base import Image, PassedOver, SourceError, UnreadableFile
from connectors.files import has_gone, read_ordinary
from connectors.folder import ImageFile, examine
from connectors.workers import in_order


@dataclass(frozen=True)
class Listing:
    """Source over the files that a text file names; relative paths start at its folder. Empty lines
    and lines that begin with # are passed over.

    Attributes:
        path: the text file.
    """

    path: Path

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """Every line once, in their order.

        Raises:
            SourceError: the list cannot be read, or is no text.
        """
        files = (
            ImageFile(self._locate(line), None, line, None, "pool")
            for line in self._lines()
            if line not in skip
        )
        yield from in_order(examine, files, workers)

    @property
    def passed_over(self) -> list[PassedOver]:
        """Nothing."""
        return []

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one image. Raises SourceError: it cannot be read."""
        path = self._locate(uri)
        try:
            return read_ordinary(path)
        except OSError as error:
            raise SourceError(f"cannot read {path} ({error.strerror}); put the file back") from None

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Those whose file is not there any more."""
        return [uri for uri in uris if has_gone(self._locate(uri))]

    def shown(self, uri: str) -> str:
        """Path of the file."""
        return str(self._locate(uri))

    def _locate(self, uri: str) -> Path:
        try:
            return self.path.parent / Path(uri).expanduser()
        except RuntimeError:  # there is no such user
            return self.path.parent / uri

    def _lines(self) -> list[str]:
        try:
            lines = read_ordinary(self.path).decode("utf-8-sig").split("\n")
        except OSError as error:
            raise SourceError(f"cannot read {self.path} ({error.strerror})") from None
        except UnicodeDecodeError:
            raise SourceError(
                f"{self.path} is no text file; a list of images has one path per line"
            ) from None
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
