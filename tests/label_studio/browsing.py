"""A real browser in front of Label Studio, signed in, that asks nobody else for anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SHOWN = (
    "() => { const i=[...document.querySelectorAll('.lsf-image img[alt=\"image\"]')].pop();"
    " return i && i.complete && i.naturalWidth ? [i.naturalWidth, i.naturalHeight] : null }"
)


@contextmanager
def signed_in(server: Any, profile: Path, *others: str) -> Iterator[Any]:
    """A page of a browser of its own. ``others``: addresses that it may ask besides the server."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        outside = []

        def guard(route: Any) -> None:
            if route.request.url.startswith((server.url, *others, "data:", "blob:")):
                route.continue_()
            else:
                outside.append(route.request.url)
                route.abort()

        context.route("**/*", guard)
        page = context.pages[0]
        page.goto(server.url + "/user/login/", wait_until="domcontentloaded")
        page.fill("input[name=email]", server.username)
        page.fill("input[name=password]", server.password)
        with page.expect_navigation(wait_until="domcontentloaded"):
            page.click("button[type=submit]")
        yield page
        context.close()
        assert outside == []
