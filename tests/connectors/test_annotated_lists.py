"""COCO's JSON and exports of Label Studio as lists of images: a label only where all agree."""

from __future__ import annotations

import csv
import json

import pytest

from connectors.base import Image, SourceError, UnreadableFile
from connectors.coco import NO_CATEGORY, NO_FILE, SEVERAL
from connectors.entries import SEVERAL_LABELS
from connectors.label_studio_export import NO_IMAGE, SEVERAL_CHOICES
from connectors.manifest import Manifest
from tests.connectors.test_manifest import listed, save


@pytest.fixture
def photos(tmp_path):
    for i in range(6):
        save(tmp_path / "photos" / f"{i}.png", i)
    return tmp_path / "photos"


def written(path, content):
    path.write_text(json.dumps(content))
    return path


def test_coco(photos):
    images = [{"id": i, "file_name": f"{i}.png"} for i in range(5)]
    images += [{"id": 9, "file_name": "gone.png", "coco_url": "gopher://h/x.png"}, {"id": 10}]
    pairs = [(0, 1), (0, 1), (1, 2), (2, 1), (2, 2), (3, 7), (77, 1)]
    path = written(
        photos / "instances.json",
        {
            "images": images,
            "annotations": [{"image_id": i, "category_id": c, "bbox": []} for i, c in pairs],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        },
    )
    labels, unreadable, passed = listed(path)
    assert labels == {"0.png": "cat", "1.png": "dog", "2.png": None, "3.png": None, "4.png": None}
    assert unreadable == {"gopher://h/x.png": "image 6: addresses of gopher:// are not read"}
    assert passed == {("line", NO_FILE): 1, ("label", NO_CATEGORY): 2, ("label", SEVERAL): 1}
    assert Manifest(path).classes() == ["cat", "dog"]


def annotation(*choices, control="kind", **more):
    value = {"from_name": control, "to_name": "image", "type": "choices"}
    return {"result": [value | {"value": {"choices": list(choices)}}], "completed_by": 1, **more}


def test_a_full_export(photos):
    uploads = {"1.png": "abcdef01-1.png", "3.png": "0badcafe-3.png"}
    for name, marked in uploads.items():
        (photos / name).rename(photos / marked)
    tasks = [
        ({"image": "0.png", "ref": 1}, [annotation("cat"), annotation("cat")]),
        ({"image": "/data/upload/7/abcdef01-1.png"}, [annotation("dog")]),
        ({"image": "/data/local-files/?d=2.png"}, [annotation("cat"), annotation("dog")]),
        ({"image": "/data/upload/7/0badcafe-3.png"}, [annotation("cat", was_cancelled=True)]),
        ({"image": "/data/upload/7/00000000-4.png"}, [annotation("cat", "dog")]),
        ({"image": "5.png"}, []),
        ({"text": "no image"}, [annotation("cat")]),
    ]
    path = written(
        photos / "export.json",
        [{"id": i, "data": data, "annotations": a} for i, (data, a) in enumerate(tasks)],
    )
    labels, unreadable, passed = listed(path)
    assert labels == {
        "0.png": "cat",
        "abcdef01-1.png": "dog",
        "2.png": None,
        "0badcafe-3.png": None,
        "4.png": None,
        "5.png": None,
    }
    assert not unreadable
    assert passed == {
        ("line", NO_IMAGE): 1,
        ("label", SEVERAL_LABELS): 1,
        ("label", SEVERAL_CHOICES): 1,
    }


def test_two_uploads_of_one_name_are_two_images(photos):
    """What lies under the common name may be either, so it is neither."""
    tasks = [
        {"data": {"image": f"/data/upload/7/{mark}-0.png"}, "annotations": [annotation(label)]}
        for mark, label in (("aaaaaaaa", "cat"), ("bbbbbbbb", "dog"))
    ]
    labels, unreadable, _ = listed(written(photos / "export.json", tasks))
    assert not labels
    assert len(unreadable) == 2


