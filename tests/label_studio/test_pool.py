"""A Label Studio project as the pool: from its tasks to a trained model, on the real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sqlalchemy import select

from connectors.label_studio.marks import holding
from connectors.label_studio.pictures import Pictures
from connectors.label_studio.task_images import parts_of
from connectors.label_studio.tasks import list_tasks
from db import queries
from db.answers import current_answers
from db.models import Unreadable
from db.soundness import contradictions
from loop.cli import cli
from loop.project import find
from loop.project.labeler import connect_labeler
from loop.project.problem import problem
from loop.project.refused import KEY
from loop.steps.embed import embed
from loop.steps.init import init
from loop.steps.labels import label_issues, send_back
from loop.steps.pull import pull
from loop.steps.push import clean, plan_push, push
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.status import status
from loop.steps.undo import undo
from tests.conftest import rows
from tests.label_studio.adopting import SINGLE, People

pytestmark = pytest.mark.server
TASKS, BEFORE = 40, 6


def picture(number: int) -> bytes:
    """A small picture that its class is seen by: odd ones are light."""
    from io import BytesIO

    noise = np.random.default_rng(number).normal(180 if number % 2 else 60, 30, (16, 16, 3))
    file = BytesIO()
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def label_of(data: dict) -> str:
    """What people say: the number stands in the file's name."""
    name = str(data["image"]).rpartition("-")[2]
    return f"digit-{int(Path(name).stem) % 2}"


@pytest.fixture
def people(server, monkeypatch, tmp_path):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", server.token)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return People.of(server)


def filled(people, count=TASKS, before=BEFORE, first=0):
    number = people.make()
    people.upload(number, {f"{i:03}.png": picture(i) for i in range(first, first + count)})
    for task in people.tasks(number)[:before]:
        people.choose(task["id"], [label_of(task["data"])])
    return number


def pooled(folder, server, number, budgets=(4, 4), **labeler):
    sections = {"labeler": {"kind": "label-studio", "url": server.url, **labeler}}
    project, scanned = init(
        folder / "p",
        f"label-studio://{number}",
        encoder="pixels:8",
        measure={"by": "sample", "images": 20},
        selection={"budgets": list(budgets)},
        compare={"baselines": ["random"], "seeds": 2},
        **sections,
    )
    return find(project.root), scanned


def marked(project, turn):
    """Tasks of a round in the order of its tab, as the server gives them."""
    with project.records.read() as session:
        labeler = connect_labeler(session, project)
    text = labeler._marking.start_of(turn)
    return list(list_tasks(labeler.client, labeler.images.project, [holding(text)]))


def answer_round(people, project, turn):
    for task in marked(project, turn):
        people.choose(task.id, [label_of(task.data)])


def test_from_tasks_to_a_model(people, server, tmp_path):
    number = filled(people)
    before = people.tasks(number)
    theirs = {"task": before[-1]["id"], "result": [], "score": 0.5, "model_version": "their model"}
    people.ask("POST", f"/api/projects/{number}/import/predictions", json=[theirs])
    version = people.ask("GET", f"/api/projects/{number}/")["model_version"]
    project, scanned = pooled(tmp_path, server, number)
    assert (scanned.images, scanned.labelled_before) == (TASKS, BEFORE)
    assert project.config.project.classes == ["digit-0", "digit-1"]
    assert status(project).counts["labelled before"] == BEFORE
    ended = run(project)
    assert ended.why == "waiting"
    assert "tab=" in ended.url
    assert "labeling=1" in ended.url
    asked = marked(project, "round 1")
    labelled = {task["id"] for task in before[:BEFORE]}
    assert not labelled & {task.id for task in asked}, "nobody is asked again"
    with project.records.read() as session:
        picks = queries.picks(session, 1, 1)
    assert len(asked) == len(picks)
    assert clean(project).marks == 0, "round 1 is with people"
    answer_round(people, project, "round 1")
    ended = run(project)
    assert ended.why == "waiting"
    cleaned = clean(project)
    assert (cleaned.marks, cleaned.tabs) == (len(picks), 1)
    assert set(tabs_of(people, number)) == {"Default", "Round 2"}
    assert len(marked(project, "round 2")) == 4
    answer_round(people, project, "round 2")
    ended = run(project)
    assert ended.why == "done"
    assert ended.result.measured.accuracy > 0.8
    with project.records.read() as session:
        labels = problem(session, project).labels
        answers = current_answers(session, 1)
    assert (labels >= 0).sum() == len(answers) == BEFORE + len(picks) + 4
    assert (clean(project).marks, clean(project).marks) == (4, 0)
    after = people.tasks(number)
    assert [task["data"] for task in after] == [task["data"] for task in before]
    now = people.ask("GET", f"/api/projects/{number}/")
    assert (now["model_version"], now["label_config"]) == (version, SINGLE)
    versions = people.ask("GET", f"/api/projects/{number}/model-versions/")
    assert list(versions) == ["their model"]


