"""What the server says, validated once: everything else here works with these types only.

A page of another shape than Label Studio's is no answer at all; what people can put into an
annotation is looked at one by one in ``annotation``, where an odd one does not harm the others.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, NonNegativeInt, PositiveInt

STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"
"""The one form of time that the server's filters take."""
YEARS = range(1971, 3000)


def moment(text: str) -> datetime:
    """The time that a server wrote, in UTC. Raises ValueError."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or time.year not in YEARS:
        raise ValueError("is no time of a server")
    return time.astimezone(UTC)


def _is_moment(text: str) -> str:
    moment(text)
    return text


Time = Annotated[str, AfterValidator(_is_moment)]
"""As the server wrote it."""
Count = NonNegativeInt | None


class ServerAnswer(BaseModel):
    """Strict about types; what we do not know is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class ProjectAnswer(ServerAnswer):
    """GET, POST, PATCH /api/projects/..."""

    id: PositiveInt
    title: str = ""
    description: str | None = None
    label_config: str
    created_at: Time | None = None
    maximum_annotations: Count = None
    model_version: str | None = None
    sampling: str | None = None
    task_number: Count = None
    num_tasks_with_annotations: Count = None
    total_annotations_number: Count = None
    skipped_annotations_number: Count = None


class ListedProject(ServerAnswer):
    """A line of GET /api/projects/."""

    id: PositiveInt
    title: str | None = None
    description: str | None = None


class ProjectPage(ServerAnswer):
    """GET /api/projects/"""

    results: list[ListedProject]
    next: str | None = None


class ListedAnnotation(ServerAnswer):
    """An annotation; the rest is looked at in ``annotation``."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    id: PositiveInt


class ListedTask(ServerAnswer):
    """A task in a listing, with the counts of its annotations."""

    id: PositiveInt
    data: dict[str, Any]
    updated_at: Time
    created_at: Time | None = None
    total_annotations: Count = None
    cancelled_annotations: Count = None


class AnsweredTask(ListedTask):
    """A task in a listing with annotations. One without the field would read as if all had been
    deleted."""

    annotations: list[ListedAnnotation]

    @property
    def identity(self) -> str:
        """``<task id>@<time it was made>``: a server set up anew counts from 1 again."""
        made = f"@{moment(self.created_at).isoformat()}" if self.created_at else ""
        return f"{self.id}{made}"


TaskT = TypeVar("TaskT", bound=ListedTask)


class TaskPage(ServerAnswer, Generic[TaskT]):
    """GET /api/tasks/"""

    total: NonNegativeInt
    tasks: list[TaskT]


class TaskDetail(ServerAnswer):
    """GET /api/tasks/<id>/"""

    id: PositiveInt
    project: PositiveInt
    data: dict[str, Any]
    total_annotations: Count = None
    cancelled_annotations: Count = None
    annotations: list[Any] | None = None
    drafts: list[Any] | None = None
    draft_exists: bool | None = None
    annotators: list[Any] | None = None
    updated_by: list[Any] | None = None
    comment_count: Count = None
    is_labeled: bool | None = None

    @property
    def is_untouched(self) -> bool:
        """No answer, no draft (``drafts`` has only those of the token's owner), no comment, and no
        person who changed it; a field that is missing says nothing, and so it is touched."""
        return (
            self.total_annotations == self.cancelled_annotations == 0
            and self.annotations == self.drafts == self.annotators == self.updated_by == []
            and self.draft_exists is False
            and not self.comment_count
        )


class ImportAnswer(ServerAnswer):
    """POST .../import of tasks; an asynchronous server names no tasks."""

    task_ids: list[PositiveInt] | None = None
    prediction_count: Count = None


class PredictionsAnswer(ServerAnswer):
    """POST .../import/predictions"""

    created: NonNegativeInt


class ModelVersionCount(ServerAnswer):
    """A line of GET .../model-versions/?extended=true"""

    model_version: str | None = None


class ModelVersions(ServerAnswer):
    """GET .../model-versions/?extended=true; those of live backends are others'."""

    static: list[ModelVersionCount]


class StoredTab(ServerAnswer):
    """A tab in GET or POST /api/dm/views/."""

    id: PositiveInt
    data: dict[str, Any] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Of one of ours, what the marks of its tasks hold; else empty."""
        filters = (self.data or {}).get("filters")
        items = filters.get("items") if isinstance(filters, dict) else None
        values = [item.get("value") for item in items or () if isinstance(item, dict)]
        return tuple(
            value[0]
            for value in values
            if isinstance(value, list) and value and isinstance(value[0], str)
        )


class UploadAnswer(ServerAnswer):
    """POST .../import of files"""

    file_upload_ids: list[PositiveInt]


class Upload(ServerAnswer):
    """A file in GET .../file-uploads"""

    id: PositiveInt
    file: str


class Storage(ServerAnswer):
    """A storage in GET /api/storages/localfiles, s3, gcs or azure"""

    path: str | None = None
    bucket: str | None = None
    container: str | None = None


class Account(ServerAnswer):
    """GET /api/current-user/whoami"""

    email: str


class ListedPerson(ServerAnswer):
    """A line of GET /api/users/"""

    id: PositiveInt
    first_name: str = ""
    last_name: str = ""
    username: str = ""
    email: str = ""

    @property
    def name(self) -> str:
        """As they wrote it themselves, else what they log in with."""
        return f"{self.first_name} {self.last_name}".strip() or self.username or self.email


class Version(ServerAnswer):
    """GET /api/version"""

    edition: str | None = None
