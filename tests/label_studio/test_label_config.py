"""Which control of a label config is ours, in projects that people made; what annotators read."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from connectors.base import Mismatch
from connectors.label_studio import config
from connectors.label_studio.answers import ListedPerson
from connectors.label_studio.people import distinct

TWO_CONTROLS = """
<View>
  <Image name="photo" value="$picture"/>
  <Choices name="quality" toName="photo"><Choice value="sharp"/><Choice value="blurred"/></Choices>
  <Choices name="kind" toName="photo" choice="single">
    <Choice value="Katze" alias="cat"/><Choice value="dog"/>
  </Choices>
  <Text name="note" value="$note"/>
  <Choices name="about-text" toName="note"><Choice value="cat"/><Choice value="dog"/></Choices>
</View>
"""


def test_the_control_that_offers_our_classes_is_ours():
    controls = config.read(TWO_CONTROLS, ["cat", "dog"])
    assert (controls.label, controls.image, controls.data) == ("kind", "photo", "picture")
    assert controls.classes == ("cat", "dog"), "an answer has the alias"
    assert config.read(TWO_CONTROLS, ["blurred", "sharp"]).label == "quality"
    assert config.read(TWO_CONTROLS, []).label == "quality"


def test_a_class_is_added_to_that_control():
    extended = config.add(TWO_CONTROLS, ["bird"], ["cat", "dog", "bird"])
    root = ElementTree.fromstring(extended)
    offered = {
        control.get("name"): [choice.get("value") for choice in control]
        for control in root.iter("Choices")
    }
    assert offered["kind"] == ["Katze", "dog", "bird"]
    assert offered["quality"] == ["sharp", "blurred"]


def test_a_control_for_several_classes_is_told():
    several = TWO_CONTROLS.replace('choice="single"', 'choice="multiple"')
    assert config.read(several, ["cat", "dog"]).several
    assert not config.read(several, ["sharp"]).several


def test_without_choices_on_an_image_nothing_fits():
    with pytest.raises(Mismatch, match="no <Choices> on an <Image>"):
        config.read("<View><Text name='t' value='$t'/></View>", ["cat"])


def test_people_read_file_and_round_but_no_folder():
    assert config.caption("cats/2024/IMG_1.jpg", 3) == "IMG_1.jpg, round 3"
    xml = config.build(["cat", "a<b"])
    assert config.is_captioned(xml)
    assert not config.is_captioned(config.build(["cat", "dog"], captioned=False))
    headers = [tag.get("value") for tag in ElementTree.fromstring(xml).iter("Header")]
    assert headers == [f"${config.CAPTION}", config.HINT]
    assert "a&lt;b" in config.instructions(["cat", "a<b"])


def test_people_have_different_names():
    people = [
        ListedPerson(id=1, first_name="Ann", last_name="Lee", email="ann@example.org"),
        ListedPerson(id=2, username="bob"),
        ListedPerson(id=3, username="Bob", email="other@example.org"),
        ListedPerson(id=4, first_name="user 2"),
        ListedPerson(id=5),
        ListedPerson(id=6, email="e\x1b[31m@example.org"),
    ]
    assert distinct(people) == {
        "user 1": "Ann Lee",
        "user 2": "bob (user 2)",
        "user 3": "Bob (user 3)",
        "user 4": "user 2 (user 4)",
        "user 6": "e\\x1b[31m@example.org",
    }
