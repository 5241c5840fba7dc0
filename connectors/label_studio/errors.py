"""Our errors for what a server does; its words are shown short, without control characters."""

from __future__ import annotations

from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx
import pydantic_core
from pydantic import ValidationError

from connectors.base import ConnectorError, Mismatch, Rejected, Unauthorized, Unreachable

PLAIN_ANSWERS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "record layer", "HTTP_REQUEST")
"""In what OpenSSL says of a server that answered a handshake in plain HTTP."""
TO_TLS = b"plain HTTP request was sent to"
"""In what a server with TLS answers to plain HTTP (nginx, Apache)."""
UNKNOWN_HOST = (
    "Name or service not known",
    "nodename nor servname",
    "name resolution",
    "getaddrinfo",
)
"""In what operating systems say of a host that nobody knows."""
LATER = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes after which the same request may succeed, and may have been carried out."""
PRIVATE = b"reserved network address"
"""In what Label Studio says of an address that it may not call."""
MOST_SHOWN = 400
"""Characters of a server's own words that a message holds."""
TOKEN_HELP = (
    "make a new personal access token in Label Studio (Account & Settings) and set it in "
    "LABEL_STUDIO_API_KEY; legacy tokens work only where the organization allows them"
)


class FailedAt(Unreachable):
    """The server answered 500, several times: it may fail at this address alone."""


class PrivateNetwork(Rejected):
    """The server may not call us."""


class UnusableProxy(ConnectorError):
    """The environment names a proxy in a way that no client understands."""

    exit_code = 2


def unusable_proxy(error: Exception) -> UnusableProxy:
    """Which variable is odd. What is odd about it is not repeated: it may be part of a password."""
    if isinstance(error, ImportError):
        return UnusableProxy(
            "the environment names a SOCKS proxy; type pip install 'httpx[socks]', or name one "
            "that speaks http in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
        )
    odd = [f"{kind}_proxy" for kind, proxy in getproxies().items() if _is_odd(kind, proxy)]
    if not odd:
        return UnusableProxy(
            "NO_PROXY holds something that is no host (an IPv6 address is written without "
            "brackets there); write e.g. NO_PROXY=localhost,127.0.0.1,.example.org"
        )
    return UnusableProxy(
        f"{odd[0].upper()} (or {odd[0]}) in the environment is no address of a proxy; write e.g. "
        "http://user:password@proxy.example.org:3128, with signs such as / # @ of a password as "
        "%2F %23 %40"
    )


def _is_odd(kind: str, proxy: str) -> bool:
    """Whether the client takes no such proxy."""
    if kind == "no":
        return False
    try:
        httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
    except (httpx.InvalidURL, ValueError):
        return True
    return False


