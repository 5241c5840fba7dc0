"""``coreloop view`` as a person meets it: the command, the printed address, a real browser."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from loop.steps.pull import pull
from loop.steps.scan import scan

CHROMIUM = shutil.which("chromium")
MAIN = [sys.executable, "-c", "from loop.cli import main; main()", "view"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTHS = (1280, 390)
PATHS = ("/", "/?state=unasked&order=unsure", "/map", "/issues", "/duplicates", "/rounds", "/label")
SHOWN = """() => [...document.images].every(image => {
    const box = image.getBoundingClientRect()
    const inSight = box.top < innerHeight && box.left < innerWidth
    return !inSight || (image.complete && image.naturalWidth > 0)
})"""
PAINTED = """() => new Promise(done => new PerformanceObserver(
    list => done(list.getEntries()[0].startTime)).observe({type: "paint", buffered: true}))"""


@contextmanager
def served(project, *options):
    """The address that the command prints; at the end it is interrupted, and leaves at once."""
    command = [*MAIN, "--project", str(project.root), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", address), address
        yield address
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
        assert time.monotonic() - began < 5
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(chromium, address, width, scheme="light"):
    """A page that was given the address. Nothing may be asked of others, fail or be forbidden."""
    base = address.partition("/?")[0]
    viewport = {"width": width, "height": 900}
    context = chromium.new_context(viewport=viewport, color_scheme=scheme)
    page, asked, errors = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if is_error(said) else None)
    page.goto(address)
    page.wait_for_url(f"{base}/")
    assert "token" not in page.url
    yield page, base
    assert [url for url in asked if not url.startswith(base)] == []
    assert errors == []
    context.close()


@pytest.mark.slow
@pytest.mark.browser
def test_ten_thousand_images(large, chromium, tmp_path, record_property):
    with served(large) as address:
        for width, scheme in ((1280, "light"), (390, "light"), (390, "dark")):
            with opened(chromium, address, width, scheme) as (page, base):
                look(page, base, width, tmp_path / f"{width}-{scheme}")
                painted = [first_paint(page, base) for _ in range(5)]
                record_property("measured", f"first paint at {width} px: {min(painted):.0f} ms")
                assert min(painted) < 1000


def is_error(said):
    return said.type == "error" and "409 (Conflict)" not in said.text


def look(page, base, width, name):
    """Each page fits, and each picture in sight is there."""
    for path in PATHS:
        page.goto(base + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.wait_for_function(SHOWN)
        page.screenshot(path=f"{name}{path.split('?')[0].replace('/', '-')}.png")
        unnamed = "[...document.images].filter(i => !i.hasAttribute('alt')).length"
        assert page.evaluate(unnamed) == 0


def first_paint(page, base):
    page.goto(base + "/")
    return page.evaluate(PAINTED)  # the entry may come after the page's load event


@pytest.mark.slow
@pytest.mark.browser
def test_finding_images_among_ten_thousand(large, chromium):
    with served(large) as address, opened(chromium, address, 1280) as (page, base):
        assert "1 to 120 of 10000 images" in page.inner_text("main")
        at_once = "[...document.images].filter(i => i.loading !== 'lazy').length"
        assert page.evaluate(at_once) < 30  # how far ahead the rest is fetched, the browser decides
        page.keyboard.press("ArrowRight")
        page.wait_for_url("**/?page=2")
        assert "121 to 240" in page.inner_text("main")
        page.click("summary")
        page.fill("input[name=text]", "photo 0424")
        page.select_option("select[name=label]", "green")
        page.press("input[name=text]", "Enter")
        page.wait_for_url("**text=photo+0424**")
        names = page.locator(".tile .name").all_inner_texts()
        assert 0 < len(names) < 10
        assert all(name.startswith("photo 0424") for name in names)
        page.click(".tile a")
        page.wait_for_url("**/image/*")
        assert "photo 0424" in page.inner_text("h1")
        page.goto(base + "/map")
        page.locator(".map .labelled").first.click(force=True)
        page.wait_for_selector("#shown img")
        page.click("#shown a")
        page.wait_for_url("**/image/*")


@pytest.mark.slow
@pytest.mark.browser
def test_labels_by_click_key_and_finger(waiting, chromium):
    """The 70 images of a round, at both widths; then ``pull`` reads them."""
    project, names = waiting
    with served(project) as address:
        for width in WIDTHS:
            with opened(chromium, address, width) as (page, base):
                page.goto(base + "/label")
                label_half(page, names)
        with opened(chromium, address, 390) as (page, base):
            page.goto(base + "/label")
            page.wait_for_selector("#finished:not([hidden])")
            assert page.inner_text("#done") == "70"
    pulled = pull(project)
    assert (pulled.answered, pulled.complete) == (70, True)
    (sheet,) = project.root.glob("sheets/*.csv")
    with sheet.open(newline="") as file:
        for line in csv.DictReader(file):
            assert line["label"] == names["/".join(line["image"].split("/")[-2:])]


def label_half(page, names):
    """35 images, by turns with a click and a key; one wrong, which is taken back."""
    classes = ["blue", "green", "red"]
    for number in range(35):
        name = page.inner_text("#name")
        label = names[name]
        if number == 2:
            answer_by(page, name, lambda: page.keyboard.press("0"))
            page.keyboard.press("ArrowLeft")
            page.wait_for_function("n => document.querySelector('#name').innerText === n", arg=name)
            assert page.inner_text("#given") == "skip"
        if number % 2:
            answer_by(page, name, lambda label=label: page.click(f".choices >> text={label}"))
        else:
            key = str(1 + classes.index(label))
            answer_by(page, name, lambda key=key: page.keyboard.press(key))


def answer_by(page, name, act):
    with page.expect_response("**/label") as answered:
        act()
    assert answered.value.status == 200
    ended = "() => !document.querySelector('#finished').hidden"
    moved = f"n => document.querySelector('#name').innerText !== n || ({ended})()"
    page.wait_for_function(moved, arg=name)


@pytest.mark.slow
@pytest.mark.browser
def test_two_people_at_one_sheet(waiting, chromium):
    """What the other has written is said, and is not written over."""
    project, _ = waiting
    with served(project) as address, opened(chromium, address, 1280) as (page, base):
        page.goto(base + "/label")
        (sheet,) = project.root.glob("sheets/*.csv")
        text = sheet.read_text()
        sheet.write_text(re.sub(r",\r?$", ",green", text, flags=re.M))
        before = sheet.read_bytes()
        page.keyboard.press("1")
        page.wait_for_selector("#problem:not([hidden])")
        assert "says 'green' of this image by now" in page.inner_text("#problem")
        assert sheet.read_bytes() == before
        page.reload()
        page.wait_for_selector("#finished:not([hidden])")


def test_the_command_without_a_browser(project):
    scan(project)
    with served(project) as address:
        port = int(address.split(":")[2].split("/")[0])
        with socket.socket() as probe:
            probe.connect(("127.0.0.1", port))
        again = [*MAIN, "--project", str(project.root), "--port", str(port)]
        refused = subprocess.run(again, capture_output=True, text=True)
        assert refused.returncode == 2
        assert "name another with --port" in refused.stderr
    with served(project, "--port", str(port)) as address:
        assert f":{port}/" in address


def test_the_browser_is_opened_without_telling_others_the_token(project, tmp_path, monkeypatch):
    """Everybody on a machine can read the arguments that a program was started with."""
    scan(project)
    record = tmp_path / "opened"
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(
        f'#!/bin/sh\nfile="${{1#file://}}"\necho "$1" > {record}\nstat -c %a "$file" >> {record}\n'
        f'cat "$file" >> {record}\ntouch {record}.done\n'
    )
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{opener.parent}:{os.environ['PATH']}")
    with served(project, "--open") as address:
        while not record.with_suffix(".done").exists():
            time.sleep(0.05)
    argument, mode, *page = record.read_text().split("\n")
    assert address.partition("token=")[2] not in argument
    assert mode == "600"
    assert address in "".join(page)
    assert not Path(argument.removeprefix("file://")).exists()


def test_listening_to_the_network_warns(project):
    scan(project)
    command = [*MAIN, "--project", str(project.root), "--host", "0.0.0.0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert address.startswith(f"http://{socket.gethostname()}:")
    assert errors.startswith("Warning: on 0.0.0.0 others can reach this")
    assert process.returncode == 0
