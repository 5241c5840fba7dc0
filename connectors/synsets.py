"""Class folders called as ImageNet calls them, and the names that a file beside them gives."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from connectors.files import read_ordinary

FILES = ("LOC_synset_mapping.txt", "synset_words.txt")
LINE = re.compile(r"(n\d{8})[\s,]+(.+)")


def synset_names(root: Path) -> dict[str, str]:
    """Folder -> class name, by a file in ``root`` or beside it: ``n01440764 tench, Tinca tinca`` is
    a tench. What two would be called is called by the whole line. Nothing where there is no such
    file."""
    texts: dict[str, str] = {}
    for path in (folder / name for folder in (root, root.parent) for name in FILES):
        if not texts and path.is_file():
            lines = read_ordinary(path).decode("utf-8-sig", "replace").splitlines()
            matches = (LINE.fullmatch(line.strip()) for line in lines)
            texts = {match[1]: match[2].strip() for match in matches if match}
    short = {folder: text.partition(",")[0].strip() for folder, text in texts.items()}
    called = Counter(short.values())
    return {f: name if called[name] == 1 else texts[f] for f, name in short.items()}
