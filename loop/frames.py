"""Rows of results as pandas tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from loop.errors import ConfigError

if TYPE_CHECKING:
    import pandas


def to_frame(rows: Sequence[Any]) -> pandas.DataFrame:
    """A DataFrame of dataclasses, one row each, their fields as columns.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ConfigError("to_frame needs pandas; type: pip install pandas") from None
    return pandas.DataFrame([asdict(row) for row in rows])
