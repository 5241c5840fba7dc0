"""Answers that no server should give, by the thousand: recorded real ones with a part dropped, made
null or of another type, nested, enlarged, repeated or put in another order, in the middle of whole
pushes and pulls. None ends in a traceback or hangs, none brings a label that no person gave, none
deletes a task; the next command against an honest server puts all right.

    make soak        5,000 whole commands; CORELOOP_ANSWERS sets how many
"""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from connectors.base import ConnectorError
from db import queries
from db.answers import current_answers
from db.errors import DbError
from loop import config
from loop.errors import LoopError
from loop.project import Project, create, find
from loop.steps.embed import embed
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.scan import scan
from tests.conftest import small_values, write_images
from tests.label_studio.fake import FakeStudio
from tests.label_studio.loopback import Reply, loopback

ANSWERS = int(os.environ.get("CORELOOP_ANSWERS", "40"))
PICKS = 4
CPU_SECONDS = 20.0
"""A command that takes longer hangs. Of this process, so that a busy machine is no hang; one that
waits for ever is ended by pytest's timeout."""
OTHER_TYPES = [None, True, 3, -1, 1.5, float("nan"), "", "word", [], {}, [None], {"a": 1}, "1"]
SEEN: Counter[str] = Counter()


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Stage -> (folder, fake server, answers of people): before the push, and while people label,
    with one answer that was not pulled yet."""
    folder = tmp_path_factory.mktemp("generated")
    write_images(folder / "images", count=24)
    labeler = {"kind": "label-studio", "error_rate": 0.0}
    values = small_values(folder / "images", pool={"test": PICKS}, labeler=labeler)
    project = create(folder / "selected", config.check(values, "test"))
    scan(project)
    embed(project)
    project.close()
    shutil.copytree(project.root, folder / "pushed")
    fake, people = FakeStudio(), {}
    with pytest.MonkeyPatch.context() as patch, loopback(fake.answer) as server:
        patch.setenv("LABEL_STUDIO_URL", server.url)
        patch.setenv("LABEL_STUDIO_API_KEY", "0" * 40)
        project = find(folder / "pushed")
        push(project)
        for number, key in enumerate(keys_of(fake)[:3]):
            if number == 2:
                pull(project)
            people[key] = f"digit-{number}"
            fake.annotate(key, people[key])
        project.close()
    return {
        "selected": (folder / "selected", FakeStudio(), {}),
        "pushed": (folder / "pushed", fake, people),
    }


def keys_of(fake: FakeStudio) -> list[str]:
    return [task["data"]["coreloop_key"] for task in fake.tasks.values()]


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths to all parts of a JSON value."""
    paths = [path]
    if isinstance(value, dict):
        children = list(value.items())
    else:
        children = list(enumerate(value)) if isinstance(value, list) else []
    for name, child in children:
        paths += places(child, (*path, name))
    return paths


DROP = object()
"""In place of a part: it is left out."""


def changed(value: Any, path: tuple, change: Callable[[Any], Any]) -> Any:
    """The value with the part at a path replaced by ``change`` of it."""
    if not path:
        return change(value)
    name, *rest = path
    part = changed(value[name], tuple(rest), change)
    kept = copy.copy(value)
    if part is DROP:
        del kept[name]
    else:
        kept[name] = part
    return kept


def enlarge(value: Any) -> Any:
    if isinstance(value, dict):
        return {**value, **{f"x{i}": i for i in range(500)}}
    if isinstance(value, str | list):
        return value * 500
    return [value] * 1000 if value is None or isinstance(value, bool) else value * 10**12 + 10**12


def deep(value: Any) -> Any:
    for _ in range(300):
        value = [value]
    return value


def repeat(value: Any) -> Any:
    return value + value if isinstance(value, list | str) else [value, value]


