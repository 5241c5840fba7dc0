"""Reports: true to the records, safe against their contents, readable without a network."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import re
import shutil
import sqlite3
import subprocess
from html import unescape

import pytest
from click.testing import CliRunner

from db import queries
from loop import config
from loop.cli import cli
from loop.project import create
from loop.project.rounds import begin_round
from loop.reports import answers, write
from loop.reports.facts import Control
from loop.steps.pull import pull
from loop.steps.report import facts, report
from loop.steps.run import run
from loop.steps.status import status
from tests.conftest import small_values, write_images

HOSTILE = "<script>alert(1)</script>"
WRITES = 60


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images")
    values = small_values(folder / "images")
    values["compare"] = {"baselines": ["random", "margin"], "seeds": 3}
    project = create(folder / "p", config.check(values, "test"))
    run(project)
    return project


def test_every_number_can_be_traced(finished):
    written = json.loads(report(finished)["json"].read_text())
    runs = {run["id"]: run for run in written["provenance"]["runs"]}
    cells = {c["id"]: {**c, "labels": c["budget"]} for c in written["provenance"]["cells"]}
    for curve in written["curves"]:
        for point in curve["points"]:
            sources = [runs[i] for i in point["runs"]] + [cells[i] for i in point["cells"]]
            assert point["n"] == len(sources)
            mean = sum(source["accuracy"] for source in sources) / len(sources)
            assert point["accuracy"] == pytest.approx(mean)
            assert {source["labels"] for source in sources} == {point["labels"]}
    assert written["provenance"]["versions"]["numpy"]
    assert written["provenance"]["config"]["project"]["seed"] == 3


def test_the_trainer_is_named_with_its_reason(finished):
    trained = facts(finished).trained
    assert re.match(r"(propagate|linear) \(.*labels per class", trained), trained
    assert f"Trained by {trained}" in report(finished)["md"].read_text()


def test_a_round_that_is_not_scored_yet_hides_no_comparison(finished):
    """A further round has begun: what was compared before is still what is known."""
    before = answers.beats_random(facts(finished))
    begin_round(finished, budget=2)
    assert answers.beats_random(facts(finished)) == before
    assert not before.startswith("Not measured")
    with finished.records.write() as session:
        session.delete(queries.newest_round(session, 1))


def test_html_is_whole_and_small(finished):
    html = report(finished)["html"].read_text()
    assert len(html) < 8_000_000
    pictures = 12 + len(facts(finished).label_issues)
    assert html.count("<img ") == html.count(' alt="') == pictures
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_hostile_names_are_text(tmp_path):
    write_images(tmp_path / "images", classes=2)
    (tmp_path / "images" / "digit-0").rename(tmp_path / "images" / "evil<b>&amp;")
    values = small_values(tmp_path / "images")
    values["project"] = {"name": HOSTILE, "classes": ["evil<b>&amp;", "digit-1", HOSTILE]}
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    html = report(project)["html"].read_text()
    assert HOSTILE not in html
    assert "evil<b>" not in html
    assert html.count("<script>") == 2  # our own
    assert "<script" not in report(project)["md"].read_text().replace(f"# {HOSTILE}", "")


def test_wrong_labels_are_found_by_a_model_that_has_not_seen_them(tmp_path):
    write_images(tmp_path / "images", count=90)
    values = small_values(
        tmp_path / "images",
        labeler={"kind": "oracle", "error_rate": 0.0},
        selection={"scorer": "random", "budgets": [40]},
    )
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    assert facts(project).label_issues == []
    with sqlite3.connect(project.root / "coreloop.db") as raw:
        item, label = raw.execute(
            "SELECT annotation.item_id, label FROM annotation JOIN pick USING (item_id) "
            "WHERE arm = 'coreset' ORDER BY item_id LIMIT 1"
        ).fetchone()
        other = "digit-1" if label == "digit-0" else "digit-0"
        raw.execute("UPDATE annotation SET label = ? WHERE item_id = ?", (other, item))
    shown = facts(project)
    (first, *_) = shown.label_issues
    assert (first.label, first.predicted, first.split) == (other, label, "train")
    issues = {issue.key for issue in shown.label_issues if issue.split == "train"}
    assert {pick.key for pick in shown.picks if pick.label_issue} == issues
    assert {point.key for point in shown.points if point.state == "issue"} == issues
    html = report(project)["html"].read_text()
    assert (
        html.count('<figure class="issue">') == html.count('<circle class="issue"') == len(issues)
    )
    table = html.partition("<h2>Label issues</h2>")[2]
    row = next(line for line in table.split("<tr>") if first.uri in line)
    assert f'<td class="no">{first.label}</td><td>{first.predicted}</td>' in row
    assert '<img src="data:image/jpeg;base64,' in row


def with_costs(project, **costs):
    """What the report shows with these costs in the config."""
    values = project.config.model_dump()
    values["costs"] = costs
    return facts(type(project)(project.root, config.check(values, "test")))


def test_a_price_is_by_the_label_and_by_the_hour(finished):
    hours = with_costs(finished).hours
    assert hours > 0
    answers = sum(a.labels + a.skips for a in with_costs(finished).annotators)
    assert with_costs(finished).money is None
    assert with_costs(finished, per_label=0.5).money == pytest.approx(0.5 * answers)
    both = with_costs(finished, hourly_rate=30.0, per_label=0.5)
    assert both.money == pytest.approx(0.5 * answers + 30 * hours)


def test_half_a_price_is_no_price(tmp_path, images):
    """Sheets know no times: pay by the hour is not known, so the sum is not known either."""
    project = create(
        tmp_path / "p", config.check(small_values(images, labeler={"kind": "csv"}), "t")
    )
    run(project)
    for sheet in project.root.glob("sheets/*.csv"):
        sheet.write_text(sheet.read_text().replace(".png,", ".png,digit-0"))
    pull(project)
    assert with_costs(project, per_label=0.5).money == pytest.approx(0.5 * 12)
    priced = with_costs(project, hourly_rate=30.0, per_label=0.5)
    assert priced.hours is None
    assert priced.money is None
    assert any("pay by the hour" in note for note in priced.notes)


def test_a_method_without_chance_is_said_to_have_no_band(finished):
    with sqlite3.connect(finished.root / "coreloop.db") as raw:
        raw.execute(
            "UPDATE cell SET outcome = json_set(outcome, '$.accuracy', 0.75) "
            "WHERE method = 'kmeans'"
        )
    notes = [note for note in facts(finished).notes if "every seed gave the same" in note]
    assert len(notes) == 1
    assert "kmeans" in notes[0].split(":")[0]
    assert "every seed gave the same" in report(finished)["html"].read_text()


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
            page.locator(".map .labelled").first.click(force=True)
            assert page.locator("#shown img").count() == 1
            assert "digit-" in page.locator("#shown").inner_text()
        browser.close()


def test_on_a_phone_a_wide_table_says_that_it_scrolls(finished):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on the PATH")
    from playwright.sync_api import sync_playwright

    path = report(finished)["html"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.goto(f"file://{path}")
        tables = page.locator(".scroll").evaluate_all(
            "all => all.map(e => [e.scrollWidth > e.clientWidth,"
            " getComputedStyle(e, '::before').content.includes('sideways')])"
        )
        browser.close()
    assert [True, True] in tables
    assert all(wider == hinted for wider, hinted in tables)


COMMAND = re.compile(r"coreloop [a-z]+(?: --[a-z-]+(?: [\w.]+)?)*")


def advised(project):
    """Every command that the project's report gives."""
    paths = report(project)
    page = unescape(paths["html"].read_text().split("Where every number comes from")[0])
    text = re.sub(r"<title>.*?</title>|<[^>]*>", " ", page) + paths["md"].read_text()
    return sorted(set(COMMAND.findall(text.replace("\n", " "))))


