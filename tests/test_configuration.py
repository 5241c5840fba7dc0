"""coreloop.toml holds every value as it was, and docs/configuration.md names every key."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop import config
from loop.config import Config
from loop.errors import ConfigError
from tests.conftest import small_values

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "configuration.md").read_text()
SECTIONS = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if hasattr(field.annotation, "model_fields")
}
KEYS = [(name, key) for name, section in SECTIONS.items() for key in section.model_fields]


@pytest.mark.parametrize("rate", [float("inf"), float("nan")])
def test_a_rate_is_a_number(tmp_path, rate):
    values = small_values(tmp_path, costs={"hourly_rate": rate})
    with pytest.raises(ConfigError, match=r"costs\.hourly_rate"):
        config.check(values, "test")


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_is_explained(section, key):
    assert f"[{section}]" in PAGE
    name = f"{section}.seeds" if key == "seeds" else key
    rows = [row for row in PAGE.splitlines() if f"`{name}`" in row.partition(" | ")[0]]
    assert rows
    default = SECTIONS[section].model_fields[key].default
    if "," in rows[0].partition(" | ")[0] or not isinstance(default, str | int | float):
        return
    shown = f'"{default}"' if isinstance(default, str) else str(default).lower()
    assert any(shown in row for row in rows)


SMALLEST = {"project": {"name": "p", "classes": ["a", "b"]}, "pool": {"path": "images"}}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(TEXT.filter(lambda name: 0 < len(name) <= 200), st.dictionaries(TEXT, VALUES, max_size=3))
def test_every_value_comes_back_as_it_was(name, params):
    values = {**SMALLEST, "project": {"name": name, "classes": [name + "1", "b"]}}
    values["training"] = {"params": params}
    if not (name + "1").strip():
        return
    before = config.check(values, "test")
    after = config.check(tomllib.loads(config.dump(before)), "test")
    assert after == before
    types = [json.dumps(c.training.params, sort_keys=True, default=repr) for c in (before, after)]
    assert types[0] == types[1]  # 1, 1.0 and true are equal, but not the same


def test_every_key_is_written_in_its_section():
    text = config.dump(config.check(SMALLEST, "test"))
    written = tomllib.loads(text)
    assert {(section, key) for section in SECTIONS for key in written[section]} == set(KEYS)
    assert [line for line in text.splitlines() if line.startswith("[") and "." not in line] == [
        f"[{section}]" for section in SECTIONS
    ]


def test_what_toml_cannot_hold_is_said():
    values = {**SMALLEST, "training": {"params": {"when": date(2026, 1, 1), "rate": None}}}
    with pytest.raises(ConfigError, match=r"coreloop\.toml cannot hold .*NoneType"):
        config.dump(config.check(values, "test"))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("pool", "path", "pho\0tos"),
        ("pool", "test_path", "\0"),
        ("project", "name", "\0"),
        ("project", "classes", ["a", "b\0"]),
        ("training", "params", {"checkpoint": ["a\0"]}),
    ],
)
def test_a_character_0_is_in_no_path_or_name(section, key, value):
    values = {**SMALLEST, section: {**SMALLEST.get(section, {}), key: value}}
    with pytest.raises(ConfigError, match=f"{section}.{key}.*character 0"):
        config.check(values, "test")


def test_a_seed_that_the_records_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match=r"project\.seed"):
        config.check({**SMALLEST, "project": {**SMALLEST["project"], "seed": 10**30}}, "test")
