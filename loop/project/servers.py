"""Where the Label Studio server is."""

from __future__ import annotations

import os
import re

from loop.errors import ConfigError

PAGE = (
    r"(https?://[^/?#]+[^?#]*?)/(projects(/\d+[^?#]*)?|user/(login|account|signup)[^?#]*|organization)"
    r"/?([?#].*)?$"
)
"""A page of Label Studio, behind the server's own address."""


def label_studio_url(configured: str) -> str:
    """The server's address: environment before file, as ``status`` prints.

    Raises:
        ConfigError: neither is set, it is no address, or it holds a password.
    """
    import httpx

    from loop.secrets import check_address

    url = os.environ.get("LABEL_STUDIO_URL") or configured
    check_address(url, "the address in LABEL_STUDIO_URL")
    if not url:
        raise ConfigError(
            "no Label Studio address; set url under [labeler] (--url of 'coreloop init') or "
            "LABEL_STUDIO_URL in the environment, e.g. http://127.0.0.1:8080"
        )
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ConfigError(
            f"{url!r} is no Label Studio address; set url under [labeler] or LABEL_STUDIO_URL in "
            "the environment to one like http://127.0.0.1:8080"
        )
    if server := server_of_page(url):
        raise ConfigError(
            f"{url} is the address of a page; set url under [labeler] (or LABEL_STUDIO_URL) to "
            f"the server's own: {server}"
        )
    return url


def server_of_page(url: str) -> str:
    """The server's address where ``url`` is that of one of its pages; else empty."""
    page = re.match(PAGE, url)
    if page:
        return page[1]
    return re.split(r"[?#]", url)[0].rstrip("/") if re.search(r"[?#]", url) else ""
