"""The label config: one image, one choice, classes as choices; and which of the controls is ours
where people made it.

The choices stand above the picture, so that no screen hides them; ``required`` keeps people from
submitting nothing by pressing the key of a pre-selected choice (the key takes it back).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import PurePath
from xml.etree import ElementTree

from connectors.base import Mismatch

IMAGE, LABEL = "image", "label"
CAPTION = "coreloop_caption"
"""Field in task.data: what stands above the picture."""

HINT = "Choose the one class that fits. Press Skip where you cannot tell."


VARIABLE = re.compile(r"\$[A-Za-z0-9_.-]+")
"""What the value of an Image may be: one field of a task's data, as it is."""


@dataclass(frozen=True)
class Controls:
    """Names that results and task data use, and the classes a config offers.

    Attributes:
        classes: one name for each choice: its value, or its alias where that alone is a class.
        leaves: of these, the choices without others below them.
        answers: what an annotation may hold, a value or an alias -> class.
        stored: class -> what the page stores when it is chosen.
        several: whether people may choose more than one.
        value: what stands at the image, such as ``$image``.
    """

    label: str
    image: str
    data: str
    classes: tuple[str, ...]
    several: bool = False
    leaves: frozenset[str] = frozenset()
    answers: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)
    value: str = ""


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


def add(xml: str, missing: Sequence[str], classes: Sequence[str], control: str = "") -> str:
    """The config with the ``missing`` classes behind those it offers; all else as people have made
    it.

    Raises:
        Mismatch: see ``read``.
    """
    label, root = read(xml, classes, control).label, ElementTree.fromstring(xml)
    choices = next(tag for tag in root.iter("Choices") if tag.get("name") == label)
    for name in missing:
        ElementTree.SubElement(choices, "Choice", value=name)
    try:
        return ElementTree.tostring(root, encoding="unicode")
    except RecursionError:
        raise Mismatch("the project's label config is nested too deep; adopt another one") from None


def read(xml: str, classes: Sequence[str], control: str = "") -> Controls:
    """The Choices control on an Image that is ours: the only one that offers all our classes; of
    several that do, the only one that offers no others; else, so that what is missing can be named,
    the one that offers most of them. An adopted project may ask for other things beside.

    Args:
        control: its name, where people have said it.

    Raises:
        Mismatch: not XML, no such control, several that fit as well, choices whose answers cannot
            be told apart, or an image that is not one field of the task's data.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise Mismatch(f"the project's label config is no XML: {error}") from None
    images = _images(root)
    controls = [_controls(tag, images[str(tag.get("toName"))], classes) for tag in _choices(root)]
    if not controls:
        raise Mismatch(
            "the project's label config has no <Choices> on an <Image>; adopt another one"
        )
    ours = _ours(controls, classes, control)
    if not VARIABLE.fullmatch(ours.value) or images[ours.image].get("value") is None:
        raise Mismatch(
            f"the image {ours.image!r} of the label config shows {ours.value!r}, and coreloop can "
            'read and send only one field of a task as it is, such as value="$image"'
        )
    _check_told_apart(next(tag for tag in _choices(root) if tag.get("name") == ours.label))
    return ours


def names(xml: str) -> list[str]:
    """Names of all Choices on an Image, of a config that could be read."""
    return [str(tag.get("name")) for tag in _choices(ElementTree.fromstring(xml))]


def _images(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {str(tag.get("name")): tag for tag in root.iter("Image") if tag.get("name")}


def _choices(root: ElementTree.Element) -> list[ElementTree.Element]:
    """Choices that are made once for an image; those of its regions are others'."""
    images = _images(root)
    return [
        tag
        for tag in root.iter("Choices")
        if tag.get("name") and tag.get("toName") in images and tag.get("perRegion") != "true"
    ]


def _ours(controls: Sequence[Controls], classes: Sequence[str], control: str) -> Controls:
    """See ``read``."""
    if control:
        named = [each for each in controls if each.label == control]
        if not named:
            names = ", ".join(each.label for each in controls)
            raise Mismatch(
                f"the label config has no <Choices> called {control!r} on an <Image> ({names} "
                "there); mend 'control' under [labeler]"
            )
        return named[0]
    wanted = set(classes)
    full = [each for each in controls if wanted and wanted <= set(each.classes)]
    exact = [each for each in full if wanted in (set(each.classes), each.leaves)]
    fitting = exact or full
    if len(fitting) > 1:
        names = ", ".join(each.label for each in fitting)
        raise Mismatch(
            f"several <Choices> of the label config offer these classes ({names}); say which is "
            f'meant: control = "{fitting[0].label}" under [labeler]'
        )
    if fitting:
        return fitting[0]
    return max(controls, key=lambda offered: len(set(offered.classes) & wanted))


def _check_told_apart(control: ElementTree.Element) -> None:
    """Raises Mismatch: an alias is what another choice is called, so that an answer may mean
    either: the alias now, or the value of before there were aliases."""
    choices = [(str(tag.get("value", "")), tag.get("alias", "")) for tag in control.iter("Choice")]
    for value, alias in choices:
        others = [other for other in choices if other[0] != value and alias in other]
        if alias and others:
            raise Mismatch(
                f"the choice {value!r} has the alias {alias!r}, and so is the choice "
                f"{others[0][0]!r} called, so that answers cannot be told apart; give it an alias "
                "of its own in the label config"
            )


def _controls(
    control: ElementTree.Element, image: ElementTree.Element, classes: Sequence[str]
) -> Controls:
    """A choice is a class by its value, or by its alias where only that is one; an answer holds
    the alias of a choice that has one."""
    names, leaves = [], set()
    answers: dict[str, str] = {}
    stored: dict[str, str] = {}
    for choice in control.iter("Choice"):
        value, alias = str(choice.get("value", "")), choice.get("alias", "")
        name = alias if alias in classes and value not in classes else value
        names.append(name)
        if choice.find("Choice") is None:
            leaves.add(name)
        answers |= {text: name for text in (value, alias) if text}
        stored[name] = alias or value
    return Controls(
        label=str(control.get("name")),
        image=str(image.get("name")),
        data=str(image.get("value", "")).removeprefix("$"),
        classes=tuple(names),
        several=control.get("choice") == "multiple",
        leaves=frozenset(leaves),
        answers=answers,
        stored=stored,
        value=str(image.get("value") or image.get("valueList") or ""),
    )


def digest(xml: str, classes: Sequence[str], control: str = "") -> str:
    """Tells apart configs under which answers and tasks of the other cannot be read: the names of
    control, image and data field. Looks and further classes make no difference."""
    controls = read(xml, classes, control)
    text = "\x1f".join([controls.label, controls.image, controls.data])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
