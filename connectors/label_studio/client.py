"""Requests to one server: retries and errors.

Reads are repeated with growing pauses; writes never are (the SDK would, and so doubles tasks).
An answer that was lost on the way back from a write is ``Unknown``, a refusal is ``Rejected``. No
message carries headers or tokens, and no redirect is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from connectors.base import Mismatch, Rejected, Unauthorized, Unknown, Unreachable
from connectors.label_studio.access import LATER, TOKEN_HELP, Authorization, moved, no_answer

READ_TIMEOUT = 120.0
WRITE_TIMEOUT = 600.0
PAUSE = 0.5
"""Seconds before a read is repeated; doubled each time."""
RETRY = frozenset({408, 425, 429, 502, 503, 504})


class Client:
    """One server and one token, of either kind (personal access or legacy)."""

    def __init__(self, url: str, token: str, *, attempts: int = 5) -> None:
        self.url = url.rstrip("/")
        self._attempts = attempts
        self._http = httpx.Client(timeout=httpx.Timeout(READ_TIMEOUT, connect=10.0))
        self._authorization = Authorization(self._http, self.url, token)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """JSON answer of a read.

        Raises:
            Unreachable: no useful answer after several tries.
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
                return self._read(path, params)

    def _read(self, path: str, params: Mapping[str, Any] | None) -> Any:
        try:
            response = self._send("GET", path, params=params)
        except httpx.HTTPError as error:
            raise no_answer(self.url, error) from None
        if response.status_code in RETRY:
            raise Unreachable(f"{self.url} answered {response.status_code} to GET {path}")
        return self._json(response, f"GET {path}")

    def write(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        files: Any = None,
    ) -> Any:
        """JSON answer of a write, sent once.

        Raises:
            Unreachable: nothing was sent.
            Rejected, Unauthorized, Mismatch: refused, nothing was written.
            Unknown: it may have been written.
        """
        try:
            response = self._send(
                method, path, params=params, json=json, files=files, timeout=WRITE_TIMEOUT
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise no_answer(self.url, error) from None
        except httpx.HTTPError as error:
            raise Unknown(
                f"no answer to {method} {path} ({type(error).__name__}); it may have been done. "
                "The same command finds out and continues"
            ) from None
        if response.status_code in LATER:
            raise Unknown(
                f"{self.url} answered {response.status_code} to {method} {path}; it may have been "
                "done. The same command finds out and continues"
            )
        return self._json(response, f"{method} {path}")

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
        return response

    def _json(self, response: httpx.Response, request: str) -> Any:
        code = response.status_code
        if code in (401, 403):
            raise Unauthorized(f"{self.url} answered {code} to {request}; {TOKEN_HELP}")
        if 300 <= code < 400:
            raise moved(self.url, request, response.headers.get("Location"))
        if code == 404:
            raise Mismatch(
                f"{self.url} knows nothing at {request}: the project was deleted, or this token "
                "may not see it"
            )
        if code == 500 or code >= 502:
            raise Unreachable(f"{self.url} failed with {code} at {request}; look at its log")
        if code >= 400:
            raise Rejected(f"{self.url} refused {request} ({code}): {_detail(response)}")
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise Unreachable(
                f"{self.url} answered {request} with something that is no JSON; is it Label Studio?"
            ) from None


def _detail(response: httpx.Response) -> str:
    """The server's own explanation, short."""
    try:
        body = response.json()
    except ValueError:
        return response.reason_phrase
    if isinstance(body, dict):
        return str(body.get("validation_errors") or body.get("detail") or body)[:400]
    return str(body)[:400]
