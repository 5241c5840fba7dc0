"""A folder tree of images. Sub-folders may be labels, or train, val and test with labels below; a
second folder may be the test split."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from connectors import heif
from connectors.base import Image, PassedOver, SourceError, UnreadableFile
from connectors.files import LeadsOut, has_gone, read_ordinary, read_part
from connectors.walk import Passed, Walk
from connectors.workers import in_order

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
"""What the bytes may be, whatever the file is called."""
MAX_WEBP_PIXELS = 45_000_000
"""A WebP is never decoded in parts: with more it would take over 720 MB, which no embedding may.
For the others Pillow's own limit of 89 million pixels comes first."""
LEARNED = frozenset(["train", "training", "val", "valid", "validation", "dev"])
TESTED = frozenset(["test", "testing", "eval", "evaluation"])
"""First folder levels of the layout that ImageNet, Keras and others use, as ``datasets`` reads
them."""
LEAVES = (
    "symbolic link that leaves the folder (see init --follow-links, and --image-root of a list)"
)
TEST = "test:"
"""Prefix of uris below the test folder."""


def formats() -> tuple[str, ...]:
    """``FORMATS``, and those of installed extras."""
    return (*FORMATS, heif.FORMAT) if heif.can_be_read() else FORMATS


def content_key(data: bytes) -> str:
    """32 hex digits, blake2b-128 of the encoded bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def check_image(data: bytes) -> str | None:
    """Why these bytes are no usable image, or None. Decodes them wholly, so that a truncated file
    is found now and not in the middle of training."""
    import io

    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    if not data:
        return "empty file"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged tags and the like
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            with Pillow.open(io.BytesIO(data), formats=formats()) as image:
                if image.format == "WEBP" and image.width * image.height > MAX_WEBP_PIXELS:
                    return f"{image.width} x {image.height} pixels (WEBP) is too large"
                image.load()
    except UnidentifiedImageError:
        return "not an image of a known format"
    except Exception as error:  # decoders fail in many ways on hostile bytes; each is one bad file
        return f"{type(error).__name__}: {error}"[:200]
    return None


@dataclass(frozen=True)
class Folder:
    """Source over a folder.

    Attributes:
        root: where the pool's images are, at any depth.
        labelled: the first folder level below ``root`` is each image's true label.
        test: a labelled folder whose images are the test split.
        splits: the first level is train, val and test, and the labels are below; the images of
            test are the test split.
        follow_links: see ``connectors.walk.Walk``; then files may be links to anywhere, too.
        class_names: of folders that are not called as their class.
    """

    root: Path
    labelled: bool = False
    test: Path | None = None
    splits: bool = False
    follow_links: bool = False
    class_names: Mapping[str, str] = field(default_factory=dict)
    _walks: list[Walk] = field(default_factory=list, repr=False, compare=False)

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """Every image once per path, sorted by path; the test folder last.

        Args:
            workers: processes that read, decode and hash; the order stays the same.
            skip: uris that are known already; their files are not opened.

        Raises:
            SourceError: a folder is missing or cannot be listed.
        """
        yield from in_order(examine, self._image_files(skip), workers)

    @property
    def passed_over(self) -> list[PassedOver]:
        """What else lay in the folders, the most first; valid once a scan is exhausted."""
        passed = Passed()
        for each in (each for walk in self._walks for each in walk.passed_over):
            passed.add(each.reason, each.suffix, each.example, each.count)
        return passed.counted

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one image.

        Raises:
            SourceError: it is gone, or its path leaves the folder.
        """
        root, path = self._locate(uri)
        inside = None if self.follow_links else root.resolve()
        try:
            if ".." in path.relative_to(root).parts:
                raise LeadsOut
            return read_ordinary(path, inside=inside)
        except (LeadsOut, ValueError):
            raise SourceError(f"{uri} leads out of {root}; it is not read") from None
        except OSError as error:
            raise SourceError(
                f"cannot read {path} ({error.strerror}); put the file back, or type: coreloop scan "
                "(it passes over files that have gone)"
            ) from None

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Those whose file is not there any more. Raises SourceError: the folder is not."""
        for root in (self.root, self.test):
            if root is not None and not root.is_dir():
                raise SourceError(f"no folder {root}; check 'path' under [pool] in coreloop.toml")
        return [uri for uri in uris if has_gone(self._locate(uri)[1])]

    def shown(self, uri: str) -> str:
        """Path of the file."""
        return str(self._locate(uri)[1])

    def _locate(self, uri: str) -> tuple[Path, Path]:
        """(folder, file in it)"""
        if uri.startswith(TEST) and self.test is not None:
            return self.test, self.test / uri.removeprefix(TEST)
        return self.root, self.root / uri

    def _image_files(self, skip: Container[str]) -> Iterator[ImageFile | UnreadableFile]:
        self._walks.clear()
        folders = [(self.root, "", self.labelled, "pool")]
        if self.test is not None:
            folders.append((self.test, TEST, True, "test"))
        for root, prefix, labelled, split in folders:
            if not root.is_dir():
                raise SourceError(f"no folder {root}; check 'path' under [pool] in coreloop.toml")
            inside = None if self.follow_links else root.resolve()
            walk = Walk(root, self.follow_links)
            self._walks.append(walk)
            for path in walk:
                relative = path.relative_to(root).as_posix()
                if prefix + relative in skip:
                    continue
                *folders_above, _ = relative.split("/")
                if self.splits and not prefix and folders_above:
                    tested = folders_above.pop(0).lower() in TESTED
                    split, labelled = ("test", True) if tested else ("pool", self.labelled)
                folder = folders_above[0] if labelled and folders_above else None
                label = None if folder is None else self.class_names.get(folder, folder)
                yield ImageFile(path, inside, prefix + relative, label, split)
            for relative, reason in walk.closed:
                yield UnreadableFile(prefix + relative, reason)


@dataclass(frozen=True)
class ImageFile:
    """A file to look at, and what its folder says of it; ``inside`` the folder that it must not
    leave, None: any; ``part`` where the image stands in it (offset, bytes), None: all of it is."""

    path: Path
    inside: Path | None
    uri: str
    label: str | None
    split: str
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class Encoded:
    """An image's bytes from anywhere, and what is known of it; ``reason``: why it has none."""

    uri: str
    data: bytes
    label: str | None
    split: str
    reason: str = ""


