"""A list that names images: a table, COCO, a Label Studio export. Names are paths or addresses."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from connectors.base import Image, PassedOver, RemoteAnnotation, SourceError, UnreadableFile
from connectors.coco import is_coco, read_coco
from connectors.entries import SEVERAL_LABELS, Entries, Entry, agreed, text_of
from connectors.files import LeadsOut, has_gone, read_ordinary
from connectors.folder import Encoded, ImageFile, examine
from connectors.image_cache import ImageCache, default_folder
from connectors.label import in_order_of_values
from connectors.label_studio_export import add_tasks, is_export
from connectors.objects import SCHEMES, TOGETHER, Objects, is_address
from connectors.table import JSON_LINES, TABLES, add_entries, columns_of, read_lines, read_records
from connectors.workers import in_order, one_ahead

JSON = ".json"
NAMED_AGAIN = "image that an earlier line names too"


@dataclass(frozen=True)
class Named:
    """An image of the list; ``trouble``: why its name cannot be used."""

    uri: str
    label: str | None
    split: str
    trouble: str = ""


@dataclass(frozen=True)
class Manifest:
    """Source over the images that a list names. Uris are paths relative to ``root``, or addresses.

    Attributes:
        path: the list.
        column, label_column: see ``connectors.table.add_entries``; of a Label Studio export the key
            of the image in the tasks' data, and the control that names the classes.
        root: folder at which paths start and that they may not leave; None: paths start at the
            folder of the list and may lead anywhere.
        labelled: hand the labels on with the images, for rehearsal. Without it those of test images
            are, and ``labels`` has the others.
        cache: of what was fetched.
    """

    path: Path
    column: str = ""
    label_column: str = ""
    root: Path | None = None
    labelled: bool = False
    cache: ImageCache = field(default_factory=lambda: ImageCache(default_folder()), compare=False)

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """Every image once, in the order of the list.

        Args:
            workers: processes that decode and hash; the order stays the same.
            skip: uris that are known already; they are not opened.

        Raises:
            SourceError: the list cannot be read.
            Unauthorized, Unreachable: see ``connectors.objects.Objects.fetch``.
        """
        new = [image for image in self._images if image.uri not in skip]
        batches = (new[start : start + TOGETHER] for start in range(0, len(new), TOGETHER))
        fetched = (each for batch in one_ahead(self._located, batches) for each in batch)
        yield from in_order(examine, fetched, workers)

    @property
    def passed_over(self) -> list[PassedOver]:
        """Lines that name no image of their own, and labels that are not taken."""
        read = self._listed[1]
        return [*read.passed.counted, *read.labels_passed.counted]

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one image.

        Raises:
            SourceError: it is gone, or its path leaves the folder.
            Unauthorized, Unreachable: see ``connectors.objects.Objects.fetch``.
        """
        if is_address(uri):
            return self._objects.read(uri)
        path = self._file(uri)
        try:
            return read_ordinary(path, inside=self._inside)
        except LeadsOut:
            raise SourceError(f"{uri} leads out of {self.root}; it is not read") from None
        except OSError as error:
            raise SourceError(f"cannot read {path} ({error.strerror}); put the file back") from None

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Those that the list names no more, or whose file is not there any more. Addresses are not
        asked. Raises SourceError: the list cannot be read."""
        named = {image.uri for image in self._images}
        return [
            uri
            for uri in uris
            if uri not in named or (not is_address(uri) and has_gone(self._file(uri)))
        ]

    def shown(self, uri: str) -> str:
        """Path of the file, or the address."""
        return uri if is_address(uri) else str(self._file(uri))

    def labels(self, keys: Mapping[str, str]) -> Iterator[RemoteAnnotation]:
        """The labels of these images (uri -> item key), as answers that were there before. None
        where they are handed on with the images, or are those of test images."""
        for image in self._images:
            if image.label is not None and image.uri in keys and not self._with_image(image):
                yield RemoteAnnotation(
                    id=image.uri,
                    version=f"{self._saved_at}: {image.label}",
                    key=keys[image.uri],
                    annotator=self.path.name,
                    label=image.label,
                )

    def classes(self) -> list[str]:
        """Distinct labels, numbers by value. Raises SourceError: the list cannot be read."""
        return in_order_of_values({image.label for image in self._images if image.label})

    def __reduce__(self) -> Any:
        """Travels to other processes as what it is made of; what was read stays behind."""
        made_of = (self.path, self.column, self.label_column, self.root, self.labelled)
        return Manifest, (*made_of, self.cache)

    @property
    def _objects(self) -> Objects:
        return Objects(self.cache)

    @cached_property
    def _saved_at(self) -> int:
        """When the list was saved, in nanoseconds: a label changed back is a new version."""
        return self.path.stat().st_mtime_ns

    @cached_property
    def _start(self) -> Path:
        """Folder at which paths start."""
        return (self.root or self.path.parent).resolve()

    @cached_property
    def _inside(self) -> Path | None:
        return None if self.root is None else self._start

    @property
    def _images(self) -> list[Named]:
        return self._listed[0]

    @cached_property
    def _listed(self) -> tuple[list[Named], Entries]:
        """(each image once, the list as it was read)"""
        read = self._entries()
        lines: dict[str, list[Entry]] = {}
        troubles: dict[str, str] = {}
        for entry in read.entries:
            uri, trouble = self._locate(entry.names)
            if trouble:
                troubles[uri] = f"{entry.where}: {trouble}"
            lines.setdefault(uri, []).append(entry)
        images = []
        for uri, entries in lines.items():
            for entry in entries[1:]:
                read.passed.add(NAMED_AGAIN, "", f"{uri} ({entry.where})")
            label, differ = agreed(entry.label for entry in entries)
            if differ:
                named = ", ".join(f"{entry.label} ({entry.where})" for entry in entries)
                read.labels_passed.add(SEVERAL_LABELS, "", f"{uri}: {named}")
            split = "test" if any(entry.split == "test" for entry in entries) else "pool"
            images.append(Named(uri, label, split, troubles.get(uri, "")))
        return images, read

    def _entries(self) -> Entries:
        """Of whatever the list is."""
        entries = Entries()
        suffix = self.path.suffix.lower()
        if suffix not in (*TABLES, *JSON_LINES, JSON):
            return read_lines(self.path)
        if suffix == JSON:
            content = _json(self.path)
            if is_coco(content):
                return read_coco(self.path, content)
            records = list(_objects(self.path, content))
        else:
            records = read_records(self.path, entries)
        objects = [record for _, record in records]
        if is_export(columns_of(objects)):
            add_tasks(self.path, objects, entries, self.column, self.label_column)
        else:
            add_entries(self.path, records, entries, self.column, self.label_column)
        return entries

    def _located(self, images: list[Named]) -> list[ImageFile | Encoded | UnreadableFile]:
        """What ``examine`` takes, with the bytes of those at addresses."""
        at = [each.uri for each in images if is_address(each.uri) and not each.trouble]
        fetched = self._objects.fetch(at) if at else {}
        located: list[ImageFile | Encoded | UnreadableFile] = []
        for image in images:
            label = image.label if self._with_image(image) else None
            if image.trouble:
                located.append(UnreadableFile(image.uri, image.trouble))
            elif image.uri in fetched:
                data, reason = fetched[image.uri].data, fetched[image.uri].reason
                located.append(Encoded(image.uri, data, label, image.split, reason))
            else:
                file = self._file(image.uri)
                located.append(ImageFile(file, self._inside, image.uri, label, image.split))
        return located

    def _with_image(self, image: Named) -> bool:
        """Whether its label, if it has one, is handed on with it."""
        return self.labelled or image.split == "test"

    def _locate(self, names: tuple[str, ...]) -> tuple[str, str]:
        """(uri of the first of these names that is there, why it cannot be used)"""
        first: tuple[str, str] | None = None
        for name in names:
            if is_address(name):
                return _address(name)
            for spelling in _spellings(name):
                uri, trouble = self._inner(spelling)
                if not trouble and os.path.lexists(self._file(uri)):
                    return uri, ""
                first = first or (uri, trouble)
        assert first is not None
        return first

    def _inner(self, name: str) -> tuple[str, str]:
        """(uri of a file, why it cannot be used)"""
        if "\0" in name:
            return name.replace("\0", "\\0"), "no path: it holds a NUL character"
        if self._inside is None:
            return name, ""
        path = os.path.normpath(self._start / name)
        if not Path(path).is_relative_to(self._start):
            path = os.path.realpath(path)  # the same place by another way
        if not Path(path).is_relative_to(self._start):
            return name, f"lies outside of {self.root}; give a folder around it as --image-root"
        return Path(path).relative_to(self._start).as_posix(), ""

    def _file(self, uri: str) -> Path:
        if self._inside is not None:
            return self._start / uri
        try:
            return self._start / Path(uri).expanduser()
        except RuntimeError:  # there is no such user
            return self._start / uri


def _json(path: Path) -> Any:
    """Raises SourceError: it is none."""
    try:
        return json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is no JSON: {error}") from None


def _objects(path: Path, content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object) of a list. Raises SourceError: it is none."""
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise SourceError(
            f"{path} is neither COCO's JSON, nor an export of Label Studio, nor a list of objects"
        )
    yield from ((f"object {number}", each) for number, each in enumerate(content, 1))


def _address(name: str) -> tuple[str, str]:
    """(the address, why it cannot be used)"""
    scheme, _, rest = name.partition("://")
    host = rest.partition("/")[0]
    if "@" in host:
        hidden = f"{scheme}://...@{rest.rpartition('@')[2]}"
        return hidden, "the address holds a user name or password; take it out"
    if scheme.lower() not in SCHEMES:
        return name, f"addresses of {scheme}:// are not read"
    return name, ""


def _spellings(name: str) -> Iterator[str]:
    """The name; then as other systems would write it: ``\\`` in paths, accents as one character or
    two."""
    yield name
    for spelled in (name, name.replace("\\", "/")):
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, spelled)
            if other != name:
                yield other
