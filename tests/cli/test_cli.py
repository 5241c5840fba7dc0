"""The command line: help, JSON, exit codes, messages that say what to type next."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loop import config
from loop.cli import COMMANDS
from loop.cli.demo import finish
from loop.cli.output import table
from loop.project import create
from loop.project.classes import stated_classes
from loop.steps.run import run
from tests.conftest import rows, small_values

ROOT = Path(__file__).resolve().parents[2]


def coreloop(*args, cwd, **env):
    command = [sys.executable, "-c", "from loop.cli import main; main()", *map(str, args)]
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CORELOOP_LOCK_SECONDS": "0.2", **env},
    )


def edit(project, before, after):
    file = project.root / "coreloop.toml"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name, tmp_path):
    done = coreloop(name, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"Example: coreloop {name}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name):
    assert f"`coreloop {name}" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_whole_life_of_a_project(images, tmp_path):
    made = coreloop(
        "init",
        "p",
        "--images",
        images,
        "--labelled",
        "--labeler",
        "oracle",
        "--encoder",
        "pixels:8",
        "--budgets",
        "5,5",
        "--test",
        "10",
        "--scorer",
        "kmeans",
        cwd=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    assert "60 images, 10 of them held out" in made.stdout
    inside = tmp_path / "p" / "arrays"
    ended = coreloop("run", "--json", cwd=inside)  # found from a subfolder
    assert json.loads(ended.stdout)["why"] == "done", ended.stderr
    status = json.loads(coreloop("status", "--json", cwd=inside).stdout)
    assert [r["labelled"] for r in status["rounds"]] == [10, 5, 5]
    assert status["rounds"][2]["accuracy"] > 0.5
    paths = json.loads(coreloop("report", "--json", cwd=inside).stdout)
    assert all(Path(path).is_file() for path in paths.values())
    more = coreloop("run", "--budget", "3", "--json", cwd=inside)
    assert json.loads(more.stdout)["why"] == "done"
    status = json.loads(coreloop("status", "--json", cwd=inside).stdout)
    assert status["rounds"][3]["labelled"] == 3
    assert coreloop("status", cwd=inside).stdout.count("next:") == 1


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["status"], 2, "coreloop init"),
        (["stauts"], 2, "did you mean 'status'"),
        (["init", "p", "--images", "none", "--classes", "a,b"], 3, "none"),
        (["init", "p", "--images", "{images}", "--classes", "a"], 2, "classes"),
        (["init", "p", "--images", "{images}", "--scorer", "kmean"], 2, "did you mean 'kmeans'"),
        (["init", "p", "--images", "{images}", "--encoder", "pixel"], 2, "did you mean 'pixels'"),
        (["init", "p", "--images", "{images}", "--budgets", "ten"], 2, "whole numbers"),
        (["init", "p", "--images", "{images}", "--budgets", ""], 2, "whole numbers"),
        (["init", "{file}", "--images", "{images}"], 2, "name another folder"),
        (["init", "{file}/p", "--images", "{images}"], 2, "name another folder"),
        (["init", "p", "--images", "{empty}", "--classes", "a,b"], 3, "no usable image"),
        (["init", "p", "--images", "{images}", "--test-images", "none"], 3, "none"),
        (
            ["init", "p", "--images", "{images}", "--labelled", "--classes", "digit-0,digit-1,x"],
            2,
            "digit-2",
        ),
    ],
)
def test_bad_input(args, code, words, images, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    named = {"images": images, "empty": tmp_path / "empty", "file": tmp_path / "file"}
    args = [a.format(**named) for a in args]
    done = coreloop(*args, cwd=tmp_path)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("coreloop.toml"))  # so that the corrected command works


def test_init_after_a_refused_one(images, tmp_path):
    (tmp_path / "empty").mkdir()
    classes = ["--classes", "digit-0,digit-1,digit-2"]
    assert coreloop("init", "p", "--images", "empty", *classes, cwd=tmp_path).returncode == 3
    made = coreloop("init", "p", "--images", images, *classes, "--test", "30", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "60 images, 12 of them held out for testing (a fifth" in made.stdout


def test_init_with_own_test_images(images, tmp_path):
    tests = tmp_path / "tests"
    for kind in ("digit-0", "digit-1", "digit-2"):
        (tests / kind).mkdir(parents=True)
        shutil.copy(next((images / kind).iterdir()), tests / kind / f"{kind}.png")
    made = coreloop("init", "p", "--images", images, "--test-images", tests, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "60 images, 3 of them held out for testing\n" in made.stdout
    status = json.loads(coreloop("status", "--json", cwd=tmp_path / "p").stdout)
    assert (status["rounds"][0]["state"], status["rounds"][0]["labelled"]) == ("labeled", 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Digit-0/a.png", "the folder 'Digit-0' in {tests} is none of the classes (did you mean"),
        ("digit-0.png", "the image 'digit-0.png' in {tests} is in no class's folder"),
    ],
)
def test_test_images_outside_the_classes(name, words, images, tmp_path):
    tests = tmp_path / "tests"
    shutil.copytree(images, tests)
    arguments = ("init", "p", "--images", images, "--test-images", tests)
    (tests / ".hidden").mkdir()
    (tests / "empty").mkdir()
    (tests / "notes.txt").touch()
    assert coreloop(*arguments, cwd=tmp_path).returncode == 0
    (tests / name).parent.mkdir(exist_ok=True)
    shutil.copy(next((images / "digit-0").iterdir()), tests / name)
    done = coreloop("doctor", cwd=tmp_path / "p")
    assert done.returncode == 3
    assert f"FAIL  names: {words.format(tests=tests)}" in done.stdout
    shutil.rmtree(tmp_path / "p")
    refused = coreloop(*arguments, cwd=tmp_path)
    assert (refused.returncode, words.format(tests=tests) in refused.stderr) == (2, True)


def test_init_with_unlabelled_test_images(images, tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    for picture in (images / "digit-0").iterdir():
        shutil.copy(picture, tests)
    made = coreloop("init", "p", "--images", images, "--test-images", tests, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    status = json.loads(coreloop("status", "--json", cwd=tmp_path / "p").stdout)
    assert (status["rounds"][0]["state"], status["rounds"][0]["labelled"]) == ("selected", 0)
    assert "ok    names" in coreloop("doctor", cwd=tmp_path / "p").stdout


def test_hidden_and_empty_folders_are_no_classes(images):
    (images / ".ipynb_checkpoints").mkdir()
    (images / ".ipynb_checkpoints" / "a.png").touch()
    (images / "empty" / "deeper").mkdir(parents=True)
    (images / "nothing").mkdir()
    (images / "nothing" / ".DS_Store").touch()
    (images / "deep" / "deeper").mkdir(parents=True)
    (images / "deep" / "deeper" / "a.png").touch()
    (images / "beside.png").touch()
    assert stated_classes(images) == ["deep", "digit-0", "digit-1", "digit-2"]


def test_doctor_knows_the_names(project):
    edit(project, 'scorer = "kmeans"', 'scorer = "kmens"')
    done = coreloop("doctor", cwd=project.root)
    assert done.returncode == 3
    assert "FAIL  names: " in done.stdout
    assert "did you mean 'kmeans'" in done.stdout


def test_unknown_config_key_names_the_nearest(project):
    edit(project, "budgets =", "budgts =")
    done = coreloop("status", cwd=project.root)
    assert done.returncode == 2
    assert "'selection.budgts' (did you mean 'budgets'?)" in done.stderr


def test_steps_out_of_order_say_what_is_next(project):
    assert "coreloop scan" in coreloop("score", cwd=project.root).stderr
    coreloop("scan", cwd=project.root)
    done = coreloop("train", "-p", project.root, cwd="/")
    assert done.returncode == 4
    assert "coreloop push" in coreloop("select", cwd=project.root).stderr


def test_second_writer_leaves_with_code_5(project):
    with project.writing():
        done = coreloop("scan", cwd=project.root)
        looked = coreloop("status", cwd=project.root)
    assert done.returncode == 5
    assert "another coreloop command" in done.stderr
    assert looked.returncode == 0


def test_budget_beyond_the_pool(project):
    edit(project, "    6,\n]", "    500,\n]")
    done = coreloop("run", cwd=project.root)
    assert done.returncode == 3
    assert "500" in done.stderr
    assert "budgets" in done.stderr
    again = coreloop("status", "--json", cwd=project.root)
    assert json.loads(again.stdout)["rounds"][1]["labelled"] == 6


def test_newer_database(project):
    import sqlite3

    with sqlite3.connect(project.root / "coreloop.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    done = coreloop("status", cwd=project.root)
    assert done.returncode == 5
    assert "upgrade coreloop" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2_000, 8_000, 40_000])
def test_full_disk_loses_nothing(project, limit):
    """No file may grow beyond ``limit`` bytes: what a full disk does to each write."""
    coreloop("scan", cwd=project.root)
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "import sys; sys.argv = ['coreloop', 'run']; from loop.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 4, done.stderr
    assert "Free some space" in done.stderr
    again = coreloop("run", "--json", cwd=project.root)
    assert json.loads(again.stdout)["why"] == "done", again.stderr


def test_image_that_vanished_is_named(project, images):
    coreloop("scan", cwd=project.root)
    gone = next(images.rglob("*.png"))
    shutil.move(gone, gone.with_suffix(".away"))
    done = coreloop("embed", cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert "attention: 1 image has gone, passed over from now on:" in done.stderr
    assert gone.name in done.stderr


def test_init_twice(project):
    done = coreloop("init", project.root, "--images", ".", "--classes", "a,b", cwd=project.root)
    assert done.returncode == 2
    assert "exists already" in done.stderr


@pytest.mark.slow
def test_table_fits_80_columns(project):
    coreloop("run", cwd=project.root)
    for command in ("status", "scorers", "encoders"):
        text = coreloop(command, cwd=project.root, COLUMNS="80").stdout
        lines = [line for line in text.splitlines() if str(project.root) not in line]
        assert max(map(len, lines)) <= 80, command


def test_simulate_keeps_data_sets_of_one_name_apart(images, tmp_path):
    other = shutil.copytree(images, tmp_path / "other" / "images")
    options = ("--methods", "kmeans", "--per-class", "1", "--seeds", "1", "--jobs", "1")
    made = coreloop("simulate", images, *options, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    for named in ((), ("-p", "coreloop-simulate-images")):
        done = coreloop("simulate", other, *named, *options, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"was made from {images}" in done.stderr
        assert "--project" in done.stderr
    assert coreloop("simulate", "images", *options, cwd=tmp_path).stdout == made.stdout


def test_simulate_takes_another_encoder_for_the_images_of_a_project(project):
    options = ("--methods", "kmeans", "--per-class", "1", "--seeds", "1", "--jobs", "1")
    done = coreloop("simulate", "--encoder", "pixels:4", *options, cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert "embedding with pixels:4" in done.stderr
    done = coreloop("simulate", *options, cwd=project.root)
    assert "embedding with pixels:8" in done.stderr


def test_a_table_shows_names_as_they_are(capsys):
    table(("[bold]image",), [("cat[1].png",), ("a[/b].png",), (":cat:.png",)])
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("[bold]image", "cat[1].png", "a[/b].png", ":cat:.png"))


def test_commands_to_copy_quote_the_folder(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = create(tmp_path / "my proj", config.check(small_values(images), "test"))
    run(made)
    finish(made, as_json=False, seconds=1.0)
    assert "cd 'my proj' && coreloop status" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("export", "--out", "coreloop.toml/x.csv"), "name another path"),
        (("backup", "coreloop.toml/b"), "name another path"),
        (("backup", "b" * 300), "name another path"),
        (("plan", "typo"), "there is no folder"),
        (("plan", "--budget-money", "inf", "--per-label", "1"), "a number above 0"),
        (("plan", "--budget-money", "nan", "--per-label", "1"), "a number above 0"),
        (("run", "--budget", "40"), "give a smaller --budget"),
        (("simulate", "--seeds", "0"), "--seeds"),
    ],
)
def test_bad_input_to_a_finished_project(finished, args, words):
    done = coreloop(*args, cwd=finished.root)
    assert done.returncode in (2, 3), done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from tests.conftest import write_images

    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images")
    project = create(folder / "p", config.check(small_values(folder / "images"), "test"))
    assert run(project).why == "done"
    return project


def test_unknown_device(project):
    edit(project, 'device = "auto"', 'device = "gpu"')
    done = coreloop("doctor", cwd=project.root)
    assert done.returncode == 3
    assert "unknown device 'gpu'" in done.stdout + done.stderr


def test_doctor_passes_over_a_link_that_leads_out(project, images, tmp_path):
    (tmp_path / "outside.png").write_bytes(b"no image")
    (sorted(images.iterdir())[0] / "000-a.png").symlink_to(tmp_path / "outside.png")
    done = coreloop("doctor", cwd=project.root)
    assert done.returncode == 0, done.stdout + done.stderr


def test_status_and_backup_keep_the_password_of_a_database(project, tmp_path):
    from loop.project import find
    from loop.steps.status import settings as shown

    secret = "postgresql+psycopg://me:hidden@db.example/coreloop?password=hidden"
    text = (project.root / "coreloop.toml").read_text()
    edit(project, 'database = ""', f'database = "{secret}"')
    assert shown(find(project.root))["database"] == "coreloop at db.example, postgresql"
    (project.root / "coreloop.toml").write_text(text)


def test_watching_goes_on_while_another_command_writes(project, monkeypatch):
    from click.testing import CliRunner

    from loop.cli.pull import pull
    from loop.project import ProjectBusy
    from loop.steps import pull as step

    real, calls = step.pull, []

    def busy(*args, **options):
        calls.append(1)
        if len(calls) < 3:
            raise ProjectBusy("another coreloop command is writing")
        return real(*args, **options)

    run(project)
    monkeypatch.setattr(step, "pull", busy)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    done = CliRunner().invoke(pull, ["-p", str(project.root), "--watch", "1"])
    assert done.exit_code == 0, done.output
    assert len(calls) == 3
    assert "trying again: another coreloop command" in done.output


def test_watching_prints_a_line_of_json_for_each_pull(project):
    run(project)
    done = coreloop("pull", "--watch", "1", "--json", cwd=project.root)
    lines = done.stdout.splitlines()
    assert [json.loads(line)["complete"] for line in lines] == [True]


def test_a_user_who_does_not_exist_is_named(tmp_path):
    done = coreloop("init", "p", "--images", "~nobody-of-that-name/x", cwd=tmp_path)
    assert done.returncode == 2
    assert "~nobody-of-that-name/x" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_current_folder_that_was_deleted_is_said(tmp_path):
    code = (
        "import os; from loop.cli import main\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "status"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "was deleted" in done.stderr


def test_what_a_round_was_begun_with_is_what_it_uses(project):
    """The config is edited between the round's beginning and its scores."""
    from loop.project import find
    from loop.project.rounds import begin_round
    from loop.steps.embed import embed
    from loop.steps.pull import pull
    from loop.steps.push import push
    from loop.steps.scan import scan

    scan(project)
    embed(project)
    push(project)
    pull(project)
    begin_round(find(project.root))
    edit(project, 'scorer = "kmeans"', 'scorer = "random"')
    edit(project, 'rule = "top"', 'rule = "middle"')
    assert (
        "round 1 goes by the settings it was begun with"
        in coreloop("status", cwd=project.root).stdout
    )
    assert json.loads(coreloop("score", "--json", cwd=project.root).stdout)["scorer"] == "kmeans"
    assert coreloop("select", cwd=project.root).returncode == 0
    scores = dict(rows(project, "SELECT item_id, score FROM pick WHERE arm = 'coreset'"))
    assert sorted(scores.values(), reverse=True) == list(scores.values()), "not the highest"


def test_lines_of_an_answer_are_lines(project):
    run(project)
    lines = coreloop("report", cwd=project.root).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["html", "md", "json"]
