"""The label config: one image, one choice, classes as choices.

The choices stand above the picture, so that no screen hides them; ``required`` keeps people from
submitting nothing by pressing the key of a pre-selected choice (the key takes it back).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from connectors.base import Mismatch

IMAGE, LABEL = "image", "label"


@dataclass(frozen=True)
class Controls:
    """Names that results and task data use, and the classes a config offers."""

    label: str
    image: str
    data: str
    classes: tuple[str, ...]


def build(classes: Sequence[str]) -> str:
    """XML for these classes, names escaped."""
    view = ElementTree.Element("View")
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


def add(xml: str, classes: Sequence[str]) -> str:
    """The config with these classes behind those it offers; all else as people have made it.

    Raises:
        Mismatch: see ``read``.
    """
    label, root = read(xml).label, ElementTree.fromstring(xml)
    control = next(tag for tag in root.iter("Choices") if tag.get("name") == label)
    for name in classes:
        ElementTree.SubElement(control, "Choice", value=name)
    try:
        return ElementTree.tostring(root, encoding="unicode")
    except RecursionError:
        raise Mismatch("the project's label config is nested too deep; adopt another one") from None


def read(xml: str) -> Controls:
    """The first Choices control on an Image, both with a name.

    Raises:
        Mismatch: not XML, or no such control.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise Mismatch(f"the project's label config is no XML: {error}") from None
    images = {tag.get("name"): tag for tag in root.iter("Image")}
    for control in root.iter("Choices"):
        image = images.get(control.get("toName"))
        if image is not None and control.get("name") and image.get("name"):
            classes = tuple(str(choice.get("value")) for choice in control.iter("Choice"))
            data = str(image.get("value", "")).removeprefix("$")
            return Controls(str(control.get("name")), str(image.get("name")), data, classes)
    raise Mismatch("the project's label config has no <Choices> on an <Image>; adopt another one")


def digest(xml: str) -> str:
    """Tells apart configs under which answers and tasks of the other cannot be read: the names of
    control, image and data field. Looks and further classes make no difference."""
    controls = read(xml)
    text = "\x1f".join([controls.label, controls.image, controls.data])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