def assert_works(project, command):
    """Typed in the project's folder, with ``y`` where it asks."""
    _, name, *options = command.split()
    arguments = [name, "-p", str(project.root), *options]
    done = CliRunner().invoke(cli, arguments, input="y\n")
    assert done.exit_code == 0, f"{command}: {done.output} {done.exception!r}"


@pytest.fixture
def larger(tmp_path):
    """90 images with a wrong label now and then, 40 labelled in each of two rounds."""
    write_images(tmp_path / "images", count=150)
    values = small_values(
        tmp_path / "images",
        labeler={"kind": "oracle", "error_rate": 0.1},
        selection={"scorer": "random", "budgets": [30, 30]},
    )
    return create(tmp_path / "larger", config.check(values, "test"))


def test_every_command_that_a_report_gives_works_when_typed(larger):
    run(larger)
    commands = advised(larger)
    names = {command.split()[1] for command in commands}
    assert {"plan", "labels", "autolabel"} <= names, commands
    for command in commands:  # autolabel comes first, and opens a round
        assert_works(larger, command)
    for command in advised(larger):
        assert_works(larger, command)


def test_the_commands_of_a_report_while_a_round_is_open(tmp_path, images):
    values = small_values(images, labeler={"kind": "csv"})
    project = create(tmp_path / "p", config.check(values, "t"))
    run(project)
    for sheet in project.root.glob("sheets/*.csv"):
        lines = sheet.read_text().splitlines()
        filled = [line + re.search(r"digit-\d", line)[0] for line in lines[1:]]
        sheet.write_text("\n".join([lines[0], *filled]))
    run(project)
    for command in advised(project):
        assert_works(project, command)


