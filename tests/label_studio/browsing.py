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

TASK = ".lsf-current-task__task-id"
TICKED = ".lsf-choices input:checked"
OVER = "No More Tasks Left in Queue"


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


def open_task(page: Any) -> int | None:
    """Number of the task that is labelled now, once its picture is up; None where none is left."""
    page.wait_for_function(
        f"() => document.body.innerText.includes('{OVER}') || ({SHOWN})()", timeout=60_000
    )
    if OVER in page.inner_text("body"):
        return None
    return int(page.locator(TASK).first.evaluate("e=>e.firstChild.textContent"))


def ticked(page: Any) -> list[str]:
    """Choices that are ticked."""
    return list(page.locator(TICKED).evaluate_all("boxes=>boxes.map(box=>box.name)"))


def guessed(page: Any, url: str, number: int, task: int, screenshot: Path) -> list[str]:
    """What is ticked on a task's page before anybody has chosen, once the page has settled: it
    draws the task twice, with nothing in between."""
    page.goto(f"{url}/projects/{number}/data?task={task}", wait_until="networkidle")
    page.wait_for_selector(TICKED, timeout=60_000)
    assert open_task(page) == task
    page.screenshot(path=str(screenshot))
    return ticked(page)
