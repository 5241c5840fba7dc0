"""What the service answers, and to whom: no Label Studio is asked."""

from __future__ import annotations

import itertools
import json
import socket
import stat
import subprocess
import sys
import threading
import tomllib
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from connectors.base import SourceError
from connectors.label_studio import config as label_config
from connectors.label_studio.pictures import Pictures
from loop import config, secrets
from loop.cli.serve import serve
from loop.errors import ConfigError
from loop.project import create, find
from loop.serve.backend import MOST_BYTES, Backend
from loop.steps.exclude import exclude
from loop.steps.predict import predict
from loop.steps.run import run
from loop.steps.serve import WEBHOOK_HEADER, Service
from loop.steps.status import status
from tests.conftest import rows, small_values, write_images

CLASSES = ["digit-0", "digit-1", "digit-2"]
XML = label_config.build(CLASSES)
ADDRESS = "http://127.0.0.1:9090"
NUMBERS = itertools.count(1)
"""Of tasks."""


def with_label_studio(project):
    """The project after its owner has gone over to Label Studio."""
    file = project.root / config.FILE
    stored = tomllib.loads(file.read_text())
    stored["labeler"] = {**stored["labeler"], "kind": "label-studio", "url": "http://127.0.0.1:9"}
    file.write_text(tomli_w.dumps(stored))
    return find(project.root)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two rounds are over: a sample of 20 went out with the first 6 picks, then 6 alone."""
    folder = tmp_path_factory.mktemp("trained")
    write_images(folder / "images")
    values = small_values(folder / "images", measure={"images": 20, "folds": 3})
    del values["pool"]["test"]
    project = create(folder / "project", config.check(values, "test"))
    assert run(project).why == "done"
    return with_label_studio(project)


class Asker:
    """Label Studio's side of a service."""

    def __init__(self, project) -> None:
        self.service = Service(project.root)
        self.woken, self.complaints = [], []
        self.backend = Backend(self.service, lambda: self.woken.append(1), self.complaints.append)
        app = self.backend.app(self.service.secret, ADDRESS, everywhere=False)
        self.auth = ("coreloop", self.service.secret)
        self.http = TestClient(app, base_url=ADDRESS)

    def predict(self, *data, code=200):
        tasks = [
            {"id": next(NUMBERS), "data": each, "meta": {}, "annotations": []} for each in data
        ]
        return self.ask(tasks, code)

    def ask(self, tasks, code=200):
        body = {"tasks": tasks, "project": "1.1", "label_config": XML, "params": {}}
        answer = self.http.post("/predict", json=body, auth=self.auth)
        assert answer.status_code == code, answer.text
        return answer.json()

    def counts(self):
        shown = self.http.get("/metrics", auth=self.auth).text
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(shown)
            for sample in family.samples
        }


@pytest.fixture
def asker(trained):
    return Asker(trained)


def keys_of(project, where: str) -> list[str]:
    query = f"SELECT key FROM item LEFT JOIN pick ON item_id = item.id WHERE {where} ORDER BY row"
    return [key for (key,) in rows(project, query)]


def test_a_task_of_the_pool_gets_what_predict_says(trained, asker, tmp_path):
    from loop.steps.predict import Asked

    predict(trained, out=tmp_path / "p.csv", asked=Asked())
    said = (tmp_path / "p.csv").read_text().splitlines()[1:]
    keys = keys_of(trained, "pick.id IS NULL")
    answer = asker.predict(*[{"coreloop_key": key, "image": "/data/x.png"} for key in keys])
    assert answer["model_version"] == "round-2"
    assert len(answer["results"]) == len(said) == len(keys) > 20
    for (given,), line in zip(answer["results"], said, strict=True):
        (region,) = given["result"]
        assert (region["from_name"], region["to_name"]) == ("label", "image")
        assert f",{region['value']['choices'][0]}," in line
        assert given["model_version"] == "round-2"
        assert abs(given["score"] - float(line.rpartition(",")[2])) < 1e-5
    assert asker.counts()["coreloop_predictions_total", "stored"] == len(keys)


