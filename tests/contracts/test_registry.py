"""Scorers, trainers, encoders and engines are looked up in one way."""

from __future__ import annotations

import pytest

from loop import encoders, engine, scorers, train
from loop.errors import ConfigError
from loop.registry import Registry

REGISTRIES = (scorers.REGISTRY, train.REGISTRY, encoders.REGISTRY, engine.REGISTRY)
PARTS = [(registry, name) for registry in REGISTRIES for name in registry.names()]


@pytest.mark.parametrize(("registry", "name"), PARTS)
def test_every_name_leads_to_something_that_makes_the_part(registry, name):
    assert callable(registry.load(name))


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.noun)
def test_a_mistyped_name_is_told_with_the_nearest(registry):
    name = registry.names()[0]
    words = rf"unknown {registry.noun} '{name}x' \(did you mean '{name}'\?\); "
    with pytest.raises(ConfigError, match=words):
        registry.check(name + "x")


def test_every_encoder_says_how_it_is_written():
    assert encoders.FORMS.keys() == encoders.REGISTRY.table().keys()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (
            {"radios": 1.0},
            r"has no parameter 'radios' \(did you mean 'radius'\?\); it has: radius, ",
        ),
        ({"radius": "wide"}, "a wrong type among {'radius': 'wide'}"),
        ({"radius": -1.0}, "scorer 'maxherding': radius must be above 0, got -1.0"),
    ],
)
def test_parameters_are_checked(params, words):
    with pytest.raises(ConfigError, match=words):
        scorers.get("maxherding", **params)


def test_a_closed_registry_knows_its_own_names_alone():
    registry = Registry("tool", {"saw": "loop.errors:DataError"})
    assert registry.names() == ["saw"]
    with pytest.raises(ConfigError, match=r"unknown tool 'axe'; one of \['saw'\]"):
        registry.load("axe")
