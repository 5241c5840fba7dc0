"""docs/configuration.md names every key of coreloop.toml, with its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from loop.config import Config

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "configuration.md").read_text()
SECTIONS = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if hasattr(field.annotation, "model_fields")
}
KEYS = [(name, key) for name, section in SECTIONS.items() for key in section.model_fields]


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