def test_nothing_is_guessed_of_what_measures_or_goes_out_beside_it(trained, asker):
    quiet = keys_of(trained, "pick.round_id IN (SELECT round_id FROM pick WHERE arm = 'sample')")
    told = keys_of(trained, "arm = 'coreset' AND round_id = 2")
    assert (len(quiet), len(told)) == (26, 6)
    answers = asker.predict(*[{"coreloop_key": key} for key in quiet + told])["results"]
    assert [len(given) for given in answers] == [0] * 26 + [1] * 6


def test_an_excluded_image_gets_none(tmp_path):
    write_images(tmp_path / "images")
    project = create(tmp_path / "p", config.check(small_values(tmp_path / "images"), "test"))
    run(project)
    (key, *_) = keys_of(project, "pick.id IS NULL AND split = 'pool'")
    (test, *_) = keys_of(project, "split = 'test'")
    asker = Asker(with_label_studio(project))
    given = asker.predict({"coreloop_key": key}, {"coreloop_key": test})["results"]
    assert [len(each) for each in given] == [1, 0]
    (uri,) = next(iter(rows(project, f"SELECT uri FROM item WHERE key = '{key}'")))
    exclude(project, [uri])
    assert asker.predict({"coreloop_key": key})["results"] == [[]]


def test_other_images_are_known_by_content_or_embedded(trained, asker, monkeypatch):
    (key, *_) = keys_of(trained, "pick.id IS NULL")
    (uri,) = next(iter(rows(trained, f"SELECT uri FROM item WHERE key = '{key}'")))
    of_sample = "SELECT uri FROM item JOIN pick ON item_id = item.id WHERE arm = 'sample'"
    ((quiet,), *_) = rows(trained, of_sample)
    known = Path(trained.images_at, uri).read_bytes()
    measuring = Path(trained.images_at, quiet).read_bytes()
    other = rotated(known)
    stored = {"/data/a.png": known, "/data/b.png": other, "/data/c.png": b"no image"}
    stored["/data/m.png"] = measuring

    def read(self, address, task):
        if address not in stored:
            raise SourceError("the server answers 404")
        return stored[address]

    monkeypatch.setattr(Service, "_read", read)
    names = ["a", "b", "c", "m", "gone"]
    given = asker.predict(*[{"image": f"/data/{name}.png"} for name in names])["results"]
    assert [len(each) for each in given] == [1, 1, 0, 0, 0]
    assert given[0] == asker.predict({"coreloop_key": key})["results"][0]
    counts = asker.counts()
    assert counts["coreloop_predictions_total", "embedded"] == 1
    assert counts["coreloop_predictions_total", "failed"] == 2
    assert len(asker.complaints) == 2
    assert "404" in asker.complaints[1]
    # a key that nobody has given out is no image of the pool, so that its picture is looked at
    assert len(asker.predict({"coreloop_key": "0" * 32, "image": "/data/a.png"})["results"][0]) == 1


@pytest.mark.parametrize(
    "address", ["http://169.254.169.254/a", "http://127.0.0.1:99/data/upload/a.png", "file:///a"]
)
def test_what_a_task_names_elsewhere_is_not_asked_for(asker, monkeypatch, address):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a-token")
    asked = []
    monkeypatch.setattr(Pictures, "read", lambda self, address, task: asked.append(address))
    assert asker.predict({"image": address})["results"] == [[]]
    assert asked == []
    assert "is on another server than Label Studio" in asker.complaints[0]


def rotated(encoded: bytes) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.rot90(np.asarray(Image.open(io.BytesIO(encoded))))).save(out, "PNG")
    return out.getvalue()


