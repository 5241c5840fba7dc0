"""The nouns, as tables. Invariants are constraints, so that no program error can break them.

Pool 1-n Item; Round 1-n Pick (an item is picked at most once), 1-n Batch, 1-n TrainingRun; Item
1-n Annotation (every version seen); Simulation 1-n SimulationCell; a round's Comparison is of one
Simulation. Times are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ROUND_STATES = ("planned", "scored", "selected", "pushed", "labeled", "trained", "compared")
REPLACED = "replaced"
"""Key in a round's config: picks beyond its budget, made in place of others that stay recorded;
below 0 where fewer were left to pick."""
ARMS = ("coreset", "control", "sample", "test", "calibration", "rest", "before")
BATCH_STATES = ("PLANNED", "SENT", "CONFIRMED", "UNKNOWN")


def now() -> datetime:
    """The present moment, timezone-aware."""
    return datetime.now(UTC)


class Moment(TypeDecorator[datetime]):
    """A timezone-aware UTC time, also where the database keeps none (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON,
        list[Any]: JSON,
        datetime: Moment,
    }


class Pool(Base):
    """A named set of images. ``digest`` names its rows and their order."""

    __tablename__ = "pool"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    digest: Mapped[str] = mapped_column(String(32), default="")
    source: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Item(Base):
    """One image by its content. ``row`` is its place in the pool's arrays and never changes.

    ``known_label`` is what a labelled source said; only the oracle and ``simulate`` read it.
    """

    __tablename__ = "item"
    __table_args__ = (
        UniqueConstraint("pool_id", "key"),
        UniqueConstraint("pool_id", "row"),
        CheckConstraint("split IN ('pool', 'test')", name="split"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id"))
    row: Mapped[int]
    key: Mapped[str] = mapped_column(String(32))
    uri: Mapped[str]
    split: Mapped[str] = mapped_column(String(4), default="pool")
    known_label: Mapped[str | None]


class Duplicate(Base):
    """A further path with the same bytes as an item."""

    __tablename__ = "duplicate"
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    uri: Mapped[str]
    known_label: Mapped[str | None]
    __table_args__ = (UniqueConstraint("item_id", "uri"),)


class Absence(Base):
    """An image that is passed over: not scored, picked, asked about, predicted or exported, and a
    label that it has does not count.

    ``why``: gone, its file is not there or is another image now, until a scan finds it again; or
    excluded, a person took it out.
    """

    __tablename__ = "absence"
    __table_args__ = (CheckConstraint("why IN ('gone', 'excluded')", name="why"),)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), primary_key=True)
    why: Mapped[str] = mapped_column(String(8))
    at: Mapped[datetime] = mapped_column(default=now)


