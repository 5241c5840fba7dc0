"""Pictures as the labelling page gets them: from the server's own disk, out of a storage that the
server knows how to open, or from another server. The token goes to Label Studio alone."""

from __future__ import annotations

import base64
from urllib.parse import quote, unquote, urlsplit

import httpx

from connectors.base import SourceError
from connectors.files import MAX_BYTES
from connectors.label_studio.client import READ_TIMEOUT, Client
from connectors.label_studio.http import BoundedClient, Oversized

STORED = ("s3://", "gs://", "azure-blob://", "azure-spi://", "redis://")
"""Addresses that the server resolves by one of the project's storages."""
OWN = "/data/"
"""What lies below is the server's: uploads and local files."""
MOST_MOVES = 3
"""Redirects of other servers that are followed."""


class Pictures:
    """Reads what stands in tasks.

    Args:
        client: the server and its token.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.prefix = path_of(client.url)
        self._others = BoundedClient(READ_TIMEOUT)

    def read(self, address: str, task: int = 0, project: int = 0) -> bytes:
        """Encoded bytes of a picture.

        Args:
            address: as it stands in the task's data.
            task, project: whose storages open an address such as ``s3://``; one of them.

        Raises:
            SourceError: it cannot be had; says why.
            Unreachable: nobody answered, several times.
        """
        if address.startswith(STORED):
            return self._stored(address, task, project)
        own = self._own(address)
        if own is not None:
            return _checked(self.client.fetch(own), address)
        if address.startswith(("http://", "https://")):
            return self._elsewhere(address)
        raise SourceError("is no address of an image that can be read")

    def is_own(self, address: str) -> bool:
        """Whether the server itself has it: an upload or a local file."""
        return self._own(address) is not None

    def _own(self, address: str) -> str | None:
        """The path below the server's address, where it is the server's own."""
        for start in (self.client.url, self.prefix, ""):
            path = address.removeprefix(start)
            if address.startswith(start) and path.startswith(OWN) and ".." not in unquote(path):
                return path
        return None

    def _stored(self, address: str, task: int, project: int) -> bytes:
        """By way of the server, which opens the storage itself or names an address signed for a
        while."""
        owner = f"tasks/{task}" if task else f"projects/{project}"
        encoded = base64.urlsafe_b64encode(address.encode()).decode()
        answer = self.client.fetch(f"/{owner}/resolve/", {"fileuri": encoded})
        if answer.status_code == 404:
            raise SourceError("no storage of the project opens it (Settings, Cloud Storage)")
        if answer.is_redirect:
            return self._elsewhere(answer.headers["location"])
        return _checked(answer, address)

    def _elsewhere(self, address: str) -> bytes:
        """From another server, without the token."""
        shown = urlsplit(address).netloc.rpartition("@")[2]
        for _ in range(MOST_MOVES + 1):
            try:
                answer = self._others.get(address)
            except Oversized as error:
                raise SourceError(f"too large ({error})") from None
            except httpx.HTTPError as error:
                raise SourceError(f"{shown} does not answer ({type(error).__name__})") from None
            if not answer.is_redirect:
                return _checked(answer, f"at {shown}")
            address = str(httpx.URL(address).join(answer.headers["location"]))
        raise SourceError(f"{shown} sends on without an end")


def path_of(url: str) -> str:
    """The path that a server lies under, without a slash at its end; empty at the root."""
    return quote(urlsplit(url).path.rstrip("/"), safe="/%")


def _checked(answer: httpx.Response, address: str) -> bytes:
    if answer.status_code != 200:
        raise SourceError(f"the server answers {answer.status_code}")
    if len(answer.content) > MAX_BYTES:
        raise SourceError(f"larger than {MAX_BYTES // 1_000_000} MB")
    return answer.content