def test_a_network_answers_what_it_said_and_others_anew(tmp_path, monkeypatch):
    write_images(tmp_path / "images")
    values = small_values(
        tmp_path / "images",
        training={"trainer": "timm:test_resnet", "params": {"steps": 2, "side": 32}},
        selection={"budgets": [6]},
        compare={"baselines": []},
    )
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    project = with_label_studio(project)
    (key, *_) = keys_of(project, "pick.id IS NULL AND split = 'pool'")
    (uri,) = next(iter(rows(project, f"SELECT uri FROM item WHERE key = '{key}'")))
    (tmp_path / "new").mkdir()
    known, other = Path(project.images_at, uri), tmp_path / "new" / "other.png"
    other.write_bytes(rotated(known.read_bytes()))
    (tmp_path / "new" / "known.png").write_bytes(known.read_bytes())
    monkeypatch.setattr(Service, "_read", lambda self, address, task: other.read_bytes())
    asker = Asker(project)
    given = asker.predict({"coreloop_key": key}, {"image": "/data/other.png"})["results"]
    predict(project, tmp_path / "new", tmp_path / "p.csv")
    lines = (tmp_path / "p.csv").read_text().splitlines()[1:]
    for (guess,), name in zip(given, ("known", "other"), strict=True):
        (line,) = [line for line in lines if f"{name}.png," in line]
        assert f",{guess['result'][0]['value']['choices'][0]}," in line
        assert abs(guess["score"] - float(line.rpartition(",")[2])) < 1e-4
    counts = asker.counts()
    assert counts["coreloop_predictions_total", "stored"] == 1
    assert counts["coreloop_predictions_total", "embedded"] == 1


def test_a_task_that_is_asked_for_twice_at_once_is_answered_once(trained, asker, monkeypatch):
    from loop.project import repeats

    monkeypatch.setattr(repeats, "SETTLED", 0.3)
    reading, go_on = threading.Event(), threading.Event()

    def read(self, address, task):
        reading.set()
        assert go_on.wait(20)
        raise SourceError("the server answers 404")

    monkeypatch.setattr(Service, "_read", read)
    (key, other, *_) = keys_of(trained, "pick.id IS NULL")
    slow, known = {"id": 901, "data": {"image": "/data/a.png"}}, {"coreloop_key": key}
    answers = []

    def ask(*tasks):
        answers.append([len(given) for given in asker.ask(list(tasks))["results"]])

    tasks = slow, {"id": 902, "data": known}
    first, second = (threading.Thread(target=ask, args=tasks) for _ in range(2))
    first.start()
    assert reading.wait(20)
    second.start()
    second.join(0.3)
    assert answers == [], "the second waits for what the server gets from the first"
    go_on.set()
    first.join(20)
    second.join(20)
    assert answers == [[0, 1], [0, 0]]
    assert asker.counts()["coreloop_predictions_total", "repeated"] == 2
    ask({"id": 902, "data": known}, {"id": 903, "data": {"coreloop_key": other}})
    assert answers[-1] == [1, 1], "later it is a question like others"


def test_predictions_that_are_not_wanted_are_not_given(tmp_path):
    write_images(tmp_path / "images")
    values = small_values(tmp_path / "images", labeler={"kind": "oracle", "predictions": False})
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    asker = Asker(with_label_studio(project))
    (key, *_) = keys_of(project, "pick.id IS NULL AND split = 'pool'")
    assert asker.predict({"coreloop_key": key})["results"] == [[]]
    file = project.root / config.FILE
    file.write_text(file.read_text().replace("predictions = false", "predictions = true"))
    assert len(asker.predict({"coreloop_key": key})["results"][0]) == 1, "an edit counts at once"
    file.write_text("[project")
    assert len(asker.predict({"coreloop_key": key})["results"][0]) == 1, "half an edit does not"


def test_before_anything_is_trained(tmp_path):
    write_images(tmp_path / "images")
    project = create(tmp_path / "p", config.check(small_values(tmp_path / "images"), "test"))
    from loop.steps.scan import scan

    scan(project)
    asker = Asker(with_label_studio(project))
    assert asker.http.post("/setup", json={"schema": XML}, auth=asker.auth).json() == {
        "model_version": ""
    }
    assert asker.predict({"coreloop_key": "0" * 32})["results"] == [[]]
    assert asker.http.get("/versions", auth=asker.auth).json() == {"versions": []}
    assert asker.counts()[("coreloop_model_round",)] == 0


