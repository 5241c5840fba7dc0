"""What encoders are recommended: models that exist, with their size and a rate measured here."""

from __future__ import annotations

import timm

from loop.encoders import check
from loop.encoders.recommended import RECOMMENDED, Recommended, measure


def test_each_can_be_written_into_the_config_and_exists():
    import open_clip

    for each in RECOMMENDED:
        check(each.encoder)
        kind, name, *tag = each.encoder.split(":")
        if kind == "timm":
            assert timm.is_model_pretrained(name)
            assert timm.models.get_pretrained_cfg(name).license == "apache-2.0"
        else:
            assert tag[0] in open_clip.list_pretrained_tags_by_model(name)
            assert each.licence


def test_size_and_rate_are_those_of_the_model(monkeypatch):
    monkeypatch.setattr("loop.encoders.recommended.SECONDS", 0.05)
    facts = measure(Recommended("timm:test_vit.r160_in1k", "tests"))
    model = timm.create_model("test_vit", num_classes=0)
    assert facts.megabytes == 4e-6 * sum(weight.numel() for weight in model.parameters())
    assert (facts.dim, facts.side, facts.licence) == (model.num_features, 160, "apache-2.0")
    assert facts.images_per_second > 1
