"""The owner looks before anything is sent; the verbs one after another do what ``run`` does."""

from __future__ import annotations

import json

import pytest

from db.errors import Missing
from loop import config
from loop.errors import NotReady
from loop.project import create
from loop.steps.compare import compare
from loop.steps.embed import embed
from loop.steps.pull import pull
from loop.steps.push import push
from loop.steps.run import run
from loop.steps.scan import scan
from loop.steps.score import score
from loop.steps.select import preview, select
from loop.steps.train import train
from tests.cli.test_cli import coreloop
from tests.conftest import rows, small_values

PICKS = "SELECT round_id, item_id, arm, rank, score, draw FROM pick ORDER BY id"
LEARNED = "SELECT round_id, arm, labels, metrics FROM run ORDER BY id"
STATES = "SELECT number, state FROM round ORDER BY number"


def with_sample(images, **changes):
    values = small_values(images, measure={"images": 20}, **changes)
    del values["pool"]["test"]
    return config.check(values, "test")


@pytest.fixture
def sampled(tmp_path, images):
    """A project that a random sample measures."""
    return create(tmp_path / "sampled", with_sample(images))


def test_run_stops_before_the_push_and_goes_on_without_review(sampled, tmp_path, images):
    for _ in range(2):  # as often as one likes
        ended = run(sampled, review=True)
        assert (ended.why, rows(sampled, STATES)) == ("review", [(1, "selected")])
    assert rows(sampled, "SELECT count(*) FROM batch") == [(0,)]
    assert not (sampled.root / "oracle.jsonl").exists()
    html = (sampled.reports / "preview.html").read_text()
    assert ended.page == str(sampled.reports / "preview.html")
    assert html.count("<figure>") == 26
    assert "do not show it to the people who label" in html
    assert run(sampled, review=True).why == "review"
    assert run(sampled).why == "done"
    straight = create(tmp_path / "straight", with_sample(images))
    run(straight)
    assert rows(sampled, PICKS) == rows(straight, PICKS)


def test_a_preview_says_why_each_was_picked_and_changes_nothing(sampled):
    run(sampled, review=True)
    before = rows(sampled, "SELECT count(*) FROM event"), rows(sampled, PICKS)
    shown, page = preview(sampled)
    assert (rows(sampled, "SELECT count(*) FROM event"), rows(sampled, PICKS)) == before
    assert (len(shown.scored), len(shown.others)) == (6, 20)
    assert shown.scored[0].reasons[0].startswith("1st of 40")
    assert all(pick.arm == "sample" for pick in shown.others)
    stands_for = sum(pick.stands_for for pick in shown.picks)
    assert stands_for == 60
    assert {point.state for point in shown.points} == {"pool", "picked", "drawn"}
    json.dumps(shown.to_json())
    assert page.read_text().count('class="drawn"') == 20


def test_later_rounds_name_the_nearest_label(sampled):
    run(sampled)
    run(sampled, budget=5, review=True)
    shown, page = preview(sampled)
    (name, label) = shown.scored[0].nearest
    assert label in sampled.config.project.classes
    assert f"most like {name} ({label})" in page.read_text()


def test_a_pick_that_has_gone_is_named(sampled, images):
    run(sampled, review=True)
    shown, _ = preview(sampled)
    (images / shown.picks[0].uri).unlink()
    shown, page = preview(sampled)
    assert len(shown.troubles) == 1
    assert shown.picks[0].uri in shown.troubles[0]
    assert page.read_text().count("no picture") == 1


def test_what_is_sent_cannot_be_previewed(sampled):
    with pytest.raises(Missing, match="run 'coreloop scan'"):
        preview(sampled)
    run(sampled)
    with pytest.raises(NotReady, match="round 2 is over"):
        preview(sampled)


def typed(project):
    """The verbs in the order of the README, for one round."""
    score(project)
    select(project)
    push(project)
    pull(project)
    train(project)
    compare(project)


@pytest.mark.parametrize("by", ["sample", "holdout"])
def test_the_verbs_do_what_run_does(by, tmp_path, images):
    values = with_sample(images) if by == "sample" else config.check(small_values(images), "test")
    straight, steps = create(tmp_path / "straight", values), create(tmp_path / "steps", values)
    run(straight)
    scan(steps)
    embed(steps)
    if by == "holdout":
        push(steps)
        pull(steps)
    typed(steps)
    typed(steps)
    assert rows(steps, STATES) == rows(straight, STATES)
    assert rows(steps, PICKS) == rows(straight, PICKS)
    assert rows(steps, LEARNED) == rows(straight, LEARNED)
    with pytest.raises(NotReady, match=r"all planned rounds are over.*--budget 6"):
        score(steps)


VERBS = {
    "score": score,
    "select": select,
    "push": push,
    "train": train,
    "compare": compare,
}
NEXT = {
    "planned": "coreloop score",
    "scored": "coreloop select",
    "selected": "coreloop push",
    "pushed": "coreloop pull",
    "labeled": "coreloop train",
    "trained": "coreloop compare",
    "compared": "coreloop score",
}


def test_a_verb_out_of_turn_says_which_is_next(sampled):
    scan(sampled)
    embed(sampled)
    with pytest.raises(NotReady, match="'coreloop score' begins the first"):
        select(sampled)
    for verb in (score, select, push, pull, train, compare):
        verb(sampled)
        state = rows(sampled, STATES)[-1][1]
        for name, other in VERBS.items():
            repeats = (name, state) in (("push", "pushed"), ("compare", "compared"))
            if repeats or NEXT[state] == f"coreloop {name}":
                continue
            with pytest.raises(NotReady, match=NEXT[state]):
                other(sampled)
        assert rows(sampled, STATES)[-1][1] == state


def test_no_round_begins_before_the_images_are_embedded(sampled):
    scan(sampled)
    with pytest.raises(NotReady, match="coreloop embed"):
        score(sampled)
    assert rows(sampled, STATES) == []


def test_typed_in_a_terminal(sampled):
    def typed_in(*args):
        done = coreloop(*args, cwd=sampled.root)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for verb in ("scan", "embed", "score"):
        typed_in(verb)
    told = typed_in("select", "--preview")
    assert "26 images are picked, none is sent" in told
    assert "coreloop push" in told
    facts = json.loads(typed_in("select", "--preview", "--json"))
    assert len(facts["picks"]) == 26
    assert "look at them here" in typed_in("run", "--review")
    assert rows(sampled, STATES) == [(1, "selected")]


def test_a_dry_run_says_what_is_replaced(sampled, images):
    run(sampled, review=True)
    shown, _ = preview(sampled)
    (images / shown.scored[0].uri).unlink()
    before = rows(sampled, PICKS), rows(sampled, "SELECT count(*) FROM event")
    done = coreloop("push", "--dry-run", cwd=sampled.root)
    assert done.returncode == 0, done.stderr
    assert "25 to be sent" in done.stdout
    assert "1 to be replaced by the next best" in done.stdout
    assert (rows(sampled, PICKS), rows(sampled, "SELECT count(*) FROM event")) == before
