"""A table in a CSV file that grows by whole rows, each of which is on the disk before the next thing happens."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path


class AppendedTable:
    """The file at ``path`` with ``columns`` as its first line, made with the first row. One process writes it.

    Values are text without line breaks. Half a row at the end, as a kill or a full disk leaves, is no row, and is cut
    away before the next one. Raises ValueError if the file begins with something else than these columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self._columns = path, tuple(columns)
        self._whole = 0  # bytes that are whole rows, the first line among them
        self.rows: list[tuple[str, ...]] = self._load()

    def append(self, *values: object) -> None:
        """Add a row. Raises OSError, naming the file, if it cannot be written; then there is no row."""
        row = tuple(map(str, values))
        assert len(row) == len(self._columns), row
        begin = b"" if self._whole else _line(self._columns)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "r+b" if self._whole else "wb") as file:
                file.truncate(self._whole)
                file.seek(self._whole)
                file.write(begin + _line(row))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, f"cannot write {self.path}: {error.strerror or error}") from error
        self._whole += len(begin) + len(_line(row))
        self.rows.append(row)

    def _load(self) -> list[tuple[str, ...]]:
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        first = _line(self._columns)
        if first.startswith(content):  # nothing, or half of the first line
            self._whole = len(content) if content == first else 0
            return []
        if not content.startswith(first):
            raise ValueError(
                f"{self.path}: its first line is not {','.join(self._columns)!r}, so it is not the file that this run "
                "would add to; move it away, or give another OUTPUT_DIR"
            )
        self._whole = content.rfind(b"\n") + 1
        text = content[len(first) : self._whole].decode("utf-8", "surrogateescape")
        rows = [tuple(row) for row in csv.reader(text.split("\n")) if row]
        return [row for row in rows if len(row) == len(self._columns)]


def _line(values: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(" ".join(value.splitlines()) for value in values)
    return text.getvalue().encode("utf-8", "surrogateescape")
