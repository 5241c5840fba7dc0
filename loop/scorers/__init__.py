"""Scorers by name. Listing names imports nothing heavy; a scorer is imported when it is asked for.

Built-in scorers stand in ``BUILT_IN``; other packages add theirs through the entry-point group
``coreloop.scorers`` (see examples/own_scorer).
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from loop.errors import ConfigError, nearest
from loop.scorers.base import Inputs, Scorer

__all__ = ["BUILT_IN", "Inputs", "Scorer", "get", "load", "names"]

BUILT_IN: dict[str, str] = {
    # label-free
    "auto": "loop.scorers.auto:Auto",
    "balanced": "loop.scorers.balanced:Balanced",
    "d2": "loop.scorers.d2:D2",
    "elfs": "loop.scorers.elfs:Elfs",
    "facility": "loop.scorers.facility:Facility",
    "herding": "loop.scorers.herding:Herding",
    "kcenter": "loop.scorers.kcenter:KCenter",
    "kmedoids": "loop.scorers.kmedoids:KMedoids",
    "maxherding": "loop.scorers.maxherding:MaxHerding",
    "norm": "loop.scorers.norm:Norm",
    "probcover": "loop.scorers.probcover:ProbCover",
    "prototypical": "loop.scorers.prototypical:Prototypical",
    "typiclust": "loop.scorers.typiclust:TypiClust",
    "random": "loop.scorers.random:Random",
    "kmeans": "loop.scorers.kmeans:KMeans",
    "moderate": "loop.scorers.moderate:Moderate",
    "zcore": "loop.scorers.zcore:ZCore",
    # a model's uncertainty
    "entropy": "loop.scorers.uncertainty:Entropy",
    "least_confidence": "loop.scorers.uncertainty:LeastConfidence",
    "margin": "loop.scorers.uncertainty:Margin",
    "badge": "loop.scorers.badge:Badge",
    "uherding": "loop.scorers.uherding:UHerding",
    # training dynamics on labels of the whole pool
    "balanced_labels": "loop.scorers.balanced:BalancedLabels",
    "aum": "loop.scorers.training:Aum",
    "ccs": "loop.scorers.ccs:Ccs",
    "dual": "loop.scorers.training:Dual",
    "dyn_unc": "loop.scorers.training:DynUnc",
    "el2n": "loop.scorers.training:El2n",
    "forgetting": "loop.scorers.training:Forgetting",
    "grand": "loop.scorers.training:Grand",
    "moderate_labels": "loop.scorers.moderate:ModerateLabels",
    "tdds": "loop.scorers.training:Tdds",
}


def _table() -> dict[str, str]:
    table = dict(BUILT_IN)
    for point in entry_points(group="coreloop.scorers"):
        if point.name in table and table[point.name] != point.value:
            raise ConfigError(
                f"two scorers are called {point.name!r}: {table[point.name]} and {point.value}; "
                "rename one of them or uninstall its package"
            )
        table[point.name] = point.value
    return table


def names() -> list[str]:
    """All scorer names, sorted."""
    return sorted(_table())


def load(name: str) -> type[Scorer]:
    """The scorer's class, imported now.

    Raises:
        ConfigError: no scorer has this name.
    """
    table = _table()
    if name not in table:
        raise ConfigError(
            f"unknown scorer {name!r}{nearest(name, table)}; 'coreloop scorers' lists all"
        )
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


def get(name: str, **params: Any) -> Scorer:
    """A scorer with the given hyper-parameters.

    Raises:
        ConfigError: unknown name, unknown hyper-parameter, or a value it refuses.
    """
    cls = load(name)
    known: list[str] = [field.name for field in fields(cls)] if is_dataclass(cls) else []
    for key in params:
        if key not in known:
            raise ConfigError(
                f"scorer {name!r} has no parameter {key!r}{nearest(key, known)}; "
                f"it has: {', '.join(known) or 'none'}"
            )
    try:
        return cls(**params)
    except TypeError as error:  # a comparison in the scorer's own checks failed
        raise ConfigError(f"scorer {name!r}: a wrong type among {params}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"scorer {name!r}: {error}") from error
