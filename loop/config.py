"""``coreloop.toml``: what a person may set, checked at once; an unknown key names the nearest."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from loop.encoders import spec as specs
from loop.encoders.class_names import PLACE, why_unused
from loop.errors import ConfigError, nearest
from loop.secrets import check_address, check_bucket

FILE = "coreloop.toml"
SKIP = "skip"
"""What people write on a sheet beside an image they cannot judge; no class of a sheet."""


FEWEST = 20
"""Images in a random sample."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        section = cls is Config and isinstance(value, dict)  # which checks its own values
        if not section and _has_null(value):
            raise ValueError("no path or name has a character 0")
        return value


def _has_null(value: Any) -> bool:
    """Whether a text in it has a character 0, which no file system or database takes."""
    if isinstance(value, dict):
        return any(_has_null(part) for part in [*value, *value.values()])
    if isinstance(value, list):
        return any(_has_null(part) for part in value)
    return isinstance(value, str) and "\0" in value


class ProjectSection(Section):
    """[project]"""

    name: str = Field(min_length=1, max_length=200)
    classes: list[str] = Field(min_length=2)
    seed: int = Field(0, ge=0, lt=2**63 - 10_000)
    """The records take 64 bits, and each round's seed is one more."""
    database: str = ""
    """SQLAlchemy url; empty: ``coreloop.db`` in the project folder."""
    names: Literal["auto", "on", "off"] = "auto"
    """Whether training listens to the class names: ``auto``, where the encoder has a text side and
    the names are words; ``on``, an error where not."""
    prompts: list[str] = []
    """Texts with ``{}`` in the place of a class name; empty: those built in."""
    synonyms: dict[str, list[str]] = {}
    """Class -> other words for it, which the text side is given beside the name."""

    @field_validator("prompts")
    @classmethod
    def _with_a_place(cls, prompts: list[str]) -> list[str]:
        for prompt in prompts:
            if prompt.count(PLACE) != 1 or set("{}") & set(prompt.replace(PLACE, "")):
                raise ValueError(
                    f"{prompt!r} has no place for the name; write it as {PLACE!r}, once, as in "
                    "'a photo of a {}.'"
                )
        return prompts

    @model_validator(mode="after")
    def _of_classes(self) -> ProjectSection:
        for name, others in self.synonyms.items():
            if name not in self.classes:
                raise ValueError(
                    f"synonyms of {name!r}{nearest(name, self.classes)}: no such class"
                )
            if any(not other.strip() for other in others):
                raise ValueError(f"a synonym of {name!r} is empty")
        return self

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: list[str]) -> list[str]:
        if len(set(classes)) != len(classes) or any(not name.strip() for name in classes):
            raise ValueError("class names must be distinct and not empty")
        return classes


class PoolSection(Section):
    """[pool] Where the images are."""

    source: Literal["folder", "parquet", "bucket", "list", "shards", "label-studio"] = "folder"
    path: str
    """A folder or file; of a bucket an address such as ``s3://bucket/photos``; of a Label Studio
    project ``label-studio://17``."""
    column: str = ""
    """Of a list or table: where the paths, addresses or images stand; empty: in that called path,
    image, url, ..."""
    label_column: str = ""
    """Of a list or table: where the labels stand; empty: a list has none, and those of a parquet
    file are called label."""
    image_root: str = ""
    """Of a list: the folder at which its paths start, which they may not leave; empty: its own."""
    follow_links: bool = False
    """Of a folder: linked folders, and files that are links to elsewhere, are read."""
    labelled: bool = False
    """Folder names (or the label column) are the true labels: for ``oracle`` and ``simulate``."""
    splits: bool = False
    """The first folder level is train, val and test, and the classes are below; the images of test
    are the test images."""
    test_path: str = ""
    """A folder of test images to measure on, instead of a random sample of the pool."""

    @field_validator("path")
    @classmethod
    def _no_password(cls, path: str) -> str:
        check_bucket(path)
        return path


class MeasureSection(Section):
    """[measure] How the model is measured. Images that the source calls test images (``test_path``,
    a column ``split``) are a holdout whatever stands here."""

    by: Literal["sample", "holdout"] = "sample"
    """A random sample of the pool that is trained on too and judged by models without it; or a
    random holdout that is only looked at."""
    images: int = Field(100, ge=1)
    """Labelled first; of a sample at most half of the pool, of a holdout at most a fifth."""
    folds: int = Field(10, ge=2, le=100)
    """Models that judge the sample, beside the one that is delivered: each learns all labels but
    those of one fold. More are nearer to the truth and take longer."""

    @model_validator(mode="after")
    def _enough(self) -> MeasureSection:
        if self.by == "sample" and self.images < FEWEST:
            raise ValueError(
                f"a sample of {self.images} says next to nothing; take at least {FEWEST}"
            )
        return self


