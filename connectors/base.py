"""The outside world: where images come from and where labels come from.

    ConnectorError
    |-- SourceError      a folder or file of images cannot be read                  exit 3
    |-- Unreachable      nobody answered, or answered "later"; nothing is lost      exit 4
    |-- Unauthorized     the token is wrong or expired                              exit 2
    |-- Rejected         the other side refused; nothing was written there          exit 3
    |-- Mismatch         the other side is not what it was (config, project, keys)  exit 5
    |   `-- WouldReopen  finished tasks would be opened again; nothing was changed  exit 5
    `-- Unknown          a write may or may not have happened; ask ``find``         exit 4

Only item keys cross this boundary as identity; remote ids are hints that are checked by key.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable


class ConnectorError(Exception):
    """Base of all errors of the outside world."""

    exit_code = 4


class SourceError(ConnectorError):
    """Images cannot be read from where the config says."""

    exit_code = 3


class Unreachable(ConnectorError):
    """No answer, or a temporary one. Running the same command later is safe."""


class Unauthorized(ConnectorError):
    """The server does not accept the token."""

    exit_code = 2


class Rejected(ConnectorError):
    """The request was refused and nothing of it was stored."""

    exit_code = 3


class Mismatch(ConnectorError):
    """The remote project changed under us, or is not the one we know."""

    exit_code = 5


class WouldReopen(Mismatch):
    """More people per image would open ``count`` finished tasks again, which nobody has allowed."""

    def __init__(self, count: int, message: str) -> None:
        super().__init__(message)
        self.count = count


class Unknown(ConnectorError):
    """The answer to a write was lost: it may have happened. ``Labeler.find`` tells."""


@dataclass(frozen=True)
class Image:
    """One file (or table row) that a source found.

    Attributes:
        key: 32 hex digits, blake2b-128 of the encoded bytes: equal bytes, equal item.
        uri: how ``Source.read`` finds the bytes again, relative to the source's root.
        label: class name if the source knows it (a labelled folder or column), else None.
        split: "test" if the source says that it is a test image, else "pool".
    """

    key: str
    uri: str
    label: str | None = None
    split: str = "pool"


@dataclass(frozen=True)
class UnreadableFile:
    """One file that is no usable image, and why."""

    uri: str
    reason: str


@dataclass(frozen=True)
class PassedOver:
    """Files that are no images of the pool, for one reason; a linked folder counts as one.

    Attributes:
        suffix: theirs, in lower case, where the reason is the suffix; else empty.
        example: path of the first, relative to the folder; or its line in a list.
        what: ``file``, ``line`` of a list, or ``label`` that is not taken.
    """

    reason: str
    suffix: str
    count: int
    example: str
    what: str = "file"


class Source(Protocol):
    """Where images come from."""

    def scan(
        self, workers: int = 0, skip: Container[str] = frozenset()
    ) -> Iterator[Image | UnreadableFile]:
        """Every image once per path, in a stable order.

        Args:
            workers: processes that read, decode and hash; 0: this one.
            skip: uris that are known already; their images are not opened.
        """
        ...

    @property
    def passed_over(self) -> list[PassedOver]:
        """What else was there, the most first; valid once a scan is exhausted."""
        ...

    def read(self, uri: str) -> bytes:
        """Encoded bytes of one image. Raises SourceError."""
        ...

    def missing(self, uris: Iterable[str]) -> list[str]:
        """Those of these that are not there any more, without opening the others.

        Raises:
            SourceError: the folder or file of all images cannot be found.
        """
        ...

    def shown(self, uri: str) -> str:
        """What a person can open to see an image: its file, or the uri where it has none."""
        ...


@dataclass(frozen=True)
class Prediction:
    """A model's guess sent along as pre-annotation: class name, probability in [0, 1], version."""

    label: str
    score: float
    version: str


@dataclass(frozen=True)
class ItemToLabel:
    """One image on its way to a labeler; ``place``: its place in the labelling order of its round,
    from 0."""

    key: str
    uri: str
    prediction: Prediction | None = None
    place: int = 0


@dataclass(frozen=True)
class BatchToLabel:
    """One push. ``uuid`` is its identity on both sides; pushing it twice adds nothing. ``fresh``:
    it has never been sent, so that nobody need ask what is there of it."""

    uuid: str
    round: int
    fresh: bool = False


