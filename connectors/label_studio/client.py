"""Requests to one server: retries, errors, and answers of the type that was asked for.

Reads are repeated with growing pauses; writes never are (the SDK would, and so doubles tasks).
An answer that was lost on the way back from a write is ``Unknown``, a refusal is ``Rejected``. No
message carries headers or tokens, and no redirect is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, TypeVar, overload

import httpx
import pydantic_core
from pydantic import TypeAdapter
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from connectors.base import Rejected, Unknown, Unreachable
from connectors.label_studio.access import Authorization
from connectors.label_studio.answers import YEARS, Account
from connectors.label_studio.errors import LATER, FailedAt, no_answer, printable, refusal, strange
from connectors.label_studio.http import BoundedClient, Oversized

READ_TIMEOUT = 120.0
WRITE_TIMEOUT = 600.0
PAUSE = 0.5
"""Seconds before a read is repeated; doubled each time."""
RETRY = frozenset({408, 425, 429, 502, 503, 504})
CONTINUES = "it may have been done. The same command finds out and continues"
BOM = b"\xef\xbb\xbf"

T = TypeVar("T")


class Client:
    """One server and one token, of either kind (personal access or legacy)."""

    def __init__(self, url: str, token: str, *, attempts: int = 5) -> None:
        if "@" in url:  # it would stand in every message
            raise Rejected("the server's address holds a user name or password; take it out")
        self.url = url.rstrip("/")
        self._attempts = attempts
        self._http = BoundedClient(READ_TIMEOUT)
        self._authorization = Authorization(self._http, self.url, token)
        self.server_time: datetime | None = None
        """By the Date header of the newest answer."""

    @overload
    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any: ...

    @overload
    def get(self, path: str, params: Mapping[str, Any] | None = None, *, answer: type[T]) -> T: ...

    def get(self, path: str, params: Mapping[str, Any] | None = None, *, answer: Any = Any) -> Any:
        """The answer to a read, of type ``answer``.

        Raises:
            Unreachable: no usable answer after several tries.
            Unauthorized, Mismatch (404), Rejected: the server refused.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(Unreachable),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential_jitter(initial=PAUSE, max=40 * PAUSE, jitter=PAUSE),
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                return self._read(path, params, answer)

    def _read(self, path: str, params: Mapping[str, Any] | None, answer: Any) -> Any:
        request = f"GET {path}"
        try:
            response = self._send("GET", path, params=params)
        except Oversized as error:
            raise Unreachable(strange(self.url, request, error)) from None
        except httpx.HTTPError as error:
            raise no_answer(self.url, error) from None
        if response.status_code in RETRY:
            raise Unreachable(f"{self.url} answered {response.status_code} to {request}")
        self._check(response, request)
        try:
            return _parsed(response, answer)
        except ValueError as error:
            raise Unreachable(strange(self.url, request, error)) from None

    @overload
    def write(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        files: Any = None,
    ) -> Any: ...

    @overload
    def write(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        files: Any = None,
        answer: type[T],
    ) -> T: ...

    def write(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        files: Any = None,
        answer: Any = Any,
    ) -> Any:
        """The answer to a write, which is sent once; of type ``answer``.

        Raises:
            Unreachable: nothing was sent.
            Rejected, Unauthorized, Mismatch: refused, nothing was written.
            Unknown: it may have been written.
        """
        request = f"{method} {path}"
        try:
            response = self._send(
                method, path, params=params, json=json, files=files, timeout=WRITE_TIMEOUT
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise no_answer(self.url, error) from None
        except httpx.HTTPError as error:
            lost = f"no answer to {request} ({type(error).__name__})"
            raise Unknown(f"{lost}; {CONTINUES}") from None
        if response.status_code in LATER:
            raise Unknown(f"{self.url} answered {response.status_code} to {request}; {CONTINUES}")
        self._check(response, request)
        try:
            return _parsed(response, answer)
        except ValueError as error:
            raise Unknown(f"{strange(self.url, request, error)} The write: {CONTINUES}") from None

    def fetch(self, path: str, params: Mapping[str, Any] | None = None) -> httpx.Response:
        """The answer to a GET that is no JSON, whatever its status below 500; reads are repeated.

        Args:
            path: below the server's address.

        Raises:
            Unreachable: no usable answer after several tries.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(Unreachable),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential_jitter(initial=PAUSE, max=40 * PAUSE, jitter=PAUSE),
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                return self._fetch_once(path, params)
        raise AssertionError("a retrying ends by an answer or an error")

    def _fetch_once(self, path: str, params: Mapping[str, Any] | None) -> httpx.Response:
        try:
            response = self._send("GET", path, params=params)
        except Oversized as error:
            raise Rejected(f"{self.url}{path} is too large ({error})") from None
        except httpx.HTTPError as error:
            raise no_answer(self.url, error) from None
        if response.status_code >= 500 or response.status_code in RETRY:
            failure = FailedAt if response.status_code == 500 else Unreachable
            raise failure(f"{self.url} answered {response.status_code} to GET {path}")
        return response

    def whoami(self) -> str:
        """E-mail address of the account that the token is for."""
        return printable(self.get("/api/current-user/whoami", answer=Account).email)

    def close(self) -> None:
        """Gives connections back."""
        self._http.close()

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request; a 401 is tried once more with a newly made access token."""
        for renew in (False, True):
            response = self._http.request(
                method,
                f"{self.url}{path}",
                headers=self._authorization.header(renew=renew),
                **options,
            )
            if response.status_code != 401:
                break
        self.server_time = _date(response)
        return response

    def _check(self, response: httpx.Response, request: str) -> None:
        """Raises the error that the status code stands for."""
        code, location = response.status_code, response.headers.get("Location")
        if not 200 <= code < 300:
            raise refusal(self.url, request, code, location, response.content)


@cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)


def _date(response: httpx.Response) -> datetime | None:
    try:
        time = parsedate_to_datetime(response.headers.get("Date", ""))
    except (ValueError, OverflowError):
        return None
    return time if time.tzinfo and time.year in YEARS else None


def _parsed(response: httpx.Response, answer: Any) -> Any:
    """The body as JSON of the type asked for. Raises ValueError."""
    if not response.content and answer is Any:
        return None
    value = pydantic_core.from_json(response.content.removeprefix(BOM), allow_inf_nan=False)
    return _adapter(answer).validate_python(value)
