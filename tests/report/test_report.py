"""Reports: true to the records, safe against their contents, readable without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from loop import config
from loop.steps.init import init
from loop.steps.report import report
from loop.steps.run import run
from tests.conftest import small_values, write_images

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images")
    values = small_values(folder / "images")
    values["compare"] = {"baselines": ["random", "margin"], "seeds": 3}
    project = init(folder / "p", config.check(values, "test"))
    run(project)
    return project


def test_every_number_can_be_traced(finished):
    facts = json.loads(report(finished)["json"].read_text())
    runs = {r["id"]: r for r in facts["provenance"]["runs"]}
    for curve in facts["curves"]:
        for point in curve["points"]:
            mine = [runs[i]["accuracy"] for i in point["runs"]]
            assert point["accuracy"] == pytest.approx(sum(mine) / len(mine))
            assert {runs[i]["labels"] for i in point["runs"]} == {point["labels"]}
    assert facts["provenance"]["versions"]["numpy"]
    assert facts["provenance"]["config"]["project"]["seed"] == 3


def test_html_is_whole_and_small(finished):
    html = report(finished)["html"].read_text()
    assert len(html) < 8_000_000
    assert html.count("<img ") == html.count(' alt="') == 12
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_hostile_names_are_text(tmp_path):
    write_images(tmp_path / "images", classes=2)
    (tmp_path / "images" / "digit-0").rename(tmp_path / "images" / "evil<b>&amp;")
    values = small_values(tmp_path / "images")
    values["project"] = {"name": HOSTILE, "classes": ["evil<b>&amp;", "digit-1", HOSTILE]}
    project = init(tmp_path / "p", config.check(values, "test"))
    run(project)
    html = report(project)["html"].read_text()
    assert HOSTILE not in html
    assert "evil<b>" not in html
    assert html.count("<script>") == 1  # our own
    assert "<script" not in report(project)["md"].read_text().replace(f"# {HOSTILE}", "")


def test_before_the_first_round(project):
    from loop.steps.scan import scan

    scan(project)
    html = report(project)["html"].read_text()
    for words in ("No model has been trained yet", "Nothing has been picked yet", "Not measured"):
        assert words in html


def test_in_a_real_browser_nothing_is_fetched_and_nothing_overflows(finished, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the PATH")
    from playwright.sync_api import sync_playwright

    path = report(finished)["html"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 900})
            asked, errors = [], []
            page.on("request", lambda r, asked=asked: asked.append(r.url))
            page.on("pageerror", lambda e, errors=errors: errors.append(str(e)))
            page.goto(f"file://{path}")
            page.screenshot(path=str(tmp_path / f"{width}.png"), full_page=True)
            assert [u for u in asked if not u.startswith(("file:", "data:"))] == []
            assert errors == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator(".sheet img").evaluate_all(
                "all => all.every(i => i.naturalWidth > 0)"
            )
        browser.close()


def test_secrets_never_reach_files(project, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "very-secret-token-1234")
    run(project)
    report(project)
    found = subprocess.run(
        ["grep", "-rl", "very-secret-token-1234", str(project.root)], capture_output=True, text=True
    )
    assert found.stdout == ""
