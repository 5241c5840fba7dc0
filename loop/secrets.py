"""Secrets: the Label Studio token, from the environment or a file only its owner can read, nowhere
else; and addresses, which hold none."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from loop.errors import ConfigError

VARIABLE = "LABEL_STUDIO_API_KEY"
FILE = ".label-studio-token"
SECRETS = (VARIABLE, "PGPASSWORD")
"""Variables that only this process needs."""


def origin(root: Path) -> str:
    """Where the token would come from, in words; never the token."""
    if os.environ.get(VARIABLE, "").strip():
        return "token set"
    return "token from file" if (root / FILE).is_file() else "no token"


def label_studio_token(root: Path) -> str:
    """The token.

    Raises:
        ConfigError: there is none, it is none, or its file is open to others.
    """
    token = os.environ.get(VARIABLE, "").strip()
    if token:
        return _plain(token, VARIABLE)
    file = root / FILE
    if not file.is_file():
        raise ConfigError(
            f"no Label Studio token; set {VARIABLE} in the environment (Label Studio: Account & "
            f"Settings, Personal Access Token), or write it to {file} with mode 600"
        )
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ConfigError(f"{file} can be read by others; type: chmod 600 {quote(str(file))}")
    return _plain(file.read_text(encoding="utf-8", errors="replace").strip(), str(file))


def check_address(url: str, setting: str) -> None:
    """Raises ConfigError if an address carries a user name or password; the message shows neither.

    Args:
        setting: where the address stands.
    """
    if "@" in url:
        raise ConfigError(
            f"{setting} holds a user name or password before an '@'; take it out of the address, "
            "and change that password: the records forget it when they are opened next, older "
            f"reports and backups do not. The token comes from {VARIABLE} or the file {FILE}"
        )


def check_bucket(address: str) -> None:
    """Raises ConfigError if the address of a bucket carries a password; the message does not."""
    if re.search(r"://[^/@]*:[^/@]*@", address):
        raise ConfigError(
            "the address of the images holds a password, which would stand in records and backups; "
            "take it out: credentials are found where the bucket's own command line finds them"
        )


def shown_address(url: str) -> str:
    """An address as it may be printed: without all that stands before its last ``@``."""
    if "@" not in url:
        return url
    return f"...@{url.rpartition('@')[2]}"


def _plain(token: str, where: str) -> str:
    """The token, if a header can carry it. Raises ConfigError, without the token."""
    if not token or not all("!" <= letter <= "~" for letter in token):
        raise ConfigError(
            f"what {where} holds is no token: those are ASCII without spaces or quotes around; "
            "copy it anew (Label Studio: Account & Settings, Personal Access Token)"
        )
    return token


@contextmanager
def without_secrets() -> Iterator[None]:
    """No secret of ours stands in the environment that processes started in this block inherit."""
    held = {name: os.environ.pop(name) for name in SECRETS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(held)
