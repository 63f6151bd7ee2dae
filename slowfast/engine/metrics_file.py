"""What metrics.jsonl holds of steps, or of a test, that are made once more is taken out before that happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from slowfast.utils.atomic import replace_file
from slowfast.utils.logging import get_logger


class Position(NamedTuple):
    """Where a run goes on: after ``global_step`` steps; ``validated`` False if a validation after it is still due."""

    global_step: int
    validated: bool = True


def take_back(path: Path, position: Position) -> None:
    """Leave out the lines of training and validation after a position, and broken ones."""
    _keep(path, lambda record: _is_before(record, position), f"after step {position.global_step}")


def take_back_test(path: Path) -> None:
    """Leave out the lines of a test, and broken ones."""
    _keep(path, lambda record: not str(record.get("split", "")).startswith("test"), "of a test")


def _keep(path: Path, wanted: Callable[[dict[str, Any]], bool], of_what: str) -> None:
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _holds(line, wanted)]
    if kept != lines:
        with replace_file(path) as file:
            file.writelines(kept)
        get_logger(__name__).info(
            "%s: %d line(s) %s, which are made again, are taken out", path, len(lines) - len(kept), of_what
        )


def _holds(line: bytes, wanted: Callable[[dict[str, Any]], bool]) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and wanted(record)


def _is_before(record: dict[str, Any], position: Position) -> bool:
    step = record.get("global_step")
    if not isinstance(step, int):
        return True
    still_due = str(record.get("_type")).startswith("val") and not position.validated
    return step < position.global_step + (not still_due)