class SelectionSection(Section):
    """[selection]"""

    scorer: str = "auto"
    params: dict[str, Any] = {}
    rule: Literal["top", "middle", "window", "strata"] = "top"
    """Scores to picks: the highest; the middle band; the highest after skipping a share; or evenly
    over strata of the scores."""
    skip: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of the highest scores that rule = "window" passes over."""
    control: float = Field(0.0, ge=0.0, le=0.9)
    """Share of each budget picked at random, to measure the selection against it."""
    near_duplicates: Literal["any", "one"] = "any"
    """Of a group of near-duplicates any number is picked, or at most one, whose label is then
    offered to the others (``predict``, ``autolabel``)."""
    near_duplicate_cosine: float = Field(0.0, ge=0.0, le=1.0)
    """From which on two images are near-duplicates; 0: measured on slightly changed copies."""
    budgets: list[int] = Field([50, 50, 100], min_length=1)
    """Labels to buy per round."""

    @field_validator("budgets")
    @classmethod
    def _positive(cls, budgets: list[int]) -> list[int]:
        if any(budget < 1 for budget in budgets):
            raise ValueError("each budget must be at least 1")
        return budgets


class LabelerSection(Section):
    """[labeler] Who answers. The token is never here: see LABEL_STUDIO_API_KEY."""

    kind: Literal["label-studio", "csv", "oracle"] = "csv"
    url: str = ""
    project: int = 0
    """An existing Label Studio project to adopt; 0: make one."""
    control: str = ""
    """Name of the Choices of its label config that are meant, where several offer the classes."""
    images: Literal["upload", "local", "url"] = "upload"
    local_root: str = ""
    """LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT of the server, for images = "local"."""
    url_base: str = ""
    """Where the browser finds the pool's folder, for images = "url": https://host/photos, or
    s3://bucket/photos where the server has a storage of that bucket. Of a pool in a bucket its own
    address."""
    order: Literal["picked", "uncertain"] = "picked"
    """What people see first: the picks in their order, or what the guesses are least sure of."""
    overlap: int = Field(1, ge=1, le=20)
    """Different people per image."""
    consensus: Literal["majority", "dawid-skene"] = "majority"
    """What counts where they differ; dawid-skene weighs people by how reliable they are."""
    error_rate: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of wrong answers of the oracle."""
    people: list[str] = []
    """Where a Label Studio project is the pool: who gets which picks, each by a tab of their own;
    none: everybody gets all."""
    predictions: bool = True
    """Show the current model's prediction pre-selected (Label Studio): from round 2 on, with an
    ``open_clip:`` encoder from round 1 on, never in a round with images of the random sample."""


class TrainingSection(Section):
    """[training]"""

    trainer: str = "auto"
    params: dict[str, Any] = {}
    seeds: int = Field(1, ge=1, le=100)
    """Training runs per round; more than one matters for networks, not for ``linear``."""
    device: str = "auto"


class GoalSection(Section):
    """[goal]"""

    metric: Literal["auto", "accuracy", "balanced accuracy", "macro-F1"] = "auto"
    """What the model is to be good at; report and plan go by it, and the trainer. ``auto``: report
    and plan go by accuracy, and the trainer makes up for rare classes where labels show them."""


class CompareSection(Section):
    """[compare]"""

    baselines: list[str] = ["random", "margin", "el2n"]
    seeds: int = Field(5, ge=1, le=1000)


class CostsSection(Section):
    """[costs]"""

    hourly_rate: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    per_label: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    currency: str = "USD"