def test_what_label_studio_asks_before(asker):
    health = asker.http.get("/health", auth=asker.auth).json()
    assert (health["status"], health["watch"]) == ("UP", None)
    setup = {"project": "1.1", "schema": XML, "access_token": "not to be kept"}
    answer = asker.http.post("/setup", json=setup, auth=asker.auth)
    assert answer.json() == {"model_version": "round-2"}
    setup["schema"] = "<View><Text name='t' value='$t'/></View>"
    answer = asker.http.post("/setup", json=setup, auth=asker.auth)
    assert answer.status_code == 400
    assert "<Choices>" in answer.json()["error"]
    assert asker.http.get("/versions", auth=asker.auth).json() == {"versions": ["round-2"]}


PATHS = [
    ("GET", "/"),
    ("GET", "/health"),
    ("POST", "/setup"),
    ("POST", "/predict"),
    ("GET", "/versions"),
    ("GET", "/metrics"),
    ("GET", "/elsewhere"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_who_may_ask(asker, method, path):
    def code(auth=None, **headers):
        return asker.http.request(method, path, auth=auth, headers=headers).status_code

    wrong = [None, ("coreloop", ""), ("coreloop", "x"), ("admin", asker.auth[1])]
    assert [code(auth) for auth in wrong] == [401] * 4
    for scheme in ("Bearer", "Basic", "Basic !", f"basic  {b64encode(b'coreloop').decode()}"):
        assert code(Authorization=scheme) == 401
    assert code(Authorization=f"Token {asker.auth[1]}") == 401
    assert code(asker.auth, Host="evil.example") == 403
    assert code(asker.auth, Host="127.0.0.1.evil.example") == 403
    assert code(asker.auth, Origin="http://evil.example") == 403
    assert code(asker.auth, Origin=ADDRESS) == 403
    assert code(asker.auth) not in (401, 403)
    assert code(asker.auth, Host="localhost:9090") not in (401, 403)
    assert asker.woken == []


def test_the_address_that_label_studio_was_given_may_be_asked_for(trained):
    service = Service(trained.root)
    backend = Backend(service, lambda: None, lambda text: None)
    app = backend.app(service.secret, "http://host.docker.internal:9090", everywhere=False)
    http = TestClient(app, base_url=ADDRESS)
    auth = ("coreloop", service.secret)
    hosts = {"host.docker.internal:9090": 200, "host.docker.internal": 403, "localhost": 200}
    for host, code in hosts.items():
        assert http.get("/health", auth=auth, headers={"Host": host}).status_code == code


def test_webhooks_wake_by_their_secret_alone(asker):
    def code(event="ANNOTATION_CREATED", **headers):
        body = {"action": event}
        return asker.http.post("/webhook", json=body, headers=headers).status_code

    secret = asker.service.webhook_secret
    assert code() == 401
    assert code(**{WEBHOOK_HEADER: "forged"}) == 401
    assert code(**{WEBHOOK_HEADER: asker.service.secret}) == 401, "the password is another"
    basic = b64encode(f"coreloop:{asker.service.secret}".encode()).decode()
    assert code(Authorization=f"Basic {basic}") == 401
    assert asker.woken == []
    assert code(**{WEBHOOK_HEADER: secret}) == 200
    assert code("ANNOTATIONS_DELETED", **{WEBHOOK_HEADER: secret}) == 200
    assert len(asker.woken) == 2
    assert code("PROJECT_UPDATED", **{WEBHOOK_HEADER: secret}) == 200, "what we do ourselves"
    assert code(["a"], **{WEBHOOK_HEADER: secret}) == 200
    assert len(asker.woken) == 2
    for body in (b"", b"[", b"[]", b"1", b'"x"', b"\xff", b"[" * 100_000):
        answer = asker.http.post("/webhook", content=body, headers={WEBHOOK_HEADER: secret})
        assert answer.status_code == 400
    assert len(asker.woken) == 2
    assert asker.counts()["coreloop_refused_requests_total", "/webhook"] == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"tasks": 1}',
        b'{"tasks": [1]}',
        b'{"tasks": [{"id": "1", "data": {}}]}',
        b'{"tasks": [{"id": 1, "data": []}]}',
        b'{"tasks": [{"id": 1, "data": {}}], "label_config": "<"}',
        b'{"tasks": [{"id": 1, "data": {}}]}',
    ],
)
def test_what_is_no_request_is_refused_in_words(asker, body):
    answer = asker.http.post("/predict", content=body, auth=asker.auth)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_too_large_a_request_is_cut_off(asker, monkeypatch):
    from loop.serve import backend

    assert MOST_BYTES == 64 * 2**20
    monkeypatch.setattr(backend, "MOST_BYTES", 1000)
    assert asker.http.post("/predict", content=b"x" * 1001, auth=asker.auth).status_code == 413