def test_large_numbers_only_where_the_interval_decides(finished):
    shown = facts(finished)
    (own, *_) = [d for d in shown.differences if d.method == "kmeans"]
    better = dataclasses.replace(own, mean=0.2, low=0.1, high=0.3, n=3, among=None)
    unclear = dataclasses.replace(own, mean=0.2, low=-0.1, high=0.5, n=3, among=None)
    assert answers.decided(dataclasses.replace(shown, differences=[better])) == better
    assert answers.decided(dataclasses.replace(shown, differences=[unclear])) is None
    control = Control(6, 0.2, -0.1, 0.5, 20)
    no_own = dataclasses.replace(shown, differences=[], control=control)
    assert answers.decided(no_own) is None
    sure = dataclasses.replace(control, low=0.1)
    assert answers.decided(dataclasses.replace(no_own, control=sure)) == sure


def test_an_hour_is_no_tenth_of_a_day(finished):
    shown = dataclasses.replace(facts(finished), hours=0.1167, money=None)
    assert "7 minutes of labelling so far" in answers.cost_so_far(shown)


def test_skipped_unanswered_and_random_picks_are_told_apart(tmp_path, images):
    values = small_values(images, labeler={"kind": "csv"})
    values["pool"] = {"path": str(images)}
    values["measure"] = {"by": "sample", "images": 20}
    project = create(tmp_path / "p", config.check(values, "t"))
    run(project)
    (sheet,) = project.root.glob("sheets/*.csv")
    head, first, second, *rest = sheet.read_text().splitlines()
    label = re.search(r"digit-\d", second)[0]
    sheet.write_text("\n".join([head, first + "skip", second + label, *rest]) + "\n")
    pull(project)
    shown = facts(project)
    answers_by_key = {pick.key: pick.answer for pick in shown.picks}
    assert answers_by_key[first.split(",")[0]] == "skipped"
    assert answers_by_key[second.split(",")[0]] == label
    assert sorted(answers_by_key.values()).count("no label yet") == 24
    (first_round,) = shown.rounds
    assert (first_round.labelled, first_round.skipped, first_round.unanswered) == (1, 1, 24)
    (line,) = [line for line in status(project).rounds if line.number == 1]
    assert (line.labelled, line.skipped, line.unanswered) == (1, 1, 24)
    kinds = {pick.arm: pick.kind for pick in shown.picks}
    assert kinds == {"coreset": "", "sample": "random"}
    assert next(p.text for p in shown.points if p.state == "skipped").endswith("(skipped)")
    page = report(project)["html"].read_text()
    assert page.count("<em>random</em>") == 20
    assert '<span class="key skipped">' in page


def test_secrets_never_reach_files(project, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "very-secret-token-1234")
    run(project)
    report(project)
    looked = subprocess.run(
        ["grep", "-rl", "very-secret-token-1234", str(project.root)], capture_output=True, text=True
    )
    assert looked.stdout == ""


def test_names_with_dollars_are_no_formulas():
    import warnings
    from types import SimpleNamespace

    from loop.reports.figures import confusion

    names = ["5$_a^^b$", "\u732b $10_to_$20", "ok"]
    given = SimpleNamespace(metrics={"confusion": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}, classes=names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = confusion(given)
    assert "5$_a^^b$" in drawn


def write_often(shown, folder, barrier, failed):
    """In a process of its own: ``WRITES`` reports, as fast as they can be written."""
    barrier.wait()
    for _ in range(WRITES):
        try:
            write(shown, folder)
        except OSError as error:
            failed.put(repr(error))
            return


def test_two_reports_at_once_are_both_written(finished, tmp_path):
    shown = dataclasses.replace(facts(finished), curves=[], metrics=None)  # no figures: fast
    spawn = multiprocessing.get_context("spawn")
    barrier, failed = spawn.Barrier(2), spawn.Queue()
    arguments = (shown, tmp_path, barrier, failed)
    writers = [spawn.Process(target=write_often, args=arguments) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        with contextlib.suppress(FileNotFoundError):  # the first is still to come
            assert json.loads((tmp_path / "report.json").read_text())["project"] == shown.project
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert failed.empty(), failed.get()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["report.html", "report.json", "report.md"]
