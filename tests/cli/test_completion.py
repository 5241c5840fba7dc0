"""What a shell offers after TAB, as it asks this program."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MAIN = [
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'coreloop'; from loop.cli import main; main()",
]


def offered(words, cwd):
    asks = {
        "_CORELOOP_COMPLETE": "bash_complete",
        "COMP_WORDS": f"coreloop {words}",
        "COMP_CWORD": str(len(words.split()) + words.endswith(" ")),
    }
    done = subprocess.run(MAIN, cwd=cwd, capture_output=True, text=True, env=os.environ | asks)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("st", ["status"]),
        ("scorers kme", ["kmeans", "kmedoids"]),
        ("init p --scorer typ", ["typiclust"]),
        ("init p --encoder ti", ["timm:"]),
        ("init p --encoder pixels:8+tor", ["pixels:8+torchvision:"]),
        ("simulate --methods random,zc", ["random,zcore"]),
        (
            "init p --encoder timm:vit_small_patch14_dinov2",
            ["timm:vit_small_patch14_dinov2.lvd142m"],
        ),
    ],
)
def test_names_are_completed(tmp_path, words, names):
    assert offered(words, tmp_path) == names
