"""Ways for the browser to get a picture: uploaded, from the server's disk, out of a bucket that the
server opens, or by URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import httpx

from connectors.base import ItemToLabel, Rejected, SourceError, Unknown, Unreachable
from connectors.label_studio.answers import Storage, Upload, UploadAnswer
from connectors.label_studio.client import Client
from connectors.label_studio.pictures import Pictures, path_of

UPLOADS = 50
"""Files per request; the server refuses more than 100."""
UPLOAD_BYTES = 100 * 2**20
"""Bytes per request, more only for a single file; the server breaks off beyond 250 MiB."""
SEVERAL_FIELDS = "more than one data key"
"""In what the server says of files for a label config that shows other fields too."""
SHOWN = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
"""What every browser shows."""
CLOUDS = {
    "s3": ("s3", "s3", "bucket"),
    "gs": ("gs", "gcs", "bucket"),
    "gcs": ("gs", "gcs", "bucket"),
    "az": ("azure-blob", "azure", "container"),
    "azure-blob": ("azure-blob", "azure", "container"),
}
"""Scheme -> that of addresses in tasks, the server's kind of storage, its field for the bucket."""
File = tuple[str, bytes]
"""Name and bytes."""


class Serving(Protocol):
    """Gives each item the address that goes into its task."""

    def addresses(self, client: Client, project: int, items: Sequence[ItemToLabel]) -> list[str]:
        """One address per item, in order; what has to be stored is stored now."""
        ...


class Uploaded:
    """Sends the bytes; works with any server. Uploading twice wastes space, nothing else."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self.read, self._tried = read, False

    def addresses(self, client: Client, project: int, items: Sequence[ItemToLabel]) -> list[str]:
        addresses: dict[str, str] = {}
        waiting: list[File] = []
        for item in items:
            file = f"{item.key}{_suffix(item.uri)}", self.read(item.uri)
            size = len(file[1]) + sum(len(data) for _, data in waiting)
            if waiting and (len(waiting) == UPLOADS or size > UPLOAD_BYTES):
                addresses |= self._upload(client, project, waiting)
                waiting = []
            waiting.append(file)
        if waiting:
            addresses |= self._upload(client, project, waiting)
        missing = [item.uri for item in items if item.key not in addresses]
        if missing:
            raise Rejected(f"the server did not keep {len(missing)} uploads, e.g. {missing[0]}")
        return [addresses[item.key] for item in items]

    def _sent(self, client: Client, project: int, files: list[File]) -> UploadAnswer:
        """The server's answer. Raises Rejected: it takes no files for this label config, ..."""
        try:
            return client.write(
                "POST",
                f"/api/projects/{project}/import",
                # one form field per file: of several under one name the server keeps only the last
                files={f"f{i}": file for i, file in enumerate(files)},
                params={"commit_to_project": "false"},
                answer=UploadAnswer,
            )
        except Rejected as error:
            if SEVERAL_FIELDS not in str(error):
                raise
            raise Rejected(
                f"the label config of project {project} shows several fields of a task, and Label "
                "Studio takes uploaded pictures only where it shows one; take the others out of "
                "it, or set images = 'local' or 'url' under [labeler]"
            ) from None

    def _upload(self, client: Client, project: int, files: list[File]) -> dict[str, str]:
        """One request; item key -> address."""
        ids = self._sent(client, project, files).file_upload_ids
        listed = client.get(
            f"/api/projects/{project}/file-uploads",
            {"ids": str(ids).replace(" ", "")},
            answer=list[Upload],
        )
        stored = {upload.id: upload.file for upload in listed}
        addresses = {}
        for id_, (name, _) in zip(ids, files, strict=False):
            if not stored.get(id_, "").endswith(f"-{name}"):  # upload/<project>/<random>-<name>
                raise Unreachable(f"{client.url} names the files sent to it otherwise; try again")
            address = f"{path_of(client.url)}/data/{stored[id_]}"
            addresses[name.partition(".")[0]] = address
        if not self._tried:
            _check_served(client, next(iter(addresses.values()), ""))
            self._tried = True
        return addresses


