"""What the screen says at the end of ``run`` and in ``status``, in colour or without."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from loop import config, scorers
from loop.cli import COMMANDS, cli, output
from loop.cli.measure import result_sentence
from loop.project import create
from loop.steps.pull import Pulled
from loop.steps.run import run
from loop.steps.scan import scan
from tests.conftest import small_values

ESCAPE = "\x1b["


def typed(project, *args, colour=False, **env):
    """Standard output of a command typed in the project's folder."""
    arguments = [args[0], "-p", str(project.root), *args[1:]]
    done = CliRunner().invoke(cli, arguments, color=colour, env=env, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def sheets_project(tmp_path, images, **labeler):
    values = small_values(images, labeler={"kind": "csv", "error_rate": 0.0, **labeler})
    values["pool"] = {"path": str(images)}
    values["measure"] = {"by": "sample", "images": 20}
    return create(tmp_path / "sheets-project", config.check(values, "test"))


def fill(project, count=None, name=""):
    """Fills in the first lines of the newest sheet, on a copy if a person is named."""
    sheet = max(project.root.glob("sheets/round-?-????????.csv"))
    head, *lines = sheet.read_text().splitlines()
    filled = [line + re.search(r"digit-\d", line)[0] for line in lines[:count]]
    target = sheet.with_name(f"{sheet.stem}.{name}.csv") if name else sheet
    target.write_text("\n".join([head, *filled, *lines[len(filled) :]]) + "\n")
    return len(lines)


def test_run_ends_with_what_the_round_brought_and_cost(project):
    ended = run(project)
    result = ended.result
    assert (result.round, result.labels, result.before[0]) == (2, 6, 1)
    sentence = result_sentence(result)
    accuracy = f"{100 * result.measured.accuracy:.1f} %"
    change = f"{100 * (result.measured.accuracy - result.before[1]):+.1f} points since round 1"
    assert sentence.startswith(f"round 2: accuracy {accuracy} (95 % interval ")
    assert change in sentence
    assert re.search(r"it cost 6 labels, \d+ seconds of work$", sentence)
    printed = " ".join(typed(project, "run").split())
    assert sentence in printed, "the last thing that is known stands there again"
    again = json.loads(typed(project, "run", "--json"))
    assert again["result"]["measured"]["accuracy"] == result.measured.accuracy


def test_run_says_nothing_of_rounds_that_were_trained_before(tmp_path, images):
    project = sheets_project(tmp_path, images)
    assert run(project).result is None
    fill(project)
    assert run(project).result.round == 1
    waiting = run(project)
    assert (waiting.why, waiting.result) == ("waiting", None)


def test_skipped_is_told_from_unanswered(tmp_path, images):
    project = sheets_project(tmp_path, images)
    run(project)
    sheet = next(project.root.glob("sheets/*.csv"))
    head, first, *rest = sheet.read_text().splitlines()
    sheet.write_text("\n".join([head, first + "skip", *rest]) + "\n")
    assert "0 of 26 images labelled, 1 skipped" in typed(project, "run")


def test_status_has_the_place_to_label_at(tmp_path, images):
    project = sheets_project(tmp_path, images)
    assert "label here" not in typed(project, "status")
    run(project)
    assert f"label here: {project.root / 'sheets'}" in typed(project, "status")


def test_status_of_a_label_studio_project_has_its_link_without_a_server(project, monkeypatch):
    from dataclasses import replace

    from db import queries
    from loop.steps.status import status

    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    scan(project)
    values = project.config.model_dump()
    values["labeler"] |= {"kind": "label-studio", "url": "http://127.0.0.1:9/"}
    asks = replace(project, written=config.check(values, "test"))
    assert status(asks).url is None
    with project.records.write() as session:
        pool = queries.the_pool(session)
        pool.source = {**pool.source, "labeler": {"projects": [7, 3]}}
    assert status(asks).url == "http://127.0.0.1:9/projects/7/data"


def test_second_opinions_are_outstanding_until_they_came(tmp_path, images):
    project = sheets_project(tmp_path, images, overlap=2)
    run(project)
    assert "second opinion" not in typed(project, "status")
    fill(project, 5, "alice")
    typed(project, "pull")
    assert "5 images have still to get a second opinion" in typed(project, "status")
    fill(project, 4, "bob")
    typed(project, "pull")
    assert "1 image has still to get a second opinion" in typed(project, "status")
    assert json.loads(typed(project, "status", "--json"))["second_opinions"] == 1


def test_colour_only_on_a_terminal_and_not_with_no_color(project):
    scan(project)
    assert f"{ESCAPE}36m" in typed(project, "status", colour=True, NO_COLOR="")
    assert ESCAPE not in typed(project, "status", colour=True, NO_COLOR="1")
    assert ESCAPE not in typed(project, "status")
    checks = typed(project, "doctor", colour=True, NO_COLOR="")
    assert f"{ESCAPE}32m{ESCAPE}1mok{ESCAPE}0m" in checks


@pytest.mark.parametrize(
    ("line", "colour"),
    [("FAIL  images: gone", "31"), ("attention: look", "33"), ("Error: no", "31")],
)
def test_colours(monkeypatch, line, colour):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.tinted(line).startswith(f"{ESCAPE}{colour}m")
    assert output.tinted(f"  {line}") == f"  {line}", "only what begins like that"


def test_help_is_grouped_and_names_each_command_once():
    text = CliRunner().invoke(cli, ["--help"]).stdout
    headings = re.findall(r"^(\w+):$", text, re.M)
    assert headings == ["Options", "Start", "Loop", "Look", "Plan", "Finish", "Tools"]
    commands = re.findall(r"^  ([a-z]+) {2,}\S", text[text.index("Start:") :], re.M)
    assert sorted(commands) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("version", "--version"),
        ("help", "--help"),
        ("stat", "status"),
        ("label", "labels"),
        ("trian", "train"),
        ("simulation", "simulate"),
    ],
)
def test_the_nearest_command_is_named(word, meant):
    done = CliRunner().invoke(cli, [word])
    assert done.exit_code == 2
    assert f"(did you mean {meant!r}?)" in done.stderr