class Unreadable(Base):
    """A file that is no usable image."""

    __tablename__ = "unreadable"
    __table_args__ = (UniqueConstraint("pool_id", "uri"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id"))
    uri: Mapped[str]
    reason: Mapped[str]


class Round(Base):
    """One turn of the loop. Round 0 labels the random holdout (the test split), and holds what
    people had labelled before."""

    __tablename__ = "round"
    __table_args__ = (
        UniqueConstraint("pool_id", "number"),
        CheckConstraint(f"state IN {ROUND_STATES}", name="state"),
        CheckConstraint("budget >= 0", name="budget"),
        CheckConstraint("number >= 0", name="number"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(10), default="planned")
    seed: Mapped[int] = mapped_column(BigInteger)
    budget: Mapped[int]
    config: Mapped[dict[str, Any]]
    versions: Mapped[dict[str, Any]]
    explanation: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)

    @property
    def name(self) -> str:
        return round_name(self.number)


def round_name(number: int) -> str:
    """What messages call a round."""
    return f"round {number}" if number else "the test round"


class Pick(Base):
    """An item chosen in a round, in labelling order.

    ``arm``: coreset, control, sample or test; of the rounds of a promise calibration or rest;
    before, of round 0, where people had labelled it unasked.

    ``draw``: its place in the random sample of the pool, None if it is not of it; ``probability``:
    with which it was drawn. An enlarged sample may hold images that were picked before.
    """

    __tablename__ = "pick"
    __table_args__ = (
        UniqueConstraint("item_id"),
        UniqueConstraint("round_id", "arm", "rank"),
        CheckConstraint(f"arm IN {ARMS}", name="arm"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    arm: Mapped[str] = mapped_column(String(11))
    rank: Mapped[int]
    score: Mapped[float]
    draw: Mapped[int | None]
    probability: Mapped[float | None]


class Batch(Base):
    """One push: its state is committed before and after the request."""

    __tablename__ = "batch"
    __table_args__ = (CheckConstraint(f"state IN {BATCH_STATES}", name="state"),)
    uuid: Mapped[str] = mapped_column(String(32), primary_key=True)
    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"))
    connector: Mapped[str]
    state: Mapped[str] = mapped_column(String(10), default="PLANNED")
    size: Mapped[int]
    message: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class Sent(Base):
    """An item of a batch and where it landed; a pick belongs to at most one batch."""

    __tablename__ = "sent"
    __table_args__ = (UniqueConstraint("pick_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    batch_uuid: Mapped[str] = mapped_column(ForeignKey("batch.uuid"))
    pick_id: Mapped[int] = mapped_column(ForeignKey("pick.id"))
    remote_id: Mapped[str | None]


class Annotation(Base):
    """One version of one human answer, as it was seen; versions are never changed or removed.

    ``task`` tells its task from others, ``url`` where people see it. One with a ``problem`` could
    not be read as an answer, and counts as none.
    """

    __tablename__ = "annotation"
    __table_args__ = (
        UniqueConstraint("connector", "external_id", "version"),
        Index("annotation_item", "item_id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    connector: Mapped[str]
    external_id: Mapped[str]
    version: Mapped[str]
    annotator: Mapped[str]
    label: Mapped[str | None]
    seconds: Mapped[float | None]
    cancelled: Mapped[bool] = mapped_column(default=False)
    deleted: Mapped[bool] = mapped_column(default=False)
    task: Mapped[str | None]
    url: Mapped[str | None]
    problem: Mapped[str | None]
    at: Mapped[datetime | None]
    seen_at: Mapped[datetime] = mapped_column(default=now)


class Cursor(Base):
    """Where the next pull from a connector may start.

    ``surplus``: annotations that the other side counted beyond those held here, when all were read
    last: those of other people's tasks, less those of tasks that have gone.
    """

    __tablename__ = "cursor"
    connector: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str | None]
    surplus: Mapped[int] = mapped_column(default=0)


class TrainingRun(Base):
    """One training of a round: an arm's labels, trainer and seed, the rows it saw, what came out.

    ``arm``: all (labels collected so far), or coreset and control, as many labels of each; where a
    random sample measures, its labels are the control.
    """

    __tablename__ = "run"
    __table_args__ = (UniqueConstraint("round_id", "arm", "method", "seed"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"))
    arm: Mapped[str] = mapped_column(String(20))
    method: Mapped[str]
    seed: Mapped[int]
    labels: Mapped[int]
    rows_digest: Mapped[str] = mapped_column(String(32))
    metrics: Mapped[dict[str, Any]]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Promise(Base):
    """Labels by a frozen model for images that nobody labelled, at most ``max_error`` of the
    collection wrong with probability ``confidence``.

    ``round_id`` labels its calibration sample, ``rest_id`` what stays below the threshold;
    ``look`` counts the promises of the pool, ``alpha`` is what this one may break. ``model`` is the
    digest of the model's file, ``images`` how many the collection has, ``outcome`` empty until the
    sample is labelled.
    """

    __tablename__ = "promise"
    __table_args__ = (UniqueConstraint("round_id"), UniqueConstraint("rest_id"))
    id: Mapped[int] = mapped_column(primary_key=True)
    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"))
    rest_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    look: Mapped[int]
    max_error: Mapped[float]
    confidence: Mapped[float]
    alpha: Mapped[float]
    per_class: Mapped[bool]
    more_people: Mapped[bool]
    model: Mapped[str] = mapped_column(String(32))
    images: Mapped[int]
    outcome: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Array(Base):
    """A file beside the database, named by its content: ``.npy``, or ``.safetensors`` of a model.

    ``name`` tells arrays of one kind apart: the encoder's digest, ``coreset`` scores, ... ``dtype``
    of a model is ``safetensors``, its shape is empty.
    """

    __tablename__ = "array"
    __table_args__ = (UniqueConstraint("pool_id", "kind", "name", "of"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    pool_id: Mapped[int] = mapped_column(ForeignKey("pool.id"))
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str]
    of: Mapped[str]
    digest: Mapped[str] = mapped_column(String(32))
    shape: Mapped[list[Any]]
    dtype: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def file(self) -> str:
        """Its name in the folder of arrays."""
        return array_file(self.digest, self.dtype)


def array_file(digest: str, dtype: str) -> str:
    """See ``Array.file``."""
    return f"{digest}.{'safetensors' if dtype == 'safetensors' else 'npy'}"


class Simulation(Base):
    """Methods on images whose labels are known, for a round's comparison or for ``simulate``.

    ``digest`` names ``config``, everything that decides its cells besides what they say themselves.
    ``mode`` in it, simulated or hindsight, and ``among``: only in a round's comparison.
    """

    __tablename__ = "simulation"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(32), unique=True)
    config: Mapped[dict[str, Any]]
    versions: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class SimulationCell(Base):
    """One finished cell of a simulation, never computed twice.

    ``schedule``: ``3,6,15``, the budgets up to its own where the rounds before decide its picks.
    """

    __tablename__ = "cell"
    __table_args__ = (UniqueConstraint("simulation_id", "method", "schedule", "budget", "seed"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    simulation_id: Mapped[int] = mapped_column(ForeignKey("simulation.id"))
    method: Mapped[str]
    schedule: Mapped[str] = mapped_column(default="")
    budget: Mapped[int]
    seed: Mapped[int]
    outcome: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Comparison(Base):
    """What a round was compared with: these methods, budgets and seeds of a simulation."""

    __tablename__ = "comparison"
    round_id: Mapped[int] = mapped_column(ForeignKey("round.id"), primary_key=True)
    simulation_id: Mapped[int] = mapped_column(ForeignKey("simulation.id"))
    methods: Mapped[list[Any]]
    budgets: Mapped[list[Any]]
    seeds: Mapped[int]


class Event(Base):
    """What happened, for people; never read by logic."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    level: Mapped[str] = mapped_column(String(7), default="info")
    step: Mapped[str] = mapped_column(String(20))
    round: Mapped[int | None]
    message: Mapped[str]
