"""What may be said of a pool that is a Label Studio project, and how its images are called."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from connectors.base import SourceError
from connectors.label_studio.marks import Marking, holding
from connectors.label_studio.task_images import TaskImages, parts_of, project_of, uri_of
from loop import config
from loop.cli import cli
from loop.errors import ConfigError

POOL = {"source": "label-studio", "path": "label-studio://17"}


def settings(**labeler):
    labeler = {"kind": "label-studio", "url": "http://127.0.0.1:9", **labeler}
    values = {"project": {"name": "p", "classes": ["a", "b"]}, "pool": POOL, "labeler": labeler}
    return config.check(values, "test")


def test_people_label_where_the_pool_is():
    assert settings(project=17).labeler.project == 17
    for wrong in ({"kind": "csv"}, {"kind": "oracle"}, {"project": 18}):
        with pytest.raises(ConfigError, match="project = 17 or 0"):
            settings(**wrong)


def test_people_are_named_once_and_are_enough():
    assert settings(people=["ann", "bob"], overlap=2).labeler.people == ["ann", "bob"]
    with pytest.raises(ConfigError, match="names somebody twice"):
        settings(people=["ann", "ann"])
    with pytest.raises(ConfigError, match="people names only 1"):
        settings(people=["ann"], overlap=2)
    values = {"project": {"name": "p", "classes": ["a", "b"]}, "pool": {"path": "x"}}
    with pytest.raises(ConfigError, match="a pool that is a Label Studio project"):
        config.check({**values, "labeler": {"kind": "csv", "people": ["ann"]}}, "test")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "http://127.0.0.1:9/a/projects/17/data?tab=3"], "at http://127.0.0.1:9/a "),
        (["--images", "project", "--project", "17", "--url", "http://127.0.0.1:9"], "127.0.0.1:9 "),
        (["--images", "project", "--labeler", "label-studio"], "e.g. --project 17"),
        (["--images", "project", "--project", "17"], "--url of 'coreloop init'"),
        (["--images", "x", "--project", "17", "--labeler", "csv"], "not csv"),
    ],
)
def test_spellings_of_a_project(tmp_path, monkeypatch, words, said):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a-token")
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    done = CliRunner().invoke(cli, ["init", str(tmp_path / "p"), *words])
    assert said in str(done.exception) + done.output
    assert done.exit_code != 0
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("address", ["label-studio://", "label-studio://x", "label-studio://-1"])
def test_an_address_names_a_project(address):
    assert project_of("label-studio://17/") == 17
    with pytest.raises(SourceError, match="/projects/17/data is label-studio://17"):
        project_of(address)


def test_an_image_is_called_by_its_task_and_its_address():
    uri = uri_of(5, "s3://b/a: b.png")
    assert parts_of(uri) == (5, "s3://b/a: b.png")
    assert uri_of(6, "s3://b/a: b.png") != uri, "numbers of deleted tasks are used again"
    assert [uri_of(5, odd) for odd in (None, "", 3, ["x"])] == [None] * 4
    with pytest.raises(SourceError):
        parts_of("a/b.png")


def test_a_source_travels_without_its_token():
    import pickle

    source = TaskImages("http://127.0.0.1:9", "secret-token", 17, ("a", "b"))
    assert b"secret" not in pickle.dumps(source)
    assert "secret" not in repr(source)
    assert pickle.loads(pickle.dumps(source)).project == 17


def test_marks_of_a_round_are_in_the_order_of_their_places_and_no_other_rounds():
    marking = Marking(None, 17, "0123456789abcdef")
    names = [marking.name("round 1", place, "f" * 32) for place in (0, 9, 10, 12345)]
    assert names == sorted(names)
    assert all(name.startswith(marking.start_of("round 1")) for name in names)
    assert not marking.name("round 10", 0, "f" * 32).startswith(marking.start_of("round 1"))
    assert holding("x").value == ["x"], "the server takes a string letter by letter"