def test_odd_values_in_tasks(asker, monkeypatch):
    assert asker.predict({"image": "/data/upload/1/a.png"})["results"] == [[]], "without a token"
    monkeypatch.setenv(secrets.VARIABLE, "0" * 40)
    odd = [{"coreloop_key": 1}, {"coreloop_key": ""}, {"image": None}, {"image": ["a"]}, {}]
    odd += [{"image": "http://169.254.169.254/latest"}, {"image": "file:///etc/passwd"}]
    odd += [{"image": "/data/../secret"}, {"image": "//evil.example/data/a.png"}]
    given = asker.predict(*odd)["results"]
    assert given == [[]] * len(odd)


def test_the_secret_is_made_once_and_kept_as_secrets_are(trained, monkeypatch):
    file = trained.root / secrets.SERVICE_FILE
    file.unlink(missing_ok=True)
    made = secrets.service_secret(trained.root)
    assert len(made) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secrets.service_secret(trained.root) == made
    assert made not in (trained.root / "coreloop.db").read_bytes().decode("latin-1")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        secrets.service_secret(trained.root)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(ConfigError, match="at least 16"):
        secrets.service_secret(trained.root)
    monkeypatch.setenv(secrets.SERVICE_VARIABLE, "chosen by an administrator")
    with pytest.raises(ConfigError, match="CORELOOP_SERVE_SECRET") as caught:
        secrets.service_secret(trained.root)
    assert "chosen" not in str(caught.value)
    monkeypatch.setenv(secrets.SERVICE_VARIABLE, "chosen-by-an-administrator")
    assert secrets.service_secret(trained.root) == "chosen-by-an-administrator"
    assert "administrator" not in secrets.webhook_secret("chosen-by-an-administrator")
    file.unlink()


def test_only_label_studio_is_answered(project):
    with pytest.raises(ConfigError, match="run --watch"):
        Service(project.root)


def test_metrics_and_health_say_how_the_loop_stands(trained, asker):
    from loop.project.watch import keep_watch

    with keep_watch(trained, "coreloop serve") as watch:
        watch.tell(failure="no answer", tries=3)
        health = asker.http.get("/health", auth=asker.auth)
        assert health.status_code == 200, "predictions are answered all the same"
        assert health.json()["watch"]["failure"] == "no answer"
        counts = asker.counts()
    assert counts[("coreloop_watch_failures",)] == 3
    assert counts[("coreloop_watch_alive",)] == 1
    assert counts[("coreloop_model_round",)] == 2
    assert json.dumps(counts[("coreloop_predict_seconds_count",)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--address", "10.0.0.5:9090"], "is no address"),
        (["--address", "http://me:pw@host:9090"], "is no address"),
        (["--host", "0.0.0.0", "--no-auth"], "for this machine alone"),
        (["--every", "0"], "--every"),
    ],
)
def test_options_that_cannot_be(trained, words, said):
    done = CliRunner().invoke(serve, [*words, "-p", str(trained.root)])
    assert done.exit_code == 2
    assert said in done.output


def test_a_port_that_is_taken_is_named(trained):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(serve, ["--port", port, "-p", str(trained.root)])
    assert isinstance(done.exception, ConfigError)
    assert f"port {port}" in str(done.exception)
    assert status(trained).watch is None, "the watch is given back"


def test_the_service_does_not_outlive_its_loop(trained):
    code = (
        "import sys; from loop.serve.worker import Worker; from loop.cli import main\n"
        "Worker.turns = lambda self, watch: 1 / 0\n"
        f"sys.argv = ['coreloop', 'serve', '--port', '0', '-p', {str(trained.root)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert "ZeroDivisionError" in done.stderr
