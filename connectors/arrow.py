"""Arrow files, as ``datasets`` saves them (``save_to_disk``), with the face of a ParquetFile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

SUFFIX = ".arrow"
CACHED = "cache-"
"""How files begin that ``datasets`` keeps beside them for itself."""


class ArrowFile:
    """A stream or a file of record batches, mapped into memory; each batch is a row group.

    Raises:
        OSError, pyarrow.ArrowException: it is none.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow
        import pyarrow.ipc

        mapped = pyarrow.memory_map(str(path))
        try:
            table = pyarrow.ipc.open_stream(mapped).read_all()
        except pyarrow.ArrowInvalid:
            table = pyarrow.ipc.open_file(mapped).read_all()
        self._table = table

    @property
    def schema_arrow(self) -> Any:
        return self._table.schema

    @cached_property
    def _batches(self) -> list[Any]:
        return self._table.to_batches()

    @property
    def group_sizes(self) -> list[int]:
        """Rows of each row group."""
        return [batch.num_rows for batch in self._batches]

    def iter_batches(self, batch_size: int, columns: Sequence[str]) -> Iterator[Any]:
        yield from self._table.select(list(columns)).to_batches(max_chunksize=batch_size)

    def read_row_group(self, group: int, columns: Sequence[str]) -> Any:
        return self._batches[group].select(list(columns))

    def read(self, columns: Sequence[str]) -> Any:
        return self._table.select(list(columns))
