"""Log set-up, and files of one JSON object per line."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from typing import Any

from slowfast.utils import unread_output
from slowfast.utils.folders import make_folder

ROOT = "slowfast"
_FORMAT = "[%(asctime)s][%(levelname)s] %(name)s: %(message)s"
_DATE = "%m/%d %H:%M:%S"
_HANDLER_NAME = "slowfast.utils.logging"


class _ConsoleHandler(logging.StreamHandler):
    """Prints above a progress bar instead of through it; leaves out records marked `file_only`.

    A run goes on where nobody reads what it prints any more.
    """

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        return not getattr(record, "file_only", False) and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (a name of logging)
        if unread_output.caused(sys.exc_info()[1]):
            unread_output.drop()
        else:
            super().handleError(record)


def setup(output_dir: str | os.PathLike | None, is_main: bool) -> None:
    """Send the log to the console and to `output_dir`/log.txt (appended), on the main process only.

    Calling it again replaces the earlier set-up. Without a folder there is no file.
    """
    root = logging.getLogger(ROOT)
    for handler in list(root.handlers):
        if handler.get_name() == _HANDLER_NAME:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(logging.INFO)
    for handler in _handlers(output_dir) if is_main else [logging.NullHandler()]:
        handler.set_name(_HANDLER_NAME)
        handler.setFormatter(logging.Formatter(_FORMAT, _DATE))
        root.addHandler(handler)


def _handlers(output_dir: str | os.PathLike | None) -> list[logging.Handler]:
    handlers: list[logging.Handler] = [_ConsoleHandler(sys.stdout)]
    if output_dir is not None:
        file_name = make_folder(output_dir) / "log.txt"
        # Paths that are not UTF-8 must not end a run because their names are logged.
        handlers.append(logging.FileHandler(file_name, encoding="utf-8", errors="backslashreplace"))
    return handlers


def get_logger(name: str) -> logging.Logger:
    """The logger of a module (pass `__name__`); other names are put below `slowfast`."""
    return logging.getLogger(name if name == ROOT or name.startswith(ROOT + ".") else f"{ROOT}.{name}")


def append_json_line(path: str | os.PathLike, record: dict[str, Any]) -> None:
    """Append one JSON object as a line, keys sorted, floats with all their digits (1e-6 stays 1e-06).

    A number that is not finite becomes null, since JSON has no word for it. A line that an earlier run left
    unfinished is closed first, so the new one stands alone.
    """
    line = json.dumps(finite(record), sort_keys=True, allow_nan=False) + "\n"
    with open(path, "ab+") as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode("utf-8"))


def read_json_lines(path: str | os.PathLike) -> list[dict[str, Any]]:
    """All objects of such a file. A line that was cut off by a crash is left out, and the log says so."""
    records = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                get_logger(__name__).warning("%s:%d: line ignored, it is not complete", path, number)
    return records


def finite(value: Any) -> Any:
    """The value with every float that is not finite, at any depth, replaced by None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
