"""What a model card says of the licence of an encoder's weights: never more than is known."""

from __future__ import annotations

import pytest

from loop.encoders.licence import licence_notes


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("pixels:8", ["no weights"]),
        ("file:/home/ann/own.npy", ["your own embeddings"]),
        ("timm:mobilenetv1_100.ra4_e3600_r224_in1k?size=128", ["timm states apache-2.0, see hug"]),
        (
            "timm:mobilenetv1_100:/home/ann/w.pth?size=128",
            ["from the file w.pth; look its licence up", "publishes under this name: timm states"],
        ),
        ("timm:dla34", ["timm states"]),
        (
            "open_clip:ViT-B-32:laion2b_s34b_b79k",
            ["open_clip states no licence", "huggingface.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K"],
        ),
        ("open_clip:ViT-B-32:/home/ann/clip.pt", ["from the file clip.pt; look its licence up"]),
        ("torchvision:resnet18:IMAGENET1K_V1", ["torchvision states no licence"]),
        ("torchvision:resnet18:/home/ann/r.pth", ["from the file r.pth"]),
        ("mine:thing", ["not known here"]),
    ],
)
def test_what_is_known(spec, words):
    (note,) = licence_notes(spec).values()
    for expected in words:
        assert expected in note
    assert "/home/ann" not in str(licence_notes(spec))
    assert ("from the file" in note) == (".p" in spec)


def test_each_joined_encoder_has_its_own():
    notes = licence_notes("pixels:4+timm:resnet18.a1_in1k")
    assert list(notes) == ["pixels:4", "timm:resnet18.a1_in1k"]