def test_two_controls_are_a_question(photos):
    task = {"data": {"image": "0.png"}, "annotations": [annotation("cat")]}
    task["annotations"][0]["result"] += annotation("sharp", control="quality")["result"]
    path = written(photos / "export.json", [task])
    with pytest.raises(SourceError, match="with --label-column; it has 'kind', 'quality'"):
        listed(path)
    with pytest.raises(SourceError, match="by 'size'; by 'kind', 'quality'"):
        listed(path, label_column="size")
    assert listed(path, label_column="quality")[0] == {"0.png": "sharp"}


FLAT = [
    {"image": "0.png", "choice": "cat"},
    {"image": "0.png", "choice": "cat"},
    {"image": "/data/local-files/?d=1.png", "choice": "dog"},
    {"image": "2.png", "choice": "cat"},
    {"image": "2.png", "choice": "dog"},
    {"image": "3.png", "choice": {"choices": ["cat", "dog"]}},
    {"image": "4.png", "choice": None},
]


@pytest.mark.parametrize("name", ["export.json", "export.csv"])
def test_flat_exports(photos, name):
    rows = [
        row | {"annotator": 1, "annotation_id": i, "lead_time": 2.5} for i, row in enumerate(FLAT)
    ]
    path = photos / name
    if path.suffix == ".json":
        written(path, rows)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                held = row["choice"]
                writer.writerow(
                    row | {"choice": json.dumps(held) if isinstance(held, dict) else held}
                )
    labels, unreadable, passed = listed(path)
    assert labels == {"0.png": "cat", "1.png": "dog", "2.png": None, "3.png": None, "4.png": None}
    assert not unreadable
    assert passed == {("label", SEVERAL_LABELS): 1, ("label", SEVERAL_CHOICES): 1}
    with pytest.raises(SourceError, match="no column 'size'"):
        listed(path, label_column="size")


def test_other_json(photos):
    path = written(photos / "list.json", [{"path": "0.png", "kind": "cat"}, {"path": "1.png"}])
    assert listed(path, label_column="kind")[0] == {"0.png": "cat", "1.png": None}
    for content, message in (({"a": 1}, "neither COCO's"), ([1], "neither COCO's")):
        with pytest.raises(SourceError, match=message):
            listed(written(path, content))
    path.write_text("{")
    with pytest.raises(SourceError, match="is no JSON"):
        listed(path)
    written(path, {"images": [1]})
    with pytest.raises(SourceError, match="'images' is no list of objects"):
        listed(path)


def test_an_export_travels_to_worker_processes(photos, monkeypatch):
    monkeypatch.setattr("connectors.workers.IN_PROCESS", 0)
    path = written(photos / "list.json", [{"path": f"{i}.png"} for i in range(7)])
    scanned = list(Manifest(path, root=photos).scan(workers=1))
    assert [type(each) for each in scanned] == [Image] * 6 + [UnreadableFile]


CONFIG = """<View><Image name="image" value="$image"/><Choices name="kind" toName="image">
<Choice value="cat"/><Choice value="dog"/></Choices></View>"""


def test_what_label_studios_own_converter_writes(photos):
    """JSON-MIN and CSV, made of a full export by the library that the server exports with."""
    from label_studio_sdk.converter import Converter

    times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
    told = [("0.png", [("cat",)]), ("1.png", [("dog",), ("cat", "dog")]), ("2.png", [()])]
    tasks = [
        {
            "id": number,
            "data": {"image": f"/data/local-files/?d={name}"},
            "annotations": [
                annotation(*ticked, id=10 * number + i, was_cancelled=not ticked, **times)
                for i, ticked in enumerate(answers)
            ],
        }
        for number, (name, answers) in enumerate(told)
    ]
    full = written(photos / "full.json", tasks)
    converter = Converter(CONFIG, project_dir=None, upload_dir=str(photos))
    converter.convert_to_csv(str(full), str(photos / "csv"), is_dir=False, sep=",", header=True)
    converter.convert_to_json_min(str(full), str(photos / "min"), is_dir=False)
    expected = {"0.png": "cat", "1.png": "dog"}
    assert listed(full)[0] == expected | {"2.png": None}
    for made in ("csv/result.csv", "min/result.json"):
        export = (photos / made).rename(photos / made.replace("/", "-"))
        assert listed(export) == (expected, {}, {("label", SEVERAL_CHOICES): 1})
