"""Zero-shot probabilities of one's own: read by name, classes in any order, refused when wrong."""

from __future__ import annotations

import numpy as np
import pytest

from loop import encoders
from loop.encoders.zero_shot import name_head
from loop.errors import ConfigError, DataError

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])


def written(folder, **changes):
    arrays = {"probabilities": P, "keys": ["a.png", "b.png"], "classes": ["cat", "dog", "ox"]}
    arrays |= changes
    np.savez(folder / "p.npz", **{name: v for name, v in arrays.items() if v is not None})
    return f"prior:{folder / 'p.npz'}"


def test_rows_by_name_and_columns_by_class(tmp_path):
    joined = encoders.get(f"pixels:4+{written(tmp_path)}")
    rows = np.stack([joined.parts[1].take(None, "?", uri) for uri in ("b.png", "./a.png")])
    pictures = np.zeros((2, 16), np.float32)
    head = name_head(joined, ["ox", "cat"], [])
    told = head.probabilities(np.concatenate([pictures, rows], axis=1))
    np.testing.assert_allclose(told, [[8 / 9, 1 / 9], [1 / 8, 7 / 8]], rtol=1e-5)
    assert head.picture(np.zeros((2, 19))).shape == (2, 16)
    with pytest.raises(DataError, match="'keys' in it"):
        joined.parts[1].take(None, "?", "c.png")
    with pytest.raises(ConfigError, match="no column for the class 'yak'; its classes are cat"):
        name_head(joined, ["yak", "cat"], [])


def test_another_file_is_another_encoder(tmp_path):
    before = encoders.get(written(tmp_path)).digest
    assert encoders.get(written(tmp_path, probabilities=P[::-1])).digest != before
    assert encoders.get(written(tmp_path)).digest == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probabilities": 2 * P}, r"row 0 \(a.png\) is no distribution.* add up to 2"),
        ({"probabilities": P - 0.15}, "no distribution"),
        ({"probabilities": np.array([[0.7, 0.3, np.nan], P[1]])}, "no distribution"),
        ({"probabilities": P[:, :2]}, r"\(2 keys, 3 classes\) wanted"),
        ({"keys": ["a.png", "a.png"]}, "must be distinct"),
        ({"classes": None}, "np.savez writes one with probabilities, keys, classes"),
        ({"keys": np.array(["a", "b"], dtype=object)}, "cannot read"),
    ],
)
def test_what_is_no_prior_is_refused(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        encoders.get(written(tmp_path, **changes))


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*p\.npz"):
        encoders.get(f"prior:{tmp_path / 'p.npz'}")
    np.save(tmp_path / "one.npy", P)
    contents = (b"no archive", b"", b"PK\3\4 cut short", (tmp_path / "one.npy").read_bytes())
    for content in contents:
        (tmp_path / "p.npz").write_bytes(content)
        with pytest.raises(ConfigError, match=r"cannot read .*np\.savez writes one"):
            encoders.get(f"prior:{tmp_path / 'p.npz'}")
