"""The Authorization header. A legacy token is sent as it is; a personal access token (a JWT) only
buys access tokens, which live five minutes.

No claim of any token is read: an access token is renewed by its age, and once more after a 401.
"""

from __future__ import annotations

import re
import time
from typing import Any

import httpx

from connectors.base import Rejected, Unauthorized, Unreachable
from connectors.label_studio.errors import TOKEN_HELP, moved, no_answer

RENEW_SECONDS = 240.0
"""Age at which an access token is renewed; the server accepts it for 300 seconds."""
TOKEN = re.compile(r"[!-~]{1,10000}")
UNSIGNED = "none"
"""Stands where the SDK wants a key: the exchange of a token is not signed with any."""


class Authorization:
    """Makes the header for one token, of either kind.

    Args:
        http: follows no redirect, so that no token reaches another server.
    """

    def __init__(self, http: httpx.Client, url: str, token: str) -> None:
        self._http, self._url, self._token = http, url, token
        self._access = ""
        self._renewed = 0.0

    def header(self, *, renew: bool) -> dict[str, str]:
        """The header; with ``renew`` from a newly made access token.

        Raises:
            Unauthorized: the server does not accept the token.
            Rejected: the server sends the exchange on to another address.
            Unreachable: no usable answer to the exchange.
        """
        if self._token.count(".") != 2:
            return {"Authorization": f"Token {self._token}"}
        age = time.monotonic() - self._renewed
        if renew or not self._access or age > RENEW_SECONDS:
            self._access = self._exchange()
            self._renewed = time.monotonic()
        return {"Authorization": f"Bearer {self._access}"}

    def _exchange(self) -> str:
        """A new access token, by the SDK's public call."""
        from label_studio_sdk import LabelStudio
        from label_studio_sdk.core.api_error import ApiError

        sdk = LabelStudio(base_url=f"{self._url}/", api_key=UNSIGNED, httpx_client=self._http)
        try:
            answer: Any = sdk.tokens.refresh(
                refresh=self._token, request_options={"max_retries": 0}
            )
        except ApiError as error:
            raise self._refusal(error) from None
        except httpx.HTTPError as error:
            raise no_answer(self._url, error) from None
        except (ValueError, TypeError, RecursionError):  # its models check nothing
            answer = None
        access = getattr(answer, "access", None)
        if not isinstance(access, str) or not TOKEN.fullmatch(access):
            raise Unreachable(f"{self._url} answered the token with something that is no token")
        return access

    def _refusal(self, error: Any) -> Unauthorized | Rejected | Unreachable:
        """Our error for the SDK's, whose text holds headers and is never used."""
        code = int(error.status_code or 0)
        if code in (400, 401, 403):
            return Unauthorized(f"{self._url} does not accept the token; {TOKEN_HELP}")
        if 300 <= code < 400:
            return moved(self._url, "the token", (error.headers or {}).get("location"))
        return Unreachable(f"{self._url} answered {code} to the token; repeat the command later")
