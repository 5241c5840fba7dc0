"""What ``coreloop labels`` says of three people's sheets."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict

import pytest
from click.testing import CliRunner

from loop import config
from loop.cli import cli
from loop.errors import ConfigError
from loop.project import create
from loop.steps.labels import labels as opinions
from loop.steps.labels import send_back
from loop.steps.pull import pull
from loop.steps.report import facts
from loop.steps.run import run
from tests.conftest import small_values


@pytest.fixture
def sheets(tmp_path, images):
    """Test images labelled by alice, bob and carol; carol is wrong on every third."""
    values = small_values(images, labeler={"kind": "csv", "overlap": 3, "error_rate": 0.0})
    project = create(tmp_path / "p", config.check(values, "test"))
    run(project)
    fill(project)
    return project


def fill(project):
    for sheet in (project.root / "sheets").glob("round-?-????????.csv"):
        rows = list(csv.DictReader(sheet.open()))
        for who in ("alice", "bob", "carol"):
            with sheet.with_suffix(f".{who}.csv").open("w", newline="") as file:
                table = csv.DictWriter(file, rows[0])
                table.writeheader()
                for i, row in enumerate(rows):
                    true = row["image"].split("/")[-2]
                    wrong = "digit-2" if true == "digit-1" else "digit-1"
                    label = wrong if who == "carol" and i % 3 == 0 else true
                    table.writerow({**row, "label": label})


def labels(project, *options):
    done = CliRunner().invoke(cli, ["labels", "-p", str(project.root), *options])
    assert done.exit_code == 0, done.output
    return done.output


def test_overlap_needs_all_three(sheets):
    for sheet in (sheets.root / "sheets").glob("*.carol.csv"):
        sheet.rename(sheet.with_suffix(".later"))
    assert not pull(sheets).complete
    for sheet in (sheets.root / "sheets").glob("*.later"):
        sheet.rename(sheet.with_suffix(".csv"))
    done = pull(sheets)
    assert (done.complete, done.answered) == (True, 12)


def test_overview_and_disagreements(sheets):
    pull(sheets)
    facts = json.loads(labels(sheets, "--json"))
    people = {p["name"]: p for p in facts["people"]}
    assert people["alice"]["agreed"] == people["bob"]["agreed"] == 1
    assert people["carol"]["agreed"] == pytest.approx(8 / 12)
    assert (facts["images"], facts["several"], len(facts["divided"])) == (12, 12, 4)
    assert 0 < facts["alpha"] < 1
    assert {(p["first"], p["second"]) for p in facts["pairs"]} == {
        ("alice", "bob"),
        ("alice", "carol"),
        ("bob", "carol"),
    }
    text = labels(sheets)
    assert "Krippendorff's alpha" in text
    assert "on 4 images people differ; majority decides" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "4 images" in labels(sheets, "--disagreements")
    assert "digit-1" in labels(sheets, "--times")
    both = labels(sheets, "--disagreements", "--times")
    assert both == labels(sheets, "--disagreements") + labels(sheets, "--times")


def test_on_a_tie_the_sheet_saved_last_decides(sheets):
    folder = sheets.root / "sheets"
    for when, name in enumerate(("bob", "carol", "alice")):
        for sheet in folder.glob(f"*.{name}.csv"):
            os.utime(sheet, (1_700_000_000 + when, 1_700_000_000 + when))
            if name == "bob":
                sheet.unlink()
    pull(sheets)
    voted = opinions(sheets)
    assert len(voted.divided) == 4
    assert all(image.consensus == image.votes["alice"] for image in voted.divided)


def test_dawid_skene_by_config(sheets):
    pytest.importorskip("crowdkit", reason="extra 'annotators' not installed")
    pull(sheets)
    values = sheets.config.model_dump()
    values["labeler"]["consensus"] = "dawid-skene"
    other = type(sheets)(sheets.root, config.check(values, "test"))
    weighed = opinions(other)
    assert weighed.consensus == "dawid-skene"
    assert {p.name: p.agreed for p in weighed.people}["alice"] == 1


def test_label_issues_are_those_of_the_report(sheets):
    for _ in range(2):
        assert run(sheets).why == "waiting"
        fill(sheets)
    pull(sheets)
    issues = json.loads(labels(sheets, "--label-issues", "--json"))["label_issues"]
    for issue in issues:
        assert 0 <= issue["self_confidence"] < issue["confidence"] <= 1
        assert issue["label"] != issue["predicted"]
    assert issues == [asdict(issue) for issue in facts(sheets).label_issues]
    assert "images" in labels(sheets, "--label-issues")


def test_nothing_labelled_yet(project):
    done = CliRunner().invoke(cli, ["labels", "-p", str(project.root)])
    assert done.exit_code != 0


def test_sheets_cannot_be_sent_back(sheets):
    pull(sheets)
    with pytest.raises(ConfigError, match="cannot ask again"):
        send_back(sheets, ["x"])
    done = CliRunner().invoke(cli, ["labels", "-p", str(sheets.root), "--send-back"])
    assert "--disagreements" in done.output