def pulled(**changes):
    values = {
        "new": 0,
        "foreign": 0,
        "unknown_class": 0,
        "unknown": "",
        "odd": [],
        "notes": (),
        "gone": 0,
        "twice": 0,
        "answered": 0,
        "picked": 9,
        "skipped": 0,
        "complete": False,
        "url": "http://127.0.0.1/projects/1/data",
        "round": 1,
        "next": "coreloop run",
    }
    return Pulled(**(values | changes))


def test_watch_prints_a_line_for_each_change_with_its_time(capsys):
    from loop.cli.pull import _watch

    one = pulled(new=1, answered=1)
    steps = [pulled(), pulled(), one, pulled(answered=1), pulled(answered=1)]
    _watch(iter([*steps, pulled(new=8, answered=9, complete=True)]), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    times = [line for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert [line[9:] for line in times] == [
        "0 new answers; 0 of 9 images labelled, 0 skipped",
        "1 new answer; 1 of 9 images labelled, 0 skipped",
        "8 new answers; 9 of 9 images labelled, 0 skipped",
    ]
    rest = [line for line in lines if line not in times]
    assert rest == ["label here: http://127.0.0.1/projects/1/data", "next: coreloop run"]


def test_a_command_to_type_is_not_broken_over_lines():
    address = "http://127.0.0.1:8080/projects/17/data?task=" + "1234567890" * 6
    assert address in output.lines_of(f"an annotation is not read as an answer: {address}")
    advice = "coreloop autolabel --max-error 0.05"
    for length in range(40, 80):
        lines = output.lines_of(f"{'x' * length} {advice} and so on")
        assert any(advice in line for line in lines)
        assert max(map(len, lines)) <= 80


def test_scorers_says_in_a_line_what_each_does_and_under_a_heading_when():
    lines = CliRunner().invoke(cli, ["scorers"]).stdout.splitlines()
    when, names = "", {}
    for line in lines:
        if line.endswith(":"):
            when = line
        elif match := re.match(r" ([a-z][a-z0-9_]+) +(\S.*\S)", line):
            names[match[1]] = when
        else:
            assert not re.match(r" {8,}\S", line), f"a second line: {line}"
    assert set(scorers.names()) <= set(names)
    assert names["auto"] == names["kmeans"] == "any round, from the first on:"
    assert names["margin"].startswith("from the second round on")
    assert names["el2n"].startswith("to look back")
    assert max(map(len, lines)) <= 80


def test_encoders_explains_each_option():
    from loop.encoders.timm import OPTIONS

    text = CliRunner().invoke(cli, ["encoders"]).stdout
    assert all(re.search(rf"^ .*\b{option}\b", text, re.M) for option in OPTIONS)
    assert max(map(len, text.splitlines())) <= 80


def test_without_a_network_missing_weights_are_said_at_once(monkeypatch, caplog, capfd):
    """The hub's own client repeats each request for a minute, with a warning each."""
    import socket
    import time

    from loop import encoders
    from loop.errors import ConfigError

    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("loop.encoders.timm.getproxies", dict)
    began = time.process_time()
    with pytest.raises(ConfigError, match="there is no network") as caught:
        encoders.get("timm:resnet10t.c3_in1k")
    assert "timm:resnet10t.c3_in1k:/path/to/" in str(caught.value)
    assert "Retry" not in caplog.text + capfd.readouterr().err
    assert time.process_time() - began < 30


def test_simulate_says_that_there_are_no_classes_before_it_embeds(tmp_path, images):
    flat = tmp_path / "flat"
    flat.mkdir()
    for picture in images.rglob("*.png"):
        picture.rename(flat / picture.name)
    arguments = ["simulate", str(flat), "-p", str(tmp_path / "p")]
    done = CliRunner().invoke(cli, arguments)
    assert "has no sub-folder for each class" in str(done.exception)
    assert "embedding" not in done.stderr


def test_simulate_names_unlabelled_images_before_it_embeds(tmp_path, images):
    picture = next(images.rglob("*.png"))
    picture.rename(images / "beside.png")
    done = CliRunner().invoke(cli, ["simulate", str(images), "-p", str(tmp_path / "p")])
    assert "1 image has no known label among the classes" in str(done.exception)
    assert "embedding" not in done.stderr


def test_simulate_compares_by_another_metric_without_new_cells(tmp_path, images):
    for picture in sorted((images / "digit-0").iterdir())[5:]:
        picture.unlink()  # one rare class: the metrics differ
    arguments = ["simulate", str(images), "-p", str(tmp_path / "p"), "--methods", "kmeans"]
    arguments += ["--budgets", "6", "--seeds", "2", "--jobs", "1", "--json"]
    means = {}
    for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
        done = CliRunner().invoke(cli, [*arguments, "--metric", metric], catch_exceptions=False)
        means[metric] = [row["mean"] for row in json.loads(done.stdout)]
    assert len({tuple(values) for values in means.values()}) == 3
    thinned = CliRunner().invoke(cli, [*arguments[:-1], "--imbalance", "single"]).stdout
    assert "one class of the pool is thinned out to 1 % of the images" in " ".join(thinned.split())
    refused = CliRunner().invoke(cli, [*arguments[:-1], "--share", "2"])
    assert "the share of the pool must be above 0" in str(refused.exception)
    assert "embedding" not in refused.stderr
    text = CliRunner().invoke(cli, [*arguments[:-1], "--metric", "macro_f1"]).stdout
    assert "thinned out" not in text
    assert "mean test macro-F1 in %" in text
    assert "mean plain test accuracy in %" in text
    assert "classes with a label, in % of the classes" in text


def test_status_says_that_tasks_are_missing_only_while_they_wait(project):
    """What people cannot act on any more is no trouble."""
    from sqlalchemy import update

    from db.models import Batch, Sent
    from loop.steps.status import status

    run(project)
    with project.records.write() as session:
        session.execute(update(Sent).values(remote_id=None))
        assert session.query(Batch).count()
    assert status(project).troubles == []


def test_doctor_names_the_torch_for_cpus_where_cuda_is_of_no_use(monkeypatch):
    import torch

    from loop.steps.doctor import _device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    assert "pip install --force-reinstall torch torchvision --index-url" in _device()
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "pip install" not in _device()


def test_an_image_that_was_sent_back_waits_for_one_more_person(tmp_path, images):
    from db import queries
    from loop.project.labels import note_asked_again

    project = sheets_project(tmp_path, images)
    run(project)
    keys = [line.split(",")[0] for line in next(project.root.glob("sheets/*.csv")).open()][1:3]
    fill(project, 3, "alice")
    typed(project, "pull")
    with project.records.write() as session:
        note_asked_again(session, queries.the_pool(session).id, keys)
    assert "2 images have still to get a second opinion" in typed(project, "status")
    fill(project, 1, "bob")
    typed(project, "pull")
    assert "1 image has still to get a second opinion" in typed(project, "status")
