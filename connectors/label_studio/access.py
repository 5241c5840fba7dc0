"""The Authorization header. A legacy token is sent as it is; a personal access token (a JWT) only
buys access tokens, which live five minutes.

No claim of any token is read: an access token is renewed by its age, and once more after a 401.
"""

from __future__ import annotations

import time
from typing import Any

import httpx

from connectors.base import Rejected, Unauthorized, Unreachable

RENEW_SECONDS = 240.0
"""Age at which an access token is renewed; the server accepts it for 300 seconds."""
LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes after which the same request may succeed, and may have been carried out."""
TOKEN_HELP = (
    "make a new personal access token in Label Studio (Account & Settings) and set it in "
    "LABEL_STUDIO_API_KEY; legacy tokens work only where the organization allows them"
)
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
        access = answer.access
        if not isinstance(access, str) or not access.isascii() or not access.isprintable():
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


def no_answer(url: str, error: Exception) -> Unreachable:
    """The error for a request that nobody answered and that did nothing."""
    return Unreachable(
        f"no answer from Label Studio at {url} ({type(error).__name__}); is it running? "
        "Nothing is lost, repeat the command later"
    )


def moved(url: str, request: str, location: str | None) -> Rejected:
    """The error for a redirect, which is never followed."""
    return Rejected(
        f"{url} sends {request} on to {location or 'elsewhere'}; "
        "set url under [labeler] to the address behind the redirect"
    )
