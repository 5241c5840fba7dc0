"""What mkdocs calls while it builds the site."""

from __future__ import annotations

import re

OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page without links to files outside docs/: the site has none, so their text stays."""
    return OUTSIDE.sub(r"\1", markdown)
