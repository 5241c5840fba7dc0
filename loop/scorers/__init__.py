"""Scorers by name. Listing names imports nothing heavy; a scorer is imported when it is asked for.

Built-in scorers stand in ``REGISTRY``; other packages add theirs through the entry-point group
``coreloop.scorers`` (see examples/own_scorer).
"""

from __future__ import annotations

from typing import Any, cast

from loop.registry import Registry
from loop.scorers.base import Inputs, Scorer

__all__ = ["REGISTRY", "Inputs", "Scorer", "get", "load", "names"]

REGISTRY = Registry(
    noun="scorer",
    group="coreloop.scorers",
    command="coreloop scorers",
    built_in={
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
    },
)


def names() -> list[str]:
    """All scorer names, sorted."""
    return REGISTRY.names()


def load(name: str) -> type[Scorer]:
    """The scorer's class, imported now.

    Raises:
        ConfigError: no scorer has this name.
    """
    return cast("type[Scorer]", REGISTRY.load(name))


def get(name: str, **params: Any) -> Scorer:
    """A scorer with the given hyper-parameters.

    Raises:
        ConfigError: unknown name, unknown hyper-parameter, or a value it refuses.
    """
    return cast(Scorer, REGISTRY.get(name, **params))
