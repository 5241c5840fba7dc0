"""What is known of the licence of an encoder's weights, from the libraries that publish them."""

from __future__ import annotations

from pathlib import Path

from loop.encoders import spec as specs

OWN_WORK = {"pixels": "no weights", "file": "your own embeddings"}


def licence_notes(spec: str) -> dict[str, str]:
    """Name of each joined encoder, without folders -> one sentence for people."""
    return {specs.short(part): _note(part) for part in specs.parts(spec)}


def _note(part: str) -> str:
    kind, _, rest = part.partition(":")
    model, _, weights = rest.partition("?")[0].partition(":")
    if kind in OWN_WORK:
        return OWN_WORK[kind]
    published = {"timm": _of_timm, "open_clip": _of_open_clip, "torchvision": _of_torchvision}
    if kind not in published:
        return "not known here; look the licence up where the encoder comes from"
    note = published[kind](model, weights)
    if not weights or (kind == "open_clip" and _is_tag(model, weights)):
        return note
    if kind == "torchvision" and not Path(weights).suffix:  # a name such as IMAGENET1K_V2
        return note
    return (
        f"the weights come from the file {Path(weights).name}; look its licence up where you got "
        f"it. Of the weights that {kind} publishes under this name: {note}"
    )


def _of_timm(model: str, weights: str) -> str:
    import timm

    config = timm.get_pretrained_cfg(model, allow_unregistered=True)
    where = f", see huggingface.co/{config.hf_hub_id}" if config and config.hf_hub_id else ""
    if config is None or not config.license:
        return f"timm states no licence; it has to be looked up{where}"
    return f"timm states {config.license}{where}"


def _of_open_clip(model: str, weights: str) -> str:
    import open_clip

    config = open_clip.get_pretrained_cfg(model, weights) if _is_tag(model, weights) else {}
    hub = str(config.get("hf_hub") or config.get("hf_hub_id") or "").strip("/")
    where = f" at huggingface.co/{hub}" if hub else ""
    return f"open_clip states no licence; it has to be looked up{where}"


def _is_tag(model: str, weights: str) -> bool:
    import open_clip

    return weights in open_clip.list_pretrained_tags_by_model(model)


def _of_torchvision(model: str, weights: str) -> str:
    return (
        "torchvision states no licence for its weights; they were trained on ImageNet, whose terms "
        "have to be looked up"
    )
