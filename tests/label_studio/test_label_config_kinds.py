"""Label configs as people make them: which is ours, what its answers mean, what is refused."""

from __future__ import annotations

import pytest

from connectors.base import Mismatch
from connectors.label_studio import config
from connectors.label_studio.annotation import read_annotation
from connectors.label_studio.answers import ListedAnnotation

IMAGE = '<Image name="image" value="$image"/>'
CLASSES = ["cat", "dog"]


def choices(name, *values, more="", nested=False):
    inner = "".join(f'<Choice value="{value}"/>' for value in values)
    if nested:
        inner = f'<Choice value="animal">{inner}</Choice>'
    return f'<Choices name="{name}" toName="image" {more}>{inner}</Choices>'


def view(*parts, image=IMAGE):
    return f"<View>{image}{''.join(parts)}</View>"


def read(controls, choice):
    """What an annotation with this choice is read as."""
    region = {
        "from_name": controls.label,
        "to_name": controls.image,
        "type": "choices",
        "value": {"choices": [choice]},
    }
    entry = ListedAnnotation.model_validate(
        {
            "id": 1,
            "updated_at": "2026-11-29T00:00:00.000000Z",
            "result": [region],
            "was_cancelled": False,
            "lead_time": 1.0,
            "completed_by": 1,
        }
    )
    annotation = read_annotation(entry, "0" * 32, "1", controls, "")
    return annotation.problem or annotation.label


def test_an_alias_is_what_answers_hold_and_the_value_is_the_class():
    aliased = choices("label", "cat", "dog").replace('"cat"', '"cat" alias="C1"')
    controls = config.read(view(aliased), CLASSES)
    assert controls.classes == ("cat", "dog")
    assert controls.stored == {"cat": "C1", "dog": "dog"}
    assert [read(controls, text) for text in ("C1", "cat", "dog")] == ["cat", "cat", "dog"]
    assert config.read(view(aliased), ["C1", "dog"]).classes == ("C1", "dog")


@pytest.mark.parametrize(
    "aliases",
    [{"cat": "dog", "dog": "cat"}, {"cat": "dog"}, {"cat": "A", "dog": "A"}, {"dog": "cat"}],
)
def test_an_alias_that_another_choice_is_called_is_refused(aliases):
    """Swapped ones gave every image the same class."""
    aliased = choices("label", *CLASSES)
    for value, alias in aliases.items():
        aliased = aliased.replace(f'value="{value}"', f'value="{value}" alias="{alias}"')
    with pytest.raises(Mismatch, match="so that answers cannot be told apart; give it an alias"):
        config.read(view(aliased), CLASSES)
    others = aliased.replace('name="label"', 'name="quality"')
    ours = choices("label", "wet", "dry")
    assert config.read(view(others, ours), ["wet", "dry"]).label == "label"
    own = choices("label", *CLASSES).replace('"cat"', '"cat" alias="cat"')
    assert config.read(view(own), CLASSES).stored == {"cat": "cat", "dog": "dog"}


def test_nested_choices_are_read_by_their_last_name():
    controls = config.read(view(choices("label", *CLASSES, nested=True)), CLASSES)
    assert controls.leaves == {"cat", "dog"}
    assert [read(controls, c) for c in (["animal", "cat"], "dog")] == ["cat", "dog"]
    assert read(controls, ["animal", "\x1b"]) == "a choice with control characters"


def test_of_several_controls_the_one_with_exactly_the_classes_counts():
    more = choices("species", "cat", "dog", "bird")
    assert config.read(view(more, choices("label", *CLASSES)), CLASSES).label == "label"
    nested = choices("label", *CLASSES, nested=True)
    assert config.read(view(more, nested), CLASSES).label == "label"


def test_where_several_fit_people_are_asked():
    twice = view(choices("first", *CLASSES), choices("second", *CLASSES))
    with pytest.raises(Mismatch, match=r"\(first, second\).*control = \"first\""):
        config.read(twice, CLASSES)
    assert config.read(twice, CLASSES, "second").label == "second"
    with pytest.raises(Mismatch, match="no <Choices> called 'third'"):
        config.read(twice, CLASSES, "third")


def test_choices_of_regions_and_other_controls_are_left_alone():
    boxes = '<RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels>'
    region = choices("of-box", *CLASSES, more='perRegion="true"')
    others = '<TextArea name="note" toName="image"/><Rating name="stars" toName="image"/>'
    xml = view(boxes, region, others, choices("label", *CLASSES))
    assert config.read(xml, CLASSES).label == "label"
    extended = config.add(xml, ["bird"], [*CLASSES, "bird"])
    assert extended.count("bird") == 1
    for kept in ("RectangleLabels", "TextArea", "Rating", 'perRegion="true"'):
        assert kept in extended


@pytest.mark.parametrize(
    "image",
    [
        '<Image name="image" value="https://host/$image"/>',
        '<Image name="image" value="$image-small"/>'.replace("-small", "?size=small"),
        '<Image name="image" value="{{image}}"/>',
        '<Image name="image" valueList="$images"/>',
        '<Image name="image"/>',
    ],
)
def test_an_image_that_is_not_one_field_is_refused(image):
    with pytest.raises(Mismatch, match="only one field of a task"):
        config.read(view(choices("label", *CLASSES), image=image), CLASSES)


def test_annotations_without_an_account_are_of_one_person_each():
    from connectors.label_studio.people import annotator

    assert annotator(3, 7) == "user 3"
    assert annotator(None, 7) != annotator(None, 8)
