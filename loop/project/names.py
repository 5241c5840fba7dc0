"""The class names of a project, as far as training listens to them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from loop.config import Config
from loop.encoders.class_names import phrases

if TYPE_CHECKING:
    from loop.name_head import NameHead


def name_head_of(config: Config) -> NameHead | None:
    """What the names say of an image, from its embedding; None where they say nothing.

    Raises:
        ConfigError: the encoder's weights are not there, or given probabilities lack a class.
    """
    if config.names_unused:
        return None
    section = config.project
    words = tuple(map(tuple, phrases(section.classes, section.synonyms)[0]))
    return _head(config.encoder, tuple(section.classes), words, tuple(section.prompts))


@lru_cache(maxsize=4)  # a text tower takes seconds, and one command asks several times
def _head(
    encoder: str,
    classes: tuple[str, ...],
    words: tuple[tuple[str, ...], ...],
    prompts: tuple[str, ...],
) -> NameHead:
    from loop import encoders
    from loop.encoders.zero_shot import name_head

    return name_head(encoders.get(encoder), classes, words, prompts)
