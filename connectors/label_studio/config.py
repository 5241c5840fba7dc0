"""The label config: one image, one choice, classes as choices.

The choices stand above the picture, so that no screen hides them; ``required`` keeps people from
submitting nothing by pressing the key of a pre-selected choice (the key takes it back).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePath
from xml.etree import ElementTree

from connectors.base import Mismatch

IMAGE, LABEL = "image", "label"
CAPTION = "coreloop_caption"
"""Field in task.data: what stands above the picture."""

HINT = "Choose the one class that fits. Press Skip where you cannot tell."


@dataclass(frozen=True)
class Controls:
    """Names that results and task data use, and the classes a config offers; ``several``: people
    may choose more than one."""

    label: str
    image: str
    data: str
    classes: tuple[str, ...]
    several: bool = False


def build(classes: Sequence[str], *, captioned: bool = True) -> str:
    """XML for these classes, names escaped; ``captioned``: tasks have a caption."""
    view = ElementTree.Element("View")
    if captioned:
        ElementTree.SubElement(view, "Header", value=f"${CAPTION}", size="5")
    ElementTree.SubElement(view, "Header", value=HINT, size="6")
    choices = ElementTree.SubElement(
        view,
        "Choices",
        name=LABEL,
        toName=IMAGE,
        choice="single",
        required="true",
        showInline="true",
    )
    for name in classes:
        ElementTree.SubElement(choices, "Choice", value=name)
    ElementTree.SubElement(view, "Image", name=IMAGE, value=f"${IMAGE}", maxWidth="600px")
    return ElementTree.tostring(view, encoding="unicode")


def caption(uri: str, number: int) -> str:
    """What people see above a picture: its file and the round; no folder, which may name a
    class."""
    return f"{PurePath(uri).name}, round {number}"


def instructions(classes: Sequence[str]) -> str:
    """What the button "Instructions" shows, as HTML; it can be changed in Label Studio, and is
    not shown unasked: that would stand between people and each session."""
    names = ", ".join(f"<b>{escape(name)}</b>" for name in classes)
    return (
        f"<p>Choose the one class that fits the picture: {names}.</p>"
        "<p>Press Skip where you cannot tell: a wrong label does more harm than none. Labels can "
        "be changed later.</p>"
    )


def is_captioned(xml: str) -> bool:
    """Whether tasks need a caption: those of projects that older versions made have none."""
    return f"${CAPTION}" in xml


def add(xml: str, missing: Sequence[str], classes: Sequence[str]) -> str:
    """The config with the ``missing`` classes behind those it offers; all else as people have made
    it.

    Raises:
        Mismatch: see ``read``.
    """
    label, root = read(xml, classes).label, ElementTree.fromstring(xml)
    control = next(tag for tag in root.iter("Choices") if tag.get("name") == label)
    for name in missing:
        ElementTree.SubElement(control, "Choice", value=name)
    try:
        return ElementTree.tostring(root, encoding="unicode")
    except RecursionError:
        raise Mismatch("the project's label config is nested too deep; adopt another one") from None


def read(xml: str, classes: Sequence[str]) -> Controls:
    """The Choices control on an Image, both with a name, that offers most of our classes; the first
    of several that do. An adopted project may ask for other things beside.

    Raises:
        Mismatch: not XML, or no such control.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise Mismatch(f"the project's label config is no XML: {error}") from None
    images = {tag.get("name"): tag for tag in root.iter("Image") if tag.get("name")}
    controls = [
        _controls(control, images[control.get("toName")])
        for control in root.iter("Choices")
        if control.get("name") and control.get("toName") in images
    ]
    if not controls:
        raise Mismatch(
            "the project's label config has no <Choices> on an <Image>; adopt another one"
        )
    return max(controls, key=lambda offered: len(set(offered.classes) & set(classes)))


def _controls(control: ElementTree.Element, image: ElementTree.Element) -> Controls:
    """An answer has the alias of a choice where it has one."""
    return Controls(
        label=str(control.get("name")),
        image=str(image.get("name")),
        data=str(image.get("value", "")).removeprefix("$"),
        classes=tuple(
            str(choice.get("alias") or choice.get("value")) for choice in control.iter("Choice")
        ),
        several=control.get("choice") == "multiple",
    )


def digest(xml: str, classes: Sequence[str]) -> str:
    """Tells apart configs under which answers and tasks of the other cannot be read: the names of
    control, image and data field. Looks and further classes make no difference."""
    controls = read(xml, classes)
    text = "\x1f".join([controls.label, controls.image, controls.data])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