class Config(Section):
    """The whole file."""

    project: ProjectSection
    pool: PoolSection
    measure: MeasureSection = MeasureSection()
    encoder: str = "pixels"
    encoder_candidates: list[str] = []
    """Encoders beside it; the images are embedded with these too, and once labels say by more than
    chance that another of them, or two joined, predicts them better, that is used. Empty:
    ``encoder`` stays."""
    selection: SelectionSection = SelectionSection()
    labeler: LabelerSection = LabelerSection()
    training: TrainingSection = TrainingSection()
    goal: GoalSection = GoalSection()
    compare: CompareSection = CompareSection()
    costs: CostsSection = CostsSection()

    @model_validator(mode="after")
    def _shown_to_people(self) -> Config:
        if self.pool.source == "bucket" and self.labeler.images == "local":
            raise ValueError(
                "images = 'local' under [labeler] is for files on the disk of the server, and "
                f"the images are at {self.pool.path}; take 'upload'"
            )
        return self

    @model_validator(mode="after")
    def _told_apart(self) -> Config:
        among = [self.encoder, *self.encoder_candidates]
        if not all(spec.strip() for spec in among):
            raise ValueError("an encoder is empty; 'coreloop encoders' lists them")
        twice = [spec for number, spec in enumerate(among) if spec in among[:number]]
        if twice:
            raise ValueError(
                f"encoder_candidates: {twice[0]!r} is named twice; name encoders beside 'encoder'"
            )
        for candidate in self.encoder_candidates:
            self.model_copy(update={"encoder": candidate})._check_names()
        return self

    @property
    def names_unused(self) -> str:
        """Why training does not listen to the class names; empty where it does."""
        if self.project.names == "off":
            return "names = 'off' under [project]"
        return why_unused(self.encoder, self.project.classes, self.project.synonyms)

    @model_validator(mode="after")
    def _names_that_speak(self) -> Config:
        self._check_names()
        return self

    def _check_names(self) -> None:
        parts = [part.partition(":")[0] for part in specs.parts(self.encoder)]
        if "prior" in parts and (self.project.names == "off" or len(parts) == 1):
            raise ValueError(
                f"encoder {self.encoder!r}: 'prior:' is what names say beside an encoder of "
                "pictures, e.g. file:clip.npy+prior:zero_shot.npz, and goes with names = 'auto'"
            )
        asked = self.project.names == "on" or self.project.prompts or self.project.synonyms
        if asked and self.project.names != "off" and self.names_unused:
            raise ValueError(
                f"names, prompts or synonyms are set under [project], but {self.names_unused}"
            )

    @model_validator(mode="after")
    def _labelled_where_it_is(self) -> Config:
        if self.pool.source != "label-studio":
            if self.labeler.people:
                raise ValueError(
                    "people under [labeler] is for a pool that is a Label Studio project "
                    "(label-studio://17); elsewhere give each a project of their own"
                )
            return self
        number = self.pool.path.rpartition("/")[2]
        if self.labeler.kind != "label-studio" or str(self.labeler.project or number) != number:
            raise ValueError(
                f"the pool is the Label Studio project {self.pool.path}, so people label there: "
                f"kind = 'label-studio' under [labeler], and project = {number} or 0"
            )
        if len(set(self.labeler.people)) != len(self.labeler.people):
            raise ValueError("people under [labeler] names somebody twice")
        if 0 < len(self.labeler.people) < self.labeler.overlap:
            raise ValueError(
                f"overlap = {self.labeler.overlap} under [labeler], but people names only "
                f"{len(self.labeler.people)}"
            )
        return self

    def public(self) -> dict[str, Any]:
        """Plain values without the database's url, which may hold a password."""
        return self.model_dump(exclude={"project": {"database"}})


def load(path: Path) -> Config:
    """Reads and checks a config file.

    Raises:
        ConfigError: not there, not TOML, an unknown key, a value out of range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no {path}; 'coreloop init' makes a project") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return check(values, str(path))


def check(values: dict[str, Any], where: str) -> Config:
    """A Config from plain values.

    Raises:
        ConfigError: names the key, the value and the nearest known key; a class is called as
            sheets call a skipped image; a test folder beside a parquet file; a password in the
            address of the labeler.
    """
    try:
        config = Config.model_validate(_with_measure(values, where))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(e, where) for e in error.errors())) from None
    check_address(config.labeler.url, f"{where}: labeler.url")
    host = config.labeler.url_base.partition("//")[2].partition("/")[0]
    check_address(host, f"{where}: labeler.url_base")
    skips = [name for name in config.project.classes if name.strip() == SKIP]
    if config.labeler.kind == "csv" and skips:
        raise ConfigError(
            f"{where}: project.classes has {skips[0]!r}, which on a sheet means that nobody can "
            "judge the image; give the class another name, or use another labeler"
        )
    if config.pool.source == "parquet" and config.pool.test_path:
        raise ConfigError(
            f"{where}: pool.test_path is {config.pool.test_path!r}, which goes with a folder of "
            "images; in a parquet file a column 'split' says test or train"
        )
    return config


def _with_measure(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The values with ``test`` under [pool], as versions up to 0.5 had it, under [measure].

    Raises:
        ConfigError: both are given.
    """
    pool = values.get("pool")
    if not isinstance(pool, dict) or "test" not in pool:
        return values
    if "measure" in values:
        raise ConfigError(
            f"{where}: pool.test = {pool['test']!r} is the former name of measure.images with "
            "by = 'holdout'; take it out of [pool]"
        )
    others = {key: value for key, value in pool.items() if key != "test"}
    return {**values, "pool": others, "measure": {"by": "holdout", "images": pool["test"]}}


def _explain(error: Any, where: str) -> str:
    path = [str(part) for part in error["loc"]]
    name = ".".join(path)
    if error["type"] == "extra_forbidden":
        section: Any = Config
        for part in path[:-1]:
            section = _model_of(section.model_fields[part].annotation)
        return f"{where}: unknown key {name!r}{nearest(path[-1], section.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: {name!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict):  # keys that do not go together; the message names them
        return f"{where}: {name}: {message}" if name else f"{where}: {message}"
    return f"{where}: {name} = {error['input']!r}: {message}"


def _model_of(annotation: Any) -> Any:
    return next((a for a in get_args(annotation) if hasattr(a, "model_fields")), annotation)


def dump(config: Config) -> str:
    """The config as TOML text, section by section, every key written out.

    Raises:
        ConfigError: a value under ``params`` that TOML has no type for.
    """
    try:
        return tomli_w.dumps(config.model_dump())
    except TypeError as error:
        raise ConfigError(f"{FILE} cannot hold a value under 'params': {error}") from None