def examine(file: ImageFile | Encoded | UnreadableFile) -> Image | UnreadableFile:
    """An image with its key, or why the file is none."""
    if isinstance(file, UnreadableFile):
        return file
    if isinstance(file, Encoded):
        reason = file.reason or check_image(file.data)
        if reason:
            return UnreadableFile(file.uri, reason)
        return Image(content_key(file.data), file.uri, file.label, file.split)
    try:
        file.uri.encode()
    except UnicodeEncodeError:  # no database or labeler could take such a name
        shown = file.uri.encode(errors="backslashreplace").decode()
        return UnreadableFile(shown, "file name is not UTF-8")
    try:
        if file.part is None:
            data = read_ordinary(file.path, inside=file.inside)
        else:
            data = read_part(file.path, *file.part)
    except LeadsOut:
        return UnreadableFile(file.uri, LEAVES)
    except OSError as error:
        return UnreadableFile(file.uri, error.strerror or str(error))
    reason = check_image(data)
    if reason is not None:
        return UnreadableFile(file.uri, reason)
    return Image(content_key(data), file.uri, file.label, file.split)


def holds_images(root: Path) -> bool:
    """Whether a folder has an image file at any depth."""
    return next(iter(Walk(root)), None) is not None


def first_level(root: Path, *, follow_links: bool = False) -> tuple[list[str], list[str]]:
    """(folders that hold images at any depth, images beside these folders), sorted."""
    paths = [path.relative_to(root).parts for path in Walk(root, follow_links)]
    folders = sorted({parts[0] for parts in paths if len(parts) > 1})
    return folders, sorted(parts[0] for parts in paths if len(parts) == 1)


def beside_classes(root: Path, *, follow_links: bool = False) -> str:
    """The first image that lies in no class folder below a first level; empty if all do."""
    paths = (path.relative_to(root) for path in Walk(root, follow_links))
    return next((path.as_posix() for path in paths if len(path.parts) < 3), "")


def split_classes(root: Path, *, follow_links: bool = False) -> list[str]:
    """Class folders below train, val and test, sorted; none where the folder is not laid out so."""
    paths = [path.relative_to(root).parts for path in Walk(root, follow_links)]
    above = {parts[0].lower() for parts in paths}
    classes = sorted({parts[1] for parts in paths if len(parts) > 2})
    laid_out = above <= LEARNED | TESTED and above & LEARNED and all(len(p) > 2 for p in paths)
    return classes if laid_out and len(classes) > 1 else []
