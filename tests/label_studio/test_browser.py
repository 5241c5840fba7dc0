"""What annotators see, in a real browser: the picture, the choices, and that a click counts."""

from __future__ import annotations

import threading
import uuid
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from connectors.base import BatchToLabel, ItemToLabel, Rejected
from tests.label_studio.browsing import SHOWN, signed_in

pytestmark = [pytest.mark.server, pytest.mark.browser]


@pytest.fixture
def image_server(pictures):
    """Pictures on another port, which counts as foreign; ``cors`` says whether pages may use it."""

    class Files(SimpleHTTPRequestHandler):
        def end_headers(self):
            if self.server.cors:
                self.send_header("Access-Control-Allow-Origin", "*")
            super().end_headers()

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(pictures)))
    http.cors = True
    http.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield http
    http.shutdown()


@pytest.fixture
def page(server, image_server, tmp_path):
    with signed_in(server, tmp_path / "profile", image_server.url) as page:
        yield page


@pytest.mark.parametrize("images", ["upload", "local", "url"])
def test_click_makes_an_annotation(
    server, new_labeler, items, page, image_server, images, tmp_path
):
    labeler = new_labeler(images=images, url_base=image_server.url)
    labeler.prepare(["cat", "dog", "bird"])
    labeler.push(BatchToLabel(uuid.uuid4().hex, 1), items)
    page.goto(labeler.project.url + "?labeling=1", wait_until="domcontentloaded")
    page.wait_for_function(SHOWN, timeout=60_000)
    assert page.evaluate(SHOWN) == [64, 48]
    assert items[0].key not in page.content()
    assert page.get_by_text("0.png, round 1").count() == 1
    assert page.get_by_text("Press Skip where you cannot tell").count() == 1
    assert page.get_by_role("button", name="Instructions").count() == 1
    page.screenshot(path=str(tmp_path / "labelling.png"))
    first = page.locator(".lsf-current-task__task-id").first.evaluate("e=>e.firstChild.textContent")
    page.click(".lsf-choices label:has-text('dog')")
    page.click("[data-testid='bottombar-submit-button']")
    page.wait_for_function(
        "o=>{const e=document.querySelector('.lsf-current-task__task-id');"
        "return e&&e.firstChild.textContent!==o}",
        arg=first,
        timeout=60_000,
    )
    (note,) = labeler.pull(None)
    assert (note.key, note.label, note.cancelled) == (items[0].key, "dog", False)
    assert 0 < note.seconds < 120


def test_image_servers_that_would_show_nothing(new_labeler, items, image_server):
    labeler = new_labeler(images="url", url_base=image_server.url)
    labeler.prepare(["cat", "dog", "bird"])
    image_server.cors = False
    with pytest.raises(Rejected, match="Access-Control-Allow-Origin"):
        labeler.push(BatchToLabel(uuid.uuid4().hex, 1), items)
    image_server.cors = True
    labeler = new_labeler(images="url", url_base=image_server.url)
    with pytest.raises(Rejected, match="answers 404"):
        labeler.push(BatchToLabel(uuid.uuid4().hex, 1), [ItemToLabel("0" * 32, "no such.png")])
    with pytest.raises(Rejected, match="url_base"):
        new_labeler(images="url").push(BatchToLabel(uuid.uuid4().hex, 1), items)
    assert labeler.progress().tasks == 0


def test_prediction_is_preselected(server, new_labeler, items, page):
    from dataclasses import replace

    from connectors.base import Prediction

    labeler = new_labeler()
    labeler.prepare(["cat", "dog", "bird"])
    guess = Prediction("bird", 0.9, "round-1")
    labeler.push(BatchToLabel(uuid.uuid4().hex, 2), [replace(items[0], prediction=guess)])
    page.goto(labeler.project.url + "?labeling=1", wait_until="domcontentloaded")
    page.wait_for_function(SHOWN, timeout=60_000)
    chosen = page.locator(".lsf-choices input:checked")
    assert [chosen.nth(i).get_attribute("name") for i in range(chosen.count())] == ["bird"]