class OnDisk:
    """The server reads its own disk: LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED must be true, and
    ``root`` its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""

    def __init__(self, root: Path, images: Path) -> None:
        self.root, self.images = root.resolve(), images.resolve()
        self._tried = False

    def addresses(self, client: Client, project: int, items: Sequence[ItemToLabel]) -> list[str]:
        if not self.images.is_relative_to(self.root) or self.images == self.root:
            raise Rejected(
                f"the images ({self.images}) must lie in a folder below the server's document "
                f"root ({self.root}); or set images = 'upload' under [labeler]"
            )
        _check_formats(items)
        absent = [item.uri for item in items if not (self.images / item.uri).is_file()]
        if absent:
            raise Rejected(
                f"{absent[0]!r} is no file in {self.images} ({len(absent)} such images), so nobody "
                "would see it; set images = 'upload' under [labeler]"
            )
        self._allow(client, project)
        below = self.images.relative_to(self.root)
        start = f"{path_of(client.url)}/data/local-files/?d="
        addresses = [f"{start}{quote(str(below / item.uri))}" for item in items]
        if addresses and not self._tried:
            _check_served(client, addresses[0])
            self._tried = True
        return addresses

    def _allow(self, client: Client, project: int) -> None:
        """The server hands out files only below the path of some storage of the project; the
        storage is never synchronised, since that would make tasks of its own."""
        path, params = "/api/storages/localfiles", {"project": project}
        storages = client.get(path, params, answer=list[Storage])
        if not any(storage.path == str(self.images) for storage in storages):
            client.write(
                "POST",
                "/api/storages/localfiles",
                {
                    "project": project,
                    "path": str(self.images),
                    "title": "coreloop images",
                    "use_blob_urls": True,
                    "regex_filter": ".*",
                },
            )


class InBucket:
    """Addresses in a bucket, which the server makes presigned ones of, by a storage of the project.
    The storage has the server's own credentials: ours are never sent. It is never synchronised,
    since that would make tasks of its own.

    Args:
        base: ``s3://bucket/photos``, ``gs://`` or ``az://``.
    """

    def __init__(self, base: str) -> None:
        scheme, _, place = base.partition("://")
        self.scheme, self.kind, self.field = CLOUDS[scheme]
        self.bucket, _, prefix = place.strip("/").partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self._tried = False

    def addresses(self, client: Client, project: int, items: Sequence[ItemToLabel]) -> list[str]:
        _check_formats(items)
        if items and not self._tried:
            self._allow(client, project)
            self._tried = True
        return [f"{self.scheme}://{self.bucket}/{self.prefix}{item.uri}" for item in items]

    def _allow(self, client: Client, project: int) -> None:
        """Raises Rejected where the project has no storage of the bucket and none can be made."""
        if self._is_allowed(client, project):
            return
        storage = {
            "project": project,
            self.field: self.bucket,
            "title": "coreloop images",
            "use_blob_urls": True,
            "presign": True,
        }
        try:
            client.write("POST", f"/api/storages/{self.kind}", storage)
        except (Rejected, Unknown):  # 500 where the server has no credentials of its own
            if self._is_allowed(client, project):
                return
            raise Rejected(
                f"nobody would see the images: the project has no storage of {self.bucket!r}, and "
                "the server cannot open it with credentials of its own. Add a source storage at "
                f"{client.url}/projects/{project}/settings/storage (no sync is needed), or set "
                "images = 'upload' under [labeler]"
            ) from None

    def _is_allowed(self, client: Client, project: int) -> bool:
        storages = client.get(
            f"/api/storages/{self.kind}", {"project": project}, answer=list[Storage]
        )
        return any(self.bucket in (storage.bucket, storage.container) for storage in storages)


class ByUrl:
    """Addresses (http, ...) as they are, or below ``base``. Without CORS headers from an
    image server the browser shows nothing, and people could still press a choice: so the first
    address is tried as the browser would."""

    def __init__(self, base: str = "") -> None:
        self.base, self._tried = base.rstrip("/"), False

    def addresses(self, client: Client, project: int, items: Sequence[ItemToLabel]) -> list[str]:
        _check_formats(items)
        addresses = [self._address(item.uri) for item in items]
        if addresses and addresses[0].startswith("http") and not self._tried:
            _check_shows(addresses[0], client.url)
            self._tried = True
        return addresses

    def _address(self, uri: str) -> str:
        if "://" in uri:
            return uri
        if not self.base:
            raise Rejected(
                f"{uri!r} is no URL; set url_base under [labeler] to where the folder is served, "
                "or images = 'upload'"
            )
        return f"{self.base}/{quote(uri)}"


def _check_served(client: Client, address: str) -> None:
    """Raises Rejected if the page would not get the first picture from the server."""
    try:
        Pictures(client).read(address)
    except SourceError as error:
        raise Rejected(
            f"nobody would see the images: {client.url} does not hand out {address} ({error}). "
            "Look at LABEL_STUDIO_HOST and local-file serving of the server, and at url under "
            "[labeler]"
        ) from None


def _check_shows(address: str, page: str) -> None:
    """Raises Rejected if the server answers and a page at ``page`` may not show the image. Where
    nobody answers it may still be that the annotators' browsers get there."""
    try:
        with httpx.stream("GET", address, headers={"Origin": page}, timeout=10) as answer:
            allowed = answer.headers.get("Access-Control-Allow-Origin", "")
            code = answer.status_code
    except httpx.HTTPError:
        return
    if code >= 400:
        raise Rejected(f"{address} answers {code}, so nobody would see it; check url_base")
    if allowed not in ("*", page) and not address.startswith(page + "/"):
        raise Rejected(
            f"{address} sends no Access-Control-Allow-Origin header, so the browser would show no "
            "image; let the image server send it, or set images = 'upload' under [labeler]"
        )


def _suffix(uri: str) -> str:
    suffix = Path(uri).suffix.lower()
    return suffix if suffix in SHOWN else ".png"


def _check_formats(items: Sequence[ItemToLabel]) -> None:
    """Raises Rejected where the browser itself would have to read a TIFF."""
    wrong = [i.uri for i in items if Path(i.uri).suffix.lower() in {".tif", ".tiff"}]
    if wrong:
        raise Rejected(
            f"no browser shows {wrong[0]} ({len(wrong)} such images); set images = 'upload' under "
            "[labeler], which sends them as PNG"
        )