@dataclass(frozen=True)
class RemoteAnnotation:
    """One version of one human answer.

    Attributes:
        id: the labeler's identity of this annotation; with ``version`` unique for a connector.
        version: changes whenever the answer changes (the server's updated_at, a content hash).
        key: item key.
        annotator: who, as the labeler names them.
        label: class name, or None for an empty or skipped answer.
        seconds: time it took, None when unknown (not reliable; see loop.costs).
        cancelled: True for a skip.
        deleted: True if an annotation known before has gone.
        at: when it was last changed, timezone-aware, the labeler's clock.
        task: its task, as ``Seen`` names it; None where there is no such thing.
        url: where people see it.
        problem: what is odd about it, so that it counts as no answer; None if nothing is.
    """

    id: str
    version: str
    key: str
    annotator: str
    label: str | None
    seconds: float | None = None
    cancelled: bool = False
    deleted: bool = False
    at: datetime | None = None
    task: str | None = None
    url: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Seen:
    """What one ``pull`` saw of an image.

    Attributes:
        annotations: ids of all that these tasks have now; one of theirs that was known before and
            is absent here was deleted.
        tasks: remote ids of its tasks among those looked at.
        identities: of these tasks, where an id alone may come to mean another task.
        since: when the oldest of these was made, by the labeler's clock; an annotation from before
            that names its task by the id alone belongs to one that has gone, and its absence says
            nothing. None: nothing has gone.
    """

    annotations: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    identities: frozenset[str] = frozenset()
    since: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """Counts as the labeler itself reports them, a link for people, and what they should know.

    ``tasks``: None where images have had theirs before they were sent. ``answers``: annotations of
    all tasks, skips too; None where nobody counts them.
    """

    tasks: int | None
    annotated: int
    skipped: int = 0
    answers: int | None = None
    url: str | None = None
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Labeler(Protocol):
    """Where labels come from. The contract is run by ``connectors.testing.check_labeler``."""

    name: str
    """Connector id that stands with each annotation, e.g. ``label-studio:17``."""
    lag: float
    """Seconds that the other side may still work on a push whose answer was lost."""

    @property
    def version(self) -> str:
        """Names what answers there hang on, such as a label config; another one after a change
        that makes earlier answers unreadable. Empty where nothing can change."""
        ...

    def prepare(self, classes: Sequence[str]) -> None:
        """Make the other side ready for these classes; idempotent.

        Raises:
            Mismatch: it exists but does not fit (a class is missing from its config).
        """
        ...

    def push(self, batch: BatchToLabel, items: Sequence[ItemToLabel]) -> Mapping[str, str]:
        """Item key -> remote id of every item of the batch. Idempotent per (batch, key).

        Raises:
            Rejected: nothing was written.
            Unknown: it may have been written; call ``find`` before any other push.
        """
        ...

    def find(self, batch: BatchToLabel) -> Mapping[str, str]:
        """Item key -> remote id of what is really there of this batch."""
        ...

    def inventory(self, known: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
        """Item key -> remote ids of the tasks it has now, at least one; every batch's.

        Args:
            known: item key -> remote id of a task that it had.

        Raises:
            Unreachable: a known task is there, though not among those listed.
        """
        ...

    def pull(self, since: str | None) -> Iterator[RemoteAnnotation]:
        """Answers changed since the cursor (None: all), oldest first; repeats are harmless."""
        ...

    @property
    def cursor(self) -> str | None:
        """Where the next ``pull`` may start, valid once an iterator is exhausted."""
        ...

    @property
    def seen(self) -> Mapping[str, Seen]:
        """Item key -> what the last ``pull`` saw of it, for every item that it looked at."""
        ...

    @property
    def location(self) -> Mapping[str, Any]:
        """What finds the other side again, kept in the records and handed to the labeler when it
        is made anew. Empty where nothing is needed."""
        ...

    def progress(self) -> Progress:
        """Counts, cheap enough to poll."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """A labeler that can show guesses on tasks that are there already."""

    def predict(self, tasks: Mapping[str, str], guesses: Mapping[str, Prediction]) -> None:
        """Shows ``guesses`` (by item key) on ``tasks`` (item key -> remote id); idempotent."""
        ...


@runtime_checkable
class NamesPeople(Protocol):
    """A labeler that numbers its annotators and knows their names."""

    def people(self) -> Mapping[str, str]:
        """Annotator, as ``pull`` gives them -> name; different people have different names."""
        ...


@runtime_checkable
class AsksAgain(Protocol):
    """A labeler that can ask one more person about an image."""

    def ask_again(self, tasks: Mapping[str, str]) -> AskedAgain:
        """Opens these tasks (item key -> remote id) once more."""
        ...


@dataclass(frozen=True)
class AskedAgain:
    """How many tasks are open once more, and where people get these alone, if anywhere."""

    count: int
    url: str | None


@runtime_checkable
class HoldsLabels(Protocol):
    """A source whose images people may have labelled before anybody asked them to."""

    def labels(self, keys: Mapping[str, str]) -> Iterator[RemoteAnnotation]:
        """Every annotation there is of these images (uri -> item key)."""
        ...


@runtime_checkable
class SharesPool(Protocol):
    """A labeler whose tasks are the images of the pool: answers may be of any of them, and what it
    was sent are marks."""

    def tasks_of(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Item key -> remote id of its task, of those of these images that are there."""
        ...

    def clean(self, rounds: Sequence[int]) -> Cleaned:
        """Takes away what these rounds left on tasks, and their tabs; answers stay."""
        ...


@dataclass(frozen=True)
class Cleaned:
    """How many marks and tabs were taken away."""

    marks: int
    tabs: int


@dataclass(frozen=True)
class RemoteChange:
    """One thing on the other side as it is and as a push would leave it; None: it is not there.

    Attributes:
        what: as it is called there: project, title, label_config, maximum_annotations, tasks, ...
    """

    what: str
    before: Any
    after: Any


@runtime_checkable
class Foretells(Protocol):
    """A labeler that can say what a push would change there, and changes nothing by it."""

    def foretell(
        self, classes: Sequence[str], images: int, guesses: Sequence[Prediction]
    ) -> Sequence[RemoteChange]:
        """What a push of so many new images, with these guesses, would change, and what names the
        other side, which stays.

        Raises:
            Mismatch: the push would be refused.
        """
        ...

    def listed(self) -> Container[str]:
        """Keys of the images that have a task there now."""
        ...


@runtime_checkable
class Withdraws(Protocol):
    """A labeler that can take back what nobody has worked on."""

    def untouched(self, tasks: Mapping[str, str]) -> set[str]:
        """Keys of those of these tasks (item key -> remote id) that are ours, looked at anew, and
        that nobody has answered, skipped, drafted or changed; one that has gone is among them."""
        ...

    def withdraw(self, tasks: Mapping[str, str]) -> set[str]:
        """Takes back those of these tasks that are ``untouched``, each looked at once more just
        before; their keys."""
        ...
