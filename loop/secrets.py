"""Secrets: the Label Studio token, from the environment or a file only its owner can read, nowhere
else; and addresses, which hold none."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from loop.errors import ConfigError

VARIABLE = "LABEL_STUDIO_API_KEY"
FILE = ".label-studio-token"
SERVICE_VARIABLE = "CORELOOP_SERVE_SECRET"
SERVICE_FILE = ".coreloop-serve-secret"
SHORTEST = 16
"""Characters of a secret that people choose for the service."""
SECRETS = (VARIABLE, SERVICE_VARIABLE, "PGPASSWORD")
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


def service_secret(root: Path) -> str:
    """The password that Label Studio gives ``coreloop serve``: from the environment, else from a
    file that only its owner can read, made at first use.

    Raises:
        ConfigError: it is too short or none, or its file is open to others.
    """
    chosen = os.environ.get(SERVICE_VARIABLE, "").strip()
    file = root / SERVICE_FILE
    if not chosen:
        _make_secret(file)
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigError(f"{file} can be read by others; type: chmod 600 {quote(str(file))}")
        chosen = file.read_text(encoding="utf-8", errors="replace").strip()
    where = SERVICE_VARIABLE if os.environ.get(SERVICE_VARIABLE, "").strip() else str(file)
    if len(chosen) < SHORTEST or not all("!" <= letter <= "~" for letter in chosen):
        raise ConfigError(
            f"what {where} holds is no secret: at least {SHORTEST} ASCII characters without "
            "spaces; remove it to have one made"
        )
    return chosen


def webhook_secret(secret: str) -> str:
    """What webhooks say, made of the service's secret: members of an organization can read the
    headers of webhooks, and must not learn the password by it."""
    return hashlib.blake2b(b"webhook", key=secret.encode()[:64], digest_size=24).hexdigest()


def _make_secret(file: Path) -> None:
    """Writes a new one, unless there is a file."""
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(number, "w") as made:
        made.write(f"{secrets.token_urlsafe(32)}\n")


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