def printable(text: str) -> str:
    """The text, short, with control characters written out: a terminal would obey them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:MOST_SHOWN])


def no_answer(url: str, error: Exception) -> Unreachable:
    """Nobody answered, and nothing was done."""
    text = str(error)
    proxy, plain = proxy_of(url), any(words in text for words in PLAIN_ANSWERS)
    if plain and proxy:
        return Unreachable(
            f"the proxy {shown_proxy(proxy)} speaks http, not https; its address in HTTPS_PROXY or "
            "ALL_PROXY begins with http://, for servers with https too. Nothing is lost"
        )
    if url.startswith("https:") and plain:
        return Unreachable(
            f"the server at {url} speaks http, not https; set url under [labeler] (or "
            f"LABEL_STUDIO_URL) to http{url.removeprefix('https')}"
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return Unreachable(
            f"the certificate of {url} is not trusted ({_after_colon(text)}); if it is your own "
            "authority's, set SSL_CERT_FILE to a file with that authority's certificate"
        )
    if proxy:
        return Unreachable(
            f"no answer from Label Studio at {url} by way of the proxy {shown_proxy(proxy)} "
            f"({type(error).__name__}); the proxy comes from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, "
            "and NO_PROXY names the hosts that need none. Nothing is lost, repeat the command later"
        )
    if any(words in text for words in UNKNOWN_HOST):
        return Unreachable(
            f"no host is called {httpx.URL(url).host} here; check url under [labeler] (or "
            "LABEL_STUDIO_URL), and whether the network is there. Nothing is lost"
        )
    if url.startswith("http:") and isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return Unreachable(
            f"the server at {url} ends the connection without an answer ({type(error).__name__}); "
            f"if it speaks https, set url under [labeler] (or LABEL_STUDIO_URL) to "
            f"https{url.removeprefix('http')}. Nothing is lost, repeat the command later"
        )
    return Unreachable(
        f"no answer from Label Studio at {url} ({type(error).__name__}); is it running? "
        "Nothing is lost, repeat the command later"
    )


def proxy_of(url: str) -> str:
    """The proxy that the environment names for an address; empty where it names none."""
    parts = httpx.URL(url)
    proxies = getproxies()
    if not proxies or proxy_bypass(parts.host):
        return ""
    return proxies.get(parts.scheme) or proxies.get("all") or ""


def shown_proxy(proxy: str) -> str:
    """Its address without user and password."""
    return printable(proxy.rpartition("@")[2].rpartition("//")[2])


def _after_colon(text: str) -> str:
    """The reason in what OpenSSL says of a certificate."""
    reason = text.rpartition("certificate verify failed:")[2].partition("(_ssl")[0]
    return printable(reason.strip() or "certificate verify failed")


def moved(url: str, request: str, location: str | None) -> Rejected:
    """A redirect, which is never followed."""
    path = request.partition(" ")[2].partition("?")[0]
    target = (location or "").partition("?")[0]
    if path and target.startswith("http") and target.rstrip("/").endswith(path.rstrip("/")):
        behind = printable(target.rstrip("/").removesuffix(path.rstrip("/")))
        return Rejected(
            f"{url} sends {request} on to {printable(location or '')}; set url under [labeler] (or "
            f"LABEL_STUDIO_URL) to {behind}"
        )
    return Rejected(
        f"{url} sends {request} on to {printable(location or 'elsewhere')}; "
        "set url under [labeler] to the address behind the redirect"
    )


def strange(url: str, request: str, error: Exception) -> str:
    """A sentence about an answer that is none of Label Studio's."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    elif isinstance(error, ValueError):
        reason = f"no JSON: {error}"
    else:
        reason = str(error)
    return (
        f"{url} answered {request} with something that Label Studio never says "
        f"({printable(reason)}); is it Label Studio?"
    )


def refusal(url: str, request: str, code: int, location: str | None, body: bytes) -> ConnectorError:
    """What a status code beyond 299 stands for."""
    if code == 400 and url.startswith("http:") and TO_TLS.lower() in body.lower():
        return Rejected(
            f"the server at {url} speaks https, not http; set url under [labeler] (or "
            f"LABEL_STUDIO_URL) to https{url.removeprefix('http')}"
        )
    if code == 403 and PRIVATE in body:
        return PrivateNetwork(
            f"Label Studio at {url} calls no address in private networks, so that it cannot reach "
            "coreloop; start it with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false to "
            "allow that"
        )
    if code == 407:
        return Unauthorized(
            f"the proxy {shown_proxy(proxy_of(url))} answered 407 to {request}: it wants a user "
            "name and password, or others; write them into HTTP_PROXY, HTTPS_PROXY or ALL_PROXY as "
            "http://user:password@host:port, or the server's host into NO_PROXY"
        )
    if code in (401, 403):
        return Unauthorized(f"{url} answered {code} to {request}; {TOKEN_HELP}")
    if 300 <= code < 400:
        return moved(url, request, location)
    if code == 404:
        return Mismatch(
            f"{url} knows nothing at {request}: the project was deleted, or this token may not "
            "see it"
        )
    if 400 <= code < 500:
        return Rejected(f"{url} refused {request} ({code}): {_explanation(body)}")
    return Unreachable(f"{url} failed with {code} at {request}; look at its log")


def _explanation(body: bytes) -> str:
    """The server's own, out of its JSON."""
    try:
        answer: Any = pydantic_core.from_json(body)
    except ValueError:
        return "no reason given"
    if isinstance(answer, dict):
        answer = answer.get("validation_errors") or answer.get("detail") or answer
    return printable(str(answer))