@pytest.fixture(scope="module")
def begun(server, tmp_path_factory):
    """A pool whose first round is with people, made by the command line."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("begun")
        patch.setenv("LABEL_STUDIO_API_KEY", server.token)
        patch.delenv("LABEL_STUDIO_URL", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        people = People.of(server)
        number = filled(people)
        said = coreloop(
            *("init", folder / "p", "--labeler", "label-studio", "--url", server.url),
            *("--project", number, "--images", "project"),
            *("--encoder", "pixels:8", "--measure", 20, "--budgets", "4,4"),
        )
        assert f"{TASKS} images ({BEFORE} labelled before)" in said
        assert "classes: digit-0, digit-1 (those of its label config" in said
        said = coreloop("run", "-p", folder / "p")
        assert f"/projects/{number}/data?tab=" in said
        return folder / "p"


def coreloop(*words):
    """What the command line says."""
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def tabs_of(people, number):
    views = people.ask("GET", "/api/dm/views/", params={"project": number})
    return {view["data"]["title"]: view for view in views}


def number_of(project):
    return int(project.config.pool.path.rpartition("/")[2])


def test_a_dry_run_says_what_changes_and_changes_nothing(people, server, tmp_path):
    number = filled(people)
    project, _ = pooled(tmp_path, server, number)
    assert run(project, review=True).why == "review"
    told = people.tasks(number), tabs_of(people, number)
    plan = plan_push(project)
    changes = {change.what: (change.before, change.after) for change in plan.changes}
    assert (people.tasks(number), tabs_of(people, number)) == told
    picks = len(plan.images)
    assert changes["tasks"] == (TASKS, TASKS)
    assert changes["marks of round 1"] == (0, picks)
    assert changes["tab Round 1"] == (None, "Round 1")
    assert changes["tab Default"] == (None, "all tasks")
    assert "label_config" not in changes
    pushed = push(project)
    assert pushed.sent == len(marked(project, "round 1")) == picks
    assert set(tabs_of(people, number)) == {"Default", "Round 1"}
    assert push(project).sent == 0
    assert len(marked(project, "round 1")) == picks


def test_the_tab_has_the_picks_in_order_and_an_operator_that_the_page_knows(people, begun):
    with find(begun) as project:
        view = tabs_of(people, number_of(project))["Round 1"]
        params = {"view": view["id"], "project": number_of(project), "page_size": 100}
        shown = people.ask("GET", "/api/tasks/", params={**params, "fields": "task_only"})
        with project.records.read() as session:
            uris = [pick.uri for pick in queries.picks(session, 1, 1)]
        assert [f"task {task['id']}: {task['data']['image']}" for task in shown["tasks"]] == uris
        (condition,) = view["data"]["filters"]["items"]
        assert (condition["operator"], type(condition["value"])) == ("contains", list)


def test_status_counts_labels_of_before_and_shows_the_tab(people, begun):
    said = coreloop("status", "-p", begun)
    assert f"{BEFORE} labelled before" in said
    assert [line.split()[:2] for line in said.splitlines() if " labeled " in line] == [
        ["before", "labeled"]
    ]
    assert "label here: " in said
    assert "&labeling=1" in said
    assert "FAIL" not in coreloop("doctor", "-p", begun)
    assert "0 marks and 0 tabs" in coreloop("push", "--clean", "-p", begun)
    assert "stays" in coreloop("push", "--dry-run", "-p", begun)


def test_a_lost_answer_to_the_marks_marks_nothing_twice(people, server, proxy, tmp_path):
    number = filled(people)
    project, _ = pooled(tmp_path, server, number)
    run(project, review=True)
    text = (project.root / "coreloop.toml").read_text()
    (project.root / "coreloop.toml").write_text(text.replace(server.url, proxy.url))
    project = find(project.root)
    from connectors.base import Unknown

    proxy.breaks("drop", "import/predictions")
    with pytest.raises(Unknown):
        push(project)
    pushed = push(project)
    picks = len(marked(project, "round 1"))
    assert (pushed.sent, pushed.recovered) == (0, picks)
    assert f"tab={tabs_of(people, number)['Round 1']['id']}&labeling=1" in pushed.url
    for task in people.tasks(number, include="id,predictions"):
        assert len(task["predictions"]) <= 1


def test_tasks_that_come_and_go_and_labels_outside_the_tab(people, server, tmp_path):
    number = filled(people)
    project, _ = pooled(tmp_path, server, number)
    run(project)
    asked = marked(project, "round 1")
    gone, *others = asked
    people.ask("DELETE", f"/api/tasks/{gone.id}/")
    people.upload(number, {"900.png": picture(900), "000.png": picture(0), "901.png": b"no image"})
    free = [t for t in people.tasks(number) if t["id"] not in {task.id for task in asked}]
    outside = next(task for task in free if not task["annotations"])
    people.choose(outside["id"], [label_of(outside["data"])])
    pulled = pull(project)
    assert (pulled.picked, pulled.answered) == (len(others), 0)
    counts = status(project).counts
    assert (counts["gone"], counts["labelled before"]) == (1, BEFORE + 1)
    again = scan(project)
    assert (again.added, again.duplicates, len(again.unreadable)) == (1, 1, 1)
    assert "901" in again.unreadable[0][0]
    check_refused(people, project, number)
    answer_round(people, project, "round 1")
    assert pull(project).complete


def check_refused(people, project, number):
    """What could not be had is not asked for at each scan: before a day has gone by, its task has
    another address, or somebody says so."""
    at = [f"/data/upload/{number}/no-0.png", "/data/upload/no-1.png"]  # the server answers 404, 500
    tasks = [{"data": {"image": address}} for address in at]
    people.ask("POST", f"/api/projects/{number}/import", json=tasks)
    there, gone = people.tasks(number)[-2:]
    assert fetched(project) == ["no-0.png", "no-1.png"]
    assert fetched(project) == []
    said = coreloop("scan", "-p", project.root)
    assert "3 files cannot be used" in said
    assert "3 images could not be had before and are passed over for a day" in said
    assert fetched(project, again=True)[-2:] == ["no-0.png", "no-1.png"]
    people.ask("PATCH", f"/api/tasks/{there['id']}/", json={"data": {"image": "/data/no-2.png"}})
    people.ask("DELETE", f"/api/tasks/{gone['id']}/")
    assert fetched(project) == ["no-2.png"]
    with project.records.read() as session:
        uris = "".join(session.scalars(select(Unreadable.uri)))
    assert "901" in uris
    assert "no-2.png" in uris
    assert "no-0" not in uris
    assert "no-1" not in uris
    for asked in ("2026-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"):  # the clock was wrong
        with project.records.write("test") as session:
            pool = queries.the_pool(session)
            pool.source = {**pool.source, KEY: asked}
        assert len(fetched(project)) == 2


def fetched(project, **options):
    """Names of the pictures that a scan asks for."""
    names = []

    def read(self, address, task=0, project=0, ask=Pictures.read):
        names.append(address.rpartition("/")[2])
        return ask(self, address, task, project)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "read", read)
        scan(project, **options)
    return sorted(names)


def test_a_label_that_is_taken_back_counts_no_more(people, server, tmp_path):
    number = filled(people, before=3)
    project, scanned = pooled(tmp_path, server, number)
    assert scanned.labelled_before == 3
    first = people.tasks(number)[0]
    people.ask("DELETE", f"/api/annotations/{first['annotations'][0]['id']}/")
    assert scan(project).labelled_before == 2
    assert rows(project, "SELECT count(*) FROM pick WHERE arm = 'before'") == [(2,)]


def test_each_person_gets_a_tab_with_their_share(people, server, tmp_path):
    number = filled(people)
    names = ["ann@example.org", "bob@example.org", "cyd@example.org"]
    project, _ = pooled(tmp_path, server, number, people=names, overlap=2)
    ended = run(project)
    assert ended.why == "waiting"
    views = tabs_of(people, number)
    shares = {}
    for name in names:
        view = views[f"Round 1, {name}"]
        params = {"view": view["id"], "project": number, "page_size": 100, "fields": "task_only"}
        shares[name] = [t["id"] for t in people.ask("GET", "/api/tasks/", params=params)["tasks"]]
    picks = [task.id for task in marked(project, "round 1")]
    sizes = sorted(len(share) for share in shares.values())
    assert sum(sizes) == 2 * len(picks)
    assert sizes[-1] - sizes[0] <= 1
    assert {sum(task in share for share in shares.values()) for task in picks} == {2}
    pulled = pull(project)
    assert [note.split()[0] for note in pulled.notes] == names
    assert all("the link is the assignment" in note for note in pulled.notes)
    overlaps = {t["id"]: t["overlap"] for t in people.tasks(number, include="id,overlap")}
    assert {overlaps[task] for task in picks} == {2}
    assert {overlap for task, overlap in overlaps.items() if task not in picks} == {1}


def mislabelled(people, number):
    """The task of one of the labels of before, which is wrong now."""
    wrong = people.tasks(number)[2]
    entry = wrong["annotations"][0]
    other = "digit-1" if label_of(wrong["data"]) == "digit-0" else "digit-0"
    entry["result"][0]["value"]["choices"] = [other]
    people.ask("PATCH", f"/api/annotations/{entry['id']}/", json={"result": entry["result"]})
    return wrong["id"]


def test_doubtful_labels_are_sent_back_in_a_tab(people, server, tmp_path):
    number = filled(people, before=12)
    wrong = mislabelled(people, number)
    project, _ = pooled(tmp_path, server, number)
    embed(project)
    issues = label_issues(project)
    assert [f"task {wrong}:" in issue.uri for issue in issues] == [True]
    options = ("--suspects", "--send-back", "--yes", "--limit", 1)
    said = coreloop("labels", "-p", project.root, *options)
    assert "1 image is open again" in said
    view = tabs_of(people, number)["Look again"]
    assert f"tab={view['id']}&labeling=1" in said
    assert [task.id for task in marked(project, "look again")] == [wrong]
    assert send_back(project, [issues[0].key]).count == 1
    assert len(marked(project, "look again")) == 1


def test_test_images_that_were_labelled_before_are_not_asked_again(people, server, tmp_path):
    number = filled(people, before=30)
    project, _ = init(
        tmp_path / "p",
        f"label-studio://{number}",
        encoder="pixels:8",
        measure={"by": "holdout", "images": 8},
        selection={"budgets": [3]},
        labeler={"kind": "label-studio", "url": server.url, "overlap": 2},
    )
    assert run(project, review=True).why == "review"
    plan = plan_push(project)
    with project.records.read() as session:
        test = {pick.uri for pick in queries.picks(session, 1, 0) if pick.arm == "test"}
    labelled = {task["id"] for task in people.tasks(number)[:30]}
    unlabelled = {uri for uri in test if parts_of(uri)[0] not in labelled}
    assert {image.uri for image in plan.images} == unlabelled
    assert len(unlabelled) < len(test) == 8
    run(project)
    assert len(marked(project, "round 0")) == len(unlabelled)
    answer_round(people, project, "round 0")
    pulled = pull(project)
    assert (pulled.picked, pulled.answered) == (30 + len(unlabelled), 30)
    assert pull(project, close=True).complete
    assert run(project).why == "waiting"
    assert [line.number for line in status(project).rounds] == [0, 1]
    with project.records.read() as session:
        assert list(contradictions(session, queries.the_pool(session))) == []


def test_a_round_is_taken_back_with_its_marks(people, server, tmp_path):
    number = filled(people)
    project, _ = pooled(tmp_path, server, number)
    run(project)
    assert marked(project, "round 1")
    undo(project)
    assert marked(project, "round 1") == []
    assert len(people.tasks(number)) == TASKS
    assert status(project).rounds[-1].number == 0
