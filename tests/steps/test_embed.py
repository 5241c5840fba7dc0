"""embed: what is stored under an image's key is computed from that image."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from connectors.folder import Folder, content_key
from loop import config, encoders
from loop.encoders import shards
from loop.errors import NotReady
from loop.images import Replaced
from loop.project import create
from loop.project.problem import DecodedImages
from loop.steps.embed import embed
from loop.steps.scan import scan
from tests.conftest import rows, small_values
from tests.encoders.test_encoders import png


def digests(project):
    return rows(project, "SELECT digest FROM \"array\" WHERE kind = 'embeddings'")


@pytest.mark.parametrize("finished_before", [False, True])
def test_a_picture_replaced_after_the_scan_is_refused(
    project, images, tmp_path, monkeypatch, finished_before
):
    monkeypatch.setattr(shards, "SHARD", 16)
    untouched = create(tmp_path / "untouched", config.check(small_values(images), "test"))
    for each in (project, untouched):
        scan(each)
    embed(untouched)
    replaced = sorted(images.rglob("*.png"))[-1 if finished_before else 20]
    original = replaced.read_bytes()
    Image.new("L", (8, 8), 77).save(replaced)
    with pytest.raises(Replaced, match=replaced.name):
        embed(project)
    assert digests(project) == []
    replaced.write_bytes(original)
    embed(project)
    assert digests(project) == digests(untouched)


def test_networks_learn_from_the_pictures_that_were_scanned(images):
    source = Folder(images)
    uris = [image.uri for image in source.scan()][:3]
    names = [(content_key(source.read(uri)), uri) for uri in uris]
    assert DecodedImages(source, names, 8)().shape == (3, 8, 8, 3)
    shutil.copy(images / uris[0], images / uris[1])
    with pytest.raises(Replaced, match=uris[1]):
        DecodedImages(source, names, 8)()


def test_room_is_taken_before_the_array_is_written(small_disk, monkeypatch):
    """A full disk is a message that says how much is missing, and no shard is lost."""
    monkeypatch.setattr(shards, "SHARD", 100)
    uris = [f"{i}.png" for i in range(300)]
    reads = []

    def read(uri):
        reads.append(uri)
        return png(int(uri.removesuffix(".png")), (16, 16))

    (small_disk / "ballast").write_bytes(b"x" * 500_000)
    encoder, out = encoders.get("pixels:16"), small_disk / "e.npy"
    with pytest.raises(NotReady, match=r"0\.\d+ MB are missing") as refused:
        shards.encode(encoder, read, uris, uris, out)
    assert refused.value.exit_code == 4
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast", "e.parts"]
    (small_disk / "ballast").unlink()
    shards.encode(encoder, read, uris, uris, out)
    assert len(reads) == 300
    assert np.load(out).shape == (300, 256)