def reorder(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(reversed(list(value.items())))
    return value[::-1] if isinstance(value, list) else value


CHANGES: list[Callable[[Any], Any]] = [
    lambda value: DROP,
    *[lambda value, other=other: copy.deepcopy(other) for other in OTHER_TYPES],
    lambda value: [value],
    lambda value: {"a": value},
    deep,
    enlarge,
    enlarge,
    repeat,
    repeat,
    reorder,
    reorder,
]


@dataclass
class Liar:
    """Changes the answer after ``wait`` honest ones, and perhaps all that come after it.

    Attributes:
        change: which of ``CHANGES``.
        parts: numbers that say which part of each answer.
    """

    wait: int
    again: bool
    change: int
    parts: list[int]
    told: int = 0

    def __call__(self, name: str, answer: Any) -> Any:
        self.wait -= 1
        if self.wait >= 0 or (self.told and not self.again):
            return answer
        paths = places(answer)
        path = paths[self.parts[self.told % len(self.parts)] % len(paths)]
        self.told += 1
        lie = changed(answer, path, CHANGES[self.change])
        return Reply(200, b"") if lie is DROP else lie


LIARS = st.builds(
    Liar,
    wait=st.integers(0, 12),
    again=st.booleans(),
    change=st.integers(0, len(CHANGES) - 1),
    parts=st.lists(st.integers(0, 999), min_size=1, max_size=9),
)


@pytest.mark.soak
@settings(
    max_examples=ANSWERS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=ANSWERS < 1000,
    phases=[Phase.reuse, Phase.generate],  # a liar is short enough; to shrink takes many minutes
)
@given(
    liar=LIARS,
    begin=st.sampled_from([("selected", push), ("pushed", push), ("pushed", pull)]),
)
def test_generated_answers(stages, tmp_path_factory, liar, begin):
    stage, command = begin
    folder, fake, people = copy.deepcopy(stages[stage])
    root = tmp_path_factory.mktemp("p") / "p"
    shutil.copytree(folder, root)
    before = set(fake.tasks)
    with pytest.MonkeyPatch.context() as patch, loopback(fake.answer) as server:
        patch.setenv("LABEL_STUDIO_URL", server.url)
        patch.setenv("LABEL_STUDIO_API_KEY", "0" * 40)
        patch.setattr("connectors.label_studio.client.PAUSE", 0.0001)
        patch.setattr("connectors.label_studio.labeler.LAG", 0.0)
        project = find(root)
        fake.lie = liar
        began = time.process_time()
        ended = outcome(command, project)
        assert time.process_time() - began < CPU_SECONDS
        SEEN[f"{command.__name__}: {ended}"] += 1
        SEEN["answers changed"] += liar.told
        assert labels(project).items() <= people.items()
        assert fake.deleted == []
        fake.lie = lambda name, answer: answer
        push(project)
        pull(project, full=True)
        assert labels(project) == people
        assert before <= set(fake.tasks)
        assert set(keys_of(fake)) == picks(project)
        project.close()
    shutil.rmtree(root.parent)


def outcome(command: Callable[[Project], object], project: Project) -> str:
    """``done``, or the exit code of an error of ours, which has one sentence."""
    try:
        command(project)
    except (ConnectorError, LoopError, DbError) as error:
        if "\n" in str(error) or not str(error).isprintable():
            raise
        return f"exit {error.exit_code}"
    return "done"


def picks(project: Project) -> set[str]:
    with project.records.read() as session:
        return {pick.key for pick in queries.picks(session, 1, 0)}


def labels(project: Project) -> dict[str, str | None]:
    """Item key -> every label that counts."""
    classes = project.config.project.classes
    with project.records.read() as session:
        answers = current_answers(session, 1)
    return {answer.key: answer.label for answer in answers if answer.label in classes}


@pytest.mark.soak
def test_how_many_there_were(capsys):
    """Printed after the examples."""
    with capsys.disabled():
        print(f"\n{dict(SEEN)}")
    assert SEEN["answers changed"] > 0
